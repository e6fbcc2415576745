//! What the configuration asks for, and how it goes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tracing::{debug, error, info, warn};

use crate::config::{CrlUrl, OnUnknown, Revocation};
use crate::fetch::Fetcher;
use crate::x509::{CrlIssuers, Instant, RevocationIndex, VerifiedCrl};

use super::cache::Cache;
use super::freshness::Freshness;
use super::reading::{Reader, Reading};
use super::schedule;
use super::source::{Origin, Source};
use super::status::CrlStatus;
use super::taking::{Problem, ProblemKind, Taking};

/// Most distribution points that are learnt from certificates. One branch below an anchor gets half of what the others leave.
const MAX_DISTRIBUTION_POINTS: usize = 256;
/// Most addresses whose refusal is remembered, so that each is told once.
const MAX_TOLD: usize = 256;
/// Most octets of an address that are told.
const MAX_TOLD_URL: usize = 2048;
/// Most problems of one source that are told.
const MAX_NAMED: usize = 3;

/// What the configuration asks for, and how it goes.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) settings: Revocation,
    pub(super) issuers: Arc<CrlIssuers>,
    pub(super) sources: Vec<Source>,
    pub(super) cache: Option<Arc<Cache>>,
    /// Absent where nothing is fetched.
    pub(super) fetchers: Option<Fetchers>,
    /// The last state of each CRL that was told, by its file stem.
    pub(super) told: HashMap<String, Freshness>,
    pub(super) refused_points: HashSet<String>,
}

/// What fetches, by who named the address.
#[derive(Debug, Clone)]
pub(super) struct Fetchers {
    pub(super) configured: Fetcher,
    pub(super) distribution_points: Fetcher,
}

impl Plan {
    /// What the CRLs of its sources are read with, beside those that are held.
    pub(super) fn reader<'a>(&'a self, held: &'a RevocationIndex, now: SystemTime) -> Reader<'a> {
        Reader { max_size: self.settings.max_size, issuers: &self.issuers, held, now }
    }

    /// Takes what a file or a folder gave, and notes how that went.
    pub(super) fn take_path(
        &mut self,
        position: usize,
        taking: &mut Taking,
        reading: Reading,
        now: SystemTime,
    ) -> Vec<Problem> {
        let source = &mut self.sources[position];
        let problems = taking.take(source, reading);
        let given = taking.index.crls().filter(|crl| source.supplied.contains(&crl.stem));
        let looked_for = given.map(|crl| schedule::of_file(crl.info.this_update, taking.index.next_update(crl)));
        source.refresh_at = looked_for.min();
        if problems.is_empty() {
            source.succeeded(now);
            source.next_attempt = None;
        } else {
            source.failed(now, reasons(&problems));
            // Its change is noticed; what does not change with it, as a clock that was wrong, is found by trying again.
            let is_unusable = problems.iter().any(|problem| problem.kind == ProblemKind::Unusable);
            let at = schedule::after_failure(now, source.failures_in_a_row, self.settings.max_age, 0.0);
            let is_file = matches!(source.origin, Origin::Path(_));
            source.next_attempt = (is_unusable && is_file).then_some(at);
        }
        problems
    }

    /// Notes how a fetch went and when to ask again.
    pub(super) fn settle(
        &mut self,
        position: usize,
        index: &RevocationIndex,
        failure: Option<String>,
        http_freshness: Option<Duration>,
        jitter: f64,
        now: SystemTime,
    ) {
        let max_age = self.settings.max_age;
        let source = &mut self.sources[position];
        let next_update = source.next_update(index);
        let overdue = next_update.filter(|next_update| *next_update < now);
        let overdue = overdue.map(|due| format!("still gives a CRL whose next update was due {}", Instant(due)));
        let place = Arc::clone(&source.text);
        let Some(reason) = failure.or(overdue) else {
            if source.last_error.is_some() {
                info!(source = &*place, "the source of CRLs can be used again");
            }
            source.succeeded(now);
            let at =
                schedule::after_success(now, next_update, max_age, http_freshness, jitter, source.branch.is_some());
            (source.next_attempt, source.refresh_at) = (Some(at), Some(at));
            return;
        };
        let is_news = source.failed(now, reason.clone());
        let at = schedule::after_failure(now, source.failures_in_a_row, max_age, jitter);
        source.next_attempt = Some(at);
        if is_news {
            let held_until = next_update.map(|until| Instant(until).to_string());
            let next_attempt = Instant(at).to_string();
            let source = &*place;
            warn!(
                source,
                reason, held_until, next_attempt, "the source of CRLs cannot be used; what is in use stays in use"
            );
        }
    }

