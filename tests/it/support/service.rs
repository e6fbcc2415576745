//! The service behind a sidecar, and the simplest of clients.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::net::TcpListener;

use super::sidecar::PATIENCE;

type Body = BoxBody<Bytes, hyper::Error>;

/// A plaintext HTTP service on loopback that speaks HTTP/1.1 and HTTP/2 with prior knowledge.
///
/// - `/echo` streams the request's body back, trailers included
/// - `/bytes/N` answers with N bytes
/// - `/trailers` answers with the trailer `x-sum: 42`
/// - `/sink` reads the request's body and answers with its length
/// - `/upgrade` switches to an echo of bytes
/// - `/status/N` answers with that status
/// - anything else answers with what arrived, as JSON: method, path, version, headers, body length and trailers
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Service {
    pub(crate) fn start() -> Self {
        let (started, address) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                started.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = accept(listener) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address: address.recv_timeout(PATIENCE).unwrap(), _stop: stop }
    }
}

async fn accept(listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let number = || path.rsplit('/').next().unwrap().parse::<u64>().unwrap();
    let response = match path.as_str() {
        "/echo" => Response::new(request.into_body().boxed()),
        "/sink" => {
            let mut length = 0;
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                length += frame.data_ref().map_or(0, Bytes::len);
            }
            Response::new(whole(&length.to_string()))
        }
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "42".parse().unwrap());
            let frames = [Ok(Frame::data(Bytes::from_static(b"body"))), Ok(Frame::trailers(trailers))];
            let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed());
            response.headers_mut().insert("trailer", "x-sum".parse().unwrap());
            response
        }
        "/upgrade" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let upgraded = upgrade.await.unwrap();
                let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
            let mut response = Response::new(whole(""));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("connection", "upgrade".parse().unwrap());
            let protocol = request.headers()["upgrade"].clone();
            response.headers_mut().insert("upgrade", protocol);
            response
        }
        path if path.starts_with("/bytes/") => Response::new(bytes(number())),
        path if path.starts_with("/status/") => {
            let mut response = Response::new(whole("status"));
            *response.status_mut() = StatusCode::from_u16(u16::try_from(number()).unwrap()).unwrap();
            response
        }
        _ => Response::new(describe(request).await),
    };
    Ok(response)
}

async fn describe(request: Request<Incoming>) -> Body {
    let (head, body) = request.into_parts();
    let headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let authority = head.uri.authority().map(ToString::to_string);
    let (method, path, version) =
        (head.method.to_string(), head.uri.path_and_query().unwrap().to_string(), format!("{:?}", head.version));
    let Ok(body) = body.collect().await else { return whole("broken") };
    let trailers: Vec<String> =
        body.trailers().map(|trailers| trailers.keys().map(ToString::to_string).collect()).unwrap_or_default();
    let length = body.to_bytes().len();
    let described = json!({
        "method": method, "path": path, "version": version, "authority": authority, "headers": headers,
        "body_length": length, "trailers": trailers,
    });
    whole(&described.to_string())
}

fn whole(text: &str) -> Body {
    Full::new(Bytes::copy_from_slice(text.as_bytes())).map_err(|never| match never {}).boxed()
}

fn bytes(count: u64) -> Body {
    const CHUNK: Bytes = Bytes::from_static(&[b'x'; 64 * 1024]);
    let chunks = (0..count.div_ceil(CHUNK.len() as u64)).map(move |index| {
        let left = usize::try_from(count - index * CHUNK.len() as u64).unwrap();
        Ok(Frame::data(CHUNK.slice(..left.min(CHUNK.len()))))
    });
    StreamBody::new(futures_util::stream::iter(chunks)).boxed()
}

/// Sends raw bytes over plaintext and reads until the other end closes.
pub(crate) fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end like any other here.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A GET over plaintext HTTP/1.1: the status and the body.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer =
        raw(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    (status, if chunked { unchunk(body) } else { body.to_owned() })
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        whole.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    whole
}
