//! What an idle connection costs: memory, and CPU time while nothing happens.

use std::time::Duration;

use tokio::time::sleep;

use super::{figures, float};
use crate::bench::Bench;
use crate::chain::{Plan, Proxy};
use crate::figures::Figures;
use crate::load::connections::Held;
use crate::load::tls::Client;

/// For the last work of a handshake or a request to be done.
const SETTLE: Duration = Duration::from_secs(1);
const WATCH: Duration = Duration::from_secs(2);

pub(super) async fn measure(bench: &Bench, plan: Plan<'_>) -> anyhow::Result<Figures> {
    let proxy = plan.start_inbound(bench).await?;
    let client = Client::new(&bench.pki, Some(&bench.pki.client))?;
    let count = bench.effort.connections;
    let before = proxy.process.memory().resident;
    let mut held = Held::open(&client, proxy.address, count).await?;
    let (fresh, _) = watch(&proxy, &mut held).await?;
    held.request_each().await?;
    let (used, cpu_percent) = watch(&proxy, &mut held).await?;
    drop(held);
    proxy.process.stop().await;
    let count = float(count as u64);
    Ok(figures([
        ("connections", count),
        ("kib_fresh", (fresh - before) / count),
        ("kib_used", (used - before) / count),
        ("cpu_percent", cpu_percent),
    ]))
}

/// Resident KiB, and the CPU time of doing nothing as a share of one core in percent.
async fn watch(proxy: &Proxy, held: &mut Held) -> anyhow::Result<(f64, f64)> {
    sleep(SETTLE).await;
    let resident = proxy.process.memory().resident;
    let before = proxy.process.cpu_seconds();
    sleep(WATCH).await;
    let cpu = proxy.process.cpu_seconds() - before;
    held.check_open().await?;
    Ok((resident, cpu * 100.0 / WATCH.as_secs_f64()))
}
