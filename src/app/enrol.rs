//! Serving by what an authority certifies, or an agent gives: waiting for the first certificate, and taking up each later one.

use std::time::SystemTime;

use tracing::info;

use crate::config::{Config, Identity};
use crate::enrolment::{Event, Prepared};
use crate::net::Listener;

use super::files::WatchedFiles;
use super::{App, AppError, load, warn_of};

impl App {
    /// Looks at what the authority or the agent brought. A process that ends takes up what changes the connections that are left, and
    /// nothing that would begin to serve.
    pub(super) fn take_enrolment_event(&mut self, event: Event, files: &mut WatchedFiles) {
        let absorbed = self.enrolment.absorb(event, SystemTime::now());
        if absorbed.has_new_material && !(self.is_draining && self.waits_for_certificate) {
            self.take_up_new_material(files);
        }
        if absorbed.asks_for_crls {
            self.revocation.ask_now(SystemTime::now());
        }
        if absorbed.is_news {
            self.show();
        }
    }

    /// Serves with what was given. The configuration is the one that runs: a file that is being edited keeps nobody from being
    /// certified.
    fn take_up_new_material(&mut self, files: &mut WatchedFiles) {
        let cause = match self.config.identity {
            Identity::WorkloadApi(_) => "the SPIFFE agent gave something new",
            Identity::Authority(_) | Identity::Files(_) => "the authority gave something new",
        };
        if self.waits_for_certificate && !self.listeners.is_empty() {
            // The file has changed since, and waited for this.
            return self.reload(files, cause);
        }
        let config = self.config.clone();
        let loaded = load(&config, self.enrolment.given(), &self.revocation, &self.lists, &self.tokens);
        let outcome = loaded.and_then(|mut loaded| {
            let findings = std::mem::take(&mut loaded.findings);
            self.take_up(config, loaded)?;
            warn_of(&findings);
            Ok(())
        });
        self.waits_for_certificate &= outcome.is_err();
        self.settle_reload(outcome, files, cause);
    }

    /// Follows a configuration that needs a certificate which is not there yet. What runs goes on meanwhile.
    pub(super) fn enrol_first(&mut self, config: Config, enrolling: Prepared) -> Result<(), AppError> {
        let reason = enrolling.missing().unwrap_or_default().to_owned();
        self.enrolment.install(enrolling, SystemTime::now());
        self.waits_for_certificate = true;
        if self.listeners.is_empty() {
            return self.wait_for_certificate(config);
        }
        self.show();
        let status = self.enrolment.status(SystemTime::now());
        let (giver, name) = status.map(|status| (status.authority, status.name)).unwrap_or_default();
        let name = if name.is_empty() { "us".to_owned() } else { name };
        Err(AppError::NotEnrolled { giver, name, reason })
    }

    /// Serves nobody but the admin listener until there is a certificate.
    pub(super) fn wait_for_certificate(&mut self, config: Config) -> Result<(), AppError> {
        let present = self.config.admin.as_ref().filter(|_| self.admin.is_some()).map(|admin| &admin.listen);
        let wanted = config.admin.as_ref().map(|admin| &admin.listen).filter(|wanted| Some(*wanted) != present);
        let admin = wanted.map(|wanted| Listener::bind(&wanted.value)).transpose();
        let admin = admin.map_err(|error| AppError::Bind(vec![error]))?;
        self.install_admin(&config, admin);
        self.config = config;
        self.show();
        info!("there is no certificate yet; the listeners are bound once there is one");
        Ok(())
    }
}
