//! Whether memory comes back when many connections have gone.

use std::time::Duration;

use tokio::time::sleep;

use super::figures;
use crate::bench::Bench;
use crate::chain::Plan;
use crate::figures::Figures;
use crate::load::connections::Held;
use crate::load::tls::Client;

pub(super) async fn measure(bench: &Bench, plan: Plan<'_>) -> anyhow::Result<Figures> {
    let proxy = plan.start_inbound(bench).await?;
    let client = Client::new(&bench.pki, Some(&bench.pki.client))?;
    let before = proxy.process.memory().resident / 1024.0;
    let mut held = Held::open(&client, proxy.address, bench.effort.connections).await?;
    held.request_each().await?;
    let peak = proxy.process.memory().resident / 1024.0;
    drop(held);
    sleep(Duration::from_secs(bench.effort.rest_seconds)).await;
    let after = proxy.process.memory().resident / 1024.0;
    proxy.process.stop().await;
    Ok(figures([("before_mib", before), ("peak_mib", peak), ("after_mib", after), ("kept_mib", after - before)]))
}
