//! A server of HTTP/1.1 that reads each request, body included, forgets it, and answers 200.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::load::message::{BodyLength, chunk_length, read_head};

const BUFFER: usize = 256 << 10;

/// The running server; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Sink {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Sink {
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self { address, task: tokio::spawn(serve(listener)) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(swallow(stream));
        while connections.try_join_next().is_some() {}
    }
}

async fn swallow(stream: TcpStream) -> anyhow::Result<()> {
    let mut stream = BufReader::with_capacity(BUFFER, stream);
    loop {
        let head = read_head(&mut stream).await?;
        match head.body_length()? {
            BodyLength::Known(length) => discard(&mut stream, length).await?,
            BodyLength::Chunked => loop {
                let length = chunk_length(&mut stream).await?;
                // Each chunk is followed by a line break.
                discard(&mut stream, length + 2).await?;
                if length == 0 {
                    break;
                }
            },
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
    }
}

async fn discard(stream: &mut BufReader<TcpStream>, length: u64) -> io::Result<()> {
    let mut body = stream.take(length);
    let read = tokio::io::copy_buf(&mut body, &mut tokio::io::sink()).await?;
    if read < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}
