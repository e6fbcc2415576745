//! One request of the public and its response.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, request};

use crate::identity::User;
use crate::policy::{Permit, RouteAccess, host_of};
use crate::proxy::ProxyError;
use crate::proxy::connections::Live;
use crate::proxy::headers::{self, Intent};
use crate::proxy::http_exchange::{Begun, Taken, forward, problem};
use crate::proxy::incoming::Incoming;
use crate::proxy::record::ExchangeRecord;
use crate::proxy::request_body::RequestBody;
use crate::proxy::response_body::ResponseBody;
use crate::proxy::user_headers::UserHeaders;
use crate::token::TokenError;

use super::client::Client;
use super::cors::{CorsAnswer, is_preflight};
use super::refusal::EdgeRefusal;
use super::routes::{Asked, Route};
use super::throttle::{Standings, Throttled};
use super::{Edge, EdgeRules, hygiene};

/// What a request may do.
struct Judged {
    permit: Permit,
    route: Arc<Route>,
    client: Client,
    user: Option<UserHeaders>,
    intent: Intent,
    /// The authority that it asks for, as it was received.
    authority: String,
}

/// What becomes of a request.
enum Verdict {
    /// It is forwarded.
    Forward(Box<Judged>),
    /// It is answered here, by these headers alone.
    Preflight(HeaderMap),
}

/// What an answer says besides what it answers.
struct Remarks {
    cors: Option<CorsAnswer>,
    standings: Standings,
}

/// Answers one request. It never fails: what goes wrong is an answer.
pub(super) async fn exchange(
    edge: Arc<Edge>,
    live: Arc<Live>,
    worker: usize,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let rules = edge.rules.load_full();
    let (mut taken, head, body) = Taken::of(Arc::clone(&edge.context), live, request);
    let mut remarks =
        Remarks { cors: rules.cors.as_ref().map(|cors| cors.answer(&head)), standings: Standings::default() };
    let verdict = rules.judge(&taken.live, &head, &mut taken.record, &mut remarks).await;
    let mut response = match verdict {
        Ok(Verdict::Preflight(headers)) => taken.answer_here(StatusCode::NO_CONTENT, headers),
        Ok(Verdict::Forward(judged)) => {
            let address = Arc::clone(judged.route.upstream.address());
            let begun = judged.begin(&taken, worker, head, body);
            conceal(taken.answer(address, begun).await)
        }
        Err(error) => {
            if let ProxyError::Edge(refusal) = &error
                && let EdgeRefusal::Throttled { by, .. } = **refusal
            {
                edge.context.metrics.count_throttled(by.label());
            }
            taken.answer(Arc::from(""), Err(error)).await
        }
    };
    let headers = response.headers_mut();
    rules.set_hsts(headers);
    remarks.standings.set(headers);
    if let Some(cors) = remarks.cors {
        cors.set(headers);
    }
    response
}

impl EdgeRules {
    /// Judges one request. Nothing behind the edge is touched before.
    async fn judge(
        &self,
        live: &Live,
        head: &request::Parts,
        record: &mut ExchangeRecord,
        remarks: &mut Remarks,
    ) -> Result<Verdict, ProxyError> {
        // Is it one that all readers read in the same way?
        let intent = headers::check_request(head)?;
        hygiene::refuse_token_in_url(&head.uri).inspect_err(|_| record.hide_path())?;
        // Where does it go?
        let authority = authority_of(head);
        let host = host_of(&authority);
        let asked = Asked { host: &host, path: head.uri.path(), method: &head.method };
        let client = Client::of(&live.peer_address, &self.trusted_proxies, &head.headers);
        if let Some(answer) = remarks.cors.as_ref().filter(|_| is_preflight(head)) {
            self.take_for_address(&client, &mut remarks.standings)?;
            self.routes.of_path(asked)?;
            let headers = self.cors.as_ref().map(|cors| cors.preflight(answer)).transpose()?;
            return Ok(Verdict::Preflight(headers.unwrap_or_default()));
        }
        let found = self.routes.find(asked);
        if let Ok(route) = &found {
            record.note_route(&route.name);
        }
        // Does its client ask too often?
        self.take_for_address(&client, &mut remarks.standings)?;
        let route = found?;
        // Who is its user, and does that one ask too often?
        let user = match &route.access {
            RouteAccess::Public => None,
            RouteAccess::Users(_) => Some(self.authenticate(route, &client, &head.headers).await?),
        };
        if let Some(user) = &user {
            record.note_user(user);
            if let Some(limit) = &self.throttle.per_user {
                limit.take((&user.issuer, &user.subject), &mut remarks.standings).map_err(throttled)?;
            }
        }
        // May that user do this?
        let permit = route.access.authorize(user.as_deref(), live.is_withdrawn()).map_err(EdgeRefusal::Denied)?;
        // What one may not do takes nothing from those who may.
        if let Some(limit) = &route.limit {
            limit.take((), &mut remarks.standings).map_err(throttled)?;
        }
        let user = match user.as_deref() {
            Some(user) => Some(UserHeaders::of(user).ok_or_else(too_much_of_a_user)?),
            None => None,
        };
        live.note_permitted();
        Ok(Verdict::Forward(Box::new(Judged { permit, route: Arc::clone(route), client, user, intent, authority })))
    }

