//! Full handshakes, one after the other from several clients, for a fixed time.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::tls::Client;

const CLIENTS: u8 = 8;
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
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 1..=CLIENTS {
        let client = client.clone();
        // An address each, so that none runs out of ports.
        let source = SocketAddr::from((Ipv4Addr::new(127, 0, 1, number), 0));
        tasks.spawn(async move {
            let mut durations = Vec::new();
            while start.elapsed() < time {
                let begin = Instant::now();
                timeout(DEADLINE, once(&client, source, server)).await.context("a handshake took 20 s")??;
                durations.push(begin.elapsed());
            }
            anyhow::Ok(durations)
        });
    }
    let mut durations = Vec::new();
    while let Some(done) = tasks.join_next().await {
        durations.extend(done??);
    }
    durations.sort_unstable();
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
