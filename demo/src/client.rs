//! The client of the flow, and of the attacks: one request on a connection of its own, plain or with TLS, any header.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderMap};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::pki::{Credentials, Pki};

const DEADLINE: Duration = Duration::from_secs(10);
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A GET request: where to, and with which headers.
#[derive(Debug, Clone)]
pub(crate) struct Get {
    pub(crate) target: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The number by which the request is found again in the logs of the services.
    pub(crate) trace: String,
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The address it came from, by which the sidecar's log names the peer.
    pub(crate) local: SocketAddr,
    /// The answer, or in one line why there is none.
    pub(crate) answer: Result<Answer, String>,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Get {
    /// A request with a trace of its own.
    pub(crate) fn new(target: &str) -> Self {
        let trace = format!("{:032x}", fastrand::u128(1..));
        Self { target: target.to_owned(), headers: Vec::new(), trace }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn request(&self, authority: &str) -> anyhow::Result<Request<Empty<Bytes>>> {
        let span = fastrand::u64(1..);
        let mut request = Request::get(&self.target)
            .header(HOST, authority)
            .header("traceparent", format!("00-{}-{span:016x}-01", self.trace));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        Ok(request.body(Empty::new())?)
    }
}

/// Sends a request in plain text.
pub(crate) async fn plain(to: SocketAddr, get: &Get) -> anyhow::Result<Exchange> {
    let stream = connect(to).await?;
    let local = stream.local_addr()?;
    let request = get.request(&to.to_string())?;
    let answer = within_deadline(exchange(stream, request)).await;
    Ok(Exchange { local, answer })
}

/// Sends a request over TLS to this machine.
pub(crate) async fn over_tls(to: SocketAddr, tls: Arc<ClientConfig>, get: &Get) -> anyhow::Result<Exchange> {
    over_tls_as("localhost", to, tls, get).await
}

/// Sends a request over TLS to a host of that name.
pub(crate) async fn over_tls_to(host: &str, port: u16, tls: Arc<ClientConfig>, get: &Get) -> anyhow::Result<Exchange> {
    over_tls_as(host, resolve(host, port).await?, tls, get).await
}

/// The first address of a host.
pub(crate) async fn resolve(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    let mut addresses = timeout(DEADLINE, tokio::net::lookup_host((host, port)))
        .await
        .with_context(|| format!("the name {host} is not resolved in time"))?
        .with_context(|| format!("the name {host} is not resolved"))?;
    addresses.next().with_context(|| format!("{host} has no address"))
}

async fn over_tls_as(host: &str, to: SocketAddr, tls: Arc<ClientConfig>, get: &Get) -> anyhow::Result<Exchange> {
    let stream = connect(to).await?;
    let local = stream.local_addr()?;
    let request = get.request(&format!("{host}:{}", to.port()))?;
    let answer = within_deadline(async {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(|error| root(&error))?;
        exchange(stream, request).await
    })
    .await;
    Ok(Exchange { local, answer })
}

/// TLS that trusts our authority and shows this certificate, or none.
pub(crate) fn tls(pki: &Pki, credentials: Option<&Credentials>) -> anyhow::Result<Arc<ClientConfig>> {
    tls_trusting(&pki.anchor, credentials)
}

/// TLS that trusts the anchors of a PEM file and shows this certificate, or none.
pub(crate) fn tls_trusting(anchors: &Path, credentials: Option<&Credentials>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(anchors)? {
        roots.add(certificate)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(Arc::new(match credentials {
        None => builder.with_no_client_auth(),
        Some(credentials) => builder
            .with_client_auth_cert(certificates(&credentials.certificate)?, private_key(&credentials.private_key)?)?,
    }))
}

/// The certificates of a PEM file, in its order.
pub(crate) fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("{} holds no certificate", path.display()))
}

/// The private key of a PEM file.
pub(crate) fn private_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).with_context(|| format!("{} holds no private key", path.display()))
}

pub(crate) async fn connect(to: SocketAddr) -> anyhow::Result<TcpStream> {
    timeout(DEADLINE, TcpStream::connect(to))
        .await
        .with_context(|| format!("{to} did not answer in time"))?
        .with_context(|| format!("cannot connect to {to}"))
}

async fn within_deadline(work: impl Future<Output = Result<Answer, String>>) -> Result<Answer, String> {
    timeout(DEADLINE, work).await.unwrap_or_else(|_| Err(format!("no answer within {} s", DEADLINE.as_secs())))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Answer, String> {
    // Title case on the wire: whoever strips headers by their exact spelling is found out.
    let handshake = http1::Builder::new().title_case_headers(true).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| root(&error))?;
    let connection = tokio::spawn(connection);
    let response = match sender.send_request(request).await {
        Ok(response) => response,
        // A TLS 1.3 server refuses after the handshake is over for its client: what it says comes with the connection's end.
        Err(error) => {
            let ended = connection.await.map_err(|error| root(&error))?;
            return Err(ended.map_or_else(|end| root(&end), |()| root(&error)));
        }
    };
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|error| error.to_string())?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { status: head.status, headers: head.headers, body })
}

/// What the error comes down to; the layers above it only say where it passed.
pub(crate) fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    // Where the manual of the TLS library explains it is of no use here.
    text.split(": https://").next().unwrap_or_default().to_owned()
}
