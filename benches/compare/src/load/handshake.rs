//! Full handshakes, one after the other from several clients, for a fixed time.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use super::repeat::repeat;
use super::tls::Client;

const DEADLINE: Duration = Duration::from_secs(20);

/// Handshakes that both sides completed.
#[derive(Debug)]
pub(crate) struct Handshakes {
    pub(crate) count: usize,
    pub(crate) elapsed: Duration,
    /// How long each took, from connecting to the server's end, in order of length.
    pub(crate) durations: Vec<Duration>,
}

/// Handshakes with `server` for `time`.
///
/// # Errors
///
/// Any handshake that the server did not complete fails the whole.
pub(crate) async fn run(client: &Client, server: SocketAddr, time: Duration) -> anyhow::Result<Handshakes> {
    let (start, client) = (Instant::now(), client.clone());
    let durations = repeat(time, move |source| {
        let client = client.clone();
        async move {
            let begin = Instant::now();
            timeout(DEADLINE, once(&client, source, server)).await.context("a handshake took 20 s")??;
            Ok(begin.elapsed())
        }
    })
    .await?;
    Ok(Handshakes { count: durations.len(), elapsed: start.elapsed(), durations })
}

/// One handshake that the server accepted.
///
/// In TLS 1.3 the client is done before the server has looked at its certificate. So we say that we have nothing to send, and
/// read: a server that refuses the certificate sends an alert, one that took it ends the connection, with or without saying so.
pub(crate) async fn once(client: &Client, source: SocketAddr, server: SocketAddr) -> anyhow::Result<()> {
    let mut stream = client.connect(source, server).await?;
    stream.shutdown().await?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(_) => (),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
