//! An HTTPS client that keeps its connection, as an app does: of the gateway, and of the token issuer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;
use x509_parser::parse_x509_certificate;

use crate::client::{self, Answer};

const DEADLINE: Duration = Duration::from_secs(10);
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A connection to a server whose certificate was verified.
#[derive(Debug)]
pub(crate) struct Https {
    authority: String,
    sender: SendRequest<Full<Bytes>>,
    pub(crate) tls: TlsSeen,
}

/// What the client sees of the TLS of its connection.
#[derive(Debug, Clone)]
pub(crate) struct TlsSeen {
    pub(crate) version: String,
    pub(crate) cipher_suite: String,
    pub(crate) server: String,
    pub(crate) issuer: String,
    pub(crate) serial: String,
}

/// A request to send.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    pub(crate) target: String,
    headers: Vec<(&'static str, String)>,
    /// Of which type, and what.
    body: Option<(&'static str, Bytes)>,
    /// The number by which the request is found again in the logs of the services.
    pub(crate) trace: String,
}

/// A user's token, and what it says of itself. Nothing of it is verified here: that is the gateway's business.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

impl Call {
    pub(crate) fn get(target: &str) -> Self {
        Self::new(Method::GET, target, None)
    }

    /// A request with a body of JSON.
    pub(crate) fn post(target: &str, body: &Value) -> Self {
        Self::post_as(target, "application/json", body.to_string().into())
    }

    /// A request with a body of any type.
    pub(crate) fn post_as(target: &str, content_type: &'static str, body: Bytes) -> Self {
        Self::new(Method::POST, target, Some((content_type, body)))
    }

    fn new(method: Method, target: &str, body: Option<(&'static str, Bytes)>) -> Self {
        let trace = format!("{:032x}", fastrand::u128(1..));
        Self { method, target: target.to_owned(), headers: Vec::new(), body, trace }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// In the name of the user whose token that is.
    pub(crate) fn bearing(self, token: &str) -> Self {
        self.with(AUTHORIZATION.as_str(), format!("Bearer {token}"))
    }

    fn request(&self, authority: &str) -> anyhow::Result<Request<Full<Bytes>>> {
        let span = fastrand::u64(1..);
        let mut request = Request::builder()
            .method(&self.method)
            .uri(&self.target)
            .header(HOST, authority)
            .header("traceparent", format!("00-{}-{span:016x}-01", self.trace));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let Some((content_type, body)) = &self.body else { return Ok(request.body(Full::default())?) };
        Ok(request.header(CONTENT_TYPE, HeaderValue::from_static(content_type)).body(Full::from(body.clone()))?)
    }
}

impl Https {
    /// Connects to the host and the port of `url`.
    pub(crate) async fn connect(url: &Url, tls: &Arc<ClientConfig>) -> anyhow::Result<Self> {
        let host = url.host_str().with_context(|| format!("{url} names no host"))?;
        let port = url.port_or_known_default().unwrap_or(443);
        let authority = format!("{host}:{port}");
        let stream = client::connect(client::resolve(host.trim_matches(['[', ']']), port).await?).await?;
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
        let shaking = TlsConnector::from(Arc::clone(tls)).connect(name, stream);
        let stream = timeout(DEADLINE, shaking)
            .await
            .with_context(|| format!("{authority} makes no handshake in time"))?
            .with_context(|| format!("{authority} is not trusted, or makes no TLS"))?;
        let tls = TlsSeen::of(stream.get_ref().1)?;
        // Title case on the wire: whoever strips headers by their exact spelling is found out.
        let shaking = http1::Builder::new().title_case_headers(true).handshake(TokioIo::new(stream));
        let (sender, connection) = shaking.await?;
        tokio::spawn(connection);
        Ok(Self { authority, sender, tls })
    }

    /// Sends a request, and waits for its answer.
    pub(crate) async fn send(&mut self, call: &Call) -> anyhow::Result<Answer> {
        let request = call.request(&self.authority)?;
        let exchange = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(anyhow::Error::from_boxed)?;
            let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            anyhow::Ok(Answer { status: head.status, headers: head.headers, body })
        };
        timeout(DEADLINE, exchange)
            .await
            .with_context(|| format!("{} does not answer in time", self.authority))?
            .with_context(|| format!("{} does not answer", self.authority))
    }

    /// Whether the server has not closed the connection.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Asks the token issuer at the other end for a token.
    pub(crate) async fn sign_in(&mut self, user: &str, password: &str) -> anyhow::Result<Token> {
        let answer = self.send(&Call::post("/token", &json!({ "user": user, "password": password }))).await?;
        if !answer.status.is_success() {
            bail!("the issuer gives {user} no token: {} {}", answer.status, answer.body.trim());
        }
        let answer: Value = serde_json::from_str(&answer.body).context("the issuer answered no JSON")?;
        Token::parse(answer["access_token"].as_str().context("there is no access_token in the issuer's answer")?)
    }
}

impl TlsSeen {
    fn of(connection: &ClientConnection) -> anyhow::Result<Self> {
        let version = connection.protocol_version().and_then(|version| version.as_str()).unwrap_or("unknown");
        let suite = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
        let leaf = connection.peer_certificates().and_then(<[CertificateDer<'_>]>::first);
        let (_, leaf) = parse_x509_certificate(leaf.context("the server showed no certificate")?)?;
        Ok(Self {
            version: version.replace("TLSv1_", "TLS 1."),
            cipher_suite: suite.to_owned(),
            server: leaf.subject().to_string(),
            issuer: leaf.issuer().to_string(),
            serial: leaf.raw_serial().iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().concat(),
        })
    }
}

impl Token {
    /// Reads the first two parts of a token.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let part = |number: usize| {
            let part = text.split('.').nth(number).context("a token has three parts")?;
            anyhow::Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?)
        };
        Ok(Self { text: text.to_owned(), header: part(0)?, claims: part(1)? })
    }

    pub(crate) fn subject(&self) -> &str {
        self.claims["sub"].as_str().unwrap_or_default()
    }
}
