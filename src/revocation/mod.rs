//! The revocation engine: where CRLs come from, how long they serve, and what happens when their sources fall silent.
//!
//! One task owns the [`Engine`]. It reads files, fetches from addresses in the background, keeps what it got on the disk, and
//! replaces the [`RevocationLists`] that every handshake looks certificates up in. A handshake never waits for it. Time is a
//! parameter of everything that judges by it.
//!
//! Verifying a CRL and looking a certificate up are left to `x509`; ending connections is left to `app`.

mod cache;
mod fetch_once;
mod freshness;
mod plan;
mod preparing;
mod reading;
mod report;
mod schedule;
mod source;
mod status;
mod taking;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tracing::debug;

use crate::config::{CrlUrl, Revocation};
use crate::fetch::{Answer, FetchError, Fetcher, Validators};
use crate::x509::{CrlIssuers, MaterialProblem, RevocationIndex, RevocationLists, TrustMaterial, WantedCrl};

use plan::{Plan, has_room, reasons};
use preparing::Preparing;
use reading::{Reader, Reading};
use source::{Origin, Source};
use taking::Taking;

pub use fetch_once::{NotFetched, fetch_once};
pub use freshness::Freshness;
pub use preparing::Prepared;
pub use reading::{crl_files, read_files, read_paths};
pub use report::{SourceReport, SuppliedCrl};
pub use status::{CrlStatus, OwnAlarm, RevocationStatus, SourceStatus};

/// Most fetches at once.
const MAX_IN_FLIGHT: usize = 4;
/// Most of them that one branch below an anchor has named, so that its silence leaves room for others.
const MAX_IN_FLIGHT_OF_ONE: usize = 2;
/// Most CAs that are learnt from verified paths. One branch below an anchor gets half of what the others leave.
const MAX_LEARNT_ISSUERS: usize = 256;
/// The key that bounds what is read.
const SIZE_KEY: &str = "revocation.max_size";
/// How often the states are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Finds CRLs and keeps them fresh.
#[derive(Debug)]
pub struct Engine {
    lists: Arc<RevocationLists>,
    wanted: mpsc::Receiver<WantedCrl>,
    tell: mpsc::Sender<Finished>,
    finished: mpsc::Receiver<Finished>,
    in_flight: usize,
    /// CAs of verified paths that no file of ours holds.
    learnt: Vec<WantedCrl>,
    /// Absent: revocation is not checked.
    plan: Option<Plan>,
    random: fastrand::Rng,
    looked_at: Option<SystemTime>,
}

/// Something that the engine has to look at.
#[derive(Debug)]
pub struct Event(What);

#[derive(Debug)]
enum What {
    Finished(Box<Finished>),
    Wanted(WantedCrl),
}

/// What followed from an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absorbed {
    /// The CRLs in use have changed, so that live connections have to be judged again.
    pub changed: bool,
    /// There is something else to show than before. Every handshake that finds a CRL missing is an event, and few of them are news.
    pub is_news: bool,
}

/// A fetch that ended.
#[derive(Debug)]
struct Finished {
    origin: Origin,
    outcome: Result<Outcome, String>,
    took: Duration,
}

#[derive(Debug)]
enum Outcome {
    NotModified { freshness: Option<Duration> },
    Read { reading: Reading, validators: Validators, freshness: Option<Duration> },
}

impl Engine {
    /// An engine that looks for nothing yet, and the lists that it fills.
    pub fn new() -> (Self, Arc<RevocationLists>) {
        let (lists, wanted) = RevocationLists::new();
        let (tell, finished) = mpsc::channel(MAX_IN_FLIGHT);
        let engine = Self {
            lists: Arc::clone(&lists),
            wanted,
            tell,
            finished,
            in_flight: 0,
            learnt: Vec::new(),
            plan: None,
            random: fastrand::Rng::new(),
            looked_at: None,
        };
        (engine, lists)
    }

