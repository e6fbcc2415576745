//! Taking up a configuration: everything is read and made first, so that using it cannot fail.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::Revocation;
use crate::fetch::{Bounds, Fetcher};
use crate::x509::{Instant, MaterialPart, MaterialProblem, RevocationIndex, TrustMaterial, VerifiedCrl};

use super::SIZE_KEY;
use super::cache::Cache;
use super::plan::{Fetchers, Plan};
use super::reading::Read;
use super::source::Origin;
use super::taking::{Problem, ProblemKind, Taking, tell_taken};

/// A change that was made ready as a whole and cannot fail any more.
#[derive(Debug)]
pub struct Prepared {
    pub(super) plan: Option<Plan>,
    pub(super) index: RevocationIndex,
    pub(super) keep: Vec<(Arc<VerifiedCrl>, Vec<u8>)>,
    /// What is worth knowing and prevents nothing.
    pub findings: Vec<MaterialProblem>,
}

/// A change in the making.
pub(super) struct Preparing {
    pub(super) taking: Taking,
    problems: Vec<MaterialProblem>,
    now: SystemTime,
}

impl Prepared {
    /// Nothing is checked.
    pub(super) fn nothing() -> Self {
        Self { plan: None, index: RevocationIndex::default(), keep: Vec::new(), findings: Vec::new() }
    }
}

impl Preparing {
    pub(super) fn new(index: RevocationIndex, now: SystemTime) -> Self {
        Self { taking: Taking::new(index), problems: Vec::new(), now }
    }

    fn problem(&mut self, part: MaterialPart, fatal: bool, message: String, remedy: &str) {
        self.problems.push(MaterialProblem { part, fatal, message, remedy: remedy.to_owned() });
    }

    /// The folder of the cache, the same as before where it is the same.
    pub(super) fn cache(&mut self, settings: &Revocation, before: Option<Arc<Cache>>) -> Option<Arc<Cache>> {
        let folder: &Path = &settings.cache_dir.as_ref()?.value;
        if let Some(before) = before.filter(|before| before.folder() == folder) {
            return Some(before);
        }
        match Cache::open(folder) {
            Ok(cache) => Some(Arc::new(cache)),
            Err(error) => {
                let message = format!("{}: the folder of the CRL cache cannot be used: {error}", folder.display());
                self.problem(MaterialPart::CrlCache, true, message, "let the user that mantlet runs as write to it");
                None
            }
        }
    }

    pub(super) fn fetchers(&mut self, settings: &Revocation, material: &TrustMaterial) -> Option<Fetchers> {
        let hosts: Vec<String> = settings.distribution_point_hosts.iter().map(|host| host.value.clone()).collect();
        let bounds =
            |hosts| Bounds { hosts, max_size: settings.max_size, size_key: SIZE_KEY, timeout: settings.fetch_timeout };
        let make = |hosts| Fetcher::new(material.root_store(), bounds(hosts));
        match (make(Vec::new()), make(hosts)) {
            (Ok(configured), Ok(distribution_points)) => Some(Fetchers { configured, distribution_points }),
            (Err(error), _) | (_, Err(error)) => {
                self.problem(
                    MaterialPart::Crl(0),
                    true,
                    format!("nothing can be fetched: {error}"),
                    "start mantlet again",
                );
                None
            }
        }
    }

    /// Takes what an earlier run kept. A file that cannot be used is named and left alone.
    pub(super) fn read_cache(&mut self, plan: &Plan) {
        let Some(cache) = &plan.cache else { return };
        let (files, foreign) = cache.files().unwrap_or_else(|error| (Vec::new(), vec![error.to_string()]));
        for name in foreign {
            let message = format!("{}: {name} is no file of the CRL cache, and is ignored", cache.folder().display());
            self.problem(MaterialPart::CrlCache, false, message, "give the cache a folder of its own");
        }
        for file in files {
            let reading = plan.reader(&self.taking.index, self.now).kept(&file);
            for Read { crl, .. } in reading.crls {
                // What is older than what is in use serves no more.
                if let Ok(index) = self.taking.index.with(&crl) {
                    tell_taken(&crl);
                    self.taking.index = index;
                    self.taking.changed = true;
                }
            }
            for problem in reading.problems {
                let message = format!("{}: {}, and is ignored", problem.place, problem.message);
                let remedy = "remove it; what is fetched next is kept in its place";
                self.problem(MaterialPart::CrlCache, false, message, remedy);
            }
        }
    }

    /// Reads a file, a folder, or what came with the trust material. One that gave CRLs before may fail, and they stay.
    pub(super) fn read_source(&mut self, plan: &mut Plan, material: &TrustMaterial, position: usize) {
        let begun = std::time::Instant::now();
        let reader = plan.reader(&self.taking.index, self.now);
        let reading = match (&plan.sources[position].origin, material.given()) {
            (Origin::Path(path), _) => reader.path(path),
            (Origin::Given(place), Some(given)) => reader.ders(given.crls.clone(), place),
            _ => return,
        };
        plan.sources[position].took = Some(begun.elapsed());
        let is_new = plan.sources[position].last_success.is_none();
        let problems = plan.take_path(position, &mut self.taking, reading, self.now);
        for Problem { place, message, remedy, kind } in problems {
            let fatal = is_new && kind == ProblemKind::Unusable;
            self.problem(MaterialPart::Crl(position), fatal, format!("{place}: {message}"), remedy);
        }
    }

    pub(super) fn finish(mut self, plan: Plan) -> Result<Prepared, Vec<MaterialProblem>> {
        self.problems.extend(overdue(&self.taking.index, self.now, |crl| {
            let position = plan.sources.iter().position(|source| source.supplied.contains(&crl.stem));
            position.map_or(MaterialPart::CrlCache, MaterialPart::Crl)
        }));
        if self.problems.iter().any(|problem| problem.fatal) {
            return Err(self.problems);
        }
        let Taking { index, keep, .. } = self.taking;
        Ok(Prepared { plan: Some(plan), index, keep, findings: self.problems })
    }
}

/// The CRLs that are past their next update. `part` says where each comes from.
pub(super) fn overdue(
    index: &RevocationIndex,
    now: SystemTime,
    part: impl Fn(&VerifiedCrl) -> MaterialPart,
) -> Vec<MaterialProblem> {
    let late = index.crls().filter(|crl| crl.info.base_number.is_none() && index.next_update(crl) < now);
    let problem = |crl: &Arc<VerifiedCrl>| {
        let (source, issuer, until) = (&crl.info.source, &crl.info.issuer, Instant(index.next_update(crl)));
        MaterialProblem {
            part: part(crl),
            fatal: false,
            message: format!("{source}: the CRL of {issuer:?} is past its next update, {until}"),
            remedy: "fetch a newer CRL from the CA".to_owned(),
        }
    };
    late.map(problem).collect()
}
