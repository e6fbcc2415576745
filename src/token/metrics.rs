//! What is counted of verifications. What is known of fetches is read off the status.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::TokenError;

/// The verifications, by issuer and outcome.
#[derive(Debug, Clone, Default)]
pub(super) struct TokenMetrics {
    verifications: Family<Labels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    issuer: String,
    outcome: &'static str,
}

impl TokenMetrics {
    /// Registers them.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.sub_registry_with_prefix("mantlet").register(
            "token_verifications",
            "End-user tokens that were looked at, by issuer and outcome; the issuer is empty where it is none of ours",
            self.verifications.clone(),
        );
    }

    /// The counter of the good tokens of an issuer, so that counting them costs an atomic addition.
    pub(super) fn accepted(&self, issuer: &str) -> Counter {
        self.verifications.get_or_create_owned(&Labels { issuer: issuer.to_owned(), outcome: "accepted" })
    }

    /// Counts a token that was not accepted.
    pub(super) fn count(&self, issuer: &str, error: &TokenError) {
        self.verifications.get_or_create(&Labels { issuer: issuer.to_owned(), outcome: error.label() }).inc();
    }
}
