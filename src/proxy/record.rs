//! The record of one exchange: counted and, by option, logged exactly once, at its end, however it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode};
use tracing::info;

use crate::identity::User;

use super::connections::{InFlight, Live, Phase};
use super::direction::Direction;
use super::edge::EdgeRefusal;
use super::error::ProxyError;
use super::headers::TRACEPARENT;
use super::http_exchange::Route;
use super::listener::ListenerContext;
use super::request_body::Upload;
use super::upstream::Lease;
use super::upstream::http1::Used;

/// One exchange in progress. Dropping it before [`ExchangeRecord::complete`] records that it was cut short.
#[derive(Debug)]
pub(super) struct ExchangeRecord {
    context: Arc<ListenerContext>,
    in_flight: InFlight,
    started: Instant,
    logged: Option<Box<Logged>>,
    status: StatusCode,
    upload: Option<Arc<Upload>>,
    request_bytes: u64,
    response_bytes: u64,
    lease: Option<Lease>,
    outcome: Outcome,
    /// The route that it takes, at an edge listener.
    route: Option<Arc<str>>,
}

/// What only the access log needs, kept only where it is on.
#[derive(Debug)]
struct Logged {
    method: Method,
    path: Option<PathAndQuery>,
    traceparent: Option<HeaderValue>,
    /// The end user, where a token or a caller that may say so told of one.
    user: Option<Arc<User>>,
    /// The listener's rule that decided.
    rule: Option<Arc<str>>,
    reason: Option<&'static str>,
    upstream: Option<Arc<str>>,
    /// The connection to the upstream, whose other end is the peer of an outbound exchange.
    upstream_live: Option<Arc<Live>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    InProgress,
    Completed,
    UpstreamBroke,
}

/// Stands for an answer that was never given, because the caller was gone or cut off before.
fn unanswered() -> StatusCode {
    StatusCode::from_u16(499).expect("three digits are a status")
}

impl ExchangeRecord {
    /// Begins the record of a request.
    pub(super) fn begin(context: &Arc<ListenerContext>, in_flight: InFlight, head: &http::request::Parts) -> Self {
        let logged = context.access_log.then(|| {
            Box::new(Logged {
                method: head.method.clone(),
                path: head.uri.path_and_query().cloned(),
                traceparent: head.headers.get(TRACEPARENT).cloned(),
                user: None,
                rule: None,
                reason: None,
                upstream: None,
                upstream_live: None,
            })
        });
        Self {
            context: Arc::clone(context),
            in_flight,
            started: Instant::now(),
            logged,
            status: unanswered(),
            upload: None,
            request_bytes: 0,
            response_bytes: 0,
            lease: None,
            outcome: Outcome::InProgress,
            route: None,
        }
    }

    /// Notes the route that the request takes.
    pub(super) fn note_route(&mut self, route: &Arc<str>) {
        self.route = Some(Arc::clone(route));
    }

    /// Notes the end user.
    pub(super) fn note_user(&mut self, user: &Arc<User>) {
        if let Some(logged) = &mut self.logged {
            logged.user = Some(Arc::clone(user));
        }
    }

    /// Keeps the path out of the log: it holds what must not be there.
    pub(super) fn hide_path(&mut self) {
        if let Some(logged) = &mut self.logged {
            logged.path = None;
        }
    }

    /// That the request's body is longer than it may be, where it is.
    pub(super) fn body_too_large(&self) -> Option<ProxyError> {
        let limit = self.upload.as_ref()?.too_large()?;
        Some(EdgeRefusal::BodyTooLarge { limit }.into())
    }

    /// Watches the request's body.
    pub(super) fn watch_upload(&mut self, upload: Option<Arc<Upload>>) {
        self.upload = upload;
    }

    /// Notes who the end user is, and which rule decided.
    pub(super) fn note_judgement(&mut self, route: &Route) {
        let Some(logged) = &mut self.logged else { return };
        logged.user = route.user.as_ref().map(|user| Arc::clone(&user.1));
        logged.rule = match &route.permit {
            Ok(permit) => permit.rule().cloned(),
            Err(ProxyError::Denied(denial)) => denial.name.clone(),
            Err(_) => None,
        };
    }

    /// Counts bytes of the request.
    pub(super) fn add_request_bytes(&mut self, bytes: u64) {
        self.request_bytes += bytes;
    }