    /// Reads a file or a folder while running.
    pub(super) fn read_again(&mut self, position: usize, taking: &mut Taking, now: SystemTime) {
        let Origin::Path(path) = &self.sources[position].origin else { return };
        let reading = self.reader(&taking.index, now).path(path);
        let before = self.sources[position].last_error.take();
        let problems = self.take_path(position, taking, reading, now);
        let source = &*self.sources[position].text;
        match before {
            Some(_) if problems.is_empty() => info!(source, "the source of CRLs can be used again"),
            before if !problems.is_empty() && before != self.sources[position].last_error => {
                warn!(
                    source,
                    reason = reasons(&problems),
                    "the source of CRLs cannot be used; what it gave before stays in use"
                );
            }
            _ => {}
        }
    }

    /// Keeps CRLs for the next start.
    pub(super) fn keep(&self, crls: Vec<(Arc<VerifiedCrl>, Vec<u8>)>) {
        if let Some(cache) = &self.cache {
            for (crl, der) in crls {
                cache.keep(&crl, der);
            }
        }
    }

    /// Adds a distribution point, unless it is known or may not be asked.
    pub(super) fn learn_point(&mut self, url: &str, branch: [u8; 32], now: SystemTime) {
        // What is longer is refused whatever it ends with.
        let shown = url.get(..MAX_TOLD_URL).unwrap_or(url);
        if !self.settings.distribution_points || self.refused_points.contains(shown) {
            return;
        }
        let refused = match url.parse::<CrlUrl>() {
            Err(error) => error.to_string(),
            Ok(url) if self.sources.iter().any(|source| source.origin.url() == Some(&url)) => return,
            Ok(url) if !self.settings.may_ask(&url) => {
                "its host is not among revocation.distribution_point_hosts".to_owned()
            }
            Ok(_)
                if !has_room(
                    self.sources.iter().filter_map(|source| source.branch),
                    branch,
                    MAX_DISTRIBUTION_POINTS,
                ) =>
            {
                "there are too many of them already".to_owned()
            }
            Ok(url) => {
                info!(source = %url, "a distribution point was learnt from a certificate that leads to an anchor");
                let source = Source::new(Origin::DistributionPoint(url), now);
                self.sources.push(Source { branch: Some(branch), ..source });
                return;
            }
        };
        if self.refused_points.len() < MAX_TOLD {
            warn!(distribution_point = shown, reason = refused, "the distribution point is not asked");
            self.refused_points.insert(shown.to_owned());
        }
    }

    /// The sources whose time has come: the configured ones, and then of the learnt ones those first that wait longest.
    pub(super) fn due(&self, now: SystemTime) -> Vec<usize> {
        let sources = self.sources.iter().enumerate();
        // Later than `max_age` lies only what was fixed before the clock was set back, or `max_age` shortened.
        let latest = now + self.settings.max_age;
        let is_due = |source: &Source| source.next_attempt.is_some_and(|at| at <= now || at > latest);
        let mut due: Vec<usize> = sources.filter(|(_, source)| is_due(source)).map(|(position, _)| position).collect();
        due.sort_by_key(|position| {
            let source = &self.sources[*position];
            source.branch.and(source.next_attempt)
        });
        due
    }

    /// How many addresses are being asked that the same branch has named; none for what is configured.
    pub(super) fn in_flight_beside(&self, position: usize) -> usize {
        let branch = self.sources[position].branch;
        let beside = self.sources.iter().filter(|source| source.branch.is_some() && source.branch == branch);
        beside.filter(|source| source.next_attempt.is_none()).count()
    }

