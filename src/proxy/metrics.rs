//! What is counted about connections and exchanges. Handles are made once for a listener, so that counting costs an atomic
//! addition.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::direction::Direction;

/// Upper bounds of the request duration histogram in seconds.
const DURATION_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The metrics of all listeners.
#[derive(Debug, Clone)]
pub struct ProxyMetrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<ListenerLabels, Histogram, fn() -> Histogram>,
    request_bytes: Family<ListenerLabels, Counter>,
    response_bytes: Family<ListenerLabels, Counter>,
    connections: Family<ListenerLabels, Counter>,
    open_connections: Family<ListenerLabels, Gauge>,
    handshakes: Family<HandshakeLabels, Counter>,
    denials: Family<ReasonLabels, Counter>,
    errors: Family<ReasonLabels, Counter>,
    ends: Family<ReasonLabels, Counter>,
    retries: Family<ListenerLabels, Counter>,
    route_requests: Family<RouteLabels, Counter>,
    throttled: Family<ThrottleLabels, Counter>,
}

/// The handles of one listener.
#[derive(Debug)]
pub struct ListenerMetrics {
    labels: ListenerLabels,
    all: ProxyMetrics,
    codes: RwLock<Vec<(StatusCode, Counter)>>,
    duration: Histogram,
    request_bytes: Counter,
    response_bytes: Counter,
    connections: Counter,
    open_connections: Gauge,
    handshakes_ok: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: String,
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    listener: String,
    direction: &'static str,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    listener: String,
    direction: &'static str,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    listener: String,
    direction: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    listener: String,
    route: String,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ThrottleLabels {
    listener: String,
    by: &'static str,
}

impl ProxyMetrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let durations: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS));
        let metrics = Self {
            requests: Family::default(),
            durations,
            request_bytes: Family::default(),
            response_bytes: Family::default(),
            connections: Family::default(),
            open_connections: Family::default(),
            handshakes: Family::default(),
            denials: Family::default(),
            errors: Family::default(),
            ends: Family::default(),
            retries: Family::default(),
            route_requests: Family::default(),
            throttled: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("mantlet");
        registry.register(
            "requests",
            "Requests, by status code; 499 where the caller was gone before an answer",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "Time from the end of a request's header section to the last byte of its answer",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register_with_unit(
            "request",
            "Bytes of request bodies and of tunnels towards the upstream",
            Unit::Bytes,
            metrics.request_bytes.clone(),
        );
        registry.register_with_unit(
            "response",
            "Bytes of response bodies and of tunnels towards the caller",
            Unit::Bytes,
            metrics.response_bytes.clone(),
        );
        registry.register("connections", "Connections accepted", metrics.connections.clone());
        registry.register("open_connections", "Accepted connections that are open", metrics.open_connections.clone());
        registry.register(
            "tls_handshakes",
            "TLS handshakes with peers, by outcome and reason",
            metrics.handshakes.clone(),
        );
        registry.register(
            "denials",
            "Requests and connections that the policy denied, by rule",
            metrics.denials.clone(),
        );
        registry.register("errors", "Exchanges that failed in the proxy, by reason", metrics.errors.clone());
        registry.register("connections_ended", "Connections that the proxy ended, by reason", metrics.ends.clone());
        registry.register("retries", "Requests sent again on a fresh connection", metrics.retries.clone());
        registry.register(
            "route_requests",
            "Requests of an edge listener that took a route, by route and status code",
            metrics.route_requests.clone(),
        );
        registry.register(
            "throttled",
            "Requests and connections of an edge listener that came too often, by whose bound it is",
            metrics.throttled.clone(),
        );
        metrics
    }

    /// The handles of one listener.
    pub fn listener(&self, name: &str, direction: Direction) -> ListenerMetrics {
        let labels = ListenerLabels { listener: name.to_owned(), direction: direction.label() };
        let handshakes_ok = HandshakeLabels {
            listener: name.to_owned(),
            direction: direction.label(),
            outcome: "completed",
            reason: "none",
        };
        ListenerMetrics {
            all: self.clone(),
            codes: RwLock::default(),
            duration: self.durations.get_or_create_owned(&labels),
            request_bytes: self.request_bytes.get_or_create_owned(&labels),
            response_bytes: self.response_bytes.get_or_create_owned(&labels),
            connections: self.connections.get_or_create_owned(&labels),
            open_connections: self.open_connections.get_or_create_owned(&labels),
            handshakes_ok: self.handshakes.get_or_create_owned(&handshakes_ok),
            labels,
        }
    }
}

impl ListenerMetrics {
    /// Counts an answered request.
    pub fn count_request(&self, status: StatusCode, duration: Duration) {
        self.requests(status).inc();
        self.duration.observe(duration.as_secs_f64());
    }

    fn requests(&self, status: StatusCode) -> Counter {
        let known = self.codes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = known.iter().find(|(code, _)| *code == status) {
            return counter.clone();
        }
        drop(known);
        let ListenerLabels { listener, direction } = self.labels.clone();
        let counter =
            self.all.requests.get_or_create_owned(&RequestLabels { listener, direction, code: status.as_u16() });
        self.codes.write().unwrap_or_else(PoisonError::into_inner).push((status, counter.clone()));
        counter
    }

    /// Counts bytes towards the upstream and towards the caller.
    pub fn count_bytes(&self, request: u64, response: u64) {
        self.request_bytes.inc_by(request);
        self.response_bytes.inc_by(response);
    }

    /// Counts an accepted connection, open until the guard is dropped.
    pub fn open_connection(&self) -> OpenConnection {
        self.connections.inc();
        self.open_connections.inc();
        OpenConnection(self.open_connections.clone())
    }

    /// Counts a finished handshake.
    pub fn count_handshake(&self) {
        self.handshakes_ok.inc();
    }

    /// Counts a failed handshake.
    pub fn count_failed_handshake(&self, reason: &'static str) {
        let ListenerLabels { listener, direction } = self.labels.clone();
        self.all
            .handshakes
            .get_or_create_owned(&HandshakeLabels { listener, direction, outcome: "failed", reason })
            .inc();
    }

    /// Counts a denial by the policy.
    pub fn count_denial(&self, rule: &'static str) {
        self.all.denials.get_or_create_owned(&self.reason(rule)).inc();
    }

    /// Counts an exchange that failed.
    pub fn count_error(&self, reason: &'static str) {
        self.all.errors.get_or_create_owned(&self.reason(reason)).inc();
    }

    /// Counts a connection that the proxy ended.
    pub fn count_end(&self, reason: &'static str) {
        self.all.ends.get_or_create_owned(&self.reason(reason)).inc();
    }

    /// Counts a request that was sent again.
    pub fn count_retry(&self) {
        self.all.retries.get_or_create_owned(&self.labels).inc();
    }

    /// Counts a request that took a route of an edge listener.
    pub fn count_route(&self, route: &str, status: StatusCode) {
        let (listener, route, code) = (self.labels.listener.clone(), route.to_owned(), status.as_u16());
        self.all.route_requests.get_or_create_owned(&RouteLabels { listener, route, code }).inc();
    }

    /// Counts a request or a connection that came too often. `by` says whose bound it is.
    pub fn count_throttled(&self, by: &'static str) {
        let listener = self.labels.listener.clone();
        self.all.throttled.get_or_create_owned(&ThrottleLabels { listener, by }).inc();
    }

    fn reason(&self, reason: &'static str) -> ReasonLabels {
        let ListenerLabels { listener, direction } = self.labels.clone();
        ReasonLabels { listener, direction, reason }
    }
}

/// An accepted connection that is open.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