    /// Notes the status that the caller gets, and the connection that is given back when the answer is through.
    pub(super) fn answered(&mut self, status: StatusCode, lease: Option<Lease>) {
        self.status = status;
        if let (Some(logged), Some(lease)) = (&mut self.logged, &lease) {
            logged.upstream = Some(lease.address());
            logged.upstream_live = Some(Arc::clone(lease.live()));
        }
        self.lease = lease;
    }

    /// Notes that the proxy itself answers, and why.
    pub(super) fn failed(&mut self, status: StatusCode, reason: &'static str) {
        self.status = status;
        if let Some(logged) = &mut self.logged {
            logged.reason = Some(reason);
        }
    }

    /// Counts bytes of the answer.
    pub(super) fn add_response_bytes(&mut self, bytes: u64) {
        self.response_bytes += bytes;
    }

    /// Notes that the upstream broke off in the middle of its answer.
    pub(super) fn note_broken(&mut self) {
        self.outcome = Outcome::UpstreamBroke;
    }

    /// The answer is through. `used` is the connection that it came on, where nobody else has that.
    pub(super) fn complete(mut self, used: Option<Used>) {
        self.outcome = Outcome::Completed;
        if let Some(lease) = self.lease.take() {
            lease.give_back(self.response_bytes, used);
        }
    }
}

/// A duration to the microsecond, so that a log shows no digits that are only noise.
#[expect(clippy::cast_precision_loss, reason = "exact for centuries")]
pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

impl Drop for ExchangeRecord {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let request_bytes = self.request_bytes + self.upload.as_ref().map_or(0, |upload| upload.bytes());
        self.in_flight.live().note_answered(self.upload.as_ref().is_none_or(|upload| upload.is_over()));
        if self.upload.as_ref().is_some_and(|upload| upload.is_broken_off()) {
            // Whatever else failed in consequence.
            self.outcome = Outcome::InProgress;
        }
        self.context.metrics.count_request(self.status, duration);
        if let Some(route) = &self.route {
            self.context.metrics.count_route(route, self.status);
        }
        if request_bytes + self.response_bytes > 0 {
            self.context.metrics.count_bytes(request_bytes, self.response_bytes);
        }
        let outcome = match self.outcome {
            Outcome::Completed => "completed",
            Outcome::UpstreamBroke => {
                self.context.metrics.count_error("http_response_incomplete");
                "upstream_broke_off"
            }
            Outcome::InProgress => {
                self.in_flight.note_cancelled();
                "cancelled"
            }
        };
        let Some(logged) = &self.logged else { return };
        let caller = self.in_flight.live();
        let is_outbound = self.context.direction == Direction::Outbound;
        let peer_live = if is_outbound { logged.upstream_live.as_ref() } else { Some(caller) };
        let peer = peer_live.and_then(|live| live.peer.as_ref());
        // What a cut connection carried was not given up by anybody.
        let is_unfinished = self.outcome != Outcome::Completed;
        let cut = peer_live.filter(|live| is_unfinished && live.phase() == Phase::Cut).and_then(|live| live.reason());
        let (outcome, reason) = match cut {
            Some(reason) => ("cut", Some(reason.label())),
            None => (outcome, logged.reason),
        };
        let certificate = peer.and_then(|peer| peer.path.as_ref()).map(|path| &path.end_entity);
        info!(
            listener = &*self.context.name,
            direction = self.context.direction.label(),
            peer = peer.map(|peer| tracing::field::display(&peer.identity)),
            peer.serial = certificate.map(|certificate| tracing::field::display(&certificate.serial)),
            peer.issuer = certificate.map(|certificate| certificate.issuer.as_str()),
            peer.address = peer_live.map(|live| tracing::field::display(&live.peer_address)),
            client.address = is_outbound.then(|| tracing::field::display(&caller.peer_address)),
            connection = caller.id,
            method = logged.method.as_str(),
            path = logged.path.as_ref().map(PathAndQuery::path),
            route = self.route.as_deref(),
            user = logged.user.as_ref().map(tracing::field::display),
            user.issuer = logged.user.as_ref().map(|user| user.issuer.as_str()),
            rule = logged.rule.as_deref(),
            traceparent = logged.traceparent.as_ref().and_then(|trace| trace.to_str().ok()),
            status = self.status.as_u16(),
            duration_ms = milliseconds(duration),
            request_bytes,
            response_bytes = self.response_bytes,
            upstream = logged.upstream.as_deref(),
            outcome,
            reason,
            "request"
        );
    }
}
