//! One request and its response: judged, cleaned, forwarded, answered. All directions come through here.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, request};
use serde_json::json;
use tracing::debug;

use crate::identity::User;
use crate::policy::Permit;

use super::connections::{EndReason, Live, Phase};
use super::direction::Direction;
use super::error::ProxyError;
use super::headers::{self, IdentityHeaders, Intent};
use super::incoming::Incoming;
use super::listener::ListenerContext;
use super::record::ExchangeRecord;
use super::request_body::RequestBody;
use super::response_body::ResponseBody;
use super::tcp_tunnel;
use super::upstream::{Answer, Upstream};
use super::user_headers::UserHeaders;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What decides one request: the permit or why there is none, where it goes, and what the service is told of the caller and of
/// the end user.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) permit: Result<Permit, ProxyError>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) identity: Arc<IdentityHeaders>,
    /// Boxed, since most requests have none.
    pub(super) user: Option<Box<(UserHeaders, Arc<User>)>>,
}

/// Answers one request. It never fails: what goes wrong is an answer. All that needs no waiting is done at once, so that what
/// waits is small.
pub(super) fn exchange(
    context: Arc<ListenerContext>,
    live: Arc<Live>,
    worker: usize,
    route: Route,
    request: Request<Incoming>,
) -> impl Future<Output = Response<ResponseBody>> {
    let (mut taken, head, body) = Taken::of(context, live, request);
    taken.record.note_judgement(&route);
    let address = Arc::clone(route.upstream.address());
    let begun = begin(&taken.context, worker, route, head, body);
    taken.answer(address, begun)
}

/// A request that has come in and is to be answered.
pub(super) struct Taken {
    pub(super) context: Arc<ListenerContext>,
    pub(super) live: Arc<Live>,
    pub(super) record: Box<ExchangeRecord>,
    caller: Caller,
}

impl Taken {
    /// Begins the record of a request.
    pub(super) fn of(
        context: Arc<ListenerContext>,
        live: Arc<Live>,
        request: Request<Incoming>,
    ) -> (Self, request::Parts, RequestBody) {
        let in_flight = live.begin();
        let (mut head, body) = request.into_parts();
        let is_grpc = head.headers.get(CONTENT_TYPE).is_some_and(headers::is_grpc_type);
        let caller = Caller { version: head.version, is_grpc };
        headers::ensure_trace(&mut head.headers);
        let mut record = Box::new(ExchangeRecord::begin(&context, in_flight, &head));
        let (body, upload) = RequestBody::new(body);
        record.watch_upload(upload);
        (Self { context, live, record, caller }, head, body)
    }

