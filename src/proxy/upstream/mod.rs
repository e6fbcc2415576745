//! The other side of an exchange: the local service in plaintext, or a peer over mutual TLS.
//!
//! Each worker keeps its own connections, so that no lock is shared between cores.

pub(in crate::proxy) mod http1;

mod connect;
mod http2;
mod large_answers;
mod pool;
mod retry;
mod send;

use std::sync::Arc;

use tokio::sync::Semaphore;

use arc_swap::ArcSwap;

use crate::config::{AppProtocol, Hop, Limits, Timeouts};
use crate::net::{Address, Endpoint};
use crate::tls::Connector;
use crate::x509::TrustMaterial;

use super::connections::Connections;
use super::direction::Direction;
use super::listener::ListenerContext;
use super::metrics::ListenerMetrics;

pub use connect::UpstreamStream;
pub use pool::Lease;
pub use send::Answer;

use large_answers::LargeAnswers;
use pool::Pool;

/// Where exchanges and tunnels of one listener go.
#[derive(Debug)]
pub struct Upstream {
    target: Target,
    address: Arc<str>,
    listener: Arc<str>,
    metrics: Arc<ListenerMetrics>,
    pools: Vec<Pool>,
    large_answers: LargeAnswers,
    /// Places for pooled connections.
    places: Arc<Semaphore>,
    connections: Arc<Connections>,
    trust: Arc<ArcSwap<TrustMaterial>>,
    limits: Limits,
    timeouts: Timeouts,
}

/// What is connected to, and how.
#[derive(Debug)]
pub enum Target {
    /// The local service.
    Service {
        /// Its address.
        address: Address,
        /// Which HTTP version it is spoken to in.
        app_protocol: AppProtocol,
    },
    /// A peer.
    Peer {
        /// Its address.
        endpoint: Endpoint,
        /// Makes the handshakes.
        connector: Connector,
        /// Which HTTP version the hop speaks.
        hop: Hop,
    },
}

impl Upstream {
    /// The upstream of a listener, without connections yet. `workers` is the number of workers.
    pub fn new(target: Target, context: &ListenerContext, workers: usize) -> Self {
        let address = match &target {
            Target::Service { address, .. } => address.to_string(),
            Target::Peer { endpoint, .. } => endpoint.to_string(),
        };
        Self {
            target,
            address: address.into(),
            listener: Arc::clone(&context.name),
            metrics: Arc::clone(&context.metrics),
            places: Arc::new(Semaphore::new(context.limits.max_upstream)),
            pools: (0..workers).map(|_| Pool::default()).collect(),
            large_answers: LargeAnswers::default(),
            connections: Arc::clone(&context.connections),
            trust: Arc::clone(&context.trust),
            limits: context.limits.clone(),
            timeouts: context.timeouts.clone(),
        }
    }

    /// Its address, for people.
    pub fn address(&self) -> &Arc<str> {
        &self.address
    }

    /// What makes handshakes with it, where it is a peer.
    pub fn connector(&self) -> Option<&Connector> {
        match &self.target {
            Target::Peer { connector, .. } => Some(connector),
            Target::Service { .. } => None,
        }
    }

    /// Which way it lies.
    fn direction(&self) -> Direction {
        match self.target {
            Target::Peer { .. } => Direction::Outbound,
            Target::Service { .. } => Direction::Inbound,
        }
    }
}
