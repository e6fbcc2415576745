//! One CRL from DER: its issuer found, its signature verified, its entries packed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_parser::extensions::KeyUsage;

use crate::x509::facts::{Facts, IssuerKey, sha256};
use crate::x509::signature::{self, SignatureFault, Signed};
use crate::x509::{CertificateInfo, SerialNumber};

use super::distribution_point::Scope;
use super::error::CrlError;
use super::fields::Fields;
use super::serials::Serials;

/// How far `thisUpdate` may lie ahead: the clocks of a CA and ours differ a little.
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

/// What a CRL says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlInfo {
    /// The issuer as RFC 4514 text.
    pub issuer: String,
    /// The CRL number (RFC 5280 section 5.2.3).
    pub number: SerialNumber,
    /// The number of the complete CRL that a delta CRL starts from (section 5.2.4); absent for a complete CRL.
    pub base_number: Option<SerialNumber>,
    /// Which of the issuer's certificates it covers, in words.
    pub scope: String,
    /// When it was issued.
    pub this_update: SystemTime,
    /// When its successor is due.
    pub next_update: SystemTime,
    /// How many certificates it lists.
    pub entries: usize,
    /// The file or address that it was read from.
    pub source: Arc<str>,
}

/// A CRL whose signature was verified, ready for lookups.
#[derive(Debug)]
pub struct VerifiedCrl {
    /// What it says of itself.
    pub info: CrlInfo,
    /// SHA-256 of its DER.
    pub digest: [u8; 32],
    /// Where it says that delta CRLs are to be had.
    pub freshest: Vec<String>,
    /// A name for the file that it is kept in: the same for each successor, and another for each issuer key and scope.
    pub stem: String,
    /// Stands for the key and the name of its issuer.
    pub issuer_key: [u8; 32],
    pub(in crate::x509) scope: Scope,
    pub(in crate::x509) serials: Serials,
}

/// The certificates whose keys may have signed a CRL.
#[derive(Debug, Clone, Default)]
pub struct CrlIssuers(Vec<(CertificateDer<'static>, Facts)>);

impl CrlIssuers {
    pub(in crate::x509) fn new<'a>(issuers: impl Iterator<Item = (&'a CertificateDer<'static>, &'a Facts)>) -> Self {
        Self(issuers.map(|(der, facts)| (der.clone(), facts.clone())).collect())
    }

    /// Adds a CA of a verified path. False where it was there already, or is no CA.
    pub fn learn(&mut self, der: CertificateDer<'static>) -> bool {
        let Ok(facts) = Facts::read(&der) else { return false };
        let is_new = facts.is_ca && !self.hold(&der);
        if is_new {
            self.0.push((der, facts));
        }
        is_new
    }

    /// The CA with whose key a CRL was verified; nothing where it is not among these.
    pub fn signer_of(&self, crl: &VerifiedCrl) -> Option<&CertificateInfo> {
        self.0.iter().find(|(_, facts)| facts.issuer_key == crl.issuer_key).map(|(_, facts)| &facts.info)
    }

    /// Adds those CAs of `before` that one of these has certified: peers may present them still.
    pub fn keep_certified(&mut self, before: &Self, now: SystemTime) {
        let mut rest: Vec<_> =
            before.0.iter().filter(|(der, facts)| facts.info.not_after >= now && !self.hold(der)).collect();
        // One may be certified by another that was found before.
        while let Some(position) = rest.iter().position(|(der, _)| self.have_certified(der)) {
            self.0.push(rest.swap_remove(position).clone());
        }
    }

    fn have_certified(&self, der: &CertificateDer<'_>) -> bool {
        let (Ok(parsed), Ok(signed)) = (EndEntityCert::try_from(der), Signed::split(der)) else { return false };
        self.0.iter().any(|(issuer, facts)| {
            let is_issuer = EndEntityCert::try_from(issuer).is_ok_and(|issuer| issuer.subject() == parsed.issuer());
            is_issuer && facts.is_ca && signature::verify(&signed, issuer).is_ok()
        })
    }

    /// Removes a CA.
    pub fn forget(&mut self, der: &CertificateDer<'_>) {
        self.0.retain(|(known, _)| known != der);
    }

    /// Whether this very certificate is among them.
    pub fn hold(&self, der: &CertificateDer<'_>) -> bool {
        self.0.iter().any(|(known, _)| known == der)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::x509) fn have(&self, key: &IssuerKey) -> bool {
        self.0.iter().any(|(_, facts)| facts.issuer_key == *key)
    }
}

