//! One connection of the public: TLS is terminated, each request is judged by its route and its user's token, and forwarded to a peer
//! over mutual TLS.
//!
//! Whether a token is good is `token`'s to say, and what a user may do `policy`'s; a request is forwarded as `http_exchange` does it
//! for every direction.

mod by_address;
mod client;
mod cors;
mod exchange;
mod hygiene;
mod refusal;
mod routes;
mod rules;
mod throttle;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::buckets::AddressKey;
use crate::net::{Arrival, PeerAddress};
use crate::tls::Acceptor;

use super::admission::{self, Admitted};
use super::http_connection;
use super::listener::ListenerContext;

pub use by_address::ConnectionsByAddress;
pub use refusal::EdgeRefusal;
pub use routes::Route;
pub use rules::EdgeRules;
pub use throttle::Throttled;

use by_address::Counted;
use exchange::exchange;

/// An edge listener.
#[derive(Debug)]
pub struct Edge {
    /// What its connections share.
    pub context: Arc<ListenerContext>,
    /// What a reload may replace while connections live.
    pub rules: Arc<ArcSwap<EdgeRules>>,
    /// Makes the handshakes.
    pub acceptor: Acceptor,
    /// Its open connections.
    pub by_address: Arc<ConnectionsByAddress>,
}

impl Edge {
    /// Serves one accepted connection until it ends.
    pub async fn serve(self: Arc<Self>, arrival: Arrival, stop: CancellationToken) {
        let Ok(_counted) = self.count(&arrival.address) else {
            self.context.metrics.count_throttled("connections");
            debug!(listener = &*self.context.name, peer.address = %arrival.address, "too many connections of one address");
            return;
        };
        let Some(admitted) = admission::admit(&self.context, &self.acceptor, arrival, stop).await else { return };
        let Admitted { mut stream, registration, worker } = admitted;
        let version = admission::http_version(&mut stream, &registration).await;
        let (context, live) = (Arc::clone(&self.context), Arc::clone(registration.live()));
        let answer = move |request| exchange(Arc::clone(&self), Arc::clone(&live), worker, request);
        http_connection::serve(stream, version, context, registration, answer).await;
    }

    /// Counts a connection, unless its address has too many already. A proxy that is trusted connects for many clients, and is not
    /// counted.
    fn count(&self, address: &PeerAddress) -> Result<Option<Counted>, TooMany> {
        let rules = self.rules.load();
        match address {
            PeerAddress::Tcp(address) if !rules.is_trusted_proxy(address.ip()) => {
                let key = AddressKey::of(Some(address.ip()));
                self.by_address.count(key, rules.max_connections_per_address).map(Some).ok_or(TooMany)
            }
            _ => Ok(None),
        }
    }
}

/// An address has as many connections as it may have.
struct TooMany;
