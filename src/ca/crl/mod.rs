//! CRLs (RFC 5280 section 5): which are due, and what they are to say.
//!
//! Where delta CRLs are asked for, complete ones are signed at an interval alone and a delta CRL at each revocation. How both are
//! made is `signing`'s.

mod extensions;
mod signing;

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject as _;
use sqlx::AnyConnection;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use crate::x509::SerialNumber;

use super::authority::Authority;
use super::error::chain;
use super::issuance::pointers;
use super::issuers::pem_of;
use super::store::{self, Change};
use super::{CaError, CrlRecord, IssuerId, RevocationPointers, StoredCrl, Tier, Timestamp};

use signing::Terms;

const MAX_NEXT_UPDATE: Duration = Duration::from_secs(3650 * 86_400);
/// A CRL that is dated further ahead is refused by readers: it is dated back by five minutes, and they tolerate as many.
const AHEAD: Duration = Duration::from_secs(600);
/// The label of a CRL in PEM (RFC 7468 section 6).
const LABEL: &str = "X509 CRL";

/// How long CRLs are to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrlOptions {
    /// Until when the next CRL of the key that issues should be there.
    pub next_update: Duration,
    /// The same for the root where an intermediate issues: longer, since its key is not always at hand.
    pub root_next_update: Duration,
}

/// One CRL of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrlSummary {
    /// What was recorded.
    pub record: CrlRecord,
    /// How many certificates it revokes.
    pub entries: usize,
    /// False where the root key is kept elsewhere and its last CRL still serves.
    pub newly_signed: bool,
}

/// What came of signing the CRLs that were due.
#[derive(Debug, Default)]
pub struct DueCrls {
    /// Those that were signed.
    pub signed: Vec<CrlSummary>,
    /// What no peer learns, for want of keys that are kept elsewhere or do not open.
    pub unlisted: Vec<UnlistedRevocation>,
    /// What keeps CRLs that are due from being signed, but for root keys that are kept elsewhere.
    pub failed: Vec<CaError>,
}

/// A revocation that the CRL of its issuer lacks, because the key that would sign the next one is kept elsewhere or does not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnlistedRevocation {
    /// Whose CRL.
    pub issuer: IssuerId,
    /// The certificate that is revoked.
    pub serial: SerialNumber,
    /// Where the key belongs.
    pub key: PathBuf,
    /// Why the key that is there cannot be used; none where it is kept elsewhere.
    pub fault: Option<String>,
}

/// The CRLs of every issuer of the authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlBundle {
    /// All of them in one PEM text.
    pub pem: String,
    /// That of the key that issues first, then its root's where that is another, then those of other generations.
    pub lists: Vec<CrlSummary>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

impl Default for CrlOptions {
    fn default() -> Self {
        Self { next_update: Duration::from_secs(86_400), root_next_update: Duration::from_secs(180 * 86_400) }
    }
}

impl Authority {
    /// Signs a CRL of each issuer, each with the next number, which is on the disk before this returns.
    ///
    /// Where a root key is kept elsewhere, the root's last CRL serves on.
    ///
    /// # Errors
    /// [`CaError::RootCrlOutdated`] where that last CRL lacks a revocation: better no CRL than one that hides it.
    pub async fn sign_crls(&self, options: &CrlOptions, actor: &str, now: Timestamp) -> Result<CrlBundle, CaError> {
        options.check()?;
        let issuers = self.issuers().await?;
        let mut change = self.store().begin().await?;
        let pointers = pointers(&mut change).await?;
        let mut bundle = CrlBundle { pem: String::new(), lists: Vec::new(), warnings: Vec::new() };
        for (id, _) in issuers.live() {
            let own = id == issuers.issuing_of(id.generation);
            let (crl, newly_signed) = match self.signer(&issuers, id, "signing a CRL") {
                Err(CaError::KeyMissing { .. }) if !own => {
                    let kept = self.kept_crl(&mut change, id).await?;
                    if kept.record.next_update <= now {
                        let (end, key) = (kept.record.next_update, self.key_file(id));
                        bundle.warnings.push(format!(
                            "the {id}'s CRL expired at {end}; bring the {id} key back to {} and run this again",
                            key.display()
                        ));
                    }
                    (kept, false)
                }
                signer => {
                    let terms = options.terms(id, own, &pointers);
                    (signing::sign_complete(&mut change, &*signer?, &terms, actor, now).await?, true)
                }
            };
            bundle.pem += &pem_of(LABEL, &crl.der);
            bundle.lists.push(CrlSummary { record: crl.record, entries: crl.entries, newly_signed });
        }
        change.commit().await?;
        Ok(bundle)
    }

