//! How long requests take when the proxies have little to do.

use super::{Subject, Target, figures, float};
use crate::backend::Application;
use crate::bench::Bench;
use crate::chain::Meter;
use crate::figures::Figures;
use crate::load::h2load;
use crate::statistics::percentile;

pub(super) async fn measure(bench: &Bench, subject: Subject) -> anyhow::Result<Figures> {
    let (folder, h2load) = (bench.new_folder("latency")?, &bench.programs.h2load);
    let target = Target::start(bench, subject, Application::Answers, bench.effort.workers).await?;
    if let Some(time) = bench.effort.warm_up() {
        h2load::paced(h2load, target.address, &folder, time).await?;
    }
    let meter = Meter::start(target.chain.as_ref());
    let durations = h2load::paced(h2load, target.address, &folder, bench.effort.time()).await?;
    let spent = meter.spent();
    target.stop().await;
    let at = |share| percentile(&durations, share).as_secs_f64() * 1e6;
    let count = float(durations.len() as u64);
    let mut measured =
        figures([("requests", count), ("p50_us", at(0.5)), ("p99_us", at(0.99)), ("p999_us", at(0.999))]);
    measured.extend(spent.each(count / 1e5));
    Ok(measured)
}

/// The figures that are told beside those of the same repetition without a proxy.
pub(crate) fn add_difference(measured: &mut Figures, direct: &Figures) {
    for name in ["p50_us", "p99_us"] {
        if let (Some(with), Some(without)) = (measured.get(name), direct.get(name)) {
            let added = with - without;
            measured.insert(format!("added_{name}"), added);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_is_what_comes_on_top() {
        let mut measured = figures([("p50_us", 500.0)]);
        add_difference(&mut measured, &figures([("p50_us", 90.0)]));
        assert!((measured["added_p50_us"] - 410.0).abs() < f64::EPSILON);
    }
}
