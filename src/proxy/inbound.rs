//! One inbound connection: a peer's TLS is terminated, its certificate judged, and what it sends is forwarded to the local
//! service in plaintext.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Request;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::config::{IdentityHeader, Protocol};
use crate::net::{Arrival, PeerAddress};
use crate::policy::{AccessRequest, Policy, RequestFacts};
use crate::tls::{Acceptor, Alpn, Peer, TlsServerStream};

use super::admission::{self, Admitted};
use super::connections::{Live, Phase, Registration};
use super::error::ProxyError;
use super::headers::IdentityHeaders;
use super::http_connection;
use super::http_exchange::{Route, exchange};
use super::incoming::Incoming;
use super::listener::ListenerContext;
use super::proxy_protocol;
use super::record::milliseconds;
use super::tcp_tunnel::{self, TunnelBytes, TunnelEnd};
use super::upstream::Upstream;
use super::user_headers::UserHeaders;

/// An inbound listener.
#[derive(Debug)]
pub struct Inbound {
    /// What its connections share.
    pub context: Arc<ListenerContext>,
    /// What a reload may replace while connections live.
    pub rules: Arc<ArcSwap<InboundRules>>,
    /// What is carried.
    pub protocol: Protocol,
    /// Makes the handshakes.
    pub acceptor: Acceptor,
}

/// What decides each request, replaced as a whole by a reload.
#[derive(Debug)]
pub struct InboundRules {
    /// Who may call.
    pub policy: Policy,
    /// The local service.
    pub upstream: Arc<Upstream>,
    /// What the service is told of the caller.
    pub identity_headers: Vec<IdentityHeader>,
    /// Whether a TCP connection begins with a PROXY header.
    pub proxy_protocol: bool,
}

impl Inbound {
    /// Serves one accepted connection until it ends.
    pub async fn serve(self: Arc<Self>, arrival: Arrival, stop: CancellationToken) {
        let address = arrival.address.clone();
        let Some(admitted) = admission::admit(&self.context, &self.acceptor, arrival, stop).await else { return };
        match self.protocol {
            Protocol::Http => self.serve_http(admitted).await,
            Protocol::Tcp => Box::pin(self.serve_tcp(admitted.stream, address, &admitted.registration)).await,
        }
    }

    async fn serve_http(self: Arc<Self>, Admitted { mut stream, registration, worker }: Admitted) {
        let version = admission::http_version(&mut stream, &registration).await;
        let caller = Caller { live: Arc::clone(registration.live()), identity: Mutex::default() };
        let context = Arc::clone(&self.context);
        let answer = move |request| {
            let route = self.route(&caller, &request);
            exchange(Arc::clone(&self.context), Arc::clone(&caller.live), worker, route, request)
        };
        http_connection::serve(stream, version, context, registration, answer).await;
    }

    /// Judges one request by the rules as they are now.
    fn route(&self, caller: &Caller, request: &Request<Incoming>) -> Route {
        let rules = self.rules.load_full();
        let peer = &caller.peer().identity;
        let told = if rules.policy.believes_of_users(peer) { UserHeaders::read(request.headers()) } else { Ok(None) };
        let (permit, user) = match told {
            Err(wrong) => (Err(ProxyError::BadRequest(wrong)), None),
            Ok(user) => {
                let permit = rules.policy.authorize(AccessRequest {
                    peer,
                    is_withdrawn: caller.live.is_withdrawn(),
                    request: Some(RequestFacts { method: request.method().as_str(), path: request.uri().path() }),
                    user: user.as_ref().map(|(_, user)| user),
                });
                (permit.map_err(ProxyError::Denied), user)
            }
        };
        if permit.is_ok() {
            caller.live.note_permitted();
        }
        Route {
            permit,
            upstream: Arc::clone(&rules.upstream),
            identity: caller.identity_headers(&rules, &self.context),
            user: user.map(|(headers, user)| Box::new((headers, Arc::new(user)))),
        }
    }

