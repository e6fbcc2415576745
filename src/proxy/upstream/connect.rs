//! Making a connection: resolve, connect, shake hands, all under a deadline.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout_at};

use crate::net::{Endpoint, Host, PeerAddress, Stream};
use crate::proxy::ProxyError;
use crate::proxy::connections::{Held, Registration};
use crate::tls::{Alpn, Connector, HandshakeError, Peer, TlsClientStream, TrustSnapshot};
use crate::x509::Usage;

use super::{Target, Upstream};

/// A connection to the local service or to a peer.
#[derive(Debug)]
pub enum UpstreamStream {
    /// To the local service.
    Plain(Stream),
    /// To a peer.
    Tls(TlsClientStream),
}

/// A connection on the list of live ones.
type Registered = (UpstreamStream, Registration);

struct Connected {
    stream: UpstreamStream,
    peer: Option<Arc<Peer>>,
    address: PeerAddress,
}

impl Upstream {
    /// Connects and puts the connection on the list of live ones. The local service is offered no ALPN.
    ///
    /// # Errors
    /// Why not.
    pub(in crate::proxy) async fn connect(&self, alpn: Alpn, idle_limit: Duration) -> Result<Registered, ProxyError> {
        self.connect_holding(None, alpn, idle_limit).await
    }

    /// The same, with a place that the connection holds.
    pub(super) async fn connect_holding(
        &self,
        held: Option<Held>,
        alpn: Alpn,
        idle_limit: Duration,
    ) -> Result<Registered, ProxyError> {
        let trust = TrustSnapshot::of(&self.trust);
        let Connected { stream, peer, address } = self.connect_to_target(alpn).await?;
        let registration = self.connections.register(
            &self.listener,
            self.direction(),
            address.clone(),
            peer.clone(),
            idle_limit,
            held,
        );
        // Registered first: a change of trust from here on finds it on the list.
        let verdict = peer.map_or(Ok(()), |peer| peer.verify_again(&trust, &self.trust, Usage::Server));
        match verdict {
            Ok(()) => Ok((stream, registration)),
            Err(refusal) => {
                Err(ProxyError::Tls { address: address.to_string(), source: HandshakeError::Refused(refusal) })
            }
        }
    }

    async fn connect_to_target(&self, alpn: Alpn) -> Result<Connected, ProxyError> {
        match &self.target {
            Target::Service { address, .. } => {
                let limit = self.timeouts.connect;
                let stream = match tokio::time::timeout(limit, Stream::connect(address)).await {
                    Err(_) => return Err(ProxyError::ConnectTimeout { address: address.to_string(), limit }),
                    Ok(Err(source)) => return Err(ProxyError::Connect { address: address.to_string(), source }),
                    Ok(Ok(stream)) => stream,
                };
                Ok(Connected { stream: UpstreamStream::Plain(stream), peer: None, address: address.into() })
            }
            Target::Peer { endpoint, connector, .. } => self.connect_to_peer(endpoint, connector, alpn).await,
        }
    }

    async fn connect_to_peer(
        &self,
        endpoint: &Endpoint,
        connector: &Connector,
        alpn: Alpn,
    ) -> Result<Connected, ProxyError> {
        let deadline = Instant::now() + self.timeouts.connect;
        let mut addresses = resolve(endpoint, deadline, self.timeouts.connect).await?;
        let (stream, address) = connect_to_any(&addresses, deadline, self.timeouts.connect).await?;
        match self.shake_hands(endpoint, connector, alpn, stream, address).await {
            Err(ProxyError::Tls { source: HandshakeError::Closed | HandshakeError::Io(_), .. }) => {}
            outcome => return outcome,
        }
        // A peer that is shutting down closes what it has not accepted yet. Another address, or another behind the same one,
        // may serve; nothing was asked yet, so that nothing is asked twice.
        let next = addresses.iter().position(|tried| *tried == address).map_or(0, |tried| tried + 1);
        addresses.rotate_left(next);
        let (stream, address) = connect_to_any(&addresses, deadline, self.timeouts.connect).await?;
        self.shake_hands(endpoint, connector, alpn, stream, address).await
    }

