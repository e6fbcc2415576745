//! A gRPC service without generated code, and calls to it.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use futures_util::stream::{BoxStream, StreamExt};
use http::Request as HttpRequest;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::Service;
use tonic::{Request, Response, Status, Streaming};

use super::sidecar::PATIENCE;

/// A gRPC service whose messages are bytes.
///
/// - `/test.Echo/Echo` gives back each message as it comes, and the metadata `x-asked` as `x-told`
/// - `/test.Echo/Count` answers with the number of messages, as text, after the last
/// - `/test.Echo/Repeat` answers with the first message, a thousand times
/// - `/test.Echo/Fail` answers with one message, then fails with a message that needs escapes, and trailing metadata
/// - `/test.Echo/Hang` never answers
pub(crate) struct GrpcService {
    pub(crate) address: SocketAddr,
    /// `started` and `dropped`, for each call of `Hang`.
    pub(crate) hangs: mpsc::Receiver<&'static str>,
    _stop: tokio::sync::oneshot::Sender<()>,
}

/// What the service says when it fails.
pub(crate) const FAILURE: &str = "100 % gebrüht, \"twice\"\n";

impl GrpcService {
    pub(crate) fn start() -> Self {
        let (started, address) = mpsc::channel();
        let (told, hangs) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            super::block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                started.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = accept(listener, told) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address: address.recv_timeout(PATIENCE).unwrap(), hangs, _stop: stop }
    }
}

async fn accept(listener: TcpListener, told: mpsc::Sender<&'static str>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let told = told.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request: HttpRequest<Incoming>| {
                let method = Method { path: request.uri().path().to_owned(), told: told.clone() };
                async move { Ok::<_, Infallible>(tonic::server::Grpc::new(Raw).streaming(method, request).await) }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

struct Method {
    path: String,
    told: mpsc::Sender<&'static str>,
}

type Messages = BoxStream<'static, Result<Bytes, Status>>;

impl Service<Request<Streaming<Bytes>>> for Method {
    type Response = Response<Messages>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Messages>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (path, told) = (self.path.clone(), self.told.clone());
        Box::pin(async move { answer(&path, told, request).await })
    }
}

async fn answer(
    path: &str,
    told: mpsc::Sender<&'static str>,
    request: Request<Streaming<Bytes>>,
) -> Result<Response<Messages>, Status> {
    let asked = request.metadata().get("x-asked").cloned();
    let mut messages = request.into_inner();
    let answers = match path {
        "/test.Echo/Echo" => messages.boxed(),
        "/test.Echo/Count" => {
            let mut count = 0;
            while messages.message().await?.is_some() {
                count += 1;
            }
            futures_util::stream::iter([Ok(Bytes::from(format!("{count}")))]).boxed()
        }
        "/test.Echo/Repeat" => {
            let first = messages.message().await?.ok_or_else(|| Status::invalid_argument("no message"))?;
            futures_util::stream::iter(std::iter::repeat_n(first, 1000)).map(Ok).boxed()
        }
        "/test.Echo/Fail" => {
            let mut failure = Status::data_loss(FAILURE);
            failure.metadata_mut().insert("x-trailing", "told".parse().unwrap());
            failure.metadata_mut().insert("x-mantlet-peer", "spiffe://forged".parse().unwrap());
            futures_util::stream::iter([Ok(Bytes::from_static(b"one")), Err(failure)]).boxed()
        }
        "/test.Echo/Hang" => {
            let _guard = Guard(told.clone());
            told.send("started").unwrap();
            std::future::pending().await
        }
        _ => return Err(Status::unimplemented(path)),
    };
    let mut response = Response::new(answers);
    if let Some(asked) = asked {
        response.metadata_mut().insert("x-told", asked);
    }
    Ok(response)
}

struct Guard(mpsc::Sender<&'static str>);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

/// Messages as they are.
#[derive(Clone, Copy, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