    /// Signs the CRLs that are due: of issuers that have none, whose last one lacks a revocation, or has served half its time.
    /// Keys that are kept elsewhere or do not open are passed over, and keep no other's revocations from being published; what their
    /// CRLs lack is told.
    pub async fn sign_due_crls(&self, options: &CrlOptions, actor: &str, now: Timestamp) -> Result<DueCrls, CaError> {
        options.check()?;
        let issuers = self.issuers().await?;
        let mut change = self.store().begin().await?;
        let pointers = pointers(&mut change).await?;
        let mut due = DueCrls::default();
        for (id, _) in issuers.live() {
            let own = id == issuers.issuing_of(id.generation);
            let terms = options.terms(id, own, &pointers);
            let kind = due_of(&mut change, id, &terms, now).await?;
            if kind == Due::Nothing {
                continue;
            }
            match self.signer(&issuers, id, "signing a CRL") {
                Err(fault) => {
                    if change.lacks_revocations(id).await? {
                        let lacks = self.unlisted_by(change.connection(), id, Some(&fault)).await;
                        due.unlisted.extend(lacks.map_err(change.read_fault())?);
                    }
                    if own || !matches!(fault, CaError::KeyMissing { .. }) {
                        due.failed.push(fault);
                    }
                }
                Ok(signer) => {
                    let crl = match kind {
                        Due::Delta => signing::sign_delta(&mut change, &signer, &terms, actor, now).await?,
                        _ => signing::sign_complete(&mut change, &signer, &terms, actor, now).await?,
                    };
                    due.signed.push(CrlSummary { record: crl.record, entries: crl.entries, newly_signed: true });
                }
            }
        }
        if !due.signed.is_empty() {
            change.commit().await?;
        }
        Ok(due)
    }

    /// What the last CRLs of issuers lack whose keys are kept elsewhere or do not open. Nobody learns of it until a key can be used.
    ///
    /// Of an encrypted key whose passphrase was not given, nothing is said: a server may have it.
    pub async fn unlisted_revocations(&self) -> Result<Vec<UnlistedRevocation>, CaError> {
        let issuers = self.issuers().await?;
        let mut connection = self.store().connection().await?;
        let mut unlisted = Vec::new();
        for (id, _) in issuers.live() {
            match self.signer(&issuers, id, "signing a CRL") {
                Ok(_) | Err(CaError::PassphraseMissing { .. }) => {}
                Err(fault) => {
                    let lacks = self.unlisted_by(&mut connection, id, Some(&fault)).await;
                    unlisted.extend(lacks.map_err(self.store().fault("read"))?);
                }
            }
        }
        Ok(unlisted)
    }

    /// The last CRL of each issuer, and then the last delta CRLs.
    pub async fn crls(&self) -> Result<Vec<StoredCrl>, CaError> {
        let mut connection = self.store().connection().await?;
        store::crls(&mut connection).await.map_err(self.store().fault("read"))
    }

    /// Signs the CRL of each root whose key is here.
    pub(super) async fn sign_root_crls(
        &self,
        options: &CrlOptions,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), CaError> {
        let issuers = self.issuers().await?;
        let mut change = self.store().begin().await?;
        let terms = |id| options.terms(id, false, &RevocationPointers::default());
        for (id, _) in issuers.anchors() {
            match self.signer(&issuers, id, "signing the root's CRL") {
                Err(CaError::KeyMissing { .. }) => {}
                signer => drop(signing::sign_complete(&mut change, &*signer?, &terms(id), actor, now).await?),
            }
        }
        change.commit().await.map(drop)
    }

