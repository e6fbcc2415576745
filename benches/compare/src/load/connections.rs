//! Many connections that are opened and held.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::future::{join_all, poll_fn};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncRead as _, BufStream, ReadBuf};
use tokio::time::timeout;

use super::message::exchange;
use super::tls::{Client, Connection};

const AT_ONCE: usize = 16;
const DEADLINE: Duration = Duration::from_secs(20);
/// Enough for the answers of the harness's application; the default of twice 8 KiB would be most of this process.
const BUFFER: usize = 512;

/// Connections that are all open.
#[derive(Default)]
pub(crate) struct Held(Vec<Connection>);

impl Held {
    /// Opens `count` connections to `server`, none of which sends a request.
    pub(crate) async fn open(client: &Client, server: SocketAddr, count: usize) -> anyhow::Result<Self> {
        let connecting = (0..count).map(|number| async move {
            let host = u8::try_from(number % AT_ONCE).unwrap_or(0) + 1;
            let source = SocketAddr::from((Ipv4Addr::new(127, 0, 2, host), 0));
            let connection =
                timeout(DEADLINE, client.connect(source, server)).await.context("a handshake took 20 s")??;
            anyhow::Ok(BufStream::with_capacity(BUFFER, BUFFER, connection))
        });
        Ok(Self(stream::iter(connecting).buffer_unordered(AT_ONCE).try_collect().await?))
    }

    /// Makes one request on each connection.
    pub(crate) async fn request_each(&mut self) -> anyhow::Result<()> {
        let requests = self.0.iter_mut().map(|connection| async {
            let status = timeout(DEADLINE, exchange(connection)).await.context("a request took 20 s")??;
            ensure!(status == 200, "a held connection was answered with {status}");
            Ok(())
        });
        stream::iter(requests).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Waits until all of them were closed by the other side; when the last one was.
    pub(crate) async fn until_closed(&mut self) -> anyhow::Result<Instant> {
        let closing = self.0.iter_mut().map(|connection| async {
            let closed =
                poll_fn(|context| if is_closed(connection, context) { Poll::Ready(()) } else { Poll::Pending });
            timeout(DEADLINE, closed).await.context("a connection was not closed within 20 s")?;
            anyhow::Ok(Instant::now())
        });
        let ends: Vec<Instant> = join_all(closing).await.into_iter().collect::<anyhow::Result<_>>()?;
        ends.into_iter().max().context("there is no connection")
    }

    /// Fails where any of them was closed by the other side.
    pub(crate) async fn check_open(&mut self) -> anyhow::Result<()> {
        let count = self.0.len();
        let mut closed = 0;
        for connection in &mut self.0 {
            let ended = poll_fn(|context| Poll::Ready(is_closed(connection, context))).await;
            closed += usize::from(ended);
        }
        ensure!(closed == 0, "{closed} of {count} idle connections were closed by the proxy");
        Ok(())
    }
}

fn is_closed(connection: &mut Connection, context: &mut Context<'_>) -> bool {
    let mut space = [0; 512];
    let mut buffer = ReadBuf::new(&mut space);
    match Pin::new(connection).poll_read(context, &mut buffer) {
        Poll::Pending => false,
        Poll::Ready(Ok(())) => buffer.filled().is_empty(),
        Poll::Ready(Err(_)) => true,
    }
}
