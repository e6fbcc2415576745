//! What all connections of one listener share.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{Limits, Timeouts};
use crate::net::PeerAddress;
use crate::tls::Peer;
use crate::x509::TrustMaterial;

use super::connections::{Connections, Held, Registration};
use super::direction::Direction;
use super::metrics::ListenerMetrics;
use super::refusals::Refusals;

/// What all listeners of the process share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Live connections.
    pub connections: Arc<Connections>,
    /// The last refusals.
    pub refusals: Arc<Refusals>,
    /// The trust material in use.
    pub trust: Arc<ArcSwap<TrustMaterial>>,
    /// `[limits]`
    pub limits: Limits,
    /// `[timeouts]`
    pub timeouts: Timeouts,
    /// `log.access`
    pub access_log: bool,
}

/// What all connections of one listener share.
#[derive(Debug)]
pub struct ListenerContext {
    /// Its name.
    pub name: Arc<str>,
    /// Which way it goes.
    pub direction: Direction,
    /// Its counters.
    pub metrics: Arc<ListenerMetrics>,
    /// Live connections.
    pub connections: Arc<Connections>,
    /// The last refusals.
    pub refusals: Arc<Refusals>,
    /// The trust material in use.
    pub trust: Arc<ArcSwap<TrustMaterial>>,
    /// `[limits]`
    pub limits: Limits,
    /// `[timeouts]`
    pub timeouts: Timeouts,
    /// `log.access`
    pub access_log: bool,
    /// Places for handshakes in flight.
    pub handshakes: Arc<Semaphore>,
}

impl ListenerContext {
    /// The context of one listener.
    pub fn new(name: &str, direction: Direction, metrics: ListenerMetrics, shared: &Shared) -> Self {
        Self {
            name: name.into(),
            direction,
            metrics: Arc::new(metrics),
            connections: Arc::clone(&shared.connections),
            refusals: Arc::clone(&shared.refusals),
            trust: Arc::clone(&shared.trust),
            limits: shared.limits.clone(),
            timeouts: shared.timeouts.clone(),
            access_log: shared.access_log,
            handshakes: Arc::new(Semaphore::new(shared.limits.max_handshakes)),
        }
    }

    /// Handshakes under way.
    pub fn handshakes_in_flight(&self) -> usize {
        self.limits.max_handshakes.saturating_sub(self.handshakes.available_permits())
    }

    /// Puts an accepted connection on the list of live ones.
    pub(super) fn register(
        &self,
        address: PeerAddress,
        peer: Option<Arc<Peer>>,
        place: OwnedSemaphorePermit,
    ) -> Registration {
        let held = Held { place, open: Some(self.metrics.open_connection()) };
        self.connections.register(&self.name, self.direction, address, peer, self.timeouts.idle, Some(held))
    }
}
