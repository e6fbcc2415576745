//! A SPIFFE agent: the Workload API over gRPC on a Unix socket, which gives what it is told to.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::UnixListener;
use tokio::sync::{oneshot, watch};
use tonic::codegen::Service;
use tonic::{Code, Request, Response, Status};

use super::grpc::Raw;
use super::pki::{Issued, Pki};
use super::sidecar::PATIENCE;

/// `X509SVIDResponse` of the SPIFFE Workload API, section 5.1.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct X509SvidResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) svids: Vec<X509Svid>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) crl: Vec<Vec<u8>>,
    #[prost(map = "string, bytes", tag = "3")]
    pub(crate) federated_bundles: HashMap<String, Vec<u8>>,
}

/// `X509SVID`
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct X509Svid {
    #[prost(string, tag = "1")]
    pub(crate) spiffe_id: String,
    /// `x509_svid`
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) chain: Vec<u8>,
    /// `x509_svid_key`
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) bundle: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(crate) hint: String,
}

/// What the agent does to whoever asks.
#[derive(Clone)]
enum Says {
    /// Gives it, and holds the stream open.
    Message(Bytes),
    /// Ends the stream.
    Ends(Code, &'static str),
}

/// The agent; ends when dropped.
pub(crate) struct SpiffeAgent {
    folder: tempfile::TempDir,
    says: watch::Sender<Says>,
    asked: Arc<Mutex<u64>>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl X509SvidResponse {
    /// One identity with the bundle of its trust domain.
    pub(crate) fn of(issued: &Issued, pki: &Pki) -> Self {
        Self { svids: vec![X509Svid::of(issued, &[pki])], crl: Vec::new(), federated_bundles: HashMap::new() }
    }
}

impl X509Svid {
    pub(crate) fn of(issued: &Issued, anchors: &[&Pki]) -> Self {
        Self {
            spiffe_id: issued.spiffe.clone(),
            chain: issued.der.to_vec(),
            key: issued.key_der.clone(),
            bundle: anchors.iter().flat_map(|pki| pki.der().to_vec()).collect(),
            hint: String::new(),
        }
    }
}

impl SpiffeAgent {
    /// One that gives this to whoever asks.
    pub(crate) fn giving(response: &X509SvidResponse) -> Self {
        Self::saying(Says::Message(response.encode_to_vec().into()))
    }

    /// One that has issued no identity.
    pub(crate) fn denying() -> Self {
        Self::saying(Says::Ends(Code::PermissionDenied, "no identity issued"))
    }

    fn saying(says: Says) -> Self {
        let (folder, asked) = (tempfile::tempdir().unwrap(), Arc::default());
        let mut agent = Self { folder, says: watch::Sender::new(says), asked, running: None };
        agent.start();
        agent
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    /// `[identity]`, with more of its keys.
    pub(crate) fn identity(&self, keys: &str) -> String {
        format!("[identity]\nworkload_api = \"unix://{}\"\n{keys}\n", self.socket().display())
    }

    /// Pushes this, and gives it to whoever asks.
    pub(crate) fn push(&self, response: &X509SvidResponse) {
        self.push_octets(response.encode_to_vec());
    }

    pub(crate) fn push_octets(&self, octets: Vec<u8>) {
        self.says.send_replace(Says::Message(octets.into()));
    }

    /// Ends every stream, and answers whoever asks, with this status.
    pub(crate) fn end_with(&self, code: Code, message: &'static str) {
        self.says.send_replace(Says::Ends(code, message));
    }

    /// How often it was asked, as the specification has it.
    pub(crate) fn asked(&self) -> u64 {
        *self.asked.lock().unwrap()
    }

    /// Ends, with its connections and its socket.
    pub(crate) fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            thread.join().unwrap();
            std::fs::remove_file(self.socket()).unwrap();
        }
    }

    pub(crate) fn start(&mut self) {
        let (socket, says, asked) = (self.socket(), self.says.subscribe(), Arc::clone(&self.asked));
        let (started, is_started) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            super::block_on(async move {
                let listener = UnixListener::bind(socket).unwrap();
                started.send(()).unwrap();
                tokio::select! {
                    () = accept(listener, says, asked) => {}
                    _ = stopped => {}
                }
            });
        });
        is_started.recv_timeout(PATIENCE).unwrap();
        self.running = Some((stop, thread));
    }
}

impl Drop for SpiffeAgent {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept(listener: UnixListener, says: watch::Receiver<Says>, asked: Arc<Mutex<u64>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (says, asked) = (says.clone(), Arc::clone(&asked));
        tokio::spawn(async move {
            let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let method =
                    Method { path: request.uri().path().to_owned(), says: says.clone(), asked: Arc::clone(&asked) };
                async move { Ok::<_, Infallible>(tonic::server::Grpc::new(Raw).server_streaming(method, request).await) }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

struct Method {
    path: String,
    says: watch::Receiver<Says>,
    asked: Arc<Mutex<u64>>,
}

type Messages = BoxStream<'static, Result<Bytes, Status>>;

impl Service<Request<Bytes>> for Method {
    type Response = Response<Messages>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Messages>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let answer = self.answer(&request);
        Box::pin(async move { answer })
    }
}

impl Method {
    fn answer(&self, request: &Request<Bytes>) -> Result<Response<Messages>, Status> {
        if self.path != "/SpiffeWorkloadAPI/FetchX509SVID" {
            return Err(Status::unimplemented(self.path.clone()));
        }
        if request.metadata().get("workload.spiffe.io").is_none_or(|value| value != "true") {
            return Err(Status::invalid_argument("security header missing from request"));
        }
        if !request.get_ref().is_empty() {
            return Err(Status::invalid_argument("the request holds something"));
        }
        *self.asked.lock().unwrap() += 1;
        let mut says = self.says.clone();
        says.mark_changed();
        let messages = futures_util::stream::unfold(Some(says), |says| async {
            let mut says = says?;
            says.changed().await.ok()?;
            let said = says.borrow_and_update().clone();
            Some(match said {
                Says::Message(message) => (Ok(message), Some(says)),
                Says::Ends(code, message) => (Err(Status::new(code, message)), None),
            })
        });
        Ok(Response::new(messages.boxed()))
    }
}
