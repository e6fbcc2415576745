//! The caller: one connection, one request at a time. Its TLS is not that of the proxy, so that a change of the proxy changes one
//! end alone.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::pki::{Issued, Pki};

use super::service::BODY;

/// Which version is spoken.
#[derive(Debug, Clone, Copy)]
pub(super) enum Version {
    Http1,
    Http2,
}

pub(super) struct Client {
    sender: Sender,
    request: Request<Empty<Bytes>>,
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    pub(super) async fn over_plaintext(address: SocketAddr, version: Version) -> Self {
        Self::over(connect(address).await, version).await
    }

    pub(super) async fn over_tls(address: SocketAddr, version: Version, pki: &Pki, own: Issued) -> Self {
        let connector = TlsConnector::from(Arc::new(tls_config(version, pki, own)));
        let name = ServerName::try_from("adservice").expect("a DNS name");
        Self::over(connector.connect(name, connect(address).await).await.expect("a handshake"), version).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, version: Version) -> Self {
        let stream = TokioIo::new(stream);
        let request = Request::builder().header("user-agent", "bench").header("accept", "*/*");
        let (sender, request) = match version {
            Version::Http1 => {
                let (sender, connection) = http1::handshake(stream).await.expect("HTTP/1.1");
                tokio::spawn(connection);
                (Sender::Http1(sender), request.uri("/ads/1").header("host", "adservice"))
            }
            Version::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
                tokio::spawn(connection);
                (Sender::Http2(sender), request.uri("http://adservice/ads/1"))
            }
        };
        Self { sender, request: request.body(Empty::new()).expect("a request") }
    }

    /// Sends the request and reads the whole answer.
    pub(super) async fn exchange(&mut self) {
        let request = self.request.clone();
        let answer = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await.expect("an open connection");
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await.expect("an open connection");
                sender.send_request(request).await
            }
        };
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), BODY.as_slice());
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("a socket");
    stream
}

fn tls_config(version: Version, pki: &Pki, own: Issued) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(pki.anchor()).expect("an anchor");
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![own.der], own.key)
        .expect("a certificate and its key");
    config.alpn_protocols = match version {
        Version::Http1 => vec![b"http/1.1".to_vec()],
        Version::Http2 => vec![b"h2".to_vec()],
    };
    config
}
