//! The composition root: a configuration becomes bound listeners and running tasks, changes with its files, and ends in order.
//!
//! Everything that changes while the process runs is written here, by one task: the running configuration, the trust material
//! in use, and the end of the process.

mod edges;
mod enrol;
mod files;
mod listeners;
mod process;
mod reload;
mod revoke;
mod service_manager;
mod shutdown;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin::{self, AdminState};
use crate::config::{Config, Problems};
use crate::enrolment;
use crate::net::{Address, BindError, Listener, Workers};
use crate::proxy::connections::Connections;
use crate::proxy::metrics::ProxyMetrics;
use crate::proxy::refusals::Refusals;
use crate::revocation::{Engine, OwnAlarm, Prepared, read_files};
use crate::token;
use crate::x509::{
    self, CertificateInfo, GivenMaterial, MaterialProblem, MaterialSources, PublicCertificate, PublicSources,
    RevocationLists, TrustMaterial, UnusableMaterial,
};

use files::WatchedFiles;
use listeners::Listeners;
use service_manager::{Notice, ServiceManager};

pub use process::harden;

/// Why the sidecar does not start, or why a change is not taken up.
#[derive(Debug, Error)]
pub enum AppError {
    /// The configuration file has errors.
    #[error("{0}")]
    Config(#[from] Problems),
    /// The certificates, keys or CRLs are not usable.
    #[error("{}", listed(.0))]
    Material(Vec<MaterialProblem>),
    /// Addresses that cannot be listened on.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Bind(Vec<BindError>),
    /// The TLS library does not take the material.
    #[error("the TLS library refuses our certificate and key: {0}")]
    Tls(#[from] rustls::Error),
    /// What runs was made from a file, and there is something else in its place now.
    #[error("{}: is no regular file any more, expected one; put the file back", .0.display())]
    Irregular(PathBuf),
    /// Neither authority nor agent has certified us for what the configuration says now.
    #[error("{giver} has not certified {name} yet: {reason}")]
    NotEnrolled {
        /// The address of the authority or of the agent.
        giver: String,
        /// The name that it knows us by.
        name: String,
        /// What is missing.
        reason: String,
    },
    /// The system gives no threads, signals or event queue.
    #[error("the system refuses what a start needs: {0}")]
    System(#[from] std::io::Error),
}

fn listed(problems: &[MaterialProblem]) -> String {
    let fatal = problems.iter().filter(|problem| problem.fatal);
    fatal.map(|problem| format!("{}; {}", problem.message, problem.remedy)).collect::<Vec<_>>().join("\n")
}

/// The running sidecar.
pub struct App {
    config: Config,
    /// The trust material in use, where every handshake sees it.
    trust: Arc<ArcSwap<TrustMaterial>>,
    revocation: Engine,
    enrolment: enrolment::Engine,
    /// What the configuration asks for waits until we have a certificate.
    waits_for_certificate: bool,
    /// The CRLs in use, which the engine replaces and every handshake looks into.
    lists: Arc<RevocationLists>,
    /// What was last told of our own certificate's revocation.
    own_alarm: Option<OwnAlarm>,
    /// What keeps the keys of the issuers of end-user tokens.
    tokens: token::Engine,
    /// The certificates of edge listeners in use, with the names of these.
    public: Vec<(String, CertificateInfo)>,
    workers: Workers,
    connections: Arc<Connections>,
    refusals: Arc<Refusals>,
    metrics: ProxyMetrics,
    listeners: Listeners,
    admin: Option<RunningAdmin>,
    state: Arc<AdminState>,
    manager: ServiceManager,
    is_draining: bool,
}

struct RunningAdmin {
    address: Address,
    stop: CancellationToken,
}

/// What ends or changes a running sidecar.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl App {
    /// Reads every file, binds every address and starts to serve. Nothing is served if anything fails. Where an authority or an agent
    /// has to certify us first, the listeners are bound once it has; until then the admin listener alone answers, and says what is missing.
    ///
    /// # Errors
    /// Every problem of the first stage that has any.
    pub fn start(config: Config) -> Result<Self, AppError> {
        let (engine, lists) = Engine::new();
        let mut registry = Registry::default();
        let tokens = token::Engine::new(&mut registry);
        let mut enrolment = enrolment::Engine::new(&lists);
        let enrolling = enrolment.prepare(&config, SystemTime::now()).map_err(AppError::Material)?;
        warn_of(&enrolling.findings);
        let mut loaded = None;
        if enrolling.is_enrolled() {
            let loaded = loaded.insert(load(&config, enrolling.given(), &engine, &lists, &tokens)?);
            warn_of(&std::mem::take(&mut loaded.findings));
        }
        enrolment.install(enrolling, SystemTime::now());
        let workers = Workers::start(config.runtime.workers)?;
        let connections = Arc::new(Connections::new(workers.count()));
        let refusals = Arc::new(Refusals::default());
        let metrics = ProxyMetrics::register(&mut registry);
        let state = AdminState::new(registry, Arc::clone(&connections), Arc::clone(&refusals));
        let mut app = Self {
            listeners: Listeners::default(),
            admin: None,
            config: config.clone(),
            trust: Arc::new(ArcSwap::from_pointee(TrustMaterial::nothing(&lists))),
            revocation: engine,
            enrolment,
            waits_for_certificate: loaded.is_none(),
            lists,
            own_alarm: None,
            tokens,
            public: Vec::new(),
            workers,
            connections,
            refusals,
            metrics,
            state: Arc::new(state),
            manager: ServiceManager::from_environment(),
            is_draining: false,
        };
        match loaded {
            Some(loaded) => app.take_up(config, loaded)?,
            None => app.wait_for_certificate(config)?,
        }
        Ok(app)
    }

    fn tell_of_start(&self, file: &Path) {
        let trust = self.trust.load();
        let own = trust.own.as_ref();
        info!(
            config = %file.display(),
            version = env!("CARGO_PKG_VERSION"),
            identity = own.map(|own| display(&own.names)),
            serial = own.map(|own| display(&own.serial)),
            not_after = own.map(|own| display(x509::Instant(own.not_after))),
            "started"
        );
    }

    /// Serves until a signal ends it.
    async fn run(mut self, mut files: WatchedFiles, mut signals: Signals) {
        self.tell_start();
        let mut swept = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(swept + self.sweep_interval()) => {
                    swept = tokio::time::Instant::now();
                    self.sweep();
                }
                event = self.revocation.event() => self.take_revocation_event(event),
                event = self.tokens.event() => self.take_token_event(event),
                event = self.enrolment.event() => self.take_enrolment_event(event, &mut files),
                () = files.changed() => self.reload(&mut files, "a file changed"),
                _ = signals.hangup.recv() => {
                    let is_told = self.manager.is_started();
                    if is_told {
                        self.manager.tell(&Notice::Reloading);
                    }
                    self.reload(&mut files, "SIGHUP");
                    if is_told {
                        let failure = self.state.reload.record().last_error;
                        self.manager.tell(&Notice::Reloaded(failure.map_or(Ok(()), |failure| Err(failure.message))));
                    }
                    self.revocation.ask_now(SystemTime::now());
                    self.tokens.ask_now(SystemTime::now());
                    self.enrolment.ask_now(SystemTime::now());
                }
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
            }
        }
        self.shut_down(&mut signals, &mut files).await;
    }