    async fn shake_hands(
        &self,
        endpoint: &Endpoint,
        connector: &Connector,
        alpn: Alpn,
        stream: Stream,
        address: SocketAddr,
    ) -> Result<Connected, ProxyError> {
        let limit = self.timeouts.handshake;
        let handshake = connector.connect(stream, address.ip(), alpn);
        let described = || describe(endpoint, address.ip());
        match tokio::time::timeout(limit, handshake).await {
            Err(_) => Err(ProxyError::ConnectTimeout { address: described(), limit }),
            Ok(Err(source)) => Err(ProxyError::Tls { address: described(), source }),
            Ok(Ok((stream, peer))) => {
                self.metrics.count_handshake();
                let stream = UpstreamStream::Tls(stream);
                Ok(Connected { stream, peer: Some(Arc::new(peer)), address: PeerAddress::Tcp(address) })
            }
        }
    }
}

impl AsRef<Stream> for UpstreamStream {
    fn as_ref(&self) -> &Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.as_ref(),
        }
    }
}

fn describe(endpoint: &Endpoint, address: IpAddr) -> String {
    match endpoint.host {
        Host::Dns(_) => format!("{endpoint} ({address})"),
        Host::Ip(_) => endpoint.to_string(),
    }
}

async fn resolve(endpoint: &Endpoint, deadline: Instant, limit: Duration) -> Result<Vec<SocketAddr>, ProxyError> {
    let name = match &endpoint.host {
        Host::Ip(address) => return Ok(vec![SocketAddr::new(*address, endpoint.port)]),
        Host::Dns(name) => name,
    };
    let failed = |source| ProxyError::Resolve { name: name.clone(), source };
    match timeout_at(deadline, tokio::net::lookup_host((name.as_str(), endpoint.port))).await {
        Err(_) => Err(ProxyError::ConnectTimeout { address: endpoint.to_string(), limit }),
        Ok(Err(source)) => Err(failed(source)),
        Ok(Ok(addresses)) => {
            let addresses: Vec<SocketAddr> = addresses.collect();
            if addresses.is_empty() { Err(failed(io::ErrorKind::NotFound.into())) } else { Ok(addresses) }
        }
    }
}

/// Tries each address in turn. One that swallows packets gets no more than its share of the time.
async fn connect_to_any(
    addresses: &[SocketAddr],
    deadline: Instant,
    limit: Duration,
) -> Result<(Stream, SocketAddr), ProxyError> {
    let mut last = None;
    for (tried, address) in (0_u32..).zip(addresses) {
        let untried = u32::try_from(addresses.len()).unwrap_or(u32::MAX).saturating_sub(tried).max(1);
        let share = deadline.saturating_duration_since(Instant::now()) / untried;
        match tokio::time::timeout(share, TcpStream::connect(address))
            .await
            .map(|stream| stream.and_then(Stream::from_tcp))
        {
            Ok(Ok(stream)) => return Ok((stream, *address)),
            Ok(Err(source)) => last = Some(ProxyError::Connect { address: address.to_string(), source }),
            Err(_) => last = Some(ProxyError::ConnectTimeout { address: address.to_string(), limit }),
        }
    }
    Err(last.expect("there is at least one address"))
}

impl UpstreamStream {
    /// True where nothing has come and the other end has not closed, as far as this process was told.
    pub(super) fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_quiet(),
            Self::Tls(stream) => {
                // What is no data, such as a ticket, is taken in. A task that has done much is not made to pause here.
                let readable = unconstrained(poll_fn(|cx| stream.poll_readable(cx)));
                pin!(readable).poll(&mut Context::from_waker(Waker::noop())).is_pending()
            }
        }
    }

    /// True where the handshake agreed on HTTP/2.
    pub(super) fn agreed_on_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.alpn_protocol() == Some(b"h2"),
        }
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
