//! One CRL from DER: its issuer found, its signature verified, its scope refused where it is not complete, then packed.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use der::asn1::{GeneralizedTime, UtcTime};
use der::{Decode, Reader, SliceReader, Tag, TagNumber};
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use webpki::{BorrowedCertRevocationList, EndEntityCert};
use x509_parser::extensions::KeyUsage;
use x509_parser::prelude::{FromDer, X509Name};

use crate::x509::distinguished_name::rfc4514;
use crate::x509::facts::{Facts, IssuerKey};
use crate::x509::instant::Instant;
use crate::x509::signature::{self, SignatureFault, Signed, content_of};
use crate::x509::{CrlInfo, SerialNumber};

use super::serials::Serials;

/// How far `thisUpdate` may lie ahead: the clocks of a CA and ours differ a little.
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 0x14];
const ISSUING_DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 0x1c];

/// A CRL whose signature was verified, ready for lookups.
#[derive(Debug)]
pub(in crate::x509) struct VerifiedCrl {
    pub(in crate::x509) info: CrlInfo,
    pub(super) issuer_key: IssuerKey,
    pub(super) serials: Serials,
}

/// A certificate whose key may have signed a CRL.
#[derive(Clone, Copy)]
pub(in crate::x509) struct Issuer<'a> {
    pub(in crate::x509) der: &'a CertificateDer<'static>,
    pub(in crate::x509) facts: &'a Facts,
}

/// Why a CRL is not used.
#[derive(Debug, Error)]
pub(in crate::x509) enum CrlError {
    #[error("is not a CRL in DER: {0}")]
    Der(#[from] der::Error),
    #[error("is a version 1 CRL, expected version 2 with a CRL number (RFC 5280 section 5.1.2.1)")]
    Version1,
    #[error("has no nextUpdate, so nothing says how long it holds (RFC 5280 section 5.1.2.5)")]
    NoNextUpdate,
    #[error("is issued {}, which lies ahead", Instant(*.this_update))]
    Future { this_update: SystemTime },
    #[error(
        "is issued by \"{issuer}\", and no certificate of that subject is among the anchors, the intermediates and our own chain"
    )]
    UnknownIssuer { issuer: String },
    #[error("is signed by another key than that of \"{issuer}\" known here")]
    Signature { issuer: String },
    #[error("is signed with an algorithm or a key that is not accepted")]
    Algorithm,
    #[error("is issued by \"{issuer}\", whose key usage does not include cRLSign (RFC 5280 section 4.2.1.3)")]
    NotCrlSigner { issuer: String },
    #[error("is issued by \"{issuer}\", which is not a CA")]
    NotACa { issuer: String },
    #[error(
        "covers only a part of what its issuer issued: {scope} (issuing distribution point, RFC 5280 section 5.2.5); expected a complete CRL"
    )]
    Partitioned { scope: String },
    #[error("is a delta CRL (RFC 5280 section 5.2.4), expected a complete CRL")]
    Delta,
    #[error("is an indirect CRL (RFC 5280 section 5.2.5), expected one of the issuer's own certificates")]
    Indirect,
    #[error("has a critical extension that is not understood (RFC 5280 section 5.2)")]
    CriticalExtension,
    #[error("is malformed: {0}")]
    Malformed(webpki::Error),
}

impl CrlError {
    pub(in crate::x509) fn remedy(&self) -> &'static str {
        match self {
            Self::UnknownIssuer { .. } => {
                "add the issuer's certificate to trust.intermediates, or take the CRL from the list"
            }
            Self::Future { .. } => "clock skew: compare the clocks of this machine and the CA",
            Self::Signature { .. } => {
                "fetch the CRL of this very CA: another one of the same name signed it, or it was altered"
            }
            Self::NotCrlSigner { .. } | Self::NotACa { .. } => {
                "have the CA that issues the certificates sign their CRL"
            }
            Self::Version1 => "have the CA issue version 2, as \"mantlet ca crl\" does (openssl: crl_extensions)",
            Self::Der(_) | Self::Malformed(_) => "fetch the CRL again and look at it with \"openssl crl -text\"",
            Self::NoNextUpdate
            | Self::Algorithm
            | Self::Partitioned { .. }
            | Self::Delta
            | Self::Indirect
            | Self::CriticalExtension => "have the CA issue a complete version 2 CRL, as \"mantlet ca crl\" does",
        }
    }
}