    /// The last CRL of an issuer whose key is kept elsewhere.
    async fn kept_crl(&self, change: &mut Change, id: IssuerId) -> Result<StoredCrl, CaError> {
        let purpose = "signing its first CRL";
        let kept = store::crl(change.connection(), id).await.map_err(change.read_fault())?;
        let Some(mut kept) = kept.filter(|kept| !kept.der.is_empty()) else {
            return Err(CaError::KeyMissing { path: self.key_file(id), issuer: id, purpose });
        };
        let listed = listed_serials(&kept.der).ok_or_else(|| CaError::StoreCorrupt {
            place: self.store().place().to_string(),
            reason: format!("the {id}'s CRL cannot be read"),
        })?;
        let lacks = self.unlisted_by(change.connection(), id, None).await.map_err(change.read_fault())?;
        if let Some(UnlistedRevocation { issuer, serial, key, .. }) = lacks.into_iter().next() {
            return Err(CaError::RootCrlOutdated { issuer, serial, key });
        }
        kept.entries = listed.len();
        Ok(kept)
    }

    /// What the last CRLs of an issuer lack, given what keeps its key from being used. A CRL that cannot be read lists nothing.
    async fn unlisted_by(
        &self,
        connection: &mut AnyConnection,
        issuer: IssuerId,
        fault: Option<&CaError>,
    ) -> sqlx::Result<Vec<UnlistedRevocation>> {
        let mut crls = store::crls(connection).await?;
        crls.retain(|crl| crl.record.issuer == issuer);
        let listed: HashSet<SerialNumber> = crls.iter().filter_map(|crl| listed_serials(&crl.der)).flatten().collect();
        // Those that ended before the last CRL need not be on it.
        let last = crls.iter().find(|crl| crl.record.base_number.is_none());
        let last_update = last.map(|last| last.record.this_update.backdated());
        let fault = fault.filter(|fault| !matches!(fault, CaError::KeyMissing { .. })).map(|fault| chain(fault));
        let revoked = store::revoked_by(connection, issuer, last_update).await?;
        let lacks = revoked.into_iter().filter(|(serial, _)| !listed.contains(serial));
        let key = self.key_file(issuer);
        let unlisted = |serial| UnlistedRevocation { issuer, serial, key: key.clone(), fault: fault.clone() };
        Ok(lacks.map(|(serial, _)| unlisted(serial)).collect())
    }
}

impl CrlRecord {
    /// True once half of the time to its next update has passed, or where it is dated so far ahead that readers refuse it.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let (from, to) = (self.this_update.to_unix(), self.next_update.to_unix());
        self.this_update > now.saturating_add(AHEAD) || now.to_unix() >= from + (to - from) / 2
    }
}

impl fmt::Display for UnlistedRevocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, serial, key, fault } = self;
        write!(
            f,
            "the {issuer}'s CRL lacks serial {serial}, which is revoked: no peer learns of it before the {issuer} key "
        )?;
        match fault {
            None => write!(f, "is back at {}", key.display())?,
            Some(fault) => write!(f, "can be used ({fault})")?,
        }
        f.write_str("; a running \"mantlet ca serve\" then signs the CRL within seconds, \"mantlet ca crl\" at once")
    }
}

impl StoredCrl {
    /// In PEM.
    pub fn pem(&self) -> String {
        pem_of(LABEL, &self.der)
    }
}

/// Which CRL of an issuer is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    Complete,
    Delta,
}

async fn due_of(change: &mut Change, id: IssuerId, terms: &Terms, now: Timestamp) -> Result<Due, CaError> {
    let last = store::complete_record(change.connection(), id).await.map_err(change.read_fault())?;
    let delta = store::delta_record(change.connection(), id).await.map_err(change.read_fault())?;
    if last.is_none_or(|(last, _)| last.is_due(now)) {
        return Ok(Due::Complete);
    }
    Ok(match (&terms.delta, delta) {
        (None, None) if change.lacks_revocations(id).await? => Due::Complete,
        (Some(_), Some((delta, _))) if delta.is_due(now) || change.lacks_revocations(id).await? => Due::Delta,
        (None, None) | (Some(_), Some(_)) => Due::Nothing,
        // Delta CRLs are asked for since the complete one was signed, or no more: that says where its delta CRL is.
        (None, Some(_)) | (Some(_), None) => Due::Complete,
    })
}

