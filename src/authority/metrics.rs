//! What the authority counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The counters.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    pub(super) issued: Family<By, Counter>,
    pub(super) refused: Family<Reason, Counter>,
    pub(super) crls_signed: Counter,
    pub(super) failed_handshakes: Counter,
    pub(super) subscribers: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct By {
    pub(super) by: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reason {
    pub(super) reason: &'static str,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            issued: Family::default(),
            refused: Family::default(),
            crls_signed: Counter::default(),
            failed_handshakes: Counter::default(),
            subscribers: Gauge::default(),
        };
        registry.register(
            "mantlet_authority_issued",
            "Certificates issued to services, by credential",
            metrics.issued.clone(),
        );
        registry.register("mantlet_authority_refused", "Requests refused, by reason", metrics.refused.clone());
        registry.register("mantlet_authority_crls_signed", "CRLs signed", metrics.crls_signed.clone());
        registry.register(
            "mantlet_authority_failed_handshakes",
            "TLS handshakes that failed",
            metrics.failed_handshakes.clone(),
        );
        registry.register(
            "mantlet_authority_subscribers",
            "Requests that wait for word of a change",
            metrics.subscribers.clone(),
        );
        metrics
    }
}
