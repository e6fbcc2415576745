//! Making CRLs, complete ones and delta CRLs, and recording them.
//!
//! Both kinds take their numbers from one sequence for each issuer, which the locked row of the store keeps in order over all
//! processes (RFC 5280 section 5.2.3). With each complete CRL a delta CRL of the same number is signed. A delta CRL starts from the
//! complete one before the last, so that whoever still holds that needs no other.

use std::time::Duration;

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams};

use crate::ca::issuance::DeltaCrls;
use crate::ca::signer::Signer;
use crate::ca::store::{self, Change, DeltaBase, Entry};
use crate::ca::{CaError, CrlRecord, Revocation, StoredCrl, Timestamp};
use crate::x509::SerialNumber;

use super::AHEAD;
use super::extensions::CrlExtension;

/// How the CRLs of an issuer are to be.
pub(super) struct Terms {
    /// How long a complete CRL serves.
    pub(super) life: Duration,
    /// Whether revocations are told by delta CRLs.
    pub(super) delta: Option<DeltaCrls>,
}

/// The last CRLs of an issuer.
struct Last {
    complete: Option<(CrlRecord, DeltaBase)>,
    delta: Option<(CrlRecord, DeltaBase)>,
}

/// Signs a complete CRL with the next number and records it, and its delta CRL with it.
pub(super) async fn sign_complete(
    change: &mut Change,
    signer: &Signer,
    terms: &Terms,
    actor: &str,
    now: Timestamp,
) -> Result<StoredCrl, CaError> {
    let last = Last::of(change, signer).await?;
    // As the last CRL is dated itself, and never ahead of us: a reader's clock may be behind, and another replica's ahead.
    let last_update = last.complete.map(|(last, _)| last.this_update.min(now).backdated());
    let entries = store::revoked_by(change.connection(), signer.id, last_update).await.map_err(change.read_fault())?;
    let record = last.next(signer, terms.life, None, now);
    let extension = terms.delta.as_ref().map(|delta| CrlExtension::freshest_crl(&delta.url));
    let der = der_of(signer, record, &entries, extension.as_ref())?;
    let crl = StoredCrl { record, entries: entries.len(), der };
    change.record_crl(&crl).await?;
    log(change, &crl, actor, now).await?;
    match &terms.delta {
        None => change.remove_delta_crl(signer.id).await?,
        Some(delta) => {
            let own = DeltaBase { number: record.number, version: change.state().version };
            let base = last.complete.map_or(own, |(_, base)| base);
            let next_update = record.this_update.saturating_add(delta.next_update);
            let record = CrlRecord { base_number: Some(base.number), next_update, ..record };
            record_delta(change, signer, record, base, actor, now).await?;
        }
    }
    Ok(crl)
}

/// Signs a delta CRL with the next number and records it; a complete one where there is none to start from.
pub(super) async fn sign_delta(
    change: &mut Change,
    signer: &Signer,
    terms: &Terms,
    actor: &str,
    now: Timestamp,
) -> Result<StoredCrl, CaError> {
    let last = Last::of(change, signer).await?;
    let (Some((_, base)), Some(delta)) = (last.delta, &terms.delta) else {
        return sign_complete(change, signer, terms, actor, now).await;
    };
    let record = last.next(signer, delta.next_update, Some(base.number), now);
    record_delta(change, signer, record, base, actor, now).await
}

async fn record_delta(
    change: &mut Change,
    signer: &Signer,
    record: CrlRecord,
    base: DeltaBase,
    actor: &str,
    now: Timestamp,
) -> Result<StoredCrl, CaError> {
    let entries = store::revoked_since(change.connection(), signer.id, base).await.map_err(change.read_fault())?;
    let der = der_of(signer, record, &entries, Some(&CrlExtension::delta_crl_indicator(base.number)))?;
    let crl = StoredCrl { record, entries: entries.len(), der };
    change.record_delta_crl(&crl, base).await?;
    log(change, &crl, actor, now).await?;
    Ok(crl)
}

impl Last {
    async fn of(change: &mut Change, signer: &Signer) -> Result<Self, CaError> {
        let complete = store::complete_record(change.connection(), signer.id).await.map_err(change.read_fault())?;
        let delta = store::delta_record(change.connection(), signer.id).await.map_err(change.read_fault())?;
        Ok(Self { complete, delta })
    }

    /// The record of the CRL that follows.
    fn next(&self, signer: &Signer, life: Duration, base_number: Option<u64>, now: Timestamp) -> CrlRecord {
        let before = || self.complete.iter().chain(&self.delta).map(|(record, _)| *record);
        // Readers take none that is dated before the one they hold, whatever its number.
        let last_date = before().map(|last| last.this_update).max();
        let this_update = last_date.filter(|last| *last <= now.saturating_add(AHEAD)).map_or(now, |last| last.max(now));
        CrlRecord {
            issuer: signer.id,
            number: before().map(|last| last.number).max().unwrap_or(0) + 1,
            base_number,
            this_update,
            next_update: this_update.saturating_add(life),
        }
    }
}

async fn log(change: &mut Change, crl: &StoredCrl, actor: &str, now: Timestamp) -> Result<(), CaError> {
    let CrlRecord { issuer, number, base_number, next_update, .. } = crl.record;
    let base = base_number.map(|base| format!(", delta since {base}")).unwrap_or_default();
    let detail = format!("number {number}{base}, {} revoked, next update {next_update}", crl.entries);
    let subject = issuer.to_string();
    change.log(Entry { at: now, actor, action: "crl", subject: &subject, detail: &detail }).await
}

fn der_of(
    signer: &Signer,
    record: CrlRecord,
    entries: &[(SerialNumber, Revocation)],
    extension: Option<&CrlExtension>,
) -> Result<Vec<u8>, CaError> {
    let revoked_certs = entries
        .iter()
        .map(|(serial, revocation)| RevokedCertParams {
            serial_number: rcgen::SerialNumber::from_slice(serial.as_der_content()),
            revocation_time: revocation.at.to_date_time(),
            reason_code: Some(revocation.reason.to_crl_code()),
            invalidity_date: None,
        })
        .collect();
    let params = CertificateRevocationListParams {
        this_update: record.this_update.backdated().to_date_time(),
        next_update: record.next_update.to_date_time(),
        crl_number: rcgen::SerialNumber::from(record.number),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::PreSpecified(signer.key_identifier.clone()),
    };
    let crl = params.signed_by(&signer.issuer).map_err(CaError::making("CRL"))?;
    match extension {
        None => Ok(crl.der().to_vec()),
        Some(extension) => extension.added_to(crl.der(), signer.issuer.key()),
    }
}
