//! Whether a request costs more when more is configured than it needs.

use super::{Subject, figures};
use crate::bench::Bench;
use crate::chain::{Meter, Plan};
use crate::figures::Figures;
use crate::load::wrk::Wrk;
use crate::peers::{Peer, Scale};

const LOAD: Wrk = Wrk { connections: 64, close: false };
const SIZES: [usize; 2] = [100, 1000];

/// mantlet with one of everything, and with up to `largest` of each.
pub(super) fn subjects(peer: &'static Peer, largest: usize) -> impl Iterator<Item = Subject> {
    let sizes = SIZES.into_iter().filter(move |size| *size <= largest);
    let more = [Scale::Rules, Scale::Upstreams, Scale::Listeners];
    let scales = more.into_iter().flat_map(move |scale| sizes.clone().map(scale));
    [Scale::ONE].into_iter().chain(scales).map(move |scale| Subject::Scaled(peer, scale))
}

/// `scale` in words.
pub(super) fn describe(scale: Scale) -> String {
    match scale {
        Scale::ONE => "one of each".to_owned(),
        Scale::Rules(count) => format!("{count} rules"),
        Scale::Upstreams(count) => format!("{count} upstreams"),
        Scale::Listeners(count) => format!("{count} listeners"),
    }
}

pub(super) async fn measure(bench: &Bench, plan: Plan<'_>) -> anyhow::Result<Figures> {
    let chain = plan.start_chain(bench).await?;
    let (wrk, address) = (&bench.programs.wrk, chain.outbound.address);
    if let Some(time) = bench.effort.warm_up() {
        LOAD.run(wrk, address, time).await?;
    }
    let meter = Meter::start(Some(&chain));
    let requests = LOAD.run(wrk, address, bench.effort.time()).await?;
    let mut measured = meter.spent().each(requests.count / 1e5);
    measured.extend(figures([
        ("per_second", requests.per_second),
        ("resident_outbound_mib", chain.outbound.process.memory().resident / 1024.0),
        ("resident_inbound_mib", chain.inbound.process.memory().resident / 1024.0),
    ]));
    chain.stop().await;
    Ok(measured)
}
