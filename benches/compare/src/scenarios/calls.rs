//! gRPC-like calls: HTTP/2 from the client to the application.

use super::{Subject, Target, figures};
use crate::backend::Application;
use crate::bench::Bench;
use crate::chain::Meter;
use crate::figures::Figures;
use crate::load::h2load;

pub(super) async fn measure(bench: &Bench, subject: Subject) -> anyhow::Result<Figures> {
    let (folder, h2load) = (bench.new_folder("calls")?, &bench.programs.h2load);
    let target = Target::start(bench, subject, Application::Calls, bench.effort.workers).await?;
    if let Some(time) = bench.effort.warm_up() {
        h2load::calls(h2load, target.address, &folder, time).await?;
    }
    let meter = Meter::start(target.chain.as_ref());
    let calls = h2load::calls(h2load, target.address, &folder, bench.effort.time()).await?;
    let spent = meter.spent();
    target.stop().await;
    let per_second = calls.count / bench.effort.time().as_secs_f64();
    let mut measured = figures([("calls", calls.count), ("per_second", per_second), ("mean_ms", calls.mean_ms)]);
    measured.extend(spent.each(calls.count / 1e5));
    Ok(measured)
}
