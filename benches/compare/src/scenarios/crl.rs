//! What a large CRL costs: at the start, in memory, and in every handshake.

use std::time::Instant;

use anyhow::ensure;

use super::handshake::handshakes;
use crate::bench::Bench;
use crate::chain::Plan;
use crate::figures::Figures;
use crate::load::connections::Held;
use crate::load::tls::Client;

/// How many listeners share a CRL in the last row.
pub(super) const LISTENERS: usize = 50;

pub(super) async fn measure(bench: &Bench, mut plan: Plan<'_>, serials: u32) -> anyhow::Result<Figures> {
    plan.crl = bench.pki.large_crl(serials)?;
    let start = Instant::now();
    let proxy = plan.start_inbound(bench).await?;
    let first = start.elapsed().as_secs_f64() * 1e3;
    let mut measured = handshakes(bench, &proxy).await?;
    measured.insert("first_ms".to_owned(), first);
    measured.insert("resident_mib".to_owned(), proxy.process.memory().resident / 1024.0);
    let revoked = Client::new(&bench.pki, Some(&bench.pki.client_revoked))?;
    let got_through = match Held::open(&revoked, proxy.address, 1).await {
        Ok(mut held) => held.request_each().await.is_ok(),
        Err(_) => false,
    };
    ensure!(!got_through, "the revoked client was let in");
    proxy.process.stop().await;
    Ok(measured)
}
