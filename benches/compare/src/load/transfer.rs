//! Large downloads or uploads, one after the other on several connections, for a fixed time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::message::{BodyLength, read_head};
use crate::backend::{BULK_BYTES, BULK_PATH};

const CONNECTIONS: usize = 2;
const BUFFER: usize = 256 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Down,
    Up,
}

/// Transfers that are under way; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Transfers {
    bytes: Arc<AtomicU64>,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Transfers {
    /// Begins to transfer to or from `server`.
    pub(crate) fn start(server: SocketAddr, way: Way) -> Self {
        let bytes = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let bytes = Arc::clone(&bytes);
            tasks.spawn(async move {
                let stream = TcpStream::connect(server).await?;
                stream.set_nodelay(true)?;
                let mut stream = BufReader::with_capacity(BUFFER, stream);
                loop {
                    match way {
                        Way::Down => download(&mut stream, &bytes).await?,
                        Way::Up => upload(&mut stream, &bytes).await?,
                    }
                }
            });
        }
        Self { bytes, tasks }
    }

    /// Bytes of bodies so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Lets them go on for `time`; fails as soon as one fails.
    pub(crate) async fn run_for(&mut self, time: Duration) -> anyhow::Result<()> {
        tokio::select! {
            () = sleep(time) => Ok(()),
            Some(ended) = self.tasks.join_next() => ended?,
        }
    }
}

async fn download(stream: &mut BufReader<TcpStream>, bytes: &AtomicU64) -> anyhow::Result<()> {
    stream.write_all(format!("GET {BULK_PATH} HTTP/1.1\r\nHost: bulk\r\n\r\n").as_bytes()).await?;
    let head = read_head(stream).await?;
    ensure!(head.status() == Some(200), "a download was answered with {:?}", head.first_line);
    let length = head.body_length()?;
    ensure!(length == BodyLength::Known(BULK_BYTES), "a download has {length:?} instead of {BULK_BYTES} bytes");
    let mut buffer = vec![0; BUFFER];
    let mut left = BULK_BYTES;
    while left > 0 {
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = stream.read(&mut buffer[..wanted]).await? as u64;
        if read == 0 {
            bail!("a download broke off {left} bytes before its end");
        }
        bytes.fetch_add(read, Ordering::Relaxed);
        left -= read;
    }
    Ok(())
}

async fn upload(stream: &mut BufReader<TcpStream>, bytes: &AtomicU64) -> anyhow::Result<()> {
    let head = format!("POST /upload HTTP/1.1\r\nHost: bulk\r\nContent-Length: {BULK_BYTES}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let buffer = vec![0; BUFFER];
    let mut left = BULK_BYTES;
    while left > 0 {
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let written = stream.write(&buffer[..wanted]).await? as u64;
        bytes.fetch_add(written, Ordering::Relaxed);
        left -= written;
    }
    let head = read_head(stream).await?;
    ensure!(head.status() == Some(200), "an upload was answered with {:?}", head.first_line);
    Ok(())
}
