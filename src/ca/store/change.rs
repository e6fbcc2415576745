//! One change of the store: everything in it is recorded, or nothing.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sqlx::{Any, AnyConnection, Transaction};
use tokio::sync::{OwnedMutexGuard, watch};

use crate::ca::signer::hexadecimal;
use crate::ca::{
    CaError, CertificateRecord, Entity, IssuedCertificate, IssuerId, Revocation, StorePlace, StoredCrl, Timestamp,
};
use crate::x509::SerialNumber;

use super::query::{self, DeltaBase, STATE, SecretRecord, StoreState, sql};
use super::{Store, fault};

/// A change that is being made. No other process writes until it is committed or dropped; dropped, it did not happen.
pub(in crate::ca) struct Change {
    transaction: Transaction<'static, Any>,
    place: StorePlace,
    before: StoreState,
    state: StoreState,
    changed: Arc<watch::Sender<i64>>,
    _turn: OwnedMutexGuard<()>,
}

/// What is to be written to the log.
#[derive(Debug, Clone, Copy)]
pub(in crate::ca) struct Entry<'a> {
    /// When.
    pub(in crate::ca) at: Timestamp,
    /// Who.
    pub(in crate::ca) actor: &'a str,
    /// What, in one word.
    pub(in crate::ca) action: &'a str,
    /// Whom or what it concerns.
    pub(in crate::ca) subject: &'a str,
    /// Why, and what else there is to say.
    pub(in crate::ca) detail: &'a str,
}

impl Change {
    pub(super) async fn begin(store: &Store) -> Result<Self, CaError> {
        let turn = Arc::clone(&store.writers).lock_owned().await;
        let mut transaction = store.begin_transaction().await?;
        // The row is locked from here on: what is read below is what the last writer left.
        let row = sqlx::query(sql!("UPDATE state SET version = version + 1 WHERE id = 1 RETURNING ", STATE))
            .fetch_one(&mut *transaction)
            .await
            .map_err(store.fault("write to"))?;
        let state = query::state_of(&row).map_err(store.fault("read"))?;
        Ok(Self {
            transaction,
            place: store.place.clone(),
            before: state.clone(),
            state,
            changed: Arc::clone(&store.changed),
            _turn: turn,
        })
    }

    /// The counters, with what this change has done to them.
    pub(in crate::ca) fn state(&self) -> &StoreState {
        &self.state
    }

    /// Makes all of it durable and gives the version of the state. Once this returns, a serial number is used up for good.
    pub(in crate::ca) async fn commit(mut self) -> Result<i64, CaError> {
        if self.state != self.before {
            let state = &self.state;
            let query = sqlx::query(
                "UPDATE state SET revoked_version = $1, crls_version = $2, anchors_version = $3, \
                 entities_version = $4, oldest_generation = $5, issuing_generation = $6, newest_generation = $7, \
                 log_entries = $8, log_head = $9 WHERE id = 1",
            );
            let query = query
                .bind(state.revoked_version)
                .bind(state.crls_version)
                .bind(state.anchors_version)
                .bind(state.entities_version)
                .bind(i64::from(state.oldest_generation))
                .bind(i64::from(state.issuing_generation))
                .bind(i64::from(state.newest_generation))
                .bind(state.log_entries)
                .bind(&state.log_head);
            query.execute(&mut *self.transaction).await.map_err(fault_at(&self.place, "write to"))?;
        }
        self.transaction.commit().await.map_err(fault_at(&self.place, "commit to"))?;
        self.changed.send_replace(self.state.version);
        Ok(self.state.version)
    }

    /// Records a certificate.
    ///
    /// # Errors
    /// Where its serial number or its digest is on record: the database refuses the second of either.
    pub(in crate::ca) async fn record_issued(&mut self, certificate: &IssuedCertificate) -> Result<(), CaError> {
        let position = self.state.version;
        let insert = insert_certificate(&mut self.transaction, certificate, position, None);
        insert.await.map_err(fault_at(&self.place, "write to"))
    }