impl From<webpki::Error> for CrlError {
    fn from(error: webpki::Error) -> Self {
        match error {
            webpki::Error::UnsupportedDeltaCrl => Self::Delta,
            webpki::Error::UnsupportedIndirectCrl => Self::Indirect,
            webpki::Error::UnsupportedCriticalExtension => Self::CriticalExtension,
            webpki::Error::UnsupportedCrlVersion => Self::Version1,
            other => Self::Malformed(other),
        }
    }
}

/// Reads and verifies one CRL. The bytes of a stranger are looked into no further than to find the issuer before the
/// signature is verified.
pub(in crate::x509) fn read(
    der: &[u8],
    issuers: &[Issuer<'_>],
    source: &Path,
    now: SystemTime,
) -> Result<VerifiedCrl, CrlError> {
    let signed = Signed::split(der)?;
    let fields = Fields::read(signed.tbs)?;
    let issuer = verified_issuer(&signed, &fields, issuers)?;
    if fields.this_update > now + MAX_SKEW {
        return Err(CrlError::Future { this_update: fields.this_update });
    }
    if let Some(scope) = fields.scope {
        return Err(CrlError::Partitioned { scope });
    }
    let parsed = BorrowedCertRevocationList::from_der(der)?;
    let mut serials = Serials::default();
    for entry in &parsed {
        let entry = entry?;
        let reason = entry.reason_code.map(|reason| reason as u8);
        serials.push(entry.serial_number, entry.revocation_date.as_secs(), reason);
    }
    serials.seal();
    let info = CrlInfo {
        issuer: issuer.info.subject.clone(),
        number: fields.number,
        this_update: fields.this_update,
        next_update: fields.next_update,
        entries: serials.len(),
        source: PathBuf::from(source),
    };
    Ok(VerifiedCrl { info, issuer_key: issuer.issuer_key, serials })
}

/// The one issuer of the CRL's issuer name whose key signed it and who may sign CRLs.
fn verified_issuer<'a>(
    signed: &Signed<'_>,
    fields: &Fields<'_>,
    issuers: &[Issuer<'a>],
) -> Result<&'a Facts, CrlError> {
    let title = || issuer_title(fields.issuer_tlv);
    let mut fault = CrlError::UnknownIssuer { issuer: title() };
    for candidate in issuers {
        let Ok(parsed) = EndEntityCert::try_from(candidate.der) else {
            continue;
        };
        if parsed.subject() != fields.issuer {
            continue;
        }
        match signature::verify(signed, candidate.der) {
            Ok(()) if !candidate.facts.is_ca => return Err(CrlError::NotACa { issuer: title() }),
            Ok(()) if !candidate.facts.allows(KeyUsage::crl_sign) => {
                fault = CrlError::NotCrlSigner { issuer: title() };
            }
            Ok(()) => return Ok(candidate.facts),
            Err(SignatureFault::Wrong) => fault = CrlError::Signature { issuer: title() },
            Err(SignatureFault::Unsupported) if matches!(fault, CrlError::UnknownIssuer { .. }) => {
                fault = CrlError::Algorithm;
            }
            Err(SignatureFault::Unsupported) => {}
        }
    }
    Err(fault)
}

fn issuer_title(tlv: &[u8]) -> String {
    X509Name::from_der(tlv).map_or_else(|_| "an ill-formed name".to_owned(), |(_, name)| rfc4514(&name))
}

