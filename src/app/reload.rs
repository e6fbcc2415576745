//! Taking up a configuration with its trust material: made and bound as a whole, then put to use as a whole, or not at all.
//! Then every live connection is judged again.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tracing::{info, warn};

use crate::admin::{Running, UpstreamStatus};
use crate::config::{self, Config};
use crate::net::{Address, Listener};
use crate::proxy::Shared;
use crate::x509::{self, CertificateInfo, PublicCertificate};

use super::files::WatchedFiles;
use super::listeners::{Bound, Making};
use super::revoke::Change;
use super::{App, AppError, Loaded, RunningAdmin, load, warn_of};

impl App {
    /// Reads everything again. What cannot be used leaves what runs as it is, says why, and is tried again.
    pub(super) fn reload(&mut self, files: &mut WatchedFiles, cause: &str) {
        files.note();
        let irregular = files.irregular().map(|file| AppError::Irregular(file.to_owned()));
        let outcome = irregular.map_or_else(|| self.read_and_take_up(), Err);
        self.settle_reload(outcome, files, cause);
    }

    /// Notes how taking something up went.
    pub(super) fn settle_reload(&mut self, outcome: Result<(), AppError>, files: &mut WatchedFiles, cause: &str) {
        match outcome {
            Ok(()) => {
                files.watch(&self.config);
                self.state.reload.succeeded();
                let trust = self.trust.load();
                let own = trust.own.as_ref();
                info!(
                    cause,
                    serial = own.map(|own| display(&own.serial)),
                    not_after = own.map(|own| display(x509::Instant(own.not_after))),
                    "reloaded"
                );
            }
            Err(error) => {
                // What waits for the authority is taken up once that has answered.
                if !matches!(error, AppError::NotEnrolled { .. }) {
                    files.try_again();
                }
                let before = self.state.reload.record().last_error;
                self.state.reload.failed(error.to_string());
                if before.is_none_or(|before| before.message != error.to_string()) {
                    warn!(cause, %error, "the change is not taken up; what ran before goes on, and it is tried again");
                }
            }
        }
    }

    fn read_and_take_up(&mut self) -> Result<(), AppError> {
        let (config, _) = Config::load(&self.config.path)?;
        let enrolling = self.enrolment.prepare(&config, SystemTime::now()).map_err(AppError::Material)?;
        warn_of(&enrolling.findings);
        if !enrolling.is_enrolled() {
            return self.enrol_first(config, enrolling);
        }
        let mut loaded = load(&config, enrolling.given(), &self.revocation, &self.lists, &self.tokens)?;
        let findings = std::mem::take(&mut loaded.findings);
        self.take_up(config, loaded)?;
        self.enrolment.install(enrolling, SystemTime::now());
        self.waits_for_certificate = false;
        self.show();
        warn_of(&findings);
        Ok(())
    }

    /// Puts a configuration and its material to use. On an error nothing of it is.
    pub(super) fn take_up(&mut self, config: Config, loaded: Loaded) -> Result<(), AppError> {
        let Loaded { material, revocation, issuers, public, .. } = loaded;
        let material = &material;
        let all = config.limits != self.config.limits
            || config.timeouts != self.config.timeouts
            || config.tls != self.config.tls
            || config.log.access != self.config.log.access;
        let (mut bound, admin) = self.bind(&config)?;
        let shared = Shared {
            connections: Arc::clone(&self.connections),
            refusals: Arc::clone(&self.refusals),
            trust: Arc::clone(&self.trust),
            limits: config.limits.clone(),
            timeouts: config.timeouts.clone(),
            access_log: config.log.access,
        };
        let making = Making {
            config: &config,
            material,
            public: &public,
            issuers: issuers.issuers(),
            shared,
            metrics: &self.metrics,
            workers: &self.workers,
            all,
        };
        let prepared = self.listeners.prepare(&making, &mut bound)?;
        // From here on nothing can fail.
        // At no time is a certificate looked up where its CRL is not yet there, or is there no more.
        let is_checked = config.revocation.is_some();
        let mut revocation = Some(revocation);
        if let Some(revocation) = revocation.take_if(|_| is_checked) {
            self.revocation.install(revocation);
        }
        self.listeners.install(prepared, &making);
        self.trust.store(Arc::clone(material));
        if let Some(revocation) = revocation {
            self.revocation.install(revocation);
        }
        self.tokens.install(issuers);
        self.install_admin(&config, admin);
        self.refusals.set_trusted_anchors(&material.anchors);
        self.public = config.edge.iter().filter_map(|edge| public_info(edge, &public)).collect();
        if config.runtime != self.config.runtime
            || config.log.level != self.config.log.level
            || config.log.format != self.config.log.format
        {
            warn!("[runtime] and the log's level and format take effect at the next start");
        }
        self.config = config;
        self.revocation.tick(SystemTime::now());
        self.tokens.tick(SystemTime::now());
        self.show();
        self.judge_live_connections(Change::Everything);
        Ok(())
    }

