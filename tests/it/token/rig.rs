//! An engine whose clock the test turns, an issuer's HTTPS server, and tokens to judge.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mantlet::config::{Issuer, Located, TokenAlgorithm};
use mantlet::identity::User;
use mantlet::token::{Accepted, Engine, IssuerStatus, Issuers, TokenError};
use mantlet::x509::{MaterialProblem, MaterialSources, RevocationLists, TrustMaterial};
use prometheus_client::registry::Registry;
use tokio::runtime::Runtime;

use crate::support::key_server::{Answer, KeyServer};
use crate::support::pki::Pki;
use crate::support::tokens::{AUDIENCE, ISS, TokenKey, this_second};

pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// An engine, what it is told, and its clock.
pub(super) struct Rig {
    pub(super) engine: Engine,
    pub(super) issuers: Issuers,
    pub(super) settings: Vec<Issuer>,
    pub(super) now: SystemTime,
    pub(super) registry: Registry,
    material: TrustMaterial,
    runtime: Runtime,
}

/// The settings of an issuer whose keys are at this address.
pub(super) fn issuer(name: &str, iss: &str, algorithm: TokenAlgorithm, url: &str) -> Issuer {
    Issuer::of(name, iss, AUDIENCE, algorithm, url.parse().expect("an https address"))
}

/// The settings of the issuer `market`.
pub(super) fn market(algorithm: TokenAlgorithm, server: &KeyServer) -> Issuer {
    issuer("market", ISS, algorithm, &server.url("/jwks.json"))
}

impl Rig {
    /// Trusts this authority, and knows these issuers, without having asked any of them.
    pub(super) fn new(pki: &Pki, settings: Vec<Issuer>) -> Self {
        let (lists, _) = RevocationLists::new();
        let sources = MaterialSources {
            certificate: None,
            private_key: None,
            anchors: vec![pki.anchors()],
            intermediates: Vec::new(),
            max_depth: 4,
            revocation: None,
            kept_in: None,
        };
        let material = TrustMaterial::load(&sources, &lists).expect("usable").0;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut registry = Registry::default();
        let engine = Engine::new(&mut registry);
        let (issuers, now) = (Issuers::default(), this_second());
        let mut rig = Self { engine, issuers, settings, now, registry, material, runtime };
        rig.prepare().expect("usable");
        rig
    }

    /// The same, after every issuer was asked once.
    pub(super) fn started(pki: &Pki, settings: Vec<Issuer>) -> Self {
        let mut rig = Self::new(pki, settings);
        rig.settle();
        rig
    }

    /// One issuer that signs with one key.
    pub(super) fn of_key(key: &TokenKey) -> (Self, KeyServer) {
        let pki = Pki::new();
        let server = KeyServer::start(&pki, Answer::keys(&[key]));
        let algorithm = TokenAlgorithm::named(key.alg()).expect("an algorithm");
        (Self::started(&pki, vec![market(algorithm, &server)]), server)
    }

    /// Takes the settings up, as a reload does.
    pub(super) fn prepare(&mut self) -> Result<Vec<MaterialProblem>, Vec<MaterialProblem>> {
        let mut prepared = self.engine.prepare(&self.settings, &self.material, self.now)?;
        self.issuers = prepared.issuers();
        let findings = std::mem::take(&mut prepared.findings);
        self.engine.install(prepared);
        Ok(findings)
    }

    /// Asks what is due, and waits for the answers.
    pub(super) fn settle(&mut self) {
        let (engine, now) = (&mut self.engine, self.now);
        self.runtime.block_on(async {
            engine.tick(now);
            while engine.is_waiting() {
                let event = engine.event().await;
                engine.absorb(event, now);
            }
        });
    }

    /// Asks what is due, and waits for nothing.
    pub(super) fn ask(&mut self) {
        let (engine, now) = (&mut self.engine, self.now);
        self.runtime.block_on(async { engine.tick(now) });
    }

    /// Lets time pass, and waits for whatever is asked then.
    pub(super) fn pass(&mut self, span: Duration) {
        self.now += span;
        self.settle();
    }

    /// The verdict on a token, while the engine works.
    pub(super) fn verify(&mut self, token: &str) -> Result<Arc<User>, TokenError> {
        self.verify_for(token, &Accepted::All)
    }

    pub(super) fn verify_for(&mut self, token: &str, accepted: &Accepted) -> Result<Arc<User>, TokenError> {
        let (engine, issuers, now) = (&mut self.engine, self.issuers.clone(), self.now);
        self.runtime.block_on(async {
            let mut verdict = pin!(issuers.verify(token, accepted, now));
            loop {
                tokio::select! {
                    biased;
                    verdict = &mut verdict => return verdict,
                    event = engine.event() => drop(engine.absorb(event, now)),
                }
            }
        })
    }

    /// The verdicts on tokens that all come at the same moment.
    pub(super) fn verify_all(&mut self, tokens: &[String]) -> Vec<Result<Arc<User>, TokenError>> {
        let (engine, issuers, now) = (&mut self.engine, self.issuers.clone(), self.now);
        self.runtime.block_on(async {
            let verdicts = tokens.iter().map(|token| issuers.verify(token, &Accepted::All, now));
            let mut verdicts = pin!(futures_util::future::join_all(verdicts));
            loop {
                tokio::select! {
                    biased;
                    verdicts = &mut verdicts => return verdicts,
                    event = engine.event() => drop(engine.absorb(event, now)),
                }
            }
        })
    }

    /// What is said of a token in the log: `good` where there is nothing to say.
    pub(super) fn said(&mut self, token: &str) -> String {
        self.verify(token).map_or_else(|error| error.to_string(), |_| "good".to_owned())
    }

    /// The verdict by its name in metrics.
    pub(super) fn verdict(&mut self, token: &str) -> &'static str {
        self.verify(token).map_or_else(|error| error.label(), |_| "good")
    }

    pub(super) fn status(&self) -> IssuerStatus {
        self.engine.status()[0].clone()
    }

    pub(super) fn state(&self) -> &'static str {
        self.status().state(self.now).label()
    }

    /// Why the last attempt failed.
    #[track_caller]
    pub(super) fn error(&self) -> String {
        self.status().last_error.expect("an error").to_string()
    }

    pub(super) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("encoded");
        text
    }
}

pub(super) fn located(path: PathBuf) -> Located<PathBuf> {
    Located { value: path, span: 0..0 }
}
