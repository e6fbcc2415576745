//! What decides each request of an edge listener, replaced as a whole by a reload.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};

use crate::config;
use crate::net::IpRange;
use crate::policy::RouteAccess;
use crate::proxy::upstream::Upstream;
use crate::token::{Accepted, Issuers};

use super::cors::Cors;
use super::routes::{Route, Routes};
use super::throttle::{Limit, Throttle};

/// What decides each request.
#[derive(Debug)]
pub struct EdgeRules {
    pub(super) routes: Routes,
    pub(super) issuers: Issuers,
    pub(super) throttle: Arc<Throttle>,
    pub(super) cors: Option<Cors>,
    pub(super) trusted_proxies: Vec<IpRange>,
    pub(super) max_connections_per_address: u32,
    hsts: Option<HeaderValue>,
}

impl EdgeRules {
    /// The rules of a listener. Buckets that were used before go on as they are where their rates are the same.
    pub fn new(config: &config::Edge, routes: Vec<Arc<Route>>, issuers: Issuers, before: Option<&Self>) -> Self {
        let throttle = before.map(|before| &before.throttle).filter(|throttle| throttle.is_of(config)).map(Arc::clone);
        // Digits are a header value.
        let hsts = config.hsts.and_then(|age| HeaderValue::try_from(format!("max-age={}", age.as_secs())).ok());
        Self {
            routes: Routes::new(routes),
            issuers,
            throttle: throttle.unwrap_or_else(|| Arc::new(Throttle::new(config))),
            cors: config.cors.as_ref().map(Cors::new),
            trusted_proxies: config.trusted_proxies.clone(),
            max_connections_per_address: config.max_connections_per_address,
            hsts,
        }
    }

    /// A route by its name.
    pub fn route(&self, name: &str) -> Option<&Route> {
        self.routes.named(name)
    }

    pub(super) fn is_trusted_proxy(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|range| range.contains(address))
    }

    /// `Strict-Transport-Security` (RFC 6797), where it is wanted.
    pub(super) fn set_hsts(&self, headers: &mut HeaderMap) {
        if let Some(hsts) = &self.hsts {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
    }
}

impl Route {
    /// The route of a listener that this part of its configuration describes. The bucket that all of its requests share goes on as it
    /// was where the rate is the same.
    pub fn new(
        config: &config::EdgeRoute,
        edge: &config::Edge,
        upstream: Arc<Upstream>,
        before: Option<&Self>,
    ) -> Self {
        let names: Vec<String> = config.issuers.iter().map(|name| name.value.clone()).collect();
        let kept = before.and_then(|before| before.limit.clone()).filter(|limit| Some(limit.rate()) == config.rate);
        Self {
            name: config.name.value.as_str().into(),
            host: config.host.clone(),
            paths: config.paths.clone(),
            methods: config.methods.clone(),
            access: if config.is_public { RouteAccess::Public } else { RouteAccess::Users(config.claims.clone()) },
            issuers: if names.is_empty() { Accepted::All } else { Accepted::Named(names) },
            forward_token: config.forward_token,
            max_body: config.max_body.unwrap_or(edge.max_body),
            upstream,
            limit: kept.or_else(|| config.rate.map(|rate| Arc::new(Limit::of_route(rate)))),
        }
    }
}