impl VerifiedCrl {
    /// Reads and verifies one CRL. The bytes of a stranger are looked into no further than to find the issuer before the
    /// signature is verified.
    ///
    /// # Errors
    /// Why it is not used.
    pub fn read(der: &[u8], issuers: &CrlIssuers, source: &Arc<str>, now: SystemTime) -> Result<Self, CrlError> {
        let crl = Self::read_again(der, issuers, source, now)?;
        let this_update = crl.info.this_update;
        if this_update > now + MAX_SKEW { Err(CrlError::Future { this_update }) } else { Ok(crl) }
    }

    /// Reads and verifies one CRL that was read before. If its date of issue lies ahead, the clock was set back.
    ///
    /// # Errors
    /// Why it is not used.
    pub fn read_again(der: &[u8], issuers: &CrlIssuers, source: &Arc<str>, now: SystemTime) -> Result<Self, CrlError> {
        let signed = Signed::split(der)?;
        let fields = Fields::read(&signed)?;
        let issuer = verified_issuer(&signed, &fields, issuers, now)?;
        let mut serials = Serials::with_room_for(fields.entries_len());
        for entry in fields.entries() {
            let entry = entry?;
            serials.push(entry.serial, entry.since, entry.reason);
        }
        serials.seal();
        let info = CrlInfo {
            issuer: issuer.info.subject.clone(),
            number: fields.number,
            base_number: fields.base_number,
            scope: fields.scope.to_string(),
            this_update: fields.this_update,
            next_update: fields.next_update,
            entries: serials.len(),
            source: Arc::clone(source),
        };
        let (issuer_key, scope, freshest) = (issuer.issuer_key, fields.scope, fields.freshest);
        let stem = file_stem(&issuer_key, &scope, info.base_number.is_some());
        Ok(Self { info, digest: digest(der), freshest, stem, issuer_key, scope, serials })
    }

    /// Octets of memory that its entries take.
    pub fn entries_bytes(&self) -> usize {
        self.serials.bytes()
    }
}

fn file_stem(issuer_key: &IssuerKey, scope: &Scope, is_delta: bool) -> String {
    let scope = sha256(&[issuer_key, &scope.to_octets()]);
    let kind = if is_delta { "delta" } else { "complete" };
    format!("{}-{}-{kind}", hex(&issuer_key[..16]), hex(&scope[..8]))
}

/// SHA-256 of the DER of a CRL.
pub fn digest(der: &[u8]) -> [u8; 32] {
    sha256(&[der])
}

fn hex(octets: &[u8]) -> String {
    crate::x509::certificate::Hex(octets).to_string()
}

/// An issuer of the CRL's issuer name whose key signed it and who may sign CRLs now: one key may have several certificates.
fn verified_issuer<'a>(
    signed: &Signed<'_>,
    fields: &Fields<'_>,
    issuers: &'a CrlIssuers,
    now: SystemTime,
) -> Result<&'a Facts, CrlError> {
    let title = || fields.issuer_text();
    let mut fault = CrlError::UnknownIssuer { issuer: title() };
    for (der, facts) in &issuers.0 {
        let Ok(parsed) = EndEntityCert::try_from(der) else {
            continue;
        };
        if parsed.subject() != fields.issuer {
            continue;
        }
        match signature::verify(signed, der) {
            Ok(()) if !facts.is_ca => return Err(CrlError::NotACa { issuer: title() }),
            Ok(()) if !facts.allows(KeyUsage::crl_sign) => {
                fault = CrlError::NotCrlSigner { issuer: title() };
            }
            Ok(()) if facts.info.not_after < now => {
                fault = CrlError::IssuerExpired { issuer: facts.info.title(), not_after: facts.info.not_after };
            }
            Ok(()) => return Ok(facts),
            // What another certificate of the same key lacks tells more.
            Err(SignatureFault::Wrong)
                if matches!(fault, CrlError::IssuerExpired { .. } | CrlError::NotCrlSigner { .. }) => {}
            Err(SignatureFault::Wrong) => fault = CrlError::Signature { issuer: title() },
            Err(SignatureFault::Unsupported) if matches!(fault, CrlError::UnknownIssuer { .. }) => {
                fault = CrlError::Algorithm;
            }
            Err(SignatureFault::Unsupported) => {}
        }
    }
    Err(fault)
}
