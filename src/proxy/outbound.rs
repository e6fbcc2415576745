//! One outbound connection: the local service's plaintext is carried to a peer over mutual TLS.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::config::Protocol;
use crate::net::{Arrival, Stream};
use crate::policy::Permit;
use crate::tls::{Alpn, HandshakeError};

use super::connections::Registration;
use super::error::{ProxyError, peer_alert};
use super::headers::IdentityHeaders;
use super::http_connection::{self, HttpVersion};
use super::http_exchange::{Route, exchange};
use super::listener::ListenerContext;
use super::prefixed::Prefixed;
use super::tcp_tunnel::{self, TunnelBytes, TunnelEnd};
use super::upstream::Upstream;

/// The beginning of the HTTP/2 connection preface (RFC 9113 section 3.4). No HTTP/1 request begins so: the method is reserved.
const PREFACE: &[u8; 4] = b"PRI ";

/// An outbound listener.
#[derive(Debug)]
pub struct Outbound {
    /// What its connections share.
    pub context: Arc<ListenerContext>,
    /// The peer, replaced by a reload while connections live.
    pub upstream: Arc<ArcSwap<Upstream>>,
    /// What is carried.
    pub protocol: Protocol,
}

impl Outbound {
    /// Serves one accepted connection until it ends.
    pub async fn serve(self: Arc<Self>, arrival: Arrival, stop: CancellationToken) {
        let Arrival { stream, address, place, worker } = arrival;
        let registration = self.context.register(address, None, place);
        match self.protocol {
            Protocol::Http => {
                let mut stream = Prefixed::new(stream);
                let preface = tokio::time::timeout(self.context.timeouts.request_header, read_version(&mut stream));
                match stop.run_until_cancelled(preface).await {
                    Some(Ok(Ok(Some(version)))) => self.serve_http(stream, version, registration, worker).await,
                    Some(Ok(Err(error))) => debug!(listener = &*self.context.name, %error, "connection failed"),
                    // Nothing was asked before the peer, the clock or the operator ended the connection.
                    None | Some(Err(_) | Ok(Ok(None))) => {}
                }
            }
            Protocol::Tcp => Box::pin(self.serve_tcp(stream, &registration)).await,
        }
    }

    async fn serve_http(
        self: Arc<Self>,
        stream: Prefixed<Stream>,
        version: HttpVersion,
        registration: Registration,
        worker: usize,
    ) {
        let context = Arc::clone(&self.context);
        let live = Arc::clone(registration.live());
        let identity = Arc::new(IdentityHeaders::default());
        let answer = move |request| {
            let route = Route {
                permit: Ok(Permit::for_local_service()),
                upstream: self.upstream.load_full(),
                identity: Arc::clone(&identity),
                user: None,
            };
            exchange(Arc::clone(&self.context), Arc::clone(&live), worker, route, request)
        };
        http_connection::serve(stream, version, context, registration, answer).await;
    }

    async fn serve_tcp(self: Arc<Self>, stream: Stream, registration: &Registration) {
        let live = registration.live();
        let started = std::time::Instant::now();
        let mut target = self.upstream.load_full();
        let (upstream, peer) = loop {
            match target.connect(Alpn::None, self.context.timeouts.idle).await {
                Ok(connected) if Arc::ptr_eq(&target, &self.upstream.load()) => break connected,
                // A reload sent the listener to another peer meanwhile.
                Ok(_) => target = self.upstream.load_full(),
                Err(error) => {
                    self.context.report_failure(target.address(), &error);
                    return stream.abort();
                }
            }
        };
        let bytes = TunnelBytes::default();
        let lives = [live, peer.live()];
        let end = tcp_tunnel::join(Permit::for_local_service(), stream, upstream, lives, &bytes).await;
        self.context.record_tunnel(peer.live(), target.address(), &bytes, &end, started.elapsed());
        if let Some(error) = refusal_of_our_certificate(&end, &bytes, target.address()) {
            self.context.report_failure(target.address(), &error);
        }
    }
}

/// A TLS 1.3 peer refuses our certificate after the handshake is over for us, before it says anything else.
fn refusal_of_our_certificate(end: &TunnelEnd, bytes: &TunnelBytes, address: &str) -> Option<ProxyError> {
    let TunnelEnd::Broken(error) = end else { return None };
    let alert = peer_alert(error).filter(|_| bytes.to_caller() == 0)?;
    Some(ProxyError::Tls { address: address.to_owned(), source: HandshakeError::Alert(alert) })
}

/// Tells HTTP/2 with prior knowledge from HTTP/1.1 by the first bytes; nothing where the caller closes before it says anything.
async fn read_version(stream: &mut Prefixed<Stream>) -> std::io::Result<Option<HttpVersion>> {
    loop {
        match stream.take_ahead().await? {
            [] => return Ok(None),
            bytes if bytes.starts_with(PREFACE) => return Ok(Some(HttpVersion::Http2)),
            bytes if !PREFACE.starts_with(bytes) => return Ok(Some(HttpVersion::Http1)),
            _ => {}
        }
    }
}
