//! An engine that asks each source once and writes nothing.

use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;

use crate::config::{CrlSource, Revocation};
use crate::revocation::{Engine, Prepared, SourceReport};
use crate::x509::{MaterialPart, MaterialProblem, Refusal, TrustMaterial};

use super::progress::Progress;

/// How often our own chain is looked up: each time the CRL of one more of its certificates may be there.
const MAX_ROUNDS: usize = 8;
/// How long a fetched CRL may take to be verified.
const READING: Duration = Duration::from_secs(30);

/// Sources that cannot be used at all, by their place in the configuration.
type LeftOut = Vec<(usize, MaterialProblem)>;

/// What came of it.
pub(super) struct DryRun {
    /// The sources that cannot be used at all.
    pub(super) unusable: LeftOut,
    /// The others.
    pub(super) sources: Vec<SourceReport>,
    /// Distribution points that are not asked.
    pub(super) refused_points: Vec<String>,
    /// What the CRLs say of our own certificate.
    pub(super) own: Result<(), Box<Refusal>>,
}

impl DryRun {
    /// Time stands still for the engine, so that nothing that failed is tried again.
    pub(super) async fn run(
        mut engine: Engine,
        mut settings: Revocation,
        material: &TrustMaterial,
        progress: Progress,
        now: SystemTime,
    ) -> Result<Self, Vec<MaterialProblem>> {
        let (prepared, unusable) = prepare(&engine, &mut settings, material, now)?;
        engine.install(prepared);
        for _ in 0..MAX_ROUNDS {
            // What is not found is made wanted, and so its distribution points are learnt.
            let _ = material.verify_own(now);
            while let Some(event) = engine.event().now_or_never() {
                engine.absorb(event, now);
            }
            engine.tick(now);
            if !engine.is_waiting() || !wait(&mut engine, settings.fetch_timeout + READING, &progress, now).await {
                break;
            }
        }
        let own = material.verify_own(now).unwrap_or(Ok(()));
        Ok(Self { unusable, sources: engine.report(), refused_points: engine.refused_points(), own })
    }
}

/// Leaves out what cannot be used, so that the other sources are asked all the same.
fn prepare(
    engine: &Engine,
    settings: &mut Revocation,
    material: &TrustMaterial,
    now: SystemTime,
) -> Result<(Prepared, LeftOut), Vec<MaterialProblem>> {
    let mut places: Vec<usize> = (0..settings.sources.len()).collect();
    let mut left_out: LeftOut = Vec::new();
    loop {
        let problems = match engine.prepare(Some(&*settings), material, now) {
            Ok(prepared) => return Ok((prepared, left_out)),
            Err(problems) => problems,
        };
        let is_path = |index: usize| matches!(settings.sources[index].value, CrlSource::Path(_));
        let mut unusable: LeftOut = Vec::new();
        for problem in problems.iter().filter(|problem| problem.fatal) {
            match problem.part {
                MaterialPart::Crl(index) if index < settings.sources.len() && is_path(index) => {
                    unusable.push((index, problem.clone()));
                }
                _ => return Err(problems),
            }
        }
        if unusable.is_empty() {
            return Err(problems);
        }
        let is_kept = |index: usize| unusable.iter().all(|(bad, _)| *bad != index);
        left_out.extend(unusable.iter().map(|(index, problem)| (places[*index], problem.clone())));
        settings.sources = keep(std::mem::take(&mut settings.sources), is_kept);
        places = keep(places, is_kept);
    }
}

fn keep<T>(all: Vec<T>, is_kept: impl Fn(usize) -> bool) -> Vec<T> {
    all.into_iter().zip(0..).filter(|(_, index)| is_kept(*index)).map(|(one, _)| one).collect()
}

/// Waits for every source that is asked; false where one gives no sign for longer than it may.
async fn wait(engine: &mut Engine, longest: Duration, progress: &Progress, now: SystemTime) -> bool {
    while engine.is_waiting() {
        let sources = engine.report();
        let answered = sources.iter().filter(|source| source.status.last_attempt.is_some()).count();
        progress.tell(answered, sources.len());
        let Ok(event) = tokio::time::timeout(longest, engine.event()).await else { return false };
        engine.absorb(event, now);
    }
    true
}