    pub(super) fn crl_status(&self, index: &RevocationIndex, crl: &VerifiedCrl) -> CrlStatus {
        let suppliers: Vec<&Source> =
            self.sources.iter().filter(|source| source.supplied.contains(&crl.stem)).collect();
        // What the cache kept is looked for again from the first attempt that fails: any silent source may be its own.
        let silent =
            self.sources.iter().filter(|source| source.origin.url().is_some() && source.last_success.is_none());
        let refresh_at = if suppliers.is_empty() {
            silent.filter(|source| source.last_error.is_some()).filter_map(|source| source.last_attempt).min()
        } else {
            suppliers.iter().filter_map(|source| source.refresh_at).min()
        };
        CrlStatus {
            info: crl.info.clone(),
            serves_until: index.next_update(crl),
            refresh_at,
            grace: self.settings.grace,
        }
    }

    /// Tells of each CRL whose state is another than the last time. True where one has expired and that counts.
    pub(super) fn tell_states(&mut self, index: &RevocationIndex, now: SystemTime) -> bool {
        let mut has_expired = false;
        let mut told = HashMap::new();
        for crl in index.crls() {
            let (stem, status) = (crl.stem.clone(), self.crl_status(index, crl));
            let (state, before) = (status.state(now), self.told.get(&stem).copied());
            if before != Some(state) {
                has_expired |= state == Freshness::Expired;
                tell_state(&status, before, state, self.settings.on_stale);
            }
            told.insert(stem, state);
        }
        self.told = told;
        has_expired && self.settings.on_stale == OnUnknown::Deny
    }
}

/// Whether a branch may have one more of so many: each gets half of what the others leave, so that some is always left, and the
/// last ones go to whoever has none.
pub(super) fn has_room(taken: impl Iterator<Item = [u8; 32]>, branch: [u8; 32], most: usize) -> bool {
    let (own, others): (Vec<_>, Vec<_>) = taken.partition(|one| *one == branch);
    let (own, left) = (own.len(), most.saturating_sub(others.len()));
    left > 0 && own < (left / 2).max(1)
}

/// Several problems as one reason, which names the first of them.
pub(super) fn reasons(problems: &[Problem]) -> String {
    let named = problems.iter().take(MAX_NAMED).map(|problem| format!("{}; {}", problem.message, problem.remedy));
    let more = problems.len().saturating_sub(MAX_NAMED);
    let more = (more > 0).then(|| format!("and {more} more like these"));
    named.chain(more).collect::<Vec<_>>().join("; ")
}

fn tell_state(status: &CrlStatus, before: Option<Freshness>, state: Freshness, on_stale: OnUnknown) {
    let CrlStatus { info, serves_until, grace, .. } = status;
    let (issuer, number, source) = (&info.issuer, info.number.to_string(), &*info.source);
    let next_update = Instant(*serves_until).to_string();
    match (state, before) {
        (Freshness::Fresh, Some(Freshness::Stale | Freshness::Expired)) => {
            info!(issuer, number, source, next_update, "the CRL is fresh again");
        }
        (Freshness::Fresh, _) => {}
        (Freshness::Due, _) => debug!(issuer, number, source, next_update, "the successor of the CRL is looked for"),
        (Freshness::Stale, _) => {
            let serves = humantime::format_duration(*grace).to_string();
            warn!(
                issuer,
                number, source, next_update, "the CRL is past its next update; it serves for {serves} beyond it"
            );
        }
        (Freshness::Expired, _) if on_stale == OnUnknown::Deny => {
            error!(
                issuer,
                number,
                source,
                next_update,
                "the CRL has expired; whoever this CA certified is refused (revocation.on_stale)"
            );
        }
        (Freshness::Expired, _) => {
            error!(
                issuer,
                number,
                source,
                next_update,
                "the CRL has expired; whoever it does not list is let in all the same (revocation.on_stale = \"allow\")"
            );
        }
    }
}
