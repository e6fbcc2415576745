//! Signing CRLs (RFC 5280 section 5).

use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams};
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use crate::x509::SerialNumber;

use super::authority::Authority;
use super::signer::{Signer, read_bounded};
use super::{Audience, CaError, CrlRecord, Revocation, Tier, Timestamp, write_durably};

const ROOT_CRL: &str = "root.crl";
const MAX_NEXT_UPDATE: Duration = Duration::from_secs(3650 * 86_400);

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

/// The CRLs of every issuer of the authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlBundle {
    /// All of them in one PEM text.
    pub pem: String,
    /// The key that issues first, then the root where that is another.
    pub lists: Vec<CrlSummary>,
}

impl Default for CrlOptions {
    fn default() -> Self {
        Self { next_update: Duration::from_secs(86_400), root_next_update: Duration::from_secs(180 * 86_400) }
    }
}

impl Authority {
    /// Signs a CRL of each issuer, each with the next number, which is on the disk before this returns.
    ///
    /// Where the root key is kept elsewhere, the root's last CRL serves on.
    ///
    /// # Errors
    /// [`CaError::RootCrlOutdated`] where that last CRL lacks a revocation: better no CRL than one that hides it.
    pub fn sign_crls(&mut self, options: &CrlOptions, now: Timestamp) -> Result<CrlBundle, CaError> {
        options.check()?;
        if !self.has_intermediate() {
            let signer = self.signer(Tier::Root, "signing a CRL")?;
            let (pem, summary) = self.sign(&signer, options.next_update, now)?;
            return Ok(CrlBundle { pem, lists: vec![summary] });
        }
        let signer = self.signer(Tier::Intermediate, "signing a CRL")?;
        let root = match self.sign_root_crl(options, now) {
            Err(CaError::KeyMissing { .. }) => self.kept_root_crl(now)?,
            outcome => outcome?,
        };
        let own = self.sign(&signer, options.next_update, now)?;
        Ok(CrlBundle { pem: own.0 + &root.0, lists: vec![own.1, root.1] })
    }

    /// Signs the root's CRL and keeps a copy for the time that the root key is elsewhere.
    pub(super) fn sign_root_crl(
        &mut self,
        options: &CrlOptions,
        now: Timestamp,
    ) -> Result<(String, CrlSummary), CaError> {
        let signer = self.signer(Tier::Root, "signing the root's CRL")?;
        let life = options.root_next_update.max(options.next_update);
        let (pem, summary) = self.sign(&signer, life, now)?;
        write_durably(&self.state_file(ROOT_CRL), pem.as_bytes(), Audience::Anyone)?;
        Ok((pem, summary))
    }

    fn sign(&mut self, signer: &Signer, life: Duration, now: Timestamp) -> Result<(String, CrlSummary), CaError> {
        let last = self.store().last_crl(signer.tier);
        let record = CrlRecord {
            issuer: signer.tier,
            number: last.map_or(1, |last| last.number + 1),
            this_update: now,
            next_update: now.saturating_add(life),
        };
        let entries = self.revoked_by(signer.tier, last.map(|last| last.this_update));
        let revoked_certs: Vec<_> = entries
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
        let pem = crl.pem().map_err(CaError::making("CRL"))?;
        self.store_mut().record_crl(record)?;
        Ok((pem, CrlSummary { record, entries: entries.len(), newly_signed: true }))
    }

    /// What an issuer's CRL must list. An expired certificate leaves it once it was on a CRL signed after its end (RFC 5280
    /// section 3.3), of which the last one's date decides.
    fn revoked_by(&self, issuer: Tier, last_update: Option<Timestamp>) -> Vec<(SerialNumber, Revocation)> {
        let store = self.store();
        let of_issuer = store.issued().iter().filter(|issued| issued.issuer == issuer);
        of_issuer
            .filter_map(|issued| store.revocation(&issued.serial).map(|revocation| (issued, revocation)))
            .filter(|(issued, revocation)| {
                last_update.is_none_or(|last| last <= issued.not_after || last <= revocation.at)
            })
            .map(|(issued, revocation)| (issued.serial.clone(), revocation))
            .collect()
    }