    fn sweep(&mut self) {
        self.connections.sweep(&self.config.timeouts, SystemTime::now());
        self.listeners.prune();
        self.tick_revocation();
        self.tick_tokens();
        if self.enrolment.tick(SystemTime::now()) {
            self.show();
        }
        self.tell_start();
        self.manager.keep_alive();
        process::let_memory_go();
    }

    /// The start is over once there is a certificate, and with it something is served.
    fn tell_start(&mut self) {
        self.manager.tell_start(!self.waits_for_certificate || !self.listeners.is_empty());
    }

    /// Looks at what an issuer of tokens answered, or is to be asked.
    fn take_token_event(&mut self, event: token::Event) {
        if self.tokens.absorb(event, SystemTime::now()).is_news {
            self.show();
        }
    }

    /// Lets the keys of issuers age.
    fn tick_tokens(&mut self) {
        if self.tokens.tick(SystemTime::now()) {
            self.show();
        }
    }

    /// Often enough for the shortest timeout to be kept within a quarter of it, and for the service manager.
    fn sweep_interval(&self) -> Duration {
        let timeouts = &self.config.timeouts;
        let all = [
            timeouts.request_header,
            timeouts.idle,
            timeouts.upstream_idle,
            timeouts.drain,
            timeouts.max_connection_age,
        ];
        let shortest = all.into_iter().min().unwrap_or(Duration::from_secs(1));
        let sweep = (shortest / 4).clamp(Duration::from_millis(20), Duration::from_millis(500));
        self.manager.interval().map_or(sweep, |interval| sweep.min(interval))
    }

