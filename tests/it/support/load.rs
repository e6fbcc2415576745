//! Clients that send one request after the other on connections that they keep, and count what fails.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::gate::NAME;
use super::sidecar::PATIENCE;

/// Which version is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// Clients at work.
pub(crate) struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    tally: Mutex<Tally>,
    grown: Condvar,
}

/// What became of the requests.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) answered: u64,
    pub(crate) connections: u64,
    pub(crate) failures: Vec<String>,
}

impl Load {
    /// `clients` of them over plaintext.
    pub(crate) fn plain(address: SocketAddr, version: Version, clients: usize) -> Self {
        Self::start(address, version, clients, None)
    }

    /// `clients` of them over TLS.
    pub(crate) fn tls(address: SocketAddr, version: Version, clients: usize, config: ClientConfig) -> Self {
        Self::start(address, version, clients, Some(Arc::new(config)))
    }

    fn start(address: SocketAddr, version: Version, clients: usize, tls: Option<Arc<ClientConfig>>) -> Self {
        let shared = Arc::new(Shared::default());
        let working = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let clients = (0..clients).map(|_| client(Arc::clone(&working), address, version, tls.clone()));
                futures_util::future::join_all(clients).await;
            });
        });
        let load = Self { shared, thread: Some(thread) };
        load.wait_for_more(1);
        load
    }

    /// Waits until this many more requests were answered.
    pub(crate) fn wait_for_more(&self, count: u64) {
        let tally = self.shared.tally.lock().unwrap();
        let goal = tally.answered + count;
        let stuck = |tally: &mut Tally| tally.answered < goal && tally.failures.is_empty();
        let (tally, waited) = self.shared.grown.wait_timeout_while(tally, PATIENCE, stuck).unwrap();
        assert!(!waited.timed_out(), "the load stands still: {tally:?}");
    }

    /// Waits until the clients have opened this many connections.
    pub(crate) fn wait_for_connections(&self, count: u64) {
        let tally = self.shared.tally.lock().unwrap();
        let stuck = |tally: &mut Tally| tally.connections < count && tally.failures.is_empty();
        let (tally, waited) = self.shared.grown.wait_timeout_while(tally, PATIENCE, stuck).unwrap();
        assert!(!waited.timed_out(), "the clients keep their connections: {tally:?}");
    }

    /// Ends it.
    pub(crate) fn finish(mut self) -> Tally {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.shared.tally.lock().unwrap().clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

async fn client(shared: Arc<Shared>, address: SocketAddr, version: Version, tls: Option<Arc<ClientConfig>>) {
    let mut kept = None;
    let mut turn = 0_u64;
    while !shared.stop.load(Ordering::Relaxed) {
        turn += 1;
        let mut request = request(address, version, turn);
        let outcome = loop {
            if !ready(kept.as_mut()).await {
                match open(address, version, tls.as_ref()).await {
                    Ok(sender) => kept = Some(sender),
                    Err(error) => break Err(format!("connect: {error}")),
                }
                shared.tally.lock().unwrap().connections += 1;
            }
            let sent = match kept.as_mut().unwrap() {
                Sender::Http1(sender) => sender.try_send_request(request).await,
                Sender::Http2(sender) => sender.try_send_request(request).await,
            };
            match sent {
                Ok(response) => break whole(response).await,
                // A request that never left is sent on another connection, as every client does.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => {
                        request = unsent;
                        kept = None;
                    }
                    None => break Err(format!("send: {:?}", error.into_error())),
                },
            }
        };
        let mut tally = shared.tally.lock().unwrap();
        match outcome {
            Ok(()) => tally.answered += 1,
            Err(failure) => {
                tally.failures.push(format!("request {turn}: {failure}"));
                kept = None;
            }
        }
        shared.grown.notify_all();
        if tally.failures.len() > 20 {
            return;
        }
    }
}

async fn ready(sender: Option<&mut Sender>) -> bool {
    match sender {
        Some(Sender::Http1(sender)) => sender.ready().await.is_ok(),
        Some(Sender::Http2(sender)) => sender.ready().await.is_ok(),
        None => false,
    }
}

/// Turns of requests without and with a body.
fn request(address: SocketAddr, version: Version, turn: u64) -> Request<Full<Bytes>> {
    let uri = match version {
        Version::Http1 => "/echo".to_owned(),
        Version::Http2 => format!("http://{address}/echo"),
    };
    let builder = Request::builder().uri(uri).header("host", address.to_string());
    if turn.is_multiple_of(2) {
        builder.method(Method::POST).body(Full::from(vec![b'x'; 2000])).unwrap()
    } else {
        builder.body(Full::default()).unwrap()
    }
}

async fn whole(response: Response<Incoming>) -> Result<(), String> {
    let status = response.status();
    match response.into_body().collect().await {
        Ok(_) if status == StatusCode::OK => Ok(()),
        Ok(body) => Err(format!("{status}: {}", String::from_utf8_lossy(&body.to_bytes()))),
        Err(error) => Err(format!("body: {error:?}")),
    }
}

async fn open(address: SocketAddr, version: Version, tls: Option<&Arc<ClientConfig>>) -> Result<Sender, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    match tls {
        None => handshake(stream, version).await,
        Some(config) => {
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
            let stream = connector.connect(ServerName::try_from(NAME).unwrap(), stream).await;
            handshake(stream.map_err(|error| format!("{error:?}"))?, version).await
        }
    }
}

async fn handshake<S>(stream: S, version: Version) -> Result<Sender, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = TokioIo::new(stream);
    match version {
        Version::Http1 => {
            let (sender, connection) = http1::handshake(stream).await.map_err(|error| error.to_string())?;
            tokio::spawn(connection);
            Ok(Sender::Http1(sender))
        }
        Version::Http2 => {
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), stream).await.map_err(|error| error.to_string())?;
            tokio::spawn(connection);
            Ok(Sender::Http2(sender))
        }
    }
}
