//! Why a CRL is not used.

use std::time::SystemTime;

use thiserror::Error;
use x509_parser::der_parser::asn1_rs::Oid;

use crate::x509::instant::Instant;

/// Longest object identifier that is written out.
const MAX_OID: usize = 64;

/// Why a CRL is not used. Where it breaks a rule of the profile, the section is named.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CrlError {
    /// Not the DER of a CRL.
    #[error("is not a CRL in DER: {0}")]
    Der(#[from] der::Error),
    /// Version 1.
    #[error("is a version 1 CRL, expected version 2 with a CRL number (RFC 5280 section 5.1.2.1)")]
    Version1,
    /// A version that does not exist.
    #[error("is of an unknown version, expected version 2 (RFC 5280 section 5.1.2.1)")]
    Version,
    /// The signature algorithm inside the signature is another than the one outside.
    #[error("names two different signature algorithms (RFC 5280 section 5.1.1.2)")]
    OtherAlgorithm,
    /// An empty issuer name.
    #[error("names no issuer (RFC 5280 section 5.1.2.3)")]
    NoIssuer,
    /// Nothing says how long it holds.
    #[error("has no nextUpdate, so nothing says how long it holds (RFC 5280 section 5.1.2.5)")]
    NoNextUpdate,
    /// Dates in the wrong order.
    #[error(
        "has its nextUpdate, {}, before its thisUpdate, {} (RFC 5280 section 5.1.2.5)",
        Instant(*.next_update),
        Instant(*.this_update)
    )]
    EndsBeforeItBegins {
        /// When it says that it was issued.
        this_update: SystemTime,
        /// When its successor is due.
        next_update: SystemTime,
    },
    /// Nothing tells an older one from a newer one.
    #[error("has no CRL number (RFC 5280 section 5.2.3)")]
    NoNumber,
    /// A number that is negative or too long.
    #[error("has a CRL number that is negative or longer than 20 octets (RFC 5280 section 5.2.3)")]
    Number,
    /// A date of issue that lies ahead.
    #[error("is issued {}, which lies ahead", Instant(*.this_update))]
    Future {
        /// When it says that it was issued.
        this_update: SystemTime,
    },
    /// No certificate of that subject is known.
    #[error(
        "is issued by \"{issuer}\", and no certificate of that subject is among the anchors, the intermediates and our own chain"
    )]
    UnknownIssuer {
        /// The issuer that it names.
        issuer: String,
    },
    /// The signature of another key.
    #[error("is signed by another key than that of \"{issuer}\" known here")]
    Signature {
        /// The issuer that it names.
        issuer: String,
    },
    /// No accepted algorithm.
    #[error("is signed with an algorithm or a key that is not accepted")]
    Algorithm,
    /// An issuer without the right to sign CRLs.
    #[error("is issued by \"{issuer}\", whose key usage does not include cRLSign (RFC 5280 section 4.2.1.3)")]
    NotCrlSigner {
        /// The issuer.
        issuer: String,
    },
    /// An issuer that is no CA.
    #[error("is issued by \"{issuer}\", which is not a CA")]
    NotACa {
        /// The issuer.
        issuer: String,
    },
    /// An issuer whose certificate has ended.
    #[error("is issued by \"{issuer}\", whose certificate is valid until {} only", Instant(*.not_after))]
    IssuerExpired {
        /// The issuer.
        issuer: String,
        /// The end of its certificate.
        not_after: SystemTime,
    },
    /// A scope that cannot be judged.
    #[error("covers {scope} (issuing distribution point, RFC 5280 section 5.2.5), which is not supported")]
    Scope {
        /// What it says it covers.
        scope: String,
    },
    /// Another than the certificates' issuer signed it.
    #[error("is an indirect CRL (RFC 5280 section 5.2.5), expected one of the issuer's own certificates")]
    Indirect,
    /// A critical extension that is not understood.
    #[error("has the critical extension {oid}, which is not understood (RFC 5280 section 5.2)")]
    CriticalExtension {
        /// Its object identifier.
        oid: String,
    },
    /// An extension that stands there twice, or one of too many.
    #[error("has the extension {oid} twice, or too many extensions (RFC 5280 section 4.2)")]
    ExtensionTwice {
        /// Its object identifier.
        oid: String,
    },
    /// A serial number of an impossible length.
    #[error("lists a serial number of {octets} octets, expected 1 to 20 (RFC 5280 section 4.1.2.2)")]
    SerialLength {
        /// Its length.
        octets: usize,
    },
    /// A reason that is no reason code.
    #[error("lists a certificate with an ill-formed reason code (RFC 5280 section 5.3.1)")]
    ReasonCode,
}

impl CrlError {
    pub(super) fn critical(oid: &[u8]) -> Self {
        Self::CriticalExtension { oid: oid_text(oid) }
    }

    pub(super) fn extension_twice(oid: &[u8]) -> Self {
        Self::ExtensionTwice { oid: oid_text(oid) }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
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
            Self::IssuerExpired { .. } => "renew the CA's certificate, and list it in its place",
            Self::Version1 | Self::NoNumber => {
                "have the CA issue version 2 with a CRL number, as \"mantlet ca crl\" does (openssl: crlnumber and crl_extensions)"
            }
            Self::Der(_) => "fetch the CRL again and look at it with \"mantlet crl show\"",
            Self::Scope { .. } | Self::Indirect => {
                "have the CA issue a CRL of all its own certificates, or partitions by distribution point"
            }
            Self::Version
            | Self::OtherAlgorithm
            | Self::NoIssuer
            | Self::NoNextUpdate
            | Self::EndsBeforeItBegins { .. }
            | Self::Number
            | Self::Algorithm
            | Self::CriticalExtension { .. }
            | Self::ExtensionTwice { .. }
            | Self::SerialLength { .. }
            | Self::ReasonCode => "have the CA issue a CRL by RFC 5280, as \"mantlet ca crl\" does",
        }
    }
}

/// Dotted decimals, or the octets where they are none. Anyone may have written them.
fn oid_text(octets: &[u8]) -> String {
    if octets.len() > MAX_OID {
        return format!("of {} octets", octets.len());
    }
    Oid::new(octets.into()).to_id_string()
}
