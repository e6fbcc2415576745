//! What fetches the keys of every issuer in the background.

use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::registry::Registry;
use rustls::RootCertStore;
use tokio::sync::mpsc;

use crate::config::Issuer;
use crate::fetch::{Bounds, Fetcher};
use crate::x509::{MaterialPart, MaterialProblem, MaterialSources, TrustMaterial};

use super::Issuers;
use super::keeping::{Fetched, Kept};
use super::metrics::TokenMetrics;
use super::source::KeySource;
use super::status::IssuerStatus;

/// The key that bounds an answer.
const SIZE_KEY: &str = "issuer.max_size";
/// Most intermediates between a server and an anchor.
const MAX_DEPTH: u8 = 6;

/// Fetches the keys of issuers and keeps them fresh. One task owns it; time is a parameter of everything that judges by it.
#[derive(Debug)]
pub struct Engine {
    kept: Vec<Kept>,
    tell: mpsc::UnboundedSender<Finished>,
    finished: mpsc::UnboundedReceiver<Finished>,
    want: mpsc::UnboundedSender<u64>,
    wanted: mpsc::UnboundedReceiver<u64>,
    next_id: u64,
    metrics: TokenMetrics,
    random: fastrand::Rng,
}

/// Issuers that were made ready as a whole and cannot fail any more.
#[derive(Debug)]
pub struct Prepared {
    kept: Vec<Kept>,
    issuers: Issuers,
    next_id: u64,
    /// What is worth knowing and prevents nothing.
    pub findings: Vec<MaterialProblem>,
}

/// Something that the engine has to look at.
#[derive(Debug)]
pub struct Event(What);

#[derive(Debug)]
enum What {
    Finished(Box<Finished>),
    Wanted(u64),
}

/// What followed from an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absorbed {
    /// There is something else to show than before.
    pub is_news: bool,
}

/// A fetch that ended.
#[derive(Debug)]
struct Finished {
    source: u64,
    fetched: Result<Fetched, String>,
}

impl Engine {
    /// One that knows no issuer yet. What it counts is registered.
    pub fn new(registry: &mut Registry) -> Self {
        // Each issuer has one fetch under way and one wish open at the most.
        let (tell, finished) = mpsc::unbounded_channel();
        let (want, wanted) = mpsc::unbounded_channel();
        let metrics = TokenMetrics::default();
        metrics.register(registry);
        Self { kept: Vec::new(), tell, finished, want, wanted, next_id: 0, metrics, random: fastrand::Rng::new() }
    }

    /// Reads the anchors of these issuers and makes everything ready, without using anything yet. Keys stay where the address and whom it is
    /// asked of stay.
    ///
    /// # Errors
    /// Every problem, where one is fatal.
    pub fn prepare(
        &self,
        issuers: &[Issuer],
        material: &TrustMaterial,
        now: SystemTime,
    ) -> Result<Prepared, Vec<MaterialProblem>> {
        let (mut kept, mut findings, mut next_id) = (Vec::new(), Vec::new(), self.next_id);
        for (position, settings) in issuers.iter().enumerate() {
            let (anchors, problems) = anchors(settings, position, material, now);
            findings.extend(problems);
            let bounds = Bounds {
                hosts: Vec::new(),
                max_size: settings.max_size,
                size_key: SIZE_KEY,
                timeout: settings.fetch_timeout,
            };
            let fetcher = match Fetcher::new(anchors.clone(), bounds) {
                Ok(fetcher) => fetcher,
                Err(error) => {
                    findings.push(unfetchable(position, &error));
                    continue;
                }
            };
            // Several issuers may have one address. Each goes on with keys of its own, and no two with the same.
            let fits = |before: &&Kept| {
                before.is_kept_by(settings, &anchors)
                    && kept.iter().all(|taken: &Kept| taken.source.id != before.source.id)
            };
            let is_of_same_name = |before: &&Kept| before.settings.name.value == settings.name.value && fits(before);
            let before = self.kept.iter().find(is_of_same_name).or_else(|| self.kept.iter().find(fits));
            kept.push(if let Some(before) = before {
                before.renewed(settings.clone(), fetcher, anchors)
            } else {
                next_id += 1;
                let source = KeySource::new(next_id, self.want.clone());
                Kept::new(settings.clone(), source, fetcher, anchors, now)
            });
        }
        if findings.iter().any(|finding| finding.fatal) {
            return Err(findings);
        }
        let known = kept.iter().map(|kept| (kept.settings.clone(), Arc::clone(&kept.source)));
        let issuers = Issuers::new(known, self.metrics.clone());
        Ok(Prepared { kept, issuers, next_id, findings })
    }

