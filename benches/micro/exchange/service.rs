//! The smallest service that answers requests without a body over HTTP/1.1 and keeps its connections.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The body of every answer.
pub(super) const BODY: &[u8; 128] = &[b'x'; 128];

/// Starts it on this runtime.
pub(super) async fn start() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepted");
            tokio::spawn(answer(stream));
        }
    });
    address
}

async fn answer(mut stream: TcpStream) {
    stream.set_nodelay(true).expect("a socket");
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: 128\r\n\r\n";
    let answer = [head.as_slice(), BODY].concat();
    let mut request = Vec::with_capacity(16 * 1024);
    while stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {
        if request.ends_with(b"\r\n\r\n") {
            stream.write_all(&answer).await.expect("written");
            request.clear();
        }
    }
}