/// The fields of the `TBSCertList` that webpki checks but does not give away (RFC 5280 section 5.1.2).
struct Fields<'a> {
    /// The content of the issuer name.
    issuer: &'a [u8],
    issuer_tlv: &'a [u8],
    this_update: SystemTime,
    next_update: SystemTime,
    number: Option<SerialNumber>,
    /// What an issuing distribution point confines the CRL to.
    scope: Option<String>,
}

impl<'a> Fields<'a> {
    fn read(tbs: &'a [u8]) -> Result<Self, CrlError> {
        let mut outer = SliceReader::new(tbs)?;
        let mut reader = SliceReader::new(content_of(&mut outer, Tag::Sequence)?)?;
        if reader.peek_tag()? != Tag::Integer {
            return Err(CrlError::Version1);
        }
        reader.tlv_bytes()?;
        reader.tlv_bytes()?;
        let issuer_tlv = reader.tlv_bytes()?;
        let issuer = content_of(&mut SliceReader::new(issuer_tlv)?, Tag::Sequence)?;
        let this_update = time(&mut reader)?;
        if !matches!(reader.peek_tag(), Ok(Tag::UtcTime | Tag::GeneralizedTime)) {
            return Err(CrlError::NoNextUpdate);
        }
        let next_update = time(&mut reader)?;
        let mut fields = Self { issuer, issuer_tlv, this_update, next_update, number: None, scope: None };
        if reader.peek_tag() == Ok(Tag::Sequence) {
            reader.tlv_bytes()?;
        }
        let extensions_tag = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };
        if reader.peek_tag() == Ok(extensions_tag) {
            let mut tagged = SliceReader::new(content_of(&mut reader, extensions_tag)?)?;
            let mut extensions = SliceReader::new(content_of(&mut tagged, Tag::Sequence)?)?;
            while !extensions.is_finished() {
                fields.take_extension(content_of(&mut extensions, Tag::Sequence)?)?;
            }
        }
        Ok(fields)
    }

    fn take_extension(&mut self, extension: &'a [u8]) -> Result<(), CrlError> {
        let mut reader = SliceReader::new(extension)?;
        let oid = content_of(&mut reader, Tag::ObjectIdentifier)?;
        if reader.peek_tag()? == Tag::Boolean {
            reader.tlv_bytes()?;
        }
        let value = content_of(&mut reader, Tag::OctetString)?;
        if oid == CRL_NUMBER {
            let number = content_of(&mut SliceReader::new(value)?, Tag::Integer)?;
            self.number = Some(SerialNumber::from_der_content(number));
        } else if oid == ISSUING_DISTRIBUTION_POINT {
            self.scope = Some(scope(value)?);
        }
        Ok(())
    }
}

/// The fields of an issuing distribution point, by name.
fn scope(value: &[u8]) -> Result<String, CrlError> {
    const NAMES: [&str; 6] = [
        "distributionPoint",
        "onlyContainsUserCerts",
        "onlyContainsCACerts",
        "onlySomeReasons",
        "indirectCRL",
        "onlyContainsAttributeCerts",
    ];
    let mut outer = SliceReader::new(value)?;
    let mut reader = SliceReader::new(content_of(&mut outer, Tag::Sequence)?)?;
    let mut present = Vec::new();
    while !reader.is_finished() {
        let number = usize::from(reader.peek_tag()?.number().value());
        reader.tlv_bytes()?;
        present.push(NAMES.get(number).copied().unwrap_or("an unknown field"));
    }
    Ok(present.join(", "))
}

fn time(reader: &mut SliceReader<'_>) -> Result<SystemTime, CrlError> {
    Ok(match reader.peek_tag()? {
        Tag::UtcTime => UtcTime::decode(reader)?.to_system_time(),
        _ => GeneralizedTime::decode(reader)?.to_system_time(),
    })
}
