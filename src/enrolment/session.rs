//! One connection with the authority: HTTP/1.1 over TLS, within bounds of time and octets, without redirects.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::AuthorityUrl;
use crate::identity::PeerPattern;
use crate::net::{Host, Stream};
use crate::tls::{Alpn, Connector, HandshakeError, TlsClientStream, unsafe_connect_to_anyone};
use crate::x509::TrustMaterial;

use super::failure::Failure;

/// How long a connection may take to be made, handshake included.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take in all.
pub(super) const ANSWER: Duration = Duration::from_secs(30);
/// Most octets of an answer.
const MAX_ANSWER: usize = 256 * 1024;
/// The header in which an authority of mantlet says why it refuses.
const REASON: &str = "mantlet-reason";

/// Where the authority is and what it has to prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) url: AuthorityUrl,
    pub(super) expect: PeerPattern,
}

/// The time that a task was told, going on since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    told: SystemTime,
    begun: std::time::Instant,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Session {
    host: String,
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    clock: Clock,
    /// What the authority's server presented, end entity first; empty where nothing was verified.
    pub(super) presented: Vec<CertificateDer<'static>>,
    /// The authority's clock less ours, in seconds, as the last answer had it.
    pub(super) skew: Option<i64>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    reason: Option<String>,
    retry_after: Option<Duration>,
}

impl Clock {
    pub(super) fn told(now: SystemTime) -> Self {
        Self { told: now, begun: std::time::Instant::now() }
    }

    pub(super) fn now(&self) -> SystemTime {
        self.told + self.begun.elapsed()
    }
}

impl Session {
    /// Connects to an authority that proves who it is. We present `credential`, or nothing.
    pub(super) async fn open(
        place: &Place,
        material: &Arc<TrustMaterial>,
        credential: Option<Arc<CertifiedKey>>,
        clock: Clock,
    ) -> Result<Self, Failure> {
        let connector = Connector::to_authority(material, credential, place.expect.clone(), place.server_name());
        let connector =
            connector.map_err(|error| Failure::unusable(error.to_string(), "look at our certificate and key"))?;
        let (stream, presented) = bounded(async {
            let (stream, address) = place.connect().await?;
            let (stream, peer) =
                connector.connect(stream, address, Alpn::None).await.map_err(|error| Failure::of_handshake(&error))?;
            Ok((stream, peer.chain))
        })
        .await?;
        Self::over(place, stream, presented, clock).await
    }

    /// Connects to whoever answers. Nothing that comes is to be believed for having come, and nothing secret is to be sent.
    pub(super) async fn unsafe_open_to_anyone(place: &Place, clock: Clock) -> Result<Self, Failure> {
        let stream = bounded(async {
            let (stream, address) = place.connect().await?;
            let connected = unsafe_connect_to_anyone(stream, address, place.server_name()).await;
            connected.map_err(|error: HandshakeError| Failure::of_handshake(&error))
        })
        .await?;
        Self::over(place, stream, Vec::new(), clock).await
    }

    async fn over(
        place: &Place,
        stream: TlsClientStream,
        presented: Vec<CertificateDer<'static>>,
        clock: Clock,
    ) -> Result<Self, Failure> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(64 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::away(format!("the connection broke: {error}")))?;
        // An end of the connection is told to whoever sends the next request.
        let task = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { host: place.url.endpoint().to_string(), sender, task, clock, presented, skew: None })
    }

    /// A `GET`.
    pub(super) async fn get(&mut self, path: &str, limit: Duration) -> Result<Answer, Failure> {
        self.ask(Request::get(path), Bytes::new(), limit).await
    }

    /// A `POST` of a body of this type; `authorization` is a header's value, or nothing.
    pub(super) async fn post(
        &mut self,
        path: &str,
        media_type: &str,
        authorization: Option<&http::HeaderValue>,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let mut request =
            Request::post(path).header(CONTENT_TYPE, media_type).header("content-transfer-encoding", "base64");
        if let Some(authorization) = authorization {
            request = request.header(http::header::AUTHORIZATION, authorization);
        }
        self.ask(request, body, ANSWER).await
    }

    async fn ask(&mut self, request: http::request::Builder, body: Bytes, limit: Duration) -> Result<Answer, Failure> {
        let request = request
            .header(HOST, &self.host)
            .header(USER_AGENT, concat!("mantlet/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_LENGTH, body.len())
            .body(Full::new(body))
            .map_err(|error| {
                Failure::unusable(format!("the request cannot be made: {error}"), "look at identity.name")
            })?;
        let broke = |error: &dyn std::error::Error| Failure::away(format!("the connection broke: {error}"));
        let exchange = async {
            self.sender.ready().await.map_err(|error| broke(&error))?;
            let asked = std::time::Instant::now();
            let (parts, body) = self.sender.send_request(request).await.map_err(|error| broke(&error))?.into_parts();
            let received = self.clock.now();
            // Half of the way there and back; what waits for news has waited on the other side.
            let skew = skew(&parts.headers, received - (asked.elapsed() / 2).min(Duration::from_secs(1)));
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| broke(error.as_ref()))?.to_bytes();
            Ok((Answer::new(parts.status, &parts.headers, body), skew))
        };
        let answered = timeout(limit, exchange).await;
        let (answer, skew) = answered.map_err(|_| {
            Failure::away(format!("there was no whole answer within {}", humantime::format_duration(limit)))
        })??;
        self.skew = skew.or(self.skew);
        Ok(answer)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Place {
    fn server_name(&self) -> Option<&str> {
        match &self.url.endpoint().host {
            Host::Dns(name) => Some(name.strip_suffix('.').unwrap_or(name)),
            Host::Ip(_) => None,
        }
    }

    /// The first address that takes a connection.
    async fn connect(&self) -> Result<(Stream, IpAddr), Failure> {
        let endpoint = self.url.endpoint();
        let addresses: Vec<SocketAddr> = match &endpoint.host {
            Host::Ip(address) => vec![SocketAddr::new(*address, endpoint.port)],
            Host::Dns(name) => {
                let found = tokio::net::lookup_host((name.as_str(), endpoint.port)).await;
                found.map_err(|error| Failure::away(format!("{name} cannot be resolved: {error}")))?.collect()
            }
        };
        let mut last = format!("{} has no address", self.url);
        for address in addresses {
            match TcpStream::connect(address).await.and_then(Stream::from_tcp) {
                Ok(stream) => return Ok((stream, address.ip())),
                Err(error) => last = format!("cannot be connected to at {address}: {error}"),
            }
        }
        Err(Failure::away(last))
    }
}

impl Answer {
    fn new(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let retry_after = text(RETRY_AFTER.as_str()).and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        Self { status, body, reason: text(REASON).map(str::to_owned), retry_after }
    }

    /// The body of a success.
    pub(super) fn body_of(self, asked: &str, name: &str) -> Result<Bytes, Failure> {
        if self.status == StatusCode::OK {
            return Ok(self.body);
        }
        let text = String::from_utf8_lossy(&self.body);
        Err(Failure::of_answer(asked, name, self.status, self.reason.as_deref(), &text, self.retry_after))
    }
}

async fn bounded<T>(connecting: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(CONNECT, connecting).await.unwrap_or_else(|_| {
        Err(Failure::away(format!("there was no connection within {}", humantime::format_duration(CONNECT))))
    })
}

/// The authority's clock less ours in whole seconds.
fn skew(headers: &HeaderMap, ours: SystemTime) -> Option<i64> {
    let theirs = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let whole = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    Some(match theirs.duration_since(ours) {
        Ok(ahead) => whole(ahead),
        Err(behind) => -whole(behind.duration()),
    })
}