    /// Binds every address that is new, or none of them.
    fn bind(&self, config: &Config) -> Result<(Bound, Option<Listener>), AppError> {
        let (mut bound, mut failures) = (Bound::new(), Vec::new());
        for (name, address) in self.listeners.unbound(config) {
            match self.listeners.socket_at(address).map_or_else(|| Listener::bind(address).map(Arc::new), Ok) {
                Ok(listener) => drop(bound.insert(name.to_owned(), listener)),
                Err(error) => failures.push(error),
            }
        }
        let wanted = config.admin.as_ref().map(|admin| &admin.listen);
        let present = self.config.admin.as_ref().map(|admin| &admin.listen).filter(|_| self.admin.is_some());
        let admin = wanted.filter(|wanted| Some(*wanted) != present).map(|wanted| Listener::bind(&wanted.value));
        let admin = match admin {
            Some(Ok(listener)) => Some(listener),
            Some(Err(error)) => {
                failures.push(error);
                None
            }
            None => None,
        };
        if failures.is_empty() { Ok((bound, admin)) } else { Err(AppError::Bind(failures)) }
    }

    pub(super) fn install_admin(&mut self, config: &Config, listener: Option<Listener>) {
        if (listener.is_some() || config.admin.is_none())
            && let Some(before) = self.admin.take()
        {
            before.stop.cancel();
        }
        if let Some(listener) = listener {
            self.admin = Some(RunningAdmin::start(listener, &self.state));
        }
    }

    /// Shows status what runs now.
    pub(super) fn show(&mut self) {
        let config_file: PathBuf = self.config.path.clone();
        let trust = self.trust.load();
        let revocation = self.revocation.status(&trust, SystemTime::now());
        self.tell_own_alarm(revocation.own.as_ref());
        self.state.running.store(Arc::new(Running {
            config_file,
            own: trust.own.clone(),
            enrolment: self.enrolment.status(SystemTime::now()),
            anchors: trust.anchors.clone(),
            public: self.public.clone(),
            revocation,
            revocation_checked: self.config.revocation.is_some(),
            issuers: self.tokens.status(),
            is_nobody_let_in: self.is_nobody_let_in(),
            listeners: self.listeners.status(),
            upstreams: upstreams(&self.config),
            draining: self.is_draining,
        }));
    }

    /// The admin address that is listened on.
    pub fn admin_address(&self) -> Option<&Address> {
        self.admin.as_ref().map(|admin| &admin.address)
    }
}

/// The name of an edge listener, and what its certificate says of itself.
fn public_info(edge: &config::Edge, all: &HashMap<String, PublicCertificate>) -> Option<(String, CertificateInfo)> {
    let name = &edge.name.value;
    all.get(name).map(|public| (name.clone(), public.info.clone()))
}

fn upstreams(config: &Config) -> Vec<UpstreamStatus> {
    let status = |upstream: &config::Upstream| UpstreamStatus {
        name: upstream.name.value.clone(),
        target: upstream.connect_to.value.to_string(),
        peers: upstream.expect.iter().map(ToString::to_string).collect(),
    };
    config.upstream.iter().map(status).collect()
}