    /// Puts what was prepared to use. It cannot fail.
    pub fn install(&mut self, prepared: Prepared) {
        self.kept = prepared.kept;
        self.next_id = prepared.next_id;
    }

    /// Waits for something to look at. It may be dropped at any time.
    pub async fn event(&mut self) -> Event {
        tokio::select! {
            Some(finished) = self.finished.recv() => Event(What::Finished(Box::new(finished))),
            Some(source) = self.wanted.recv() => Event(What::Wanted(source)),
        }
    }

    /// Looks at it.
    pub fn absorb(&mut self, event: Event, now: SystemTime) -> Absorbed {
        let is_news = match event.0 {
            What::Finished(finished) => {
                let Finished { source, fetched } = *finished;
                let jitter = self.random.f64();
                // A reload may have dropped it.
                if let Some(kept) = self.kept.iter_mut().find(|kept| kept.source.id == source) {
                    kept.settle(fetched, jitter, now);
                }
                true
            }
            What::Wanted(source) => {
                if let Some(kept) = self.kept.iter_mut().find(|kept| kept.source.id == source) {
                    kept.want(now);
                }
                false
            }
        };
        self.tick(now);
        Absorbed { is_news }
    }

    /// Asks the issuers whose time has come, and tells of keys that have aged. True where there is something else to show than before.
    pub fn tick(&mut self, now: SystemTime) -> bool {
        let mut is_news = false;
        for kept in &mut self.kept {
            is_news |= kept.tell_state(now);
            if !kept.is_due(now) {
                continue;
            }
            let (fetch, source, tell) = (kept.fetch(), kept.source.id, self.tell.clone());
            tokio::spawn(async move {
                let fetched = fetch.await;
                // Nobody listens any more where the process ends.
                let _ = tell.send(Finished { source, fetched });
            });
        }
        is_news
    }

    /// Asks every issuer now, whenever its time would have come.
    pub fn ask_now(&mut self, now: SystemTime) {
        for kept in &mut self.kept {
            // One that is being asked has no time.
            kept.next_attempt = kept.next_attempt.map(|_| now);
        }
        self.tick(now);
    }

    /// Whether an issuer is being asked.
    pub fn is_waiting(&self) -> bool {
        self.kept.iter().any(|kept| kept.next_attempt.is_none())
    }

    /// What an operator sees.
    pub fn status(&self) -> Vec<IssuerStatus> {
        self.kept.iter().map(Kept::status).collect()
    }
}

impl Prepared {
    /// The issuers as they will be.
    pub fn issuers(&self) -> Issuers {
        self.issuers.clone()
    }
}

/// What is to say of the files of anchors that issuers name, for a look that starts nothing.
pub fn check_anchors(issuers: &[Issuer], material: &TrustMaterial, now: SystemTime) -> Vec<MaterialProblem> {
    issuers.iter().enumerate().flat_map(|(position, settings)| anchors(settings, position, material, now).1).collect()
}

/// Whom the server of an issuer's keys is verified against, and what is to say of the files.
fn anchors(
    settings: &Issuer,
    position: usize,
    material: &TrustMaterial,
    now: SystemTime,
) -> (RootCertStore, Vec<MaterialProblem>) {
    let Some(files) = &settings.jwks_anchors else { return (material.root_store(), Vec::new()) };
    let sources = MaterialSources {
        certificate: None,
        private_key: None,
        anchors: files.iter().map(|file| file.value.clone()).collect(),
        intermediates: Vec::new(),
        max_depth: MAX_DEPTH,
        revocation: None,
        kept_in: None,
    };
    let of_issuer = |problem: MaterialProblem| {
        let file = if let MaterialPart::Anchor(file) = problem.part { file } else { 0 };
        MaterialProblem { part: MaterialPart::IssuerAnchor { issuer: position, file }, ..problem }
    };
    match TrustMaterial::load_at(&sources, material.lists(), now) {
        Ok((loaded, problems)) => (loaded.root_store(), problems.into_iter().map(of_issuer).collect()),
        Err(unusable) => (RootCertStore::empty(), unusable.problems.into_iter().map(of_issuer).collect()),
    }
}

fn unfetchable(issuer: usize, error: &reqwest::Error) -> MaterialProblem {
    MaterialProblem {
        part: MaterialPart::IssuerAnchor { issuer, file: 0 },
        fatal: true,
        message: format!("the keys of an issuer cannot be fetched: {error}"),
        remedy: "start mantlet again".to_owned(),
    }
}
