//! Rotation of the authority itself: a new generation of keys takes over from the one that issues.
//!
//! 1. The new anchor is published beside the old one, and peers pick it up. The old keys go on issuing.
//! 2. The new keys issue. Holders of certificates renew; both kinds are good, since both anchors are published.
//! 3. The old anchor is retired, once no certificate of its generation is valid any more.

use std::path::Path;
use std::time::Duration;

use super::authority::{Authority, InitOptions};
use super::issuers::Issuers;
use super::private_key;
use super::store::{self, Entry};
use super::{CaError, CrlOptions, IssuerId, KeyAlgorithm, Tier, Timestamp};

/// How far a rotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationStep {
    /// There is none.
    None,
    /// The new anchor is published and the old keys issue.
    Published,
    /// The new keys issue and the old anchor is still published.
    Switched,
}

/// How far a rotation is, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationStatus {
    /// How far it is.
    pub step: RotationStep,
    /// The oldest generation whose anchor is published.
    pub oldest: u32,
    /// The generation that issues.
    pub issuing: u32,
    /// The newest generation.
    pub newest: u32,
    /// Certificates of services, valid, that earlier generations issued than the newest.
    pub certificates_of_old: i64,
    /// When the last of them ends.
    pub old_ends: Option<Timestamp>,
}

impl Authority {
    /// Makes the keys of a new generation and publishes its anchor.
    ///
    /// # Errors
    /// [`CaError::Rotation`] where a rotation is on its way, and what keeps the key that issues from being opened: new keys have the
    /// passphrase of the old.
    pub async fn rotate_start(
        &self,
        ttl: Duration,
        algorithm: KeyAlgorithm,
        actor: &str,
        now: Timestamp,
    ) -> Result<RotationStatus, CaError> {
        let issuers = self.issuers().await?;
        let mut change = self.store().begin().await?;
        let state = change.state().clone();
        if state.newest_generation != state.issuing_generation || state.oldest_generation != state.issuing_generation {
            return Err(out_of_turn("a rotation is on its way already"));
        }
        let newest = state.newest_generation + 1;
        let options = InitOptions {
            trust_domain: self.store().trust_domain().clone(),
            ttl,
            intermediate: issuers.has_intermediate(state.issuing_generation),
            algorithm,
            passphrase_file: self.passphrase_file().map(Path::to_owned),
        };
        self.signer(&issuers, issuers.issuing(), "rotating the authority")?;
        self.check_passphrase(&issuers)?;
        self.add_generation(&mut change, newest, &options, actor, now).await?;
        change.set_generations(state.oldest_generation, state.issuing_generation, newest);
        log(&mut change, "rotation started", newest, actor, now).await?;
        change.commit().await?;
        // Peers that hold the new anchor need a CRL of it before anything is issued by it. The new keys were just made, and open.
        self.sign_due_crls(&CrlOptions::default(), actor, now).await?;
        self.write_anchors().await?;
        self.rotation(now).await
    }

    /// New keys are not to be in plaintext where those that they follow are not.
    fn check_passphrase(&self, issuers: &Issuers) -> Result<(), CaError> {
        let keys = issuers.live().map(|(id, _)| self.key_file(id));
        let sealed = keys.into_iter().find(|key| private_key::is_encrypted_file(key));
        match sealed {
            Some(path) if self.passphrase_file().is_none() => Err(CaError::PassphraseMissing { path }),
            _ => Ok(()),
        }
    }

    /// Has the newest generation issue.
    ///
    /// # Errors
    /// [`CaError::Rotation`] where none was started, and what keeps its key from being opened: nothing could be issued.
    pub async fn rotate_switch(&self, actor: &str, now: Timestamp) -> Result<RotationStatus, CaError> {
        let issuers = self.issuers().await?;
        let mut change = self.store().begin().await?;
        let state = change.state().clone();
        if state.newest_generation == state.issuing_generation {
            return Err(out_of_turn("the newest keys issue already"));
        }
        let id = issuers.issuing_of(state.newest_generation);
        self.signer(&issuers, id, "issuing")?;
        change.set_generations(state.oldest_generation, state.newest_generation, state.newest_generation);
        log(&mut change, "rotation switched", state.newest_generation, actor, now).await?;
        change.commit().await?;
        self.rotation(now).await
    }

    /// Withdraws the anchors of earlier generations. With `cut`, also while certificates of theirs are valid, whose holders peers
    /// then refuse.
    ///
    /// # Errors
    /// [`CaError::Rotation`] where the newest does not issue yet, or certificates of the old are valid.
    pub async fn rotate_retire(&self, cut: bool, actor: &str, now: Timestamp) -> Result<RotationStatus, CaError> {
        let before = self.rotation(now).await?;
        match before.step {
            RotationStep::None => return Err(out_of_turn("there is no old anchor to retire")),
            RotationStep::Published => return Err(out_of_turn("the old keys still issue")),
            RotationStep::Switched => {}
        }
        if before.certificates_of_old > 0 && !cut {
            let (count, until) = (before.certificates_of_old, before.old_ends);
            let until = until.map(|until| format!(", until {until}")).unwrap_or_default();
            return Err(out_of_turn(&format!("certificates of the old keys that are valid still: {count}{until}")));
        }
        let mut change = self.store().begin().await?;
        let issuing = change.state().issuing_generation;
        change.set_generations(issuing, issuing, issuing);
        log(&mut change, "rotation finished", issuing, actor, now).await?;
        change.commit().await?;
        self.write_anchors().await?;
        self.rotation(now).await
    }

    /// How far a rotation is.
    pub async fn rotation(&self, now: Timestamp) -> Result<RotationStatus, CaError> {
        let issuers = self.issuers().await?;
        let state = issuers.state();
        let (oldest, issuing, newest) = (state.oldest_generation, state.issuing_generation, state.newest_generation);
        let step = match (oldest == newest, issuing == newest) {
            (true, _) => RotationStep::None,
            (false, false) => RotationStep::Published,
            (false, true) => RotationStep::Switched,
        };
        let (mut certificates_of_old, mut old_ends) = (0, None);
        let mut connection = self.store().connection().await?;
        for generation in oldest..newest {
            let tiers = [Tier::Root, Tier::Intermediate].map(|tier| IssuerId { generation, tier });
            let found = store::valid_of_generation(&mut connection, tiers, now).await;
            let (count, ends) = found.map_err(self.store().fault("read"))?;
            certificates_of_old += count;
            old_ends = old_ends.max(ends);
        }
        Ok(RotationStatus { step, oldest, issuing, newest, certificates_of_old, old_ends })
    }

    /// The keys that the generations in use need and that are not here: a replica cannot issue, or sign CRLs, without them.
    pub fn missing_keys(&self, issuers: &Issuers) -> Vec<IssuerId> {
        let needed = issuers.live().map(|(id, _)| id).filter(|id| *id == issuers.issuing_of(id.generation));
        needed.filter(|id| !self.key_file(*id).exists()).collect()
    }
}

async fn log(
    change: &mut store::Change,
    detail: &str,
    generation: u32,
    actor: &str,
    now: Timestamp,
) -> Result<(), CaError> {
    let subject = format!("generation {generation}");
    change.log(Entry { at: now, actor, action: "rotation", subject: &subject, detail }).await
}

fn out_of_turn(reason: &str) -> CaError {
    CaError::Rotation { reason: reason.to_owned() }
}
