//! Connections kept to one upstream by one worker, and the lease of one of them for one exchange.

use std::fmt::Display;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::debug;

use crate::proxy::connections::{Held, InFlight, Live, Phase, Registration};
use crate::proxy::error::{HttpError, ProxyError};
use crate::tls::Alpn;

use super::connect::UpstreamStream;
use super::http1::{Connection, Used};
use super::http2::{Http2, Upload};
use super::large_answers::PathKey;
use super::{Target, Upstream};

/// Connections of one worker.
#[derive(Debug, Default)]
pub(super) struct Pool {
    #[expect(clippy::vec_box, reason = "a connection goes from hand to hand with every request")]
    http1: Mutex<Vec<Box<Connection>>>,
    http2: Mutex<Vec<Arc<Http2>>>,
    /// Held while an HTTP/2 connection is being made, so that a burst makes one and not one each.
    connecting: tokio::sync::Mutex<()>,
    /// The last handshake agreed on HTTP/1.1 though HTTP/2 was offered.
    declined_http2: AtomicBool,
}

/// Which version an exchange needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/2 where the peer speaks it.
    Either,
}

/// A connection for one exchange.
#[derive(Debug)]
pub struct Lease {
    upstream: Arc<Upstream>,
    worker: usize,
    pub(super) connection: Leased,
    /// What still carries the request's body.
    pub(super) upload: Option<Upload>,
    /// What is asked for, where the size of the answer is to be remembered.
    pub(super) path: Option<PathKey>,
    in_flight: InFlight,
    /// True where the connection has carried something before, so that it may turn out closed.
    pub(in crate::proxy) reused: bool,
}

#[derive(Debug)]
pub(super) enum Leased {
    /// Until the request is sent, whose answer then has it.
    Http1(Option<Box<Connection>>),
    Http2(Arc<Http2>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstream {
    /// A pooled connection, or a new one. `fresh` asks for a new one.
    pub(super) async fn lease(
        self: &Arc<Self>,
        worker: usize,
        wanted: Wanted,
        fresh: bool,
    ) -> Result<Lease, ProxyError> {
        match self.pooled(worker, wanted).filter(|_| !fresh) {
            Some(lease) => Ok(lease),
            // Boxed, so that a request that finds a connection does not carry the room for making one.
            None => Box::pin(self.new_lease(worker, wanted)).await,
        }
    }

    /// A pooled connection that can take a request now.
    fn pooled(self: &Arc<Self>, worker: usize, wanted: Wanted) -> Option<Lease> {
        let pool = &self.pools[worker];
        if pool.is_http2_for(wanted) {
            let (http2, in_flight) = pool.http2_with_room(self.limits.max_streams)?;
            return Some(self.leased(worker, Leased::Http2(http2), in_flight, true));
        }
        loop {
            let mut idle = lock(&pool.http1).pop()?;
            let in_flight = idle.live().begin();
            if idle.is_fit() {
                return Some(self.leased(worker, Leased::Http1(Some(idle)), in_flight, true));
            }
        }
    }

    async fn new_lease(self: &Arc<Self>, worker: usize, wanted: Wanted) -> Result<Lease, ProxyError> {
        let pool = &self.pools[worker];
        if !pool.is_http2_for(wanted) {
            let alpn = if wanted == Wanted::Http1 { Alpn::Http1 } else { Alpn::Http2OrHttp1 };
            return self.new_connection(worker, wanted, alpn).await;
        }
        // Those who wait for a peer that does not answer wait no longer than the one who connects.
        let limit = self.timeouts.connect + self.timeouts.handshake;
        let Ok(_connecting) = tokio::time::timeout(limit, pool.connecting.lock()).await else {
            return Err(ProxyError::ConnectTimeout { address: self.address.to_string(), limit });
        };
        // Whoever waited may find that the connection made meanwhile has room.
        if let Some((http2, in_flight)) = pool.http2_with_room(self.limits.max_streams) {
            return Ok(self.leased(worker, Leased::Http2(http2), in_flight, true));
        }
        let alpn = if wanted == Wanted::Http2 { Alpn::Http2 } else { Alpn::Http2OrHttp1 };
        self.new_connection(worker, wanted, alpn).await
    }

    fn leased(self: &Arc<Self>, worker: usize, connection: Leased, in_flight: InFlight, reused: bool) -> Lease {
        Lease { upstream: Arc::clone(self), worker, connection, upload: None, path: None, in_flight, reused }
    }

    async fn new_connection(self: &Arc<Self>, worker: usize, wanted: Wanted, alpn: Alpn) -> Result<Lease, ProxyError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| ProxyError::TooManyConnections {
            address: self.address.to_string(),
            limit: self.limits.max_upstream,
        })?;
        let held = Held { place, open: None };
        let (stream, registration) = self.connect_holding(Some(held), alpn, self.timeouts.upstream_idle).await?;
        let speaks_http2 = match self.target {
            Target::Service { .. } => wanted == Wanted::Http2,
            Target::Peer { .. } => stream.agreed_on_http2(),
        };
        if wanted == Wanted::Either {
            self.pools[worker].declined_http2.store(!speaks_http2, Ordering::Relaxed);
        }
        let in_flight = registration.live().begin();
        let connection = if speaks_http2 {
            Leased::Http2(self.start_http2(worker, stream, registration).await?)
        } else {
            Leased::Http1(Some(Box::new(Connection::new(stream, registration, &self.limits))))
        };
        Ok(self.leased(worker, connection, in_flight, false))
    }