    /// Waits for the upstream's answer and passes it on, or gives one of our own.
    pub(super) fn answer(
        self,
        address: Arc<str>,
        begun: Result<Begun, ProxyError>,
    ) -> impl Future<Output = Response<ResponseBody>> {
        let Self { context, live, record, caller } = self;
        let is_cut = live.phase() == Phase::Cut;
        async move {
            if is_cut {
                // The connection says goodbye and is dropped in a moment, and this with it. Nothing more is served on it.
                std::future::pending::<()>().await;
            }
            let outcome = match begun {
                Ok(Begun { limit, upgrade, sending }) => {
                    answer_of(&context, limit, sending).await.map(|answer| (answer, upgrade))
                }
                Err(error) => Err(error),
            };
            let mut response = match outcome {
                Ok((answer, upgrade)) => pass_on(&context, &live, answer, upgrade, record, caller),
                Err(error) => {
                    let error = record.body_too_large().unwrap_or(error);
                    refuse(&context, &live, &address, &error, record, caller)
                }
            };
            if caller.version < Version::HTTP_2 && live.phase() >= Phase::Draining {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }

    /// Answers without asking any upstream.
    pub(super) fn answer_here(self, status: StatusCode, headers: HeaderMap) -> Response<ResponseBody> {
        let mut record = self.record;
        record.answered(status, None);
        let mut response = Response::new(ResponseBody::whole(Bytes::new(), Some(record)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// What the form of an answer depends on.
#[derive(Debug, Clone, Copy)]
struct Caller {
    version: Version,
    is_grpc: bool,
}

/// The caller's half of an upgrade, and the protocol it asked for.
struct AskedUpgrade {
    caller: hyper::upgrade::OnUpgrade,
    permit: Permit,
}

/// The sending of a request. Boxed, so that an exchange that waits for it is small wherever it is kept.
type Sending = Pin<Box<dyn Future<Output = Result<Answer, ProxyError>> + Send>>;

/// A request that is permitted, cleaned and ready to be sent.
pub(super) struct Begun {
    /// How long its answer may take.
    limit: Option<Duration>,
    upgrade: Option<AskedUpgrade>,
    sending: Sending,
}

fn begin(
    context: &ListenerContext,
    worker: usize,
    route: Route,
    head: request::Parts,
    body: RequestBody,
) -> Result<Begun, ProxyError> {
    let intent = headers::check_request(&head)?;
    let Route { permit, upstream, identity, user, .. } = route;
    let permit = permit?;
    forward(context, worker, permit, upstream, (head, body, intent), |headers| {
        identity.set(headers);
        if let Some(user) = user {
            user.0.set(headers);
        }
    })
}

/// Begins to send a request that is permitted. What must not be passed on is removed, then `set` adds what the upstream is told.
pub(super) fn forward(
    context: &ListenerContext,
    worker: usize,
    permit: Permit,
    upstream: Arc<Upstream>,
    (mut head, body, intent): (request::Parts, RequestBody, Intent),
    set: impl FnOnce(&mut HeaderMap),
) -> Result<Begun, ProxyError> {
    let limit = answer_limit(context, &head.headers, intent);
    let protocol = if intent == Intent::Upgrade { head.headers.get(UPGRADE).cloned() } else { None };
    headers::strip(&mut head.headers);
    headers::take_expectation(&mut head.headers);
    set(&mut head.headers);
    let upgrade = protocol.and_then(|protocol| {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, protocol);
        let caller = head.extensions.remove::<hyper::upgrade::OnUpgrade>()?;
        Some(AskedUpgrade { caller, permit: permit.clone() })
    });
    let sending = Box::pin(upstream.send(worker, permit, head, body, intent)?);
    Ok(Begun { limit, upgrade, sending })
}

/// Waits for an answer, no longer than it may take.
async fn answer_of(
    context: &ListenerContext,
    limit: Option<Duration>,
    mut sending: Sending,
) -> Result<Answer, ProxyError> {
    let answer = match limit {
        Some(limit) => {
            tokio::time::timeout(limit, sending.as_mut()).await.map_err(|_| ProxyError::AnswerTimeout { limit })??
        }
        None => sending.await?,
    };
    if answer.retried {
        context.metrics.count_retry();
    }
    if context.direction == Direction::Outbound && !answer.lease.reused {
        context.metrics.count_handshake();
    }
    Ok(answer)
}

/// The shorter of `timeouts.response_header` and the deadline that a gRPC caller set.
fn answer_limit(context: &ListenerContext, headers: &HeaderMap, intent: Intent) -> Option<Duration> {
    let configured = context.timeouts.response_header;
    let asked = if intent == Intent::Grpc { headers.get(GRPC_TIMEOUT).and_then(grpc_timeout) } else { None };
    match (configured, asked) {
        (Some(configured), Some(asked)) => Some(configured.min(asked)),
        (configured, asked) => configured.or(asked),
    }
}

/// At most eight digits and a unit, as the gRPC protocol over HTTP/2 has it.
fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    let (digits, unit) = value.to_str().ok()?.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

fn pass_on(
    context: &Arc<ListenerContext>,
    live: &Arc<Live>,
    answer: Answer,
    upgrade: Option<AskedUpgrade>,
    mut record: Box<ExchangeRecord>,
    caller: Caller,
) -> Response<ResponseBody> {
    let Answer { mut response, lease, .. } = answer;
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return switch_protocols(context, live, response, lease, upgrade, record, caller);
    }
    headers::strip(response.headers_mut());
    if caller.version < Version::HTTP_2 {
        headers::announce_grpc_trailers(response.headers_mut());
    }
    record.answered(status, Some(lease));
    let (mut head, body) = response.into_parts();
    head.version = Version::HTTP_11;
    head.extensions.clear();
    Response::from_parts(head, ResponseBody::stream(body, record))
}

/// Joins the two connections once both sides have switched. A service that switches unasked is not believed.
fn switch_protocols(
    context: &Arc<ListenerContext>,
    live: &Arc<Live>,
    mut response: Response<Incoming>,
    lease: super::upstream::Lease,
    upgrade: Option<AskedUpgrade>,
    mut record: Box<ExchangeRecord>,
    caller: Caller,
) -> Response<ResponseBody> {
    let Some(upgrade) = upgrade else {
        let error = ProxyError::Upgrade("the upstream switched protocols unasked");
        return refuse(context, live, &lease.address(), &error, record, caller);
    };
    let protocol = response.headers().get(UPGRADE).cloned();
    headers::strip(response.headers_mut());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        response.headers_mut().insert(UPGRADE, protocol);
    }
    live.note_switched();
    record.answered(StatusCode::SWITCHING_PROTOCOLS, None);
    let (head, body) = response.into_parts();
    tcp_tunnel::join_upgraded(Arc::clone(context), live, upgrade.permit, upgrade.caller, body, lease, record);
    Response::from_parts(head, ResponseBody::whole(Bytes::new(), None))
}

/// An answer of our own.
fn refuse(
    context: &ListenerContext,
    live: &Live,
    upstream: &str,
    error: &ProxyError,
    mut record: Box<ExchangeRecord>,
    caller: Caller,
) -> Response<ResponseBody> {
    match (error, &live.peer) {
        (ProxyError::Denied(denial), Some(peer)) => {
            context.refuse_by_policy(&live.peer_address.to_string(), peer, denial);
            if !live.was_permitted() && !denial.rule.is_about_one_request() {
                // A caller who may do nothing keeps no place from those who may.
                live.end(Phase::Draining, EndReason::NotAllowed);
            }
        }
        (ProxyError::Edge(refusal), _) => {
            context.metrics.count_denial(refusal.label());
            debug!(listener = &*context.name, peer.address = %live.peer_address, %error, "request refused");
        }
        (ProxyError::BadRequest(_) | ProxyError::MethodNotCarried(_), _) => {
            debug!(listener = &*context.name, peer.address = %live.peer_address, %error, "request refused");
        }
        _ => context.tell_of_failure(upstream, error),
    }
    context.metrics.count_error(error.label());
    let told = error.told_to_caller(context.direction);
    let status = if caller.is_grpc { StatusCode::OK } else { error.status() };
    record.failed(status, error.label());
    let (content_type, body) = if caller.is_grpc {
        ("application/grpc", Bytes::new())
    } else {
        ("application/problem+json", problem(error.status(), error.label_for_caller(context.direction), &told))
    };
    let mut response = Response::new(ResponseBody::whole(body, Some(record)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if caller.version < Version::HTTP_2 && error.may_leave_more_behind() {
        // What follows on the connection may be part of what was refused.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let ProxyError::Edge(refusal) = error {
        refusal.set_headers(&context.name, headers);
    }
    if context.direction == Direction::Edge {
        return with_grpc_status(response, error, &told, caller);
    }
    let proxy_status = format!("mantlet; error={}; details=\"{}\"", error.label(), structured_text(&told));
    headers.extend(HeaderValue::try_from(proxy_status).ok().map(|value| (PROXY_STATUS, value)));
    with_grpc_status(response, error, &told, caller)
}

fn with_grpc_status(
    mut response: Response<ResponseBody>,
    error: &ProxyError,
    told: &str,
    caller: Caller,
) -> Response<ResponseBody> {
    if caller.is_grpc {
        let headers = response.headers_mut();
        headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(error.grpc_status())));
        headers.extend(HeaderValue::try_from(percent_encoded(told)).ok().map(|value| (GRPC_MESSAGE, value)));
    }
    response
}

/// A problem document (RFC 9457 section 3).
pub(super) fn problem(status: StatusCode, label: &str, told: &str) -> Bytes {
    let document = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": told,
        "error": label,
    });
    Bytes::from(format!("{document}\n"))
}

/// The inside of a string of RFC 8941 section 3.3.3.
fn structured_text(text: &str) -> String {
    let printable = text.chars().map(|character| if matches!(character, ' '..='~') { character } else { '?' });
    printable
        .flat_map(|character| matches!(character, '"' | '\\').then_some('\\').into_iter().chain([character]))
        .collect()
}

/// `grpc-message` is percent-encoded UTF-8.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => {
                use std::fmt::Write as _;
                let _ = write!(encoded, "%{byte:02X}");
            }
            byte => encoded.push(char::from(byte)),
        }
        encoded
    })
}