    /// Reads the files that the configuration names and makes everything ready for its addresses, without using anything yet.
    /// Without settings nothing will be checked. To be called within a runtime where there is a `cache_dir`.
    ///
    /// # Errors
    /// Every problem, where a source that never gave a CRL cannot be used, or the folder of the cache cannot.
    pub fn prepare(
        &self,
        settings: Option<&Revocation>,
        material: &TrustMaterial,
        now: SystemTime,
    ) -> Result<Prepared, Vec<MaterialProblem>> {
        let Some(settings) = settings else { return Ok(Prepared::nothing()) };
        let mut issuers = material.crl_issuers();
        for learnt in &self.learnt {
            issuers.learn(learnt.issuer.clone());
        }
        let before = self.plan.as_ref();
        if let Some(before) = before {
            issuers.keep_certified(&before.issuers, now);
        }
        let mut preparing = Preparing::new(self.lists.load().of_issuers(&issuers), now);
        let mut plan = Plan {
            settings: settings.clone(),
            issuers: Arc::new(issuers),
            sources: self.sources_for(settings, material, now),
            cache: preparing.cache(settings, before.and_then(|before| before.cache.clone())),
            fetchers: None,
            told: before.map(|before| before.told.clone()).unwrap_or_default(),
            refused_points: HashSet::new(),
        };
        if settings.fetches() {
            plan.fetchers = preparing.fetchers(settings, material);
        }
        preparing.read_cache(&plan);
        for position in 0..plan.sources.len() {
            preparing.read_source(&mut plan, material, position);
            plan.sources[position].ask_again_for_what_is_gone(&preparing.taking.index, now);
        }
        preparing.finish(plan)
    }

    /// Puts what was prepared to use. It cannot fail.
    pub fn install(&mut self, prepared: Prepared) {
        let Prepared { plan, index, keep, .. } = prepared;
        self.lists.store(index);
        if let Some(plan) = &plan {
            plan.keep(keep);
        }
        self.plan = plan;
        self.looked_at = None;
    }

    /// The configured sources, and the learnt ones that may still be asked, with what is known of them.
    fn sources_for(&self, settings: &Revocation, material: &TrustMaterial, now: SystemTime) -> Vec<Source> {
        let before = self.plan.as_ref().map_or(&[][..], |plan| &plan.sources);
        let mut sources: Vec<Source> = Vec::new();
        let given = material.given().map(|given| Origin::Given(given.giver.as_str().into()));
        for origin in settings.sources.iter().map(|source| Origin::from(&source.value)).chain(given) {
            let known = before.iter().find(|source| source.origin == origin);
            sources.push(known.cloned().unwrap_or_else(|| Source::new(origin, now)));
        }
        let learnt = before.iter().filter(|source| match &source.origin {
            Origin::DistributionPoint(url) => settings.may_ask(url),
            _ => false,
        });
        sources.extend(learnt.cloned());
        sources
    }

    /// Waits for something to look at. It may be dropped at any time.
    pub async fn event(&mut self) -> Event {
        tokio::select! {
            Some(finished) = self.finished.recv() => Event(What::Finished(Box::new(finished))),
            Some(wanted) = self.wanted.recv() => Event(What::Wanted(wanted)),
        }
    }

    /// What is there to look at without waiting.
    pub fn try_event(&mut self) -> Option<Event> {
        let finished = self.finished.try_recv().ok().map(|finished| What::Finished(Box::new(finished)));
        finished.or_else(|| self.wanted.try_recv().ok().map(What::Wanted)).map(Event)
    }

    /// Looks at it.
    pub fn absorb(&mut self, event: Event, now: SystemTime) -> Absorbed {
        let absorbed = match event.0 {
            What::Finished(finished) => {
                self.in_flight -= 1;
                Absorbed { changed: self.take(*finished, now), is_news: true }
            }
            What::Wanted(wanted) => self.learn(wanted, now),
        };
        Absorbed { changed: self.ask(now) || absorbed.changed, ..absorbed }
    }

    /// Asks the sources that are due and tells of CRLs whose state has changed. True where the CRLs in use have changed, or one
    /// has expired, so that live connections have to be judged again.
    pub fn tick(&mut self, now: SystemTime) -> bool {
        let changed = self.ask(now);
        let is_time = self.looked_at.is_none_or(|at| now.duration_since(at).map_or(true, |since| since >= LOOK));
        if !is_time && !changed {
            return false;
        }
        self.looked_at = Some(now);
        let index = self.lists.load();
        let has_expired = self.plan.as_mut().is_some_and(|plan| plan.tell_states(&index, now));
        if has_expired {
            self.lists.have_aged();
        }
        changed || has_expired
    }