    /// The addresses that are listened on, by listener name: the ports that the kernel chose included.
    pub fn addresses(&self) -> Vec<(String, Address)> {
        self.listeners.addresses()
    }
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl RunningAdmin {
    fn start(listener: Listener, state: &Arc<AdminState>) -> Self {
        let stop = CancellationToken::new();
        let address = listener.address().clone();
        info!(listener = "admin", %address, "listening");
        tokio::spawn(admin::serve(listener, Arc::clone(state), stop.clone()));
        Self { address, stop }
    }
}

/// Certificates, CRLs and issuers of tokens that were read and are not in use yet.
struct Loaded {
    material: Arc<TrustMaterial>,
    revocation: Prepared,
    issuers: token::Prepared,
    /// The certificates of edge listeners, by the names of these.
    public: HashMap<String, PublicCertificate>,
    /// What is worth knowing and prevents nothing.
    findings: Vec<MaterialProblem>,
}

/// Reads the certificates and the CRLs that a configuration names, beside what was given to us, and makes its issuers of tokens
/// ready.
fn load(
    config: &Config,
    given: Option<&Arc<GivenMaterial>>,
    engine: &Engine,
    lists: &Arc<RevocationLists>,
    tokens: &token::Engine,
) -> Result<Loaded, AppError> {
    let (sources, now) = (MaterialSources::from(config), SystemTime::now());
    let loaded = match given {
        Some(given) => TrustMaterial::load_given(&sources, given, lists, now),
        None => TrustMaterial::load_at(&sources, lists, now),
    };
    let (material, mut findings) = loaded.map_err(|unusable| {
        let UnusableMaterial { mut problems, crl_issuers } = unusable;
        // What is wrong with the CRLs is told in the same run.
        let files =
            config.revocation.iter().flat_map(|settings| read_files(settings, &crl_issuers, SystemTime::now()).1);
        problems.extend(files);
        AppError::Material(problems)
    })?;
    let issuers = tokens.prepare(&config.issuers, &material, now);
    let (mut revocation, mut issuers) = match (engine.prepare(config.revocation.as_ref(), &material, now), issuers) {
        (Ok(revocation), Ok(issuers)) => (revocation, issuers),
        (revocation, issuers) => {
            let problems = revocation.err().into_iter().chain(issuers.err()).flatten();
            return Err(AppError::Material(problems.collect()));
        }
    };
    findings.append(&mut revocation.findings);
    findings.append(&mut issuers.findings);
    let public = load_public(config, &mut findings)?;
    Ok(Loaded { material: Arc::new(material), revocation, issuers, public, findings })
}

/// Reads the certificates that edge listeners present.
fn load_public(
    config: &Config,
    findings: &mut Vec<MaterialProblem>,
) -> Result<HashMap<String, PublicCertificate>, AppError> {
    let (mut public, mut problems) = (HashMap::new(), Vec::new());
    for (index, edge) in config.edge.iter().enumerate() {
        match PublicCertificate::load(&PublicSources::from(edge), index, SystemTime::now()) {
            Ok((certificate, notes)) => {
                findings.extend(notes);
                public.insert(edge.name.value.clone(), certificate);
            }
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(public) } else { Err(AppError::Material(problems)) }
}

fn warn_of(findings: &[MaterialProblem]) {
    for finding in findings {
        warn!(remedy = finding.remedy, "{}", finding.message);
    }
}

/// Loads a configuration, starts and serves until a signal ends the process.
///
/// # Errors
/// Why it does not start.
pub fn run(file: &Path, config: Config) -> Result<(), AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Files are noted before they are read, and signals are caught before anything runs, so that none is missed.
        let (files, signals) = (WatchedFiles::new(&config), Signals::new()?);
        let app = App::start(config)?;
        app.tell_of_start(file);
        app.run(files, signals).await;
        Ok(())
    })
}
