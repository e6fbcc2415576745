//! Asks the admin listener of a running process, from the command line.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, SERVER};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;

use crate::net::{Address, Endpoint, Host, Stream};

use super::SERVER_NAME;

/// Where a process listens by default.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:9900";

/// How long an answer may take in all.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer; that of a thousand connections and as many peers takes about one million.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// The admin listener to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// By IP address or Unix socket.
    Address(Address),
    /// By a name to resolve.
    Name(Endpoint),
}

/// A text that names no admin listener.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no admin address: expected IP:PORT such as \"{DEFAULT_ADDRESS}\", HOST:PORT, or \"unix:/PATH\"")]
pub struct TargetError {
    /// The text as it was given.
    pub text: String,
}

/// What an answer should be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines of text.
    Text,
    /// JSON.
    Json,
}

/// An answer of mantlet.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No connection.
    #[error(
        "cannot connect to {target}: {cause}; does mantlet run there, and has its file an [admin] section with this \
         address? --admin or MANTLET_ADMIN names another"
    )]
    Connect {
        /// The address.
        target: Target,
        /// What the system says.
        cause: io::Error,
    },
    /// Too slow.
    #[error("no answer from {target} within {}", humantime::format_duration(TIMEOUT))]
    Timeout {
        /// The address.
        target: Target,
    },
    /// No HTTP.
    #[error("{target} does not answer as mantlet's admin listener does; another program seems to listen there")]
    Protocol {
        /// The address.
        target: Target,
        /// What was wrong with the answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// HTTP by another program.
    #[error(
        "{target} was answered by another program ({server:?}, status {status}), not by mantlet: name the address of \
         [admin] with --admin or MANTLET_ADMIN"
    )]
    NotMantlet {
        /// The address.
        target: Target,
        /// How the program calls itself.
        server: String,
        /// The status of its answer.
        status: StatusCode,
    },
    /// The system gives no runtime.
    #[error("cannot start a runtime")]
    Runtime(#[source] io::Error),
}

/// Asks for `path` and waits for the answer.
///
/// # Errors
/// Where no mantlet answers at the target in time.
pub fn ask(target: &Target, path: &'static str, format: Format) -> Result<Answer, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ClientError::Runtime)?;
    let answer = runtime.block_on(async { tokio::time::timeout(TIMEOUT, exchange(target, path, format)).await });
    // The lookup of a name may hang in a thread that nobody waits for.
    runtime.shutdown_background();
    answer.unwrap_or_else(|_| Err(ClientError::Timeout { target: target.clone() }))
}

async fn exchange(target: &Target, path: &'static str, format: Format) -> Result<Answer, ClientError> {
    let stream = target.connect().await.map_err(|cause| ClientError::Connect { target: target.clone(), cause })?;
    let request = Request::get(path)
        .header(HOST, target.host())
        .header(CONNECTION, "close")
        .header(ACCEPT, format.media_type())
        .body(Empty::<Bytes>::new());
    let response = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let (parts, body) = sender.send_request(request?).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?.to_bytes();
        Ok((parts, body))
    };
    let (parts, body) = response.await.map_err(|source| ClientError::Protocol { target: target.clone(), source })?;
    let server =
        parts.headers.get(SERVER).map_or(String::new(), |name| String::from_utf8_lossy(name.as_bytes()).into());
    if !is_mantlet(&server) {
        return Err(ClientError::NotMantlet { target: target.clone(), server, status: parts.status });
    }
    Ok(Answer { status: parts.status, body })
}

/// Of any version: the command may be newer than the process it asks.
fn is_mantlet(server: &str) -> bool {
    server.split('/').next() == SERVER_NAME.split('/').next()
}

impl Target {
    async fn connect(&self) -> io::Result<Stream> {
        match self {
            Self::Address(address) => Stream::connect(address).await,
            Self::Name(Endpoint { host: Host::Ip(address), port }) => {
                Stream::from_tcp(TcpStream::connect((*address, *port)).await?)
            }
            Self::Name(Endpoint { host: Host::Dns(name), port }) => {
                Stream::from_tcp(TcpStream::connect((name.as_str(), *port)).await?)
            }
        }
    }

    fn host(&self) -> String {
        match self {
            Self::Address(Address::Unix(_)) => "localhost".to_owned(),
            _ => self.to_string(),
        }
    }
}

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain",
            Self::Json => "application/json",
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = text.parse().map(Self::Address);
        address.or_else(|_| text.parse().map(Self::Name)).map_err(|_| TargetError { text: text.to_owned() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(endpoint) => endpoint.fmt(f),
        }
    }
}