    async fn start_http2(
        &self,
        worker: usize,
        stream: UpstreamStream,
        registration: Registration,
    ) -> Result<Arc<Http2>, ProxyError> {
        let (http2, driver) =
            Http2::begin(stream, registration.live(), &self.limits).await.map_err(|source| self.no_answer(source))?;
        lock(&self.pools[worker].http2).push(Arc::clone(&http2));
        tokio::spawn(run(Box::pin(driver.drive()), registration));
        Ok(http2)
    }

    pub(super) fn no_answer(&self, source: impl Into<HttpError>) -> ProxyError {
        ProxyError::NoAnswer { address: self.address.to_string(), source: source.into() }
    }

    /// Forgets connections that have ended.
    pub fn prune(&self) {
        for pool in &self.pools {
            lock(&pool.http1).retain_mut(|idle| idle.is_fit());
            lock(&pool.http2).retain(|kept| kept.is_open());
        }
    }
}

impl Pool {
    /// Whether HTTP/2 is what to look for first.
    fn is_http2_for(&self, wanted: Wanted) -> bool {
        match wanted {
            Wanted::Http1 => false,
            Wanted::Http2 => true,
            Wanted::Either => !self.declined_http2.load(Ordering::Relaxed),
        }
    }

    fn http2_with_room(&self, max_streams: u32) -> Option<(Arc<Http2>, InFlight)> {
        let mut kept = lock(&self.http2);
        kept.retain(|kept| kept.is_open());
        kept.iter().find_map(|kept| Some((Arc::clone(kept), kept.place(max_streams)?)))
    }
}

impl Lease {
    /// The upstream's address, for people.
    pub fn address(&self) -> Arc<str> {
        Arc::clone(&self.upstream.address)
    }

    /// The connection.
    pub fn live(&self) -> &Arc<Live> {
        self.in_flight.live()
    }

    /// Gives the connection back after the last of `bytes` of an answer's body. Where the answer had it, it is what was used.
    pub fn give_back(self, bytes: u64, used: Option<Used>) {
        if let Some(path) = self.path {
            self.upstream.large_answers.note(path, bytes);
        }
        match used {
            Some(Used::Connection(connection)) => self.keep(connection),
            Some(Used::Task(carried)) => carried.finish(self),
            None => self.upload.map_or((), |upload| upload.go_on(self.in_flight)),
        }
    }

    /// Puts a connection over HTTP/1.1 into the pool, where another request may use it.
    pub(super) fn keep(self, connection: Box<Connection>) {
        let mut pool = lock(&self.upstream.pools[self.worker].http1);
        if connection.is_at_rest() && pool.len() < self.upstream.limits.max_idle_upstream {
            pool.push(connection);
        }
    }
}

/// Runs a connection until it ends by itself or has to. One that is closing has nothing in flight.
async fn run(mut connection: impl Future<Output = Result<(), impl Display>> + Unpin, registration: Registration) {
    let live = registration.live();
    tokio::select! {
        outcome = &mut connection => if let Err(error) = outcome {
            debug!(listener = &*live.listener, connection = live.id, %error, "an upstream connection failed");
        },
        _ = live.phase_after(Phase::Draining) => {}
    }
}