    /// Asks every address now, whenever its time would have come.
    pub fn ask_now(&mut self, now: SystemTime) {
        let sources = self.plan.iter_mut().flat_map(|plan| &mut plan.sources);
        for source in sources.filter(|source| source.origin.url().is_some()) {
            // One that is being asked has no time, and may be answering what it had before.
            source.is_wanted_again = source.next_attempt.is_none();
            source.next_attempt = source.next_attempt.map(|_| now);
        }
        self.ask(now);
    }

    /// The addresses that have not been asked to the end yet: `mantlet crl fetch` waits for them.
    pub fn is_waiting(&self) -> bool {
        self.in_flight > 0
            || self
                .plan
                .iter()
                .flat_map(|plan| &plan.sources)
                .any(|source| source.origin.url().is_some() && source.last_attempt.is_none())
    }

    /// What an operator sees.
    pub fn status(&self, material: &TrustMaterial, now: SystemTime) -> RevocationStatus {
        let Some(plan) = &self.plan else { return RevocationStatus::default() };
        let index = self.lists.load();
        let mut crls: Vec<CrlStatus> = index.crls().map(|crl| plan.crl_status(&index, crl)).collect();
        crls.sort_by(|one, other| {
            let key = |status: &CrlStatus| {
                (status.info.issuer.clone(), status.info.scope.clone(), status.info.base_number.is_some())
            };
            key(one).cmp(&key(other))
        });
        // What is being fetched for the first time is not missing yet.
        let own = OwnAlarm::judge(material, now).filter(|alarm| alarm.label == "revoked" || !self.is_waiting());
        RevocationStatus { crls, sources: plan.sources.iter().map(Source::status).collect(), own }
    }

    /// Asks the sources whose time has come. True where one that answers at once, a file, has changed something.
    fn ask(&mut self, now: SystemTime) -> bool {
        let Some(plan) = &mut self.plan else { return false };
        let mut taking = None;
        for position in plan.due(now) {
            let is_branch_busy = plan.in_flight_beside(position) >= MAX_IN_FLIGHT_OF_ONE;
            let source = &mut plan.sources[position];
            let Some(url) = source.origin.url().cloned() else {
                let taking = taking.get_or_insert_with(|| Taking::new(RevocationIndex::clone(&self.lists.load())));
                plan.read_again(position, taking, now);
                continue;
            };
            let has_room = self.in_flight < MAX_IN_FLIGHT && !is_branch_busy;
            let Some(fetchers) = plan.fetchers.as_ref().filter(|_| has_room) else { continue };
            let fetcher = match source.origin {
                Origin::DistributionPoint(_) => fetchers.distribution_points.clone(),
                _ => fetchers.configured.clone(),
            };
            let fetch = Fetch {
                url,
                place: Arc::clone(&source.text),
                validators: source.validators.clone(),
                issuers: Arc::clone(&plan.issuers),
                lists: Arc::clone(&self.lists),
                now,
            };
            source.next_attempt = None;
            self.in_flight += 1;
            let (tell, origin) = (self.tell.clone(), source.origin.clone());
            tokio::spawn(async move {
                let begun = std::time::Instant::now();
                let outcome = fetch.run(fetcher).await;
                // Nobody listens any more where the process ends.
                let _ = tell.send(Finished { origin, outcome, took: begun.elapsed() }).await;
            });
        }
        taking.is_some_and(|taking| self.use_taken(taking, now))
    }

    /// What a fetch brought.
    fn take(&mut self, finished: Finished, now: SystemTime) -> bool {
        let Some(plan) = &mut self.plan else { return false };
        let Some(position) = plan.sources.iter().position(|source| source.origin == finished.origin) else {
            return false;
        };
        let mut taking = Taking::new(RevocationIndex::clone(&self.lists.load()));
        let source = &mut plan.sources[position];
        source.took = Some(finished.took);
        let (failure, freshness) = match finished.outcome {
            Err(reason) => (Some(reason), None),
            // A reload has dropped what the condition meant.
            Ok(Outcome::NotModified { .. }) if !source.validators.are_there() => {
                (Some(FetchError::NotModifiedUnasked.to_string()), None)
            }
            Ok(Outcome::NotModified { freshness }) => (None, freshness),
            Ok(Outcome::Read { reading, validators, freshness }) => {
                let problems = taking.take(source, reading);
                source.validators = if problems.is_empty() { validators } else { Validators::default() };
                (Some(reasons(&problems)).filter(|_| !problems.is_empty()), freshness)
            }
        };
        plan.settle(position, &taking.index, failure, freshness, self.random.f64(), now);
        let source = &mut plan.sources[position];
        if std::mem::take(&mut source.is_wanted_again) {
            source.next_attempt = Some(now);
        }
        self.use_taken(taking, now)
    }