    fn take_for_address(&self, client: &Client, standings: &mut Standings) -> Result<(), EdgeRefusal> {
        match &self.throttle.per_address {
            Some(limit) => limit.take(client.key(), standings).map_err(throttled),
            None => Ok(()),
        }
    }

    /// Verifies the token. A client that has sent too many that were no good has no further one looked at.
    async fn authenticate(
        &self,
        route: &Route,
        client: &Client,
        headers: &HeaderMap,
    ) -> Result<Arc<User>, EdgeRefusal> {
        let token = hygiene::bearer_token(headers)?;
        if let Some(limit) = &self.throttle.bad_tokens {
            limit.look(client.key()).map_err(throttled)?;
        }
        let outcome = self.issuers.verify(token, &route.issuers, SystemTime::now()).await;
        outcome.map_err(|error| match error {
            TokenError::Invalid(_) => {
                if let Some(limit) = &self.throttle.bad_tokens {
                    limit.charge(client.key());
                }
                EdgeRefusal::InvalidToken { detail: error.to_string(), description: error.description() }
            }
            TokenError::Unavailable(_) => {
                EdgeRefusal::IssuerUnavailable { detail: error.to_string(), retry_after: ASK_AGAIN }
            }
        })
    }
}

/// When a client whose token cannot be judged may ask again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What services are not told whole they are not told at all.
fn too_much_of_a_user() -> EdgeRefusal {
    let description = "the token says more of its user than can be passed on";
    EdgeRefusal::InvalidToken { detail: description.to_owned(), description }
}

fn throttled((by, retry_after): (Throttled, Duration)) -> EdgeRefusal {
    EdgeRefusal::Throttled { by, retry_after }
}

impl Judged {
    /// Begins to forward a request.
    fn begin(
        self: Box<Self>,
        taken: &Taken,
        worker: usize,
        head: request::Parts,
        mut body: RequestBody,
    ) -> Result<Begun, ProxyError> {
        let Self { permit, route, client, user, intent, authority } = *self;
        if let Some(most) = route.max_body {
            body.bound(most).map_err(|limit| EdgeRefusal::BodyTooLarge { limit })?;
        }
        let set = |headers: &mut HeaderMap| {
            hygiene::strip_request(headers, client.is_behind_proxy, route.forward_token);
            client.set(headers, &authority);
            if let Some(user) = user {
                user.set(headers);
            }
        };
        forward(&taken.context, worker, permit, Arc::clone(&route.upstream), (head, body, intent), set)
    }
}

/// The authority that a request is for; empty where an HTTP/1.0 request names none. That two of them agree was checked before.
fn authority_of(head: &request::Parts) -> String {
    let host = || head.headers.get(HOST).and_then(|host| host.to_str().ok());
    head.uri.authority().map(Authority::as_str).or_else(host).unwrap_or_default().to_owned()
}

/// Takes from an answer what the public need not know.
fn conceal(response: Response<ResponseBody>) -> Response<ResponseBody> {
    let (mut head, mut body) = response.into_parts();
    if hygiene::is_of_a_sidecar(&head.headers) {
        // It names identities and rules, and is for the log of whoever runs them.
        let is_grpc = head.headers.get(CONTENT_TYPE).is_some_and(headers::is_grpc_type);
        if is_grpc {
            head.headers.insert("grpc-message", HeaderValue::from_static("the service refused the request"));
        } else {
            let told = "the service refused the request, or could not be reached";
            let document = problem(head.status, "service_refused", told);
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(document.len()));
            body = body.replaced(document);
        }
    }
    hygiene::strip_response(&mut head.headers);
    Response::from_parts(head, body)
}
