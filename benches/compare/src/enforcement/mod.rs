//! Whether a peer does the job at all: inbound it lets in who shows a good certificate and nobody else, outbound it sends nothing
//! to a server that is not the right one.

mod impostor;
mod inbound;
mod outbound;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bench::Bench;
use crate::chain::Plan;
use crate::peers::Peer;

const DEADLINE: Duration = Duration::from_secs(15);
/// What is told of a revoked certificate where nobody looks.
const KNOWS_NO_CRLS: &str = "not checked: it knows no CRLs";

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// What happened to each of those who must be refused.
    Enforces(BTreeMap<String, String>),
    /// What it let through, or why it could not be seen.
    Broken(String),
}

/// Tries everything on `peer`.
pub(crate) async fn judge(bench: &Bench, peer: &Peer) -> Verdict {
    match refusals(bench, &Plan::new(bench, peer)).await {
        Ok(refusals) => Verdict::Enforces(refusals.into_iter().map(|(who, what)| (who.to_owned(), what)).collect()),
        Err(error) => Verdict::Broken(format!("{error:#}")),
    }
}

/// Those who must be refused, in the order of the report.
pub(crate) fn refused() -> impl Iterator<Item = &'static str> {
    inbound::REFUSED.into_iter().chain(outbound::REFUSED)
}

async fn refusals(bench: &Bench, plan: &Plan<'_>) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut refusals = inbound::refusals(bench, plan).await?;
    refusals.extend(outbound::refusals(bench, plan).await?);
    Ok(refusals)
}
