//! Taking up a configuration with its trust material: made and bound as a whole, then put to use as a whole, or not at all.
//! Then every live connection is judged again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use tracing::{info, warn};

use crate::admin::Running;
use crate::config::Config;
use crate::net::{Address, Listener};
use crate::policy::AccessRequest;
use crate::proxy::Direction;
use crate::proxy::Shared;
use crate::proxy::connections::{EndReason, Live, Phase};
use crate::x509::{self, MaterialSources, Refusal, RefusalReason, TrustMaterial, Usage, VerifiedPath};

use super::files::WatchedFiles;
use super::listeners::{Bound, Making};
use super::{App, AppError, RunningAdmin, warn_of};

/// The verdicts on end-entity certificates, by fingerprint and listener.
type Verdicts = HashMap<([u8; 32], Arc<str>), Option<EndReason>>;

impl App {
    /// Reads everything again. What cannot be used leaves what runs as it is, says why, and is tried again.
    pub(super) fn reload(&mut self, files: &mut WatchedFiles, cause: &str) {
        files.note();
        let irregular = files.irregular().map(|file| AppError::Irregular(file.to_owned()));
        match irregular.map_or_else(|| self.read_and_take_up(), Err) {
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
                files.try_again();
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
        let (material, findings) = TrustMaterial::load(&MaterialSources::from(&config)).map_err(AppError::Material)?;
        self.take_up(config, &Arc::new(material))?;
        warn_of(&findings);
        Ok(())
    }

    /// Puts a configuration and its material to use. On an error nothing of it is.
    pub(super) fn take_up(&mut self, config: Config, material: &Arc<TrustMaterial>) -> Result<(), AppError> {
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
        let making = Making { config: &config, material, shared, metrics: &self.metrics, workers: &self.workers, all };
        let prepared = self.listeners.prepare(&making, &mut bound)?;
        // From here on nothing can fail.
        self.listeners.install(prepared, &making);
        self.trust.store(Arc::clone(material));
        self.install_admin(&config, admin);
        self.refusals.set_trusted_anchors(&material.anchors);
        if config.runtime != self.config.runtime
            || config.log.level != self.config.log.level
            || config.log.format != self.config.log.format
        {
            warn!("[runtime] and the log's level and format take effect at the next start");
        }
        self.config = config;
        self.show();
        self.judge_live_connections();
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

    fn install_admin(&mut self, config: &Config, listener: Option<Listener>) {
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
    pub(super) fn show(&self) {
        let config_file: PathBuf = self.config.path.clone();
        let trust = self.trust.load();
        self.state.running.store(Arc::new(Running {
            config_file,
            own: trust.own.clone(),
            anchors: trust.anchors.clone(),
            crls: trust.crls().cloned().collect(),
            revocation_checked: self.config.revocation.is_some(),
            listeners: self.listeners.status(),
            draining: self.is_draining,
        }));
    }

    /// Judges live connections by the material and the policy as they are now. What a handshake under way lets in compares the
    /// trust that judged it with the trust in use, once it is on the list. Only those that would be refused today are cut,
    /// at once and in the middle of whatever they carry.
    fn judge_live_connections(&self) {
        let now = SystemTime::now();
        let verdicts = RefCell::new(HashMap::new());
        let cut = self.connections.judge_again(|live| {
            if live.phase() == Phase::Cut {
                return None;
            }
            let reason = self.withdrawn(live, now, &mut verdicts.borrow_mut())?;
            let peer = live.peer.as_ref().map(|peer| peer.identity.to_string());
            warn!(
                listener = &*live.listener,
                direction = live.direction.label(),
                peer,
                peer.address = %live.peer_address,
                reason = reason.label(),
                "connection cut"
            );
            Some((Phase::Cut, reason))
        });
        if cut > 0 {
            info!(connections = cut, "live connections were cut because trust or policy changed");
        }
    }

    /// Why the peer of a connection would be refused today. Connections of one peer to one listener share one verdict.
    fn withdrawn(&self, live: &Live, now: SystemTime, verdicts: &mut Verdicts) -> Option<EndReason> {
        let peer = live.peer.as_ref()?;
        let trust = self.trust.load();
        if let (Some(path), Some((end_entity, presented))) = (&peer.path, peer.chain.split_first()) {
            let key = (path.end_entity.fingerprint, Arc::clone(&live.listener));
            let verdict = *verdicts.entry(key).or_insert_with(|| {
                let verdict = match live.direction {
                    Direction::Inbound => trust.verify(end_entity, presented, Usage::Client, now),
                    Direction::Outbound => trust
                        .verify(end_entity, presented, Usage::Server, now)
                        .and_then(|path| self.expected(live, path, end_entity)),
                };
                verdict.err().map(|refusal| match refusal.reason {
                    RefusalReason::Revoked { .. } => EndReason::CertificateRevoked,
                    RefusalReason::Expired { .. } => EndReason::CertificateExpired,
                    RefusalReason::NameMismatch { .. } => EndReason::NoLongerAllowed,
                    _ => EndReason::NoLongerTrusted,
                })
            });
            if verdict.is_some() {
                return verdict;
            }
        }
        let rules = self.listeners.rules(&live.listener).filter(|_| live.direction == Direction::Inbound)?;
        rules.policy.authorize(AccessRequest { peer: &peer.identity }).err().map(|_| EndReason::NoLongerAllowed)
    }

    /// Whether a listener still expects the server that a connection goes to. One that is gone expects what it did.
    fn expected(
        &self,
        live: &Live,
        path: VerifiedPath,
        end_entity: &CertificateDer<'_>,
    ) -> Result<VerifiedPath, Box<Refusal>> {
        match self.config.outbound.iter().find(|outbound| outbound.name.value == *live.listener) {
            Some(outbound) => path.expect_one_of(end_entity, &outbound.expect),
            None => Ok(path),
        }
    }

    /// The admin address that is listened on.
    pub fn admin_address(&self) -> Option<&Address> {
        self.admin.as_ref().map(|admin| &admin.address)
    }
}