    /// Records the revocation of a certificate that is on record; `false` where it is revoked already.
    pub(in crate::ca) async fn record_revoked(
        &mut self,
        serial: &SerialNumber,
        revocation: Revocation,
    ) -> Result<bool, CaError> {
        let query = sqlx::query(
            "UPDATE certificates SET revoked_at = $1, revoked_reason = $2, revoked_version = $3 \
             WHERE serial = $4 AND revoked_at IS NULL",
        );
        let done = query
            .bind(revocation.at.to_unix())
            .bind(revocation.reason.as_str())
            .bind(self.state.version)
            .bind(serial.to_string())
            .execute(&mut *self.transaction)
            .await
            .map_err(fault_at(&self.place, "write to"))?;
        let newly = done.rows_affected() > 0;
        if newly {
            self.state.revoked_version = self.state.version;
        }
        Ok(newly)
    }

    /// Records a CRL.
    ///
    /// # Errors
    /// Where the issuer has one with the same number or a higher one.
    pub(in crate::ca) async fn record_crl(&mut self, crl: &StoredCrl) -> Result<(), CaError> {
        self.state.crls_version = self.state.version;
        let write = upsert_crl(&mut self.transaction, crl, self.state.version);
        let is_next = write.await.map_err(fault_at(&self.place, "write to"))?;
        self.check_is_next(is_next, crl)
    }

    /// Records a delta CRL and the complete one that it starts from.
    ///
    /// # Errors
    /// Where the issuer has one with the same number or a higher one.
    pub(in crate::ca) async fn record_delta_crl(&mut self, crl: &StoredCrl, base: DeltaBase) -> Result<(), CaError> {
        self.state.crls_version = self.state.version;
        let write = upsert_delta_crl(&mut self.transaction, crl, base, self.state.version);
        let is_next = write.await.map_err(fault_at(&self.place, "write to"))?;
        self.check_is_next(is_next, crl)
    }

    fn check_is_next(&self, is_next: bool, crl: &StoredCrl) -> Result<(), CaError> {
        if is_next {
            return Ok(());
        }
        let number = crl.record.number;
        let reason = format!("CRL number {number} of {} is not above the last one", crl.record.issuer);
        Err(CaError::StoreCorrupt { place: self.place.to_string(), reason })
    }

    /// Forgets the delta CRL of an issuer that has one.
    pub(in crate::ca) async fn remove_delta_crl(&mut self, issuer: IssuerId) -> Result<(), CaError> {
        let removed = sqlx::query("DELETE FROM delta_crls WHERE issuer = $1").bind(issuer.to_string());
        removed.execute(&mut *self.transaction).await.map(drop).map_err(fault_at(&self.place, "write to"))
    }

    /// True where certificates of an issuer were revoked after its last CRL was signed, complete or delta, or it has none.
    pub(in crate::ca) async fn lacks_revocations(&mut self, issuer: IssuerId) -> Result<bool, CaError> {
        query::lacks_revocations(&mut self.transaction, issuer).await.map_err(fault_at(&self.place, "read"))
    }

    /// Records a certificate of the authority itself, whose anchor is published from now on.
    pub(in crate::ca) async fn record_issuer(&mut self, issuer: IssuerId, der: &[u8]) -> Result<(), CaError> {
        self.state.anchors_version = self.state.version;
        let query = sqlx::query("INSERT INTO issuers (issuer, der) VALUES ($1, $2)");
        let done = query.bind(issuer.to_string()).bind(STANDARD.encode(der)).execute(&mut *self.transaction).await;
        done.map(drop).map_err(fault_at(&self.place, "write to"))
    }

    /// Sets which generations are published and which one issues.
    pub(in crate::ca) fn set_generations(&mut self, oldest: u32, issuing: u32, newest: u32) {
        self.state.oldest_generation = oldest;
        self.state.issuing_generation = issuing;
        self.state.newest_generation = newest;
        self.state.anchors_version = self.state.version;
    }

