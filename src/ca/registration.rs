//! Registering who may enrol, and what becomes of a registration.

use std::net::IpAddr;
use std::time::Duration;

use crate::identity::SpiffeId;

use super::authority::Authority;
use super::entity::{Entity, EntityState, OneTimeSecret};
use super::issuance::{Template, check_names, check_ttl, spiffe_id_for};
use super::store::{self, CertificateFilter, Change, Entry, LogEntry, SecretRecord, StoreFigures};
use super::{
    CaError, CertificateKind, CertificateRecord, Credential, CredentialUsage, DnsName, KeyAlgorithm, ServiceName,
    Timestamp,
};

/// A registration that is asked for.
#[derive(Debug, Clone)]
pub struct RegisterRequest {
    /// The name, which is also the user name for enrolment.
    pub name: ServiceName,
    /// Its SPIFFE ID; by default the member of the trust domain called `name`.
    pub spiffe: Option<SpiffeId>,
    /// Its DNS names.
    pub dns: Vec<DnsName>,
    /// Its IP addresses.
    pub ip: Vec<IpAddr>,
    /// What its certificates are for.
    pub usage: CredentialUsage,
    /// The longest life of a certificate; by default the authority's.
    pub max_ttl: Option<Duration>,
    /// For how long it is registered; by default until it is removed.
    pub expires: Option<Duration>,
    /// How long the one-time secret can be used.
    pub secret_ttl: Duration,
}

/// A secret that was made for a name, to be handed over.
#[derive(Debug, Clone)]
pub struct IssuedSecret {
    /// The registration.
    pub entity: Entity,
    /// The secret, which is on record by its digest alone.
    pub secret: OneTimeSecret,
    /// Until when it can be used.
    pub expires: Timestamp,
}

impl Authority {
    /// Registers a name and makes its first one-time secret.
    pub async fn register(
        &self,
        request: &RegisterRequest,
        actor: &str,
        now: Timestamp,
    ) -> Result<IssuedSecret, CaError> {
        let spiffe = spiffe_id_for(self.store(), &request.name, request.spiffe.as_ref())?;
        check_names(&request.dns, &request.ip)?;
        if let Some(ttl) = request.max_ttl {
            check_ttl("--max-ttl", ttl)?;
        }
        check_ttl("--secret-ttl", request.secret_ttl)?;
        let mut change = self.store().begin().await?;
        let earlier = entity_in(&mut change, &request.name).await?;
        if earlier.is_some_and(|earlier| earlier.state != EntityState::Removed) {
            return Err(CaError::AlreadyRegistered { name: request.name.to_string() });
        }
        let mut entity = Entity {
            name: request.name.clone(),
            spiffe,
            dns: request.dns.clone(),
            ip: request.ip.clone(),
            usage: request.usage,
            max_ttl: request.max_ttl,
            expires: request.expires.map(|span| now.saturating_add(span)),
            state: EntityState::Active,
            created: now,
            version: 0,
        };
        entity.version = change.state().version;
        change.record_entity(&entity).await?;
        let dns: Vec<&str> = entity.dns.iter().map(DnsName::as_str).collect();
        let detail = format!("{} {}", entity.spiffe, dns.join(" "));
        let (subject, action) = (entity.name.as_str(), "registered");
        change.log(Entry { at: now, actor, action, subject, detail: detail.trim() }).await?;
        let secret = make_secret(&mut change, &entity, request.secret_ttl, now).await?;
        change.commit().await?;
        Ok(secret)
    }

    /// Makes another one-time secret for a name. Earlier ones that were not used are void.
    pub async fn new_secret(
        &self,
        name: &ServiceName,
        ttl: Duration,
        actor: &str,
        now: Timestamp,
    ) -> Result<IssuedSecret, CaError> {
        check_ttl("--ttl", ttl)?;
        let mut change = self.store().begin().await?;
        let entity = active_in(&mut change, name, now).await?;
        let secret = make_secret(&mut change, &entity, ttl, now).await?;
        let detail = format!("until {}", secret.expires);
        change.log(Entry { at: now, actor, action: "secret", subject: name.as_str(), detail: &detail }).await?;
        change.commit().await?;
        Ok(secret)
    }

