//! What a proxy holds in memory before it has anything to do.

use std::time::Duration;

use tokio::time::sleep;

use super::figures;
use crate::bench::Bench;
use crate::chain::Plan;
use crate::figures::Figures;

const SETTLE: Duration = Duration::from_millis(500);

pub(super) async fn measure(bench: &Bench, plan: Plan<'_>) -> anyhow::Result<Figures> {
    let proxy = plan.start_inbound(bench).await?;
    sleep(SETTLE).await;
    let memory = proxy.process.memory();
    proxy.process.stop().await;
    Ok(figures([
        ("resident_mib", memory.resident / 1024.0),
        ("anonymous_mib", memory.anonymous / 1024.0),
        ("summed_mib", memory.summed / 1024.0),
    ]))
}