    fn kept_root_crl(&mut self, now: Timestamp) -> Result<(String, CrlSummary), CaError> {
        let path = self.state_file(ROOT_CRL);
        let pem = String::from_utf8(read_bounded(&path)?).map_err(|_| CaError::unusable(&path, "not PEM"))?;
        let (kept, listed) = parse_crl(&path, &pem)?;
        let unlisted = self.revoked_by(Tier::Root, None).into_iter().find(|(serial, _)| !listed.contains(serial));
        if let Some((serial, _)) = unlisted {
            return Err(CaError::RootCrlOutdated { path, serial, key: self.key_file(Tier::Root) });
        }
        if kept.next_update <= now {
            self.warn(format!(
                "the root's CRL expired at {}; bring the root key back to {} and run this again",
                kept.next_update,
                self.key_file(Tier::Root).display()
            ));
        }
        Ok((pem, CrlSummary { record: kept, entries: listed.len(), newly_signed: false }))
    }
}

impl CrlOptions {
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

fn parse_crl(path: &Path, pem: &str) -> Result<(CrlRecord, Vec<SerialNumber>), CaError> {
    let unusable = || CaError::unusable(path, "not a CRL in PEM");
    let der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).map_err(|_| unusable())?;
    let (_, crl) = CertificateRevocationList::from_der(&der).map_err(|_| unusable())?;
    let number = crl.crl_number().and_then(|number| u64::try_from(number).ok()).ok_or_else(unusable)?;
    let next_update = crl.next_update().ok_or_else(unusable)?;
    let record = CrlRecord {
        issuer: Tier::Root,
        number,
        this_update: Timestamp::from_unix(crl.last_update().timestamp()),
        next_update: Timestamp::from_unix(next_update.timestamp()),
    };
    let serials = crl.iter_revoked_certificates().map(|entry| SerialNumber::from_der_content(entry.raw_serial()));
    Ok((record, serials.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::{CredentialUsage, InitOptions, IssueRequest, KeyAlgorithm, RevocationReason};

    #[test]
    fn an_expired_certificate_leaves_the_crl_after_one_signed_past_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let begin = Timestamp::now();
        let at = |hours: u64| begin.saturating_add(Duration::from_secs(hours * 3600));
        let options = InitOptions {
            trust_domain: "test.internal".parse().expect("valid"),
            ttl: Duration::from_secs(86_400),
            intermediate: false,
            algorithm: KeyAlgorithm::P256,
        };
        let mut authority = Authority::init(folder.path(), &options, begin).expect("made");
        let request = IssueRequest {
            name: "ads".parse().expect("valid"),
            dns: Vec::new(),
            ip: Vec::new(),
            spiffe: None,
            ttl: Duration::from_secs(7200),
            usage: CredentialUsage::Both,
            algorithm: KeyAlgorithm::P256,
        };
        let serial = authority.issue(&request, begin).expect("issued").certificate.serial;
        authority.revoke(&serial, RevocationReason::Superseded, at(1)).expect("revoked");
        let mut entries_at = |hours| {
            let bundle = authority.sign_crls(&CrlOptions::default(), at(hours)).expect("signed");
            assert_eq!(parse_crl(Path::new("ca.crl"), &bundle.pem).expect("a CRL").1.len(), bundle.lists[0].entries);
            bundle.lists[0].entries
        };
        assert_eq!([entries_at(1), entries_at(3), entries_at(4)], [1, 1, 0], "valid, expired, expired on a CRL before");
    }

    #[test]
    fn an_expired_issuer_issues_nothing_and_still_signs_crls() {
        let folder = tempfile::tempdir().expect("a folder");
        let begin = Timestamp::now();
        let options = InitOptions {
            trust_domain: "test.internal".parse().expect("valid"),
            ttl: Duration::from_secs(60),
            intermediate: false,
            algorithm: KeyAlgorithm::Ed25519,
        };
        let mut authority = Authority::init(folder.path(), &options, begin).expect("made");
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
        let refusal = authority.issue(&request, later).expect_err("expired").to_string();
        assert!(refusal.starts_with("the root certificate expired at "), "{refusal}");
        assert!(authority.sign_crls(&CrlOptions::default(), later).is_ok());
    }
}
