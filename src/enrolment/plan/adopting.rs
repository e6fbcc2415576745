//! Judging what the authority gave as it will be used, and putting it in the place of what is held.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use tracing::warn;

use crate::config::Fingerprint;
use crate::durable::FileError;
use crate::enrolment::Failure;
use crate::enrolment::exchange::{Certified, Proof, Served};
use crate::enrolment::state::cause;
use crate::x509::{CertificateInfo, MaterialSources, RevocationLists, TrustMaterial, Usage};

use super::{Held, Plan};

impl Plan {
    /// The anchors of the operator's files, and those of one more.
    pub(super) fn anchor_paths(&self, served: Option<PathBuf>) -> Vec<PathBuf> {
        let files = self.sources.anchors.iter().take(self.anchor_files).cloned();
        files.chain(served.filter(|file| file.exists())).collect()
    }

    /// Whether the anchors in the folder are believed. Before the first certificate the fingerprint that the operator wrote has the
    /// last word: who could once write to the folder may have left others there.
    pub(super) fn believes_held_anchors(&self) -> bool {
        let Some(pin) = self.settings.fingerprint.as_ref().filter(|_| !self.state.credential.exists()) else {
            return true;
        };
        let held = self.state.held_anchors();
        !held.is_empty() && held.iter().all(|anchor| fingerprint(anchor) == Some(pin.value))
    }

    /// Believes the anchor whose fingerprint the operator wrote.
    pub(super) fn adopt_first_anchor(
        &self,
        anchor: &CertificateDer<'static>,
        lists: &Arc<RevocationLists>,
        now: SystemTime,
    ) -> Result<(), Failure> {
        let anchors = std::slice::from_ref(anchor);
        self.state.propose_anchors(anchors).map_err(|error| unwritten(&error))?;
        let sources = MaterialSources { certificate: None, ..self.proposed(None) };
        TrustMaterial::load_at(&sources, lists, now).map_err(|unusable| Failure::of_material(&unusable))?;
        self.state.keep_anchors(anchors).map_err(|error| unwritten(&error))
    }

    /// Puts a new pair, and the anchors that came with it, to use. Wherever that is cut short, what is on the disk fits together:
    /// while the pair is replaced, the anchors of both are believed.
    pub(super) fn adopt(
        &self,
        certified: &Certified,
        lists: &Arc<RevocationLists>,
        now: SystemTime,
    ) -> Result<Held, Failure> {
        let Certified { key_pem, chain, served, proof } = certified;
        self.state.propose(key_pem, chain).map_err(|error| unwritten(&error))?;
        let candidate = self.state.candidate();
        let material = self.judge(candidate, served, lists, now)?;
        let held_anchors = if self.believes_held_anchors() { self.state.held_anchors() } else { Vec::new() };
        let is_other_trust = self.anchors_from_authority && !is_same_set(&held_anchors, &served.anchors);
        if is_other_trust {
            self.state.keep_anchors(&union(&held_anchors, &served.anchors)).map_err(|error| unwritten(&error))?;
        }
        self.state.publish().map_err(|error| unwritten(&error))?;
        if is_other_trust {
            self.state.keep_anchors(&served.anchors).map_err(|error| unwritten(&error))?;
        }
        if let Proof::Secret(secret) = proof
            && let Err(error) = self.state.note_used(&secret.0)
        {
            warn!(error = cause(&error), "that the one-time secret was used could not be noted");
        }
        match (material.own, material.credential) {
            (Some(info), Some(key)) => Ok(Held { info, key, obtained: Some(now) }),
            _ => {
                Err(Failure::unusable("what was written holds no certificate".to_owned(), "look at identity.state_dir"))
            }
        }
    }

    /// Puts other anchors to use. Where our own certificate leads to none of them, those held are believed as well until it is
    /// renewed, which is what the value true asks for. Nothing is to be done where they are the same.
    pub(super) fn adopt_anchors(
        &self,
        served: &Served,
        lists: &Arc<RevocationLists>,
        now: SystemTime,
    ) -> Result<Option<bool>, Failure> {
        let held = self.state.held_anchors();
        if !self.anchors_from_authority || is_same_set(&held, &served.anchors) {
            return Ok(None);
        }
        match self.judge(self.state.credential.clone(), served, lists, now) {
            Ok(_) => {
                self.state.keep_anchors(&served.anchors).map_err(|error| unwritten(&error))?;
                Ok(Some(false))
            }
            Err(failure) => {
                let both = Served { anchors: union(&held, &served.anchors), ..served.clone() };
                if is_same_set(&held, &both.anchors) {
                    // The new ones are among those held: what is left to do is the renewal.
                    return Ok(None);
                }
                self.judge(self.state.credential.clone(), &both, lists, now).map_err(|_| failure)?;
                self.state.keep_anchors(&both.anchors).map_err(|error| unwritten(&error))?;
                Ok(Some(true))
            }
        }
    }

    /// Loads a pair with the anchors as a start would, and has the authority's own server lead to them: an authority whose anchors
    /// do not certify itself would never be believed again.
    fn judge(
        &self,
        pair: PathBuf,
        served: &Served,
        lists: &Arc<RevocationLists>,
        now: SystemTime,
    ) -> Result<TrustMaterial, Failure> {
        if self.anchors_from_authority {
            if served.anchors.is_empty() {
                let message = "the authority serves no anchor".to_owned();
                return Err(Failure::unusable(message, "look at the authority's log"));
            }
            self.state.propose_anchors(&served.anchors).map_err(|error| unwritten(&error))?;
        }
        let sources = self.proposed(Some(pair));
        let (material, _) =
            TrustMaterial::load_at(&sources, lists, now).map_err(|unusable| Failure::of_material(&unusable))?;
        if let Some((server, presented)) = served.presented.split_first()
            && let Err(refusal) = material.verify(server, presented, Usage::Server, now)
        {
            let message =
                format!("the authority's own server leads to none of the anchors that it serves: {}", refusal.reason);
            return Err(Failure::distrusted(message, "let the authority serve the anchor of its own certificate"));
        }
        Ok(material)
    }

    /// What would be loaded with what was proposed. Our own revocation, and that of others, is not asked for here.
    fn proposed(&self, certificate: Option<PathBuf>) -> MaterialSources {
        let served = self.anchors_from_authority.then(|| self.state.candidate_anchors());
        MaterialSources {
            certificate,
            private_key: None,
            anchors: self.anchor_paths(served),
            revocation: None,
            ..self.sources.clone()
        }
    }
}

fn fingerprint(anchor: &CertificateDer<'_>) -> Option<Fingerprint> {
    CertificateInfo::from_der(anchor).ok().map(|info| Fingerprint(info.fingerprint))
}

fn unwritten(error: &FileError) -> Failure {
    Failure::unusable(cause(error), "look at identity.state_dir: is there room, and may this user write there?")
}

fn union(held: &[CertificateDer<'static>], served: &[CertificateDer<'static>]) -> Vec<CertificateDer<'static>> {
    let others = held.iter().filter(|anchor| !served.contains(anchor));
    served.iter().chain(others).cloned().collect()
}

fn is_same_set(one: &[CertificateDer<'static>], other: &[CertificateDer<'static>]) -> bool {
    one.len() == other.len() && one.iter().all(|certificate| other.contains(certificate))
}
