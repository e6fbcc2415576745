//! An engine whose clock the test turns.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mantlet::config::{CrlSource, Located, Revocation};
use mantlet::revocation::{CrlStatus, Engine, RevocationStatus, SourceStatus};
use mantlet::x509::{MaterialProblem, MaterialSources, RevocationLists, TrustMaterial, Usage};
use rcgen::Certificate;
use rustls_pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// An engine, what it is told, and its clock.
pub(super) struct Rig {
    pub(super) engine: Engine,
    pub(super) material: TrustMaterial,
    pub(super) settings: Revocation,
    pub(super) now: SystemTime,
    lists: Arc<RevocationLists>,
    runtime: Runtime,
    folder: Arc<TempDir>,
}

impl Rig {
    /// Trusts these anchors, and knows these settings, without using them yet.
    pub(super) fn new(anchors: &[&Certificate], settings: Revocation) -> Self {
        Self::within(Arc::new(tempfile::tempdir().expect("folder")), anchors, settings)
    }

    fn within(folder: Arc<TempDir>, anchors: &[&Certificate], settings: Revocation) -> Self {
        let (engine, lists) = Engine::new();
        let now = crate::cert::now();
        let material = load(folder.path(), anchors, &settings, &lists, now);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { engine, material, settings, now, lists, runtime, folder }
    }

    /// With sources from addresses and files alike, at work.
    pub(super) fn with(anchors: &[&Certificate], sources: &[String]) -> Self {
        let mut rig = Self::new(anchors, Revocation::of(sources.iter().map(|text| source(text))));
        rig.start();
        rig
    }

    /// The same folder and anchors in a process that starts anew.
    pub(super) fn restarted(&self, anchors: &[&Certificate]) -> Self {
        let mut rig = Self::within(Arc::clone(&self.folder), anchors, self.settings.clone());
        rig.now = self.now;
        rig
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Trusts these anchors from now on.
    pub(super) fn trust(&mut self, anchors: &[&Certificate]) {
        self.material = load(self.folder.path(), anchors, &self.settings, &self.lists, self.now);
    }

    /// Lets what runs beside get on.
    pub(super) fn idle(&self) {
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
    }

    /// Takes the settings up and asks every source once.
    #[track_caller]
    pub(super) fn start(&mut self) -> Vec<String> {
        let findings = self.prepare().expect("usable");
        self.settle();
        findings.into_iter().map(|finding| finding.message).collect()
    }

    pub(super) fn prepare(&mut self) -> Result<Vec<MaterialProblem>, Vec<MaterialProblem>> {
        let _within = self.runtime.enter();
        let mut prepared = self.engine.prepare(Some(&self.settings), &self.material, self.now)?;
        let findings = std::mem::take(&mut prepared.findings);
        self.engine.install(prepared);
        Ok(findings)
    }

    /// Lets time pass, and waits for whatever is asked then.
    pub(super) fn pass(&mut self, span: Duration) {
        self.now += span;
        self.settle();
    }

    /// Asks what is due, and waits for the answers.
    pub(super) fn settle(&mut self) -> bool {
        let now = self.now;
        let engine = &mut self.engine;
        self.runtime.block_on(async {
            let mut changed = engine.tick(now);
            while engine.is_waiting() {
                let event = engine.event().await;
                changed |= engine.absorb(event, now).changed;
            }
            changed
        })
    }

    /// Waits for one event, such as a CRL that a verdict found missing, and for what follows from it.
    pub(super) fn hear(&mut self) {
        self.hear_one();
        self.settle();
    }

    /// Asks what is due, and waits for nothing.
    pub(super) fn ask(&mut self) {
        let (engine, now) = (&mut self.engine, self.now);
        self.runtime.block_on(async { engine.tick(now) });
    }

    /// Waits for one event, and for nothing that follows from it.
    pub(super) fn hear_one(&mut self) {
        let now = self.now;
        let engine = &mut self.engine;
        self.runtime.block_on(async {
            let event = engine.event().await;
            engine.absorb(event, now);
        });
    }

    /// The verdict on a client's chain: `good`, or the label of the refusal.
    pub(super) fn verdict(&self, chain: &[&Certificate]) -> &'static str {
        let ders: Vec<CertificateDer<'_>> = chain.iter().map(|certificate| certificate.der().clone()).collect();
        let verdict = self.material.verify(&ders[0], &ders[1..], Usage::Client, self.now);
        verdict.map_or_else(|refusal| refusal.reason.label(), |_| "good")
    }

    pub(super) fn status(&self) -> RevocationStatus {
        self.engine.status(&self.material, self.now)
    }

    pub(super) fn source(&self, position: usize) -> SourceStatus {
        self.status().sources[position].clone()
    }

    /// Why the first source failed the last time.
    #[track_caller]
    pub(super) fn error(&self) -> String {
        self.source(0).last_error.expect("an error")
    }

    pub(super) fn crl(&self) -> CrlStatus {
        self.status().crls[0].clone()
    }

    /// The states of the CRLs in use.
    pub(super) fn states(&self) -> Vec<&'static str> {
        self.status().crls.iter().map(|crl| crl.state(self.now).label()).collect()
    }

    /// The numbers of the CRLs in use.
    pub(super) fn numbers(&self) -> Vec<String> {
        self.status().crls.iter().map(|crl| crl.info.number.to_string()).collect()
    }

    pub(super) fn versions(&self) -> u64 {
        self.lists.version()
    }
}

fn load(
    folder: &Path,
    anchors: &[&Certificate],
    settings: &Revocation,
    lists: &Arc<RevocationLists>,
    now: SystemTime,
) -> TrustMaterial {
    let path = folder.join("anchors.pem");
    std::fs::write(&path, anchors.iter().map(|anchor| anchor.pem()).collect::<String>()).expect("written");
    let sources = MaterialSources {
        certificate: None,
        private_key: None,
        anchors: vec![path],
        intermediates: Vec::new(),
        max_depth: 4,
        revocation: Some(settings.into()),
        kept_in: None,
    };
    TrustMaterial::load_at(&sources, lists, now).expect("usable").0
}

pub(super) fn source(text: &str) -> CrlSource {
    match text.parse() {
        Ok(url) => CrlSource::Url(url),
        Err(_) => CrlSource::Path(PathBuf::from(text)),
    }
}

pub(super) fn located<T>(value: T) -> Located<T> {
    Located { value, span: 0..0 }
}
