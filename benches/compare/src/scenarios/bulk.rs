//! Large bodies in one direction.

use super::{Subject, Target, figures, float};
use crate::backend::Application;
use crate::bench::Bench;
use crate::chain::Meter;
use crate::figures::Figures;
use crate::load::transfer::{Transfers, Way};

pub(super) async fn measure(bench: &Bench, subject: Subject, way: Way) -> anyhow::Result<Figures> {
    let application = match way {
        Way::Down => Application::Answers,
        Way::Up => Application::Uploads,
    };
    let target = Target::start(bench, subject, application, bench.effort.workers).await?;
    let mut transfers = Transfers::start(target.address, way);
    if let Some(time) = bench.effort.warm_up() {
        transfers.run_for(time).await?;
    }
    let meter = Meter::start(target.chain.as_ref());
    let before = transfers.bytes();
    transfers.run_for(bench.effort.time()).await?;
    let spent = meter.spent();
    let mib = float(transfers.bytes() - before) / f64::from(1 << 20);
    drop(transfers);
    target.stop().await;
    let mut measured = figures([("mib", mib), ("mib_per_second", mib / spent.elapsed)]);
    measured.extend(spent.each(mib / 1024.0));
    Ok(measured)
}