    /// Records a registration, or what became of it.
    pub(in crate::ca) async fn record_entity(&mut self, entity: &Entity) -> Result<(), CaError> {
        self.state.entities_version = self.state.version;
        let query = sqlx::query(
            "INSERT INTO entities (name, spiffe, dns, ip, purpose, max_ttl, expires, state, created, version) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (name) DO UPDATE SET \
             spiffe = excluded.spiffe, dns = excluded.dns, ip = excluded.ip, purpose = excluded.purpose, \
             max_ttl = excluded.max_ttl, expires = excluded.expires, state = excluded.state, \
             created = excluded.created, version = excluded.version",
        );
        let query = query
            .bind(entity.name.as_str())
            .bind(entity.spiffe.as_str())
            .bind(joined(&entity.dns))
            .bind(joined(&entity.ip))
            .bind(entity.usage.as_str())
            .bind(entity.max_ttl.map(|ttl| i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)))
            .bind(entity.expires.map(Timestamp::to_unix))
            .bind(entity.state.as_str())
            .bind(entity.created.to_unix())
            .bind(self.state.version);
        let done = query.execute(&mut *self.transaction).await;
        done.map(drop).map_err(fault_at(&self.place, "write to"))
    }

    /// Records a one-time secret by its digest. Earlier ones of the name that were not used are void.
    pub(in crate::ca) async fn record_secret(
        &mut self,
        sha256: &str,
        name: &str,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<(), CaError> {
        self.void_secrets(name).await?;
        let query = sqlx::query("INSERT INTO secrets (sha256, name, created, expires) VALUES ($1, $2, $3, $4)");
        let query = query.bind(sha256).bind(name).bind(now.to_unix()).bind(expires.to_unix());
        query.execute(&mut *self.transaction).await.map(drop).map_err(fault_at(&self.place, "write to"))
    }

    /// Makes every one-time secret of a name useless.
    pub(in crate::ca) async fn void_secrets(&mut self, name: &str) -> Result<(), CaError> {
        // Over by everybody's clock.
        let query = sqlx::query("UPDATE secrets SET expires = 0 WHERE name = $1 AND used_at IS NULL AND expires > 0");
        let done = query.bind(name).execute(&mut *self.transaction).await;
        done.map(drop).map_err(fault_at(&self.place, "write to"))
    }

    /// The one-time secret with this digest.
    pub(in crate::ca) async fn secret(&mut self, sha256: &str) -> Result<Option<SecretRecord>, CaError> {
        query::secret(&mut self.transaction, sha256).await.map_err(fault_at(&self.place, "read"))
    }

    /// Marks a one-time secret as used.
    pub(in crate::ca) async fn use_secret(&mut self, sha256: &str, now: Timestamp) -> Result<(), CaError> {
        let query = sqlx::query("UPDATE secrets SET used_at = $1 WHERE sha256 = $2 AND used_at IS NULL");
        let done = query.bind(now.to_unix()).bind(sha256).execute(&mut *self.transaction).await;
        done.map(drop).map_err(fault_at(&self.place, "write to"))
    }

    /// Notes what the server was configured with; `None` removes it.
    pub(in crate::ca) async fn set_setting(&mut self, name: &str, value: Option<&str>) -> Result<(), CaError> {
        let removed = sqlx::query("DELETE FROM settings WHERE name = $1").bind(name);
        removed.execute(&mut *self.transaction).await.map_err(fault_at(&self.place, "write to"))?;
        let Some(value) = value else { return Ok(()) };
        let added = sqlx::query("INSERT INTO settings (name, value) VALUES ($1, $2)").bind(name).bind(value);
        added.execute(&mut *self.transaction).await.map(drop).map_err(fault_at(&self.place, "write to"))
    }

    /// Adds an entry to the log.
    pub(in crate::ca) async fn log(&mut self, entry: Entry<'_>) -> Result<(), CaError> {
        let number = self.state.log_entries + 1;
        let sha256 = digest_of_entry(&self.state.log_head, number, entry);
        let query = sqlx::query(
            "INSERT INTO log (entry, at, actor, action, subject, detail, sha256) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        );
        let query = query
            .bind(number)
            .bind(entry.at.to_unix())
            .bind(entry.actor)
            .bind(entry.action)
            .bind(entry.subject)
            .bind(entry.detail)
            .bind(&sha256);
        query.execute(&mut *self.transaction).await.map_err(fault_at(&self.place, "write to"))?;
        self.state.log_entries = number;
        self.state.log_head = sha256;
        Ok(())
    }

    /// For what the store is asked within the change.
    pub(in crate::ca) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }

    /// For `map_err` after a question.
    pub(in crate::ca) fn read_fault(&self) -> impl FnOnce(sqlx::Error) -> CaError + use<> {
        fault_at(&self.place, "read")
    }
}