impl CrlOptions {
    /// For an issuer that signs end-entity certificates, or for a root above one.
    fn terms(&self, id: IssuerId, own: bool, pointers: &RevocationPointers) -> Terms {
        let life = match id.tier {
            Tier::Root if !own => self.root_next_update.max(self.next_update),
            _ => self.next_update,
        };
        // A root above an intermediate revokes so seldom that its CRL is small.
        Terms { life, delta: pointers.delta_crls(id.generation).filter(|_| own) }
    }

    fn check(&self) -> Result<(), CaError> {
        let given = [("--next-update", self.next_update), ("--root-next-update", self.root_next_update)];
        for (option, value) in given {
            if value < Duration::from_secs(1) {
                return Err(CaError::Duration { option, value, bound: "shorter than one second".to_owned() });
            }
            if value > MAX_NEXT_UPDATE {
                let bound = "longer than 3650d: such a CRL would hide what is revoked after it".to_owned();
                return Err(CaError::Duration { option, value, bound });
            }
        }
        Ok(())
    }
}

/// The CRL in a PEM text.
pub(super) fn der_of_pem(pem: &[u8]) -> Option<Vec<u8>> {
    CertificateRevocationListDer::from_pem_slice(pem).ok().map(|der| der.to_vec())
}

fn listed_serials(der: &[u8]) -> Option<Vec<SerialNumber>> {
    let (_, crl) = CertificateRevocationList::from_der(der).ok()?;
    let serials = crl.iter_revoked_certificates().map(|entry| SerialNumber::from_der_content(entry.raw_serial()));
    Some(serials.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::{CredentialUsage, InitOptions, IssueRequest, KeyAlgorithm, RevocationReason};

    #[tokio::test]
    async fn an_expired_certificate_leaves_the_crl_after_one_signed_past_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let begin = Timestamp::now();
        let at = |hours: u64| begin.saturating_add(Duration::from_secs(hours * 3600));
        let options = InitOptions {
            trust_domain: "test.internal".parse().expect("valid"),
            ttl: Duration::from_secs(86_400),
            intermediate: false,
            algorithm: KeyAlgorithm::P256,
            passphrase_file: None,
        };
        let authority = Authority::init(folder.path(), &options, begin).await.expect("made");
        let request = IssueRequest {
            name: "ads".parse().expect("valid"),
            dns: Vec::new(),
            ip: Vec::new(),
            spiffe: None,
            ttl: Duration::from_secs(7200),
            usage: CredentialUsage::Both,
            algorithm: KeyAlgorithm::P256,
        };
        let serial = authority.issue(&request, "test", begin).await.expect("issued").certificate.serial;
        authority.revoke(&serial, RevocationReason::Superseded, "test", at(1)).await.expect("revoked");
        let mut entries = Vec::new();
        for hours in [1, 3, 4] {
            let bundle = authority.sign_crls(&CrlOptions::default(), "test", at(hours)).await.expect("signed");
            let der = der_of_pem(bundle.pem.as_bytes()).expect("a CRL");
            assert_eq!(listed_serials(&der).expect("a CRL").len(), bundle.lists[0].entries);
            entries.push(bundle.lists[0].entries);
        }
        assert_eq!(entries, [1, 1, 0], "valid, expired, expired on a CRL before");
    }

    #[tokio::test]
    async fn an_expired_issuer_issues_nothing_and_still_signs_crls() {
        let folder = tempfile::tempdir().expect("a folder");
        let begin = Timestamp::now();
        let options = InitOptions {
            trust_domain: "test.internal".parse().expect("valid"),
            ttl: Duration::from_secs(60),
            intermediate: false,
            algorithm: KeyAlgorithm::Ed25519,
            passphrase_file: None,
        };
        let authority = Authority::init(folder.path(), &options, begin).await.expect("made");
        let request = IssueRequest {
            name: "ads".parse().expect("valid"),
            dns: Vec::new(),
            ip: Vec::new(),
            spiffe: None,
            ttl: Duration::from_secs(60),
            usage: CredentialUsage::Both,
            algorithm: KeyAlgorithm::P256,
        };
        let later = begin.saturating_add(Duration::from_secs(60));
        let refusal = authority.issue(&request, "test", later).await.expect_err("expired").to_string();
        assert!(refusal.starts_with("the root certificate expired at "), "{refusal}");
        assert!(authority.sign_crls(&CrlOptions::default(), "test", later).await.is_ok());
    }
}