    async fn serve_tcp(
        self: Arc<Self>,
        mut stream: TlsServerStream,
        address: PeerAddress,
        registration: &Registration,
    ) {
        let live = registration.live();
        let rules = self.rules.load_full();
        let peer = Arc::clone(live.peer.as_ref().expect("an inbound connection has a peer"));
        let permit = match rules.policy.authorize(AccessRequest {
            peer: &peer.identity,
            is_withdrawn: false,
            request: None,
            user: None,
        }) {
            Ok(permit) => permit,
            Err(denial) => {
                self.context.refuse_by_policy(&live.peer_address.to_string(), &peer, &denial);
                stream.as_mut().shutdown().await.unwrap_or_default();
                return;
            }
        };
        live.note_permitted();
        let started = std::time::Instant::now();
        let (mut upstream, service) = match rules.upstream.connect(Alpn::None, self.context.timeouts.idle).await {
            Ok(connected) => connected,
            Err(error) => {
                self.context.report_failure(rules.upstream.address(), &error);
                return stream.into_socket().abort();
            }
        };
        if rules.proxy_protocol {
            let header = proxy_protocol::header(address, stream.as_ref().local_address(), &peer.identity);
            if let Err(error) = upstream.write_all(&header).await {
                debug!(listener = &*self.context.name, %error, "the service closed before the PROXY header");
                return stream.into_socket().abort();
            }
        }
        let bytes = TunnelBytes::default();
        let end = tcp_tunnel::join(permit, stream, upstream, [live, service.live()], &bytes).await;
        self.context.record_tunnel(live, rules.upstream.address(), &bytes, &end, started.elapsed());
    }
}

/// The peer of one connection, and the headers that tell of it under the present rules.
#[derive(Debug)]
struct Caller {
    live: Arc<Live>,
    identity: Mutex<Option<(Vec<IdentityHeader>, Arc<IdentityHeaders>)>>,
}

impl Caller {
    fn peer(&self) -> &Peer {
        self.live.peer.as_ref().expect("an inbound connection has a peer")
    }

    fn identity_headers(&self, rules: &InboundRules, context: &ListenerContext) -> Arc<IdentityHeaders> {
        let mut made = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((wanted, headers)) if *wanted == rules.identity_headers => Arc::clone(headers),
            _ => {
                let own_name = context.trust.load().own.as_ref().map(|own| own.names.to_string());
                let headers = Arc::new(IdentityHeaders::of(self.peer(), &rules.identity_headers, own_name.as_deref()));
                *made = Some((rules.identity_headers.clone(), Arc::clone(&headers)));
                headers
            }
        }
    }
}

impl ListenerContext {
    /// Counts a tunnel and, by option, logs it, once, at its end.
    pub(super) fn record_tunnel(
        &self,
        live: &Live,
        upstream: &str,
        bytes: &TunnelBytes,
        end: &TunnelEnd,
        duration: Duration,
    ) {
        self.metrics.count_bytes(bytes.to_upstream(), bytes.to_caller());
        if let Some(reason) = live.reason().filter(|_| live.phase() >= Phase::Closing) {
            self.metrics.count_end(reason.label());
        }
        if !self.access_log {
            return;
        }
        let certificate = live.peer.as_ref().and_then(|peer| peer.path.as_ref()).map(|path| &path.end_entity);
        info!(
            listener = &*self.name,
            direction = self.direction.label(),
            peer = live.peer.as_ref().map(|peer| tracing::field::display(&peer.identity)),
            peer.serial = certificate.map(|certificate| tracing::field::display(&certificate.serial)),
            peer.issuer = certificate.map(|certificate| certificate.issuer.as_str()),
            peer.address = %live.peer_address,
            connection = live.id,
            duration_ms = milliseconds(duration),
            request_bytes = bytes.to_upstream(),
            response_bytes = bytes.to_caller(),
            upstream,
            outcome = match end {
                TunnelEnd::Closed => "completed",
                TunnelEnd::Broken(_) => "broken",
                TunnelEnd::Ended => "ended",
                TunnelEnd::Cut => "cut",
            },
            reason = live.reason().map(super::connections::EndReason::label),
            "connection"
        );
    }
}
