//! HTTP/1.1 requests as fast as they are answered.

use super::{Subject, Target, figures};
use crate::backend::Application;
use crate::bench::Bench;
use crate::chain::Meter;
use crate::figures::Figures;
use crate::load::wrk::Wrk;

pub(super) async fn measure(bench: &Bench, subject: Subject, mut load: Wrk, workers: usize) -> anyhow::Result<Figures> {
    let target = Target::start(bench, subject, Application::Answers, workers).await?;
    load.connections = load.connections.min(bench.effort.connections);
    if let Some(time) = bench.effort.warm_up() {
        load.run(&bench.programs.wrk, target.address, time).await?;
    }
    let meter = Meter::start(target.chain.as_ref());
    let requests = load.run(&bench.programs.wrk, target.address, bench.effort.time()).await?;
    let spent = meter.spent();
    let hundred_thousands = requests.count / 1e5;
    target.stop().await;
    let mut measured = figures([
        ("requests", requests.count),
        ("per_second", requests.per_second),
        ("p50_ms", requests.p50_ms),
        ("p99_ms", requests.p99_ms),
    ]);
    measured.extend(spent.each(hundred_thousands));
    Ok(measured)
}