    /// Puts what was taken to use. True where it changes anything.
    fn use_taken(&mut self, taking: Taking, now: SystemTime) -> bool {
        let Some(plan) = &mut self.plan else { return false };
        let Taking { index, changed, keep, freshest, .. } = taking;
        if changed {
            self.lists.store(index);
            for source in plan.sources.iter_mut().filter(|source| source.lacks_base) {
                // One that is being asked has no time.
                source.next_attempt = source.next_attempt.map(|_| now);
            }
        }
        plan.keep(keep);
        for (url, branch) in &freshest {
            plan.learn_point(url, *branch, now);
        }
        changed
    }

    /// Learns where the CRL of a verified path is to be had, and whose it is.
    fn learn(&mut self, wanted: WantedCrl, now: SystemTime) -> Absorbed {
        let Some(plan) = &mut self.plan else { return Absorbed { changed: false, is_news: false } };
        let sources = plan.sources.len();
        for url in &wanted.distribution_points {
            plan.learn_point(url, wanted.branch, now);
        }
        let is_news = plan.sources.len() > sources;
        if plan.issuers.hold(&wanted.issuer) {
            return Absorbed { changed: false, is_news };
        }
        let room_for = |learnt: &[WantedCrl]| {
            has_room(learnt.iter().map(|learnt| learnt.branch), wanted.branch, MAX_LEARNT_ISSUERS)
        };
        let issuers = Arc::make_mut(&mut plan.issuers);
        if !room_for(&self.learnt) {
            // Those whose time is over make room.
            self.learnt.extract_if(.., |learnt| learnt.not_after < now).for_each(|ended| issuers.forget(&ended.issuer));
        }
        if !room_for(&self.learnt) || !issuers.learn(wanted.issuer.clone()) {
            return Absorbed { changed: false, is_news };
        }
        debug!(issuers = plan.issuers.len(), "a CA was learnt from a path that leads to an anchor");
        self.learnt.push(WantedCrl { distribution_points: Vec::new(), ..wanted });
        // Its CRLs may be here already, unread for want of its key.
        let mut preparing = Preparing::new(self.lists.load().of_issuers(&plan.issuers), now);
        preparing.read_cache(plan);
        let mut taking = preparing.taking;
        for position in 0..plan.sources.len() {
            let source = &mut plan.sources[position];
            if !source.has_unknown_issuer {
                continue;
            }
            match source.origin {
                Origin::Path(_) => plan.read_again(position, &mut taking, now),
                // What is given is read again with what is given next.
                Origin::Given(_) => {}
                // One that is being asked is asked again soon, for it fails.
                _ => source.next_attempt = source.next_attempt.map(|_| now),
            }
        }
        Absorbed { changed: self.use_taken(taking, now), is_news: true }
    }
}

/// One fetch with all that it needs.
struct Fetch {
    url: CrlUrl,
    place: Arc<str>,
    validators: Validators,
    issuers: Arc<CrlIssuers>,
    lists: Arc<RevocationLists>,
    now: SystemTime,
}

impl Fetch {
    async fn run(self, fetcher: Fetcher) -> Result<Outcome, String> {
        match fetcher.get(self.url.url(), &self.validators).await {
            Err(error) => Err(error.to_string()),
            Ok(Answer::NotModified { freshness }) => Ok(Outcome::NotModified { freshness }),
            Ok(Answer::Body { bytes, validators, freshness }) => {
                // A large CRL takes a while to verify, and what a hostile one might do to the reader stays there.
                let reading = tokio::task::spawn_blocking(move || {
                    let held = self.lists.load();
                    // What was fetched is within its bound.
                    let reader = Reader { max_size: u64::MAX, issuers: &self.issuers, held: &held, now: self.now };
                    reader.bytes(bytes, &self.place)
                });
                let reading = reading.await.map_err(|_| "cannot be read: the reader failed".to_owned())?;
                Ok(Outcome::Read { reading, validators, freshness })
            }
        }
    }
}