fn fault_at(place: &StorePlace, action: &'static str) -> impl FnOnce(sqlx::Error) -> CaError + use<> {
    let place = place.to_string();
    move |error| fault::of(action, place, error)
}

/// What an entry of the log is recognised by: SHA-256 over the digest of the one before and its own fields, as a JSON array.
pub(in crate::ca) fn digest_of_entry(before: &str, number: i64, entry: Entry<'_>) -> String {
    let Entry { at, actor, action, subject, detail } = entry;
    let text = serde_json::json!([before, number, at.to_unix(), actor, action, subject, detail]).to_string();
    hexadecimal(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

pub(super) async fn insert_certificate(
    connection: &mut AnyConnection,
    certificate: &IssuedCertificate,
    position: i64,
    revocation: Option<Revocation>,
) -> sqlx::Result<()> {
    let query = sqlx::query(
        "INSERT INTO certificates (serial, position, kind, issuer, name, spiffe, dns, ip, not_before, not_after, sha256, \
         revoked_at, revoked_reason, revoked_version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    );
    let query = query
        .bind(certificate.serial.to_string())
        .bind(position)
        .bind(certificate.kind.as_str())
        .bind(certificate.issuer.to_string())
        .bind(&certificate.name)
        .bind(certificate.spiffe.as_str())
        .bind(joined(&certificate.dns))
        .bind(joined(&certificate.ip))
        .bind(certificate.not_before.to_unix())
        .bind(certificate.not_after.to_unix())
        .bind(&certificate.sha256)
        .bind(revocation.map(|revocation| revocation.at.to_unix()))
        .bind(revocation.map(|revocation| revocation.reason.as_str()))
        .bind(revocation.map(|_| position));
    query.execute(connection).await.map(drop)
}

/// Replaces the CRL of an issuer by one with a higher number; `false` where it is not higher.
pub(super) async fn upsert_crl(connection: &mut AnyConnection, crl: &StoredCrl, version: i64) -> sqlx::Result<bool> {
    let query = sqlx::query(
        "INSERT INTO crls (issuer, number, this_update, next_update, entries, version, der) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (issuer) DO UPDATE SET number = excluded.number, \
         this_update = excluded.this_update, next_update = excluded.next_update, entries = excluded.entries, \
         version = excluded.version, der = excluded.der WHERE crls.number < excluded.number",
    );
    let query = query
        .bind(crl.record.issuer.to_string())
        .bind(i64::try_from(crl.record.number).unwrap_or(i64::MAX))
        .bind(crl.record.this_update.to_unix())
        .bind(crl.record.next_update.to_unix())
        .bind(i64::try_from(crl.entries).unwrap_or(i64::MAX))
        .bind(version)
        .bind(STANDARD.encode(&crl.der));
    Ok(query.execute(connection).await?.rows_affected() > 0)
}

/// The same of a delta CRL.
async fn upsert_delta_crl(
    connection: &mut AnyConnection,
    crl: &StoredCrl,
    base: DeltaBase,
    version: i64,
) -> sqlx::Result<bool> {
    let query = sqlx::query(
        "INSERT INTO delta_crls (issuer, number, base_number, base_version, this_update, next_update, entries, version, der) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (issuer) DO UPDATE SET number = excluded.number, \
         base_number = excluded.base_number, base_version = excluded.base_version, this_update = excluded.this_update, \
         next_update = excluded.next_update, entries = excluded.entries, version = excluded.version, \
         der = excluded.der WHERE delta_crls.number < excluded.number",
    );
    let query = query
        .bind(crl.record.issuer.to_string())
        .bind(i64::try_from(crl.record.number).unwrap_or(i64::MAX))
        .bind(i64::try_from(base.number).unwrap_or(i64::MAX))
        .bind(base.version)
        .bind(crl.record.this_update.to_unix())
        .bind(crl.record.next_update.to_unix())
        .bind(i64::try_from(crl.entries).unwrap_or(i64::MAX))
        .bind(version)
        .bind(STANDARD.encode(&crl.der));
    Ok(query.execute(connection).await?.rows_affected() > 0)
}

pub(super) async fn insert_record(
    connection: &mut AnyConnection,
    record: &CertificateRecord,
    position: i64,
) -> sqlx::Result<()> {
    insert_certificate(connection, &record.certificate, position, record.revocation).await
}

fn joined<T: std::fmt::Display>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}
