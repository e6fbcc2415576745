//! The same thing over and over, from several clients at once, for a fixed time.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

const CLIENTS: u8 = 8;

/// Has each client do it again and again for `time`, from an address of its own, so that none runs out of ports. `once` says how long
/// it took; the answer has all of these, in order of length.
///
/// # Errors
///
/// Any that failed fails the whole.
pub(crate) async fn repeat<W>(
    time: Duration,
    once: impl Fn(SocketAddr) -> W + Clone + Send + 'static,
) -> anyhow::Result<Vec<Duration>>
where
    W: Future<Output = anyhow::Result<Duration>> + Send,
{
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 1..=CLIENTS {
        let once = once.clone();
        let source = SocketAddr::from((Ipv4Addr::new(127, 0, 1, number), 0));
        tasks.spawn(async move {
            let mut durations = Vec::new();
            while start.elapsed() < time {
                durations.push(once(source).await?);
            }
            anyhow::Ok(durations)
        });
    }
    let mut durations = Vec::new();
    while let Some(done) = tasks.join_next().await {
        durations.extend(done??);
    }
    durations.sort_unstable();
    Ok(durations)
}
