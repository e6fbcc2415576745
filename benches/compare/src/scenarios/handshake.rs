//! Full handshakes with the inbound proxy.

use super::{figures, float};
use crate::bench::Bench;
use crate::chain::{Plan, Proxy};
use crate::figures::Figures;
use crate::load::handshake;
use crate::load::tls::Client;
use crate::statistics::percentile;

pub(super) async fn measure(bench: &Bench, plan: Plan<'_>) -> anyhow::Result<Figures> {
    let proxy = plan.start_inbound(bench).await?;
    let measured = handshakes(bench, &proxy).await?;
    proxy.process.stop().await;
    Ok(measured)
}

/// Handshakes for as long as load is sent; their CPU time is that of `proxy`.
pub(super) async fn handshakes(bench: &Bench, proxy: &Proxy) -> anyhow::Result<Figures> {
    let client = Client::new(&bench.pki, Some(&bench.pki.client))?;
    if let Some(time) = bench.effort.warm_up() {
        handshake::run(&client, proxy.address, time).await?;
    }
    let before = proxy.process.cpu_seconds();
    let done = handshake::run(&client, proxy.address, bench.effort.time()).await?;
    let cpu = proxy.process.cpu_seconds() - before;
    let count = float(done.count as u64);
    let milliseconds = |share| percentile(&done.durations, share).as_secs_f64() * 1e3;
    Ok(figures([
        ("handshakes", count),
        ("cpu_ms", cpu * 1e3 / count),
        ("per_second", count / done.elapsed.as_secs_f64()),
        ("p50_ms", milliseconds(0.5)),
        ("p99_ms", milliseconds(0.99)),
    ]))
}