    /// Makes a bootstrap certificate for a name: good for enrolment, and for nothing else.
    pub async fn bootstrap(
        &self,
        name: &ServiceName,
        ttl: Duration,
        actor: &str,
        now: Timestamp,
    ) -> Result<Credential, CaError> {
        check_ttl("--ttl", ttl)?;
        let entity = self.registered(name).await?;
        check_active(&entity, now)?;
        let template = Template {
            kind: CertificateKind::Bootstrap,
            name: name.as_str(),
            spiffe: &entity.spiffe,
            dns: &[],
            ip: &[],
            usage: entity.usage,
            not_after: entity.end_of(now.saturating_add(ttl)),
        };
        self.issue_with_key(&template, KeyAlgorithm::default(), actor, now).await
    }

    /// Changes whether a name may enrol. Nothing is revoked thereby.
    pub async fn set_state(
        &self,
        name: &ServiceName,
        state: EntityState,
        reason: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<Entity, CaError> {
        let mut change = self.store().begin().await?;
        let found = entity_in(&mut change, name).await?.filter(|entity| entity.state != EntityState::Removed);
        let mut entity = found.ok_or_else(|| CaError::NotRegistered { name: name.to_string() })?;
        if entity.state == state {
            return Ok(entity);
        }
        entity.state = state;
        entity.version = change.state().version;
        change.record_entity(&entity).await?;
        if state == EntityState::Removed {
            change.void_secrets(name.as_str()).await?;
        }
        let action = match state {
            EntityState::Active => "resumed",
            EntityState::Suspended => "suspended",
            EntityState::Removed => "removed",
        };
        change.log(Entry { at: now, actor, action, subject: name.as_str(), detail: reason }).await?;
        change.commit().await?;
        Ok(entity)
    }

    /// The registration of a name, whatever became of it.
    pub async fn registered(&self, name: &ServiceName) -> Result<Entity, CaError> {
        let mut connection = self.store().connection().await?;
        let found = store::entity(&mut connection, name.as_str()).await.map_err(self.store().fault("read"))?;
        found.ok_or_else(|| CaError::NotRegistered { name: name.to_string() })
    }

    /// Every registration, removed ones included.
    pub async fn entities(&self) -> Result<Vec<Entity>, CaError> {
        let mut connection = self.store().connection().await?;
        store::entities(&mut connection).await.map_err(self.store().fault("read"))
    }

    /// The one-time secrets of a name, the latest first.
    pub async fn secrets(&self, name: &ServiceName) -> Result<Vec<SecretRecord>, CaError> {
        let mut connection = self.store().connection().await?;
        store::secrets_of(&mut connection, name.as_str()).await.map_err(self.store().fault("read"))
    }

    /// Certificates in the order of issuance.
    pub async fn certificates(&self, filter: &CertificateFilter) -> Result<Vec<CertificateRecord>, CaError> {
        let mut connection = self.store().connection().await?;
        store::certificates(&mut connection, filter).await.map_err(self.store().fault("read"))
    }

    /// The certificate of the same name and kind that was issued last before this one and is valid still.
    pub async fn earlier_than(
        &self,
        certificate: &super::IssuedCertificate,
        now: Timestamp,
    ) -> Result<Option<CertificateRecord>, CaError> {
        let mut connection = self.store().connection().await?;
        store::latest_valid(&mut connection, certificate, now).await.map_err(self.store().fault("read"))
    }

    /// What there is, counted.
    pub async fn figures(&self, now: Timestamp) -> Result<StoreFigures, CaError> {
        let mut connection = self.store().connection().await?;
        store::figures(&mut connection, now).await.map_err(self.store().fault("read"))
    }

    /// Entries of the log after the given one, `most` of them, the earliest first.
    pub async fn log_entries(&self, after: i64, most: i64) -> Result<Vec<LogEntry>, CaError> {
        let mut connection = self.store().connection().await?;
        store::log_entries(&mut connection, after, most).await.map_err(self.store().fault("read"))
    }

    /// Holds the log against its own digests, and gives the count of its entries.
    ///
    /// # Errors
    /// [`CaError::LogChanged`] with the first entry that does not follow from those before it.
    pub async fn verify_log(&self) -> Result<i64, CaError> {
        const PAGE: i64 = 1000;
        let (mut head, mut last) = (String::new(), 0);
        let changed = |entry| CaError::LogChanged { place: self.store().place().to_string(), entry };
        loop {
            let entries = self.log_entries(last, PAGE).await?;
            let count = entries.len();
            for found in entries {
                let LogEntry { entry: number, at, actor, action, subject, detail, sha256 } = found;
                let entry = Entry { at, actor: &actor, action: &action, subject: &subject, detail: &detail };
                if number != last + 1 || store::digest_of_entry(&head, number, entry) != sha256 {
                    return Err(changed(last + 1));
                }
                (head, last) = (sha256, number);
            }
            if count < usize::try_from(PAGE).unwrap_or(usize::MAX) {
                break;
            }
        }
        let state = self.store().state().await?;
        // What was added meanwhile is not missing.
        if state.log_entries < last || (state.log_entries == last && state.log_head != head) {
            return Err(changed(last));
        }
        if state.log_entries > last && self.log_entries(last, 1).await?.is_empty() {
            return Err(changed(last + 1));
        }
        Ok(last)
    }

    /// Adds an entry to the log that stands for no change of anything else.
    pub async fn note(
        &self,
        action: &str,
        subject: &str,
        detail: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), CaError> {
        let mut change = self.store().begin().await?;
        change.log(Entry { at: now, actor, action, subject, detail }).await?;
        change.commit().await.map(drop)
    }
}

pub(super) async fn entity_in(change: &mut Change, name: &ServiceName) -> Result<Option<Entity>, CaError> {
    store::entity(change.connection(), name.as_str()).await.map_err(change.read_fault())
}

/// The registration of a name that may enrol.
pub(super) async fn active_in(change: &mut Change, name: &ServiceName, now: Timestamp) -> Result<Entity, CaError> {
    let found = entity_in(change, name).await?;
    let entity = found.ok_or_else(|| CaError::NotRegistered { name: name.to_string() })?;
    check_active(&entity, now)?;
    Ok(entity)
}

fn check_active(entity: &Entity, now: Timestamp) -> Result<(), CaError> {
    let name = entity.name.to_string();
    let remedy = match entity.state {
        EntityState::Active => {
            return match entity.expires.filter(|expires| *expires <= now) {
                Some(since) => Err(CaError::RegistrationExpired { name, since }),
                None => Ok(()),
            };
        }
        EntityState::Suspended => "\"mantlet ca resume\" lets it enrol again",
        EntityState::Removed => "\"mantlet ca register\" registers it anew",
    };
    Err(CaError::NotActive { name, state: entity.state, remedy })
}

async fn make_secret(
    change: &mut Change,
    entity: &Entity,
    ttl: Duration,
    now: Timestamp,
) -> Result<IssuedSecret, CaError> {
    let (secret, expires) = (OneTimeSecret::random()?, entity.end_of(now.saturating_add(ttl)));
    change.record_secret(&secret.digest(), entity.name.as_str(), now, expires).await?;
    Ok(IssuedSecret { entity: entity.clone(), secret, expires })
}

impl Entity {
    /// The time, or the end of the registration where that comes first.
    pub(super) fn end_of(&self, time: Timestamp) -> Timestamp {
        self.expires.map_or(time, |expires| expires.min(time))
    }
}
