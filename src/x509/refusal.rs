//! Why a chain was refused.

use std::sync::Arc;
use std::time::SystemTime;
use std::{fmt, iter};

use rustls::{CertificateError, OtherError};
use thiserror::Error;

use super::instant::Instant;
use super::{CertificateInfo, SerialNumber, Usage};

/// Why a peer's chain was refused, and whose it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct Refusal {
    /// What the peer's certificate says of itself; absent where it could not be parsed or none came.
    pub certificate: Option<Box<CertificateInfo>>,
    /// The reason.
    pub reason: RefusalReason,
}

impl Refusal {
    /// The refusal of a peer that sent no certificate where one is required.
    pub fn no_certificate() -> Self {
        Self { certificate: None, reason: RefusalReason::NoCertificate }
    }
}

/// The reason, by name. `Display` is the whole sentence with its values.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The peer sent no certificate where one is required.
    #[error("the peer sent no certificate")]
    NoCertificate,
    /// A certificate is not X.509 version 3 in strict DER.
    #[error("the certificate is malformed: {detail}")]
    Malformed {
        /// What the parser found.
        detail: String,
    },
    /// The certificate's validity ended.
    #[error("the certificate of \"{subject}\" expired {}", Instant(*.not_after))]
    Expired {
        /// Whose: the end entity's or an intermediate's.
        subject: String,
        /// When.
        not_after: SystemTime,
    },
    /// The certificate's validity has not begun.
    #[error("the certificate of \"{subject}\" is not valid before {}", Instant(*.not_before))]
    NotYetValid {
        /// Whose: the end entity's or an intermediate's.
        subject: String,
        /// When it begins.
        not_before: SystemTime,
    },
    /// No path leads to an anchor.
    #[error("the issuer \"{issuer}\" is neither a trust anchor nor leads to one; trusted: {}", List(.anchors))]
    UnknownIssuer {
        /// The issuer at which the path ends.
        issuer: String,
        /// The subjects of the anchors.
        anchors: Vec<String>,
    },
    /// A signature in the path was not made by the issuer's key.
    #[error("the certificate of \"{subject}\" was not signed by the key of \"{issuer}\" that is known here")]
    BadSignature {
        /// Whose certificate, as far as that is known.
        subject: String,
        /// The issuer that it names.
        issuer: String,
    },
    /// A signature or key algorithm outside the accepted ones.
    #[error("the certificate of \"{subject}\" {algorithm}, which is not accepted")]
    UnsupportedAlgorithm {
        /// Whose certificate.
        subject: String,
        /// What is not accepted: `has a key of ...` or `is signed with ...`.
        algorithm: String,
    },
    /// An RSA key of fewer than 2048 bits.
    #[error("the RSA key of \"{subject}\" has {bits} bits, fewer than 2048")]
    WeakKey {
        /// Whose key.
        subject: String,
        /// Its bits.
        bits: usize,
    },
    /// The extended key usage of a certificate in the path does not name the usage.
    #[error("the extended key usage of \"{subject}\" does not include {}", .usage.purpose())]
    WrongUsage {
        /// Whose certificate.
        subject: String,
        /// What it was to be used for.
        usage: Usage,
    },
    /// The key usage of a certificate in the path lacks a bit.
    #[error("the key usage of \"{subject}\" does not include {missing}")]
    KeyUsage {
        /// Whose certificate.
        subject: String,
        /// The bit by its name in RFC 5280 section 4.2.1.3.
        missing: &'static str,
    },
    /// A name constraint of a CA forbids a name of the path.
    #[error("a name of the certificate of \"{subject}\" is outside the name constraints of a CA above it")]
    NameConstraint {
        /// The end entity.
        subject: String,
    },
    /// More intermediates than the configuration or a CA allows.
    #[error("the path has more intermediates than the {limit} that {by} allows")]
    PathTooLong {
        /// How many are allowed.
        limit: usize,
        /// Who allows no more.
        by: String,
    },
    /// A certificate that is not a CA's stands above another.
    #[error("\"{subject}\" is not a CA (basic constraints) and issued a certificate of the path")]
    NotACa {
        /// Which.
        subject: String,
    },
    /// A CA's own certificate was presented as the end entity.
    #[error("\"{subject}\" is a CA and cannot stand for a peer")]
    CaAsEndEntity {
        /// Which.
        subject: String,
    },
    /// The anchor at the end of the path is outside its validity.
    #[error("the trust anchor \"{subject}\" is valid from {} to {} only", Instant(*.not_before), Instant(*.not_after))]
    AnchorExpired {
        /// The anchor.
        subject: String,
        /// Start of its validity.
        not_before: SystemTime,
        /// End of its validity.
        not_after: SystemTime,
    },
    /// A critical extension that is not understood.
    #[error("the certificate of \"{subject}\" has the critical extension {extension}, which is not understood")]
    CriticalExtension {
        /// Whose certificate.
        subject: String,
        /// Its object identifier, where it is known.
        extension: String,
    },
    /// Listed on its issuer's CRL.
    #[error("the certificate with serial {serial} is revoked since {}{}", Instant(*.since), Because(*.reason))]
    Revoked {
        /// Which certificate of the path.
        serial: SerialNumber,
        /// Since when.
        since: SystemTime,
        /// The reason code's name in RFC 5280 section 5.3.1, such as `keyCompromise`.
        reason: Option<&'static str>,
    },
    /// No CRL of the issuer is loaded.
    #[error("the revocation status of serial {serial} is unknown: no CRL of \"{issuer}\" is loaded")]
    RevocationUnknown {
        /// Which certificate of the path.
        serial: SerialNumber,
        /// Whose CRL is missing.
        issuer: String,
    },
    /// The issuer's CRL is older than its next update and the grace.
    #[error("the revocation status of serial {serial} is unknown: the CRL of \"{issuer}\" is stale, its next update was due {}", Instant(*.next_update))]
    RevocationStale {
        /// Which certificate of the path.
        serial: SerialNumber,
        /// Whose CRL is stale.
        issuer: String,
        /// When its successor was due.
        next_update: SystemTime,
    },
    /// A trusted peer that is not the expected one.
    #[error("the peer is {found}, expected {expected}")]
    NameMismatch {
        /// Who was expected.
        expected: String,
        /// The names that the certificate proves.
        found: String,
    },
    /// A certificate below the anchor of a trust domain that is of no member of it (SPIFFE Workload API section 4.6).
    #[error(
        "the trust anchor \"{anchor}\" vouches for the trust domain \"{trust_domain}\" alone, and the certificate proves {found}"
    )]
    OtherTrustDomain {
        /// The anchor.
        anchor: String,
        /// The trust domain.
        trust_domain: String,
        /// What the certificate proves.
        found: String,
    },
    /// More than one SPIFFE ID (SPIFFE X509-SVID section 2).
    #[error("the certificate names more than one SPIFFE ID: {}", List(.names))]
    AmbiguousIdentity {
        /// Them.
        names: Vec<String>,
    },
    /// A URI name of the scheme `spiffe` that is no SPIFFE ID.
    #[error("the URI name \"{uri}\" is not a SPIFFE ID: {problem}")]
    InvalidSpiffeId {
        /// The name.
        uri: String,
        /// What is wrong with it.
        problem: String,
    },
    /// More certificates than are looked at.
    #[error("{count} certificates were presented, more than the {limit} that are looked at")]
    TooManyCertificates {
        /// How many came.
        count: usize,
        /// How many are looked at.
        limit: usize,
    },
    /// The presented certificates form more paths than are tried.
    #[error("the presented certificates form more paths than are tried")]
    PathsTooMany,
}

impl RefusalReason {
    /// A short fixed name for metrics and logs, such as `expired`, `unknown_issuer` or `revoked`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Malformed { .. } => "malformed",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::UnknownIssuer { .. } => "unknown_issuer",
            Self::BadSignature { .. } => "bad_signature",
            Self::UnsupportedAlgorithm { .. } => "unsupported_algorithm",
            Self::WeakKey { .. } => "weak_key",
            Self::WrongUsage { .. } => "wrong_usage",
            Self::KeyUsage { .. } => "key_usage",
            Self::NameConstraint { .. } => "name_constraint",
            Self::PathTooLong { .. } => "path_too_long",
            Self::NotACa { .. } => "not_a_ca",
            Self::CaAsEndEntity { .. } => "ca_as_end_entity",
            Self::AnchorExpired { .. } => "anchor_expired",
            Self::CriticalExtension { .. } => "critical_extension",
            Self::Revoked { .. } => "revoked",
            Self::RevocationUnknown { .. } => "revocation_unknown",
            Self::RevocationStale { .. } => "revocation_stale",
            Self::NameMismatch { .. } => "name_mismatch",
            Self::OtherTrustDomain { .. } => "other_trust_domain",
            Self::AmbiguousIdentity { .. } => "ambiguous_identity",
            Self::InvalidSpiffeId { .. } => "invalid_spiffe_id",
            Self::TooManyCertificates { .. } => "too_many_certificates",
            Self::PathsTooMany => "paths_too_many",
        }
    }

    /// What the reader of the refusal can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoCertificate => {
                "give the peer a client certificate of a trusted CA, or set client_auth = \"optional\""
            }
            Self::Malformed { .. } => "reissue the certificate as X.509 version 3 in DER",
            Self::Expired { .. } => {
                "issue a new certificate with \"mantlet ca issue\" and check the clock of this machine"
            }
            Self::NotYetValid { .. } => "clock skew: compare the clocks of this machine, the peer and the CA",
            Self::UnknownIssuer { .. } => {
                "add the CA of the peer to trust.anchors, or have the peer present its intermediates"
            }
            Self::BadSignature { .. } => {
                "another CA of the same name issued it, or it was altered; compare the key identifiers with \"mantlet cert show\""
            }
            Self::UnsupportedAlgorithm { .. } => {
                "reissue with ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits or more, signed with SHA-256 or better"
            }
            Self::WeakKey { .. } => "reissue with ECDSA P-256 or with RSA of 2048 bits or more",
            Self::WrongUsage { usage: Usage::Client, .. } => "reissue with clientAuth in the extended key usage",
            Self::WrongUsage { usage: Usage::Server, .. } => "reissue with serverAuth in the extended key usage",
            Self::KeyUsage { .. } => "reissue with digitalSignature for end entities and keyCertSign for CAs",
            Self::NameConstraint { .. } => {
                "reissue within the constraints of the CA; URI and directory name constraints are not supported and refuse every such name"
            }
            Self::PathTooLong { .. } => "shorten the chain, or raise trust.max_depth or the path length of the CA",
            Self::NotACa { .. } => "issue from a certificate with cA in its basic constraints",
            Self::CaAsEndEntity { .. } => "give the peer an end-entity certificate of its own",
            Self::AnchorExpired { .. } => {
                "replace the trust anchor in trust.anchors, and check the clock of this machine"
            }
            Self::CriticalExtension { .. } => "reissue without the critical extension",
            Self::Revoked { .. } => "the CA withdrew it; issue a new certificate if the peer is to be trusted again",
            Self::RevocationUnknown { .. } => {
                "add the issuer's CRL to revocation.sources, or set revocation.on_missing or revocation.depth"
            }
            Self::RevocationStale { .. } => {
                "fetch a newer CRL from the CA, or see revocation.grace and revocation.on_stale"
            }
            Self::NameMismatch { .. } => "compare \"expect\" with the names in the peer's certificate",
            Self::OtherTrustDomain { .. } => {
                "a bundle of the SPIFFE Workload API certifies its own trust domain alone; for others federate with theirs"
            }
            Self::AmbiguousIdentity { .. } => "reissue with one SPIFFE ID",
            Self::InvalidSpiffeId { .. } => "reissue with a SPIFFE ID such as spiffe://trust-domain/service",
            Self::TooManyCertificates { .. } | Self::PathsTooMany => {
                "have the peer present its end-entity certificate and the intermediates of one path"
            }
        }
    }

    /// The rustls error that sends the fitting TLS alert (RFC 8446 section 6.2).
    pub fn certificate_error(&self) -> CertificateError {
        match self {
            Self::Malformed { .. } | Self::InvalidSpiffeId { .. } | Self::AmbiguousIdentity { .. } => {
                CertificateError::BadEncoding
            }
            Self::CriticalExtension { .. } => CertificateError::UnhandledCriticalExtension,
            Self::Expired { .. } => CertificateError::Expired,
            Self::NotYetValid { .. } => CertificateError::NotValidYet,
            Self::UnknownIssuer { .. } | Self::AnchorExpired { .. } | Self::OtherTrustDomain { .. } => {
                CertificateError::UnknownIssuer
            }
            Self::BadSignature { .. } => CertificateError::BadSignature,
            // This one, whatever its name says, sends `unsupported_certificate`.
            Self::UnsupportedAlgorithm { .. }
            | Self::WeakKey { .. }
            | Self::WrongUsage { .. }
            | Self::KeyUsage { .. }
            | Self::CaAsEndEntity { .. } => CertificateError::InvalidPurpose,
            Self::NameMismatch { .. } | Self::NameConstraint { .. } => CertificateError::NotValidForName,
            Self::Revoked { .. } => CertificateError::Revoked,
            Self::RevocationUnknown { .. } => CertificateError::UnknownRevocationStatus,
            Self::RevocationStale { .. } => CertificateError::ExpiredRevocationList,
            Self::NoCertificate => CertificateError::ApplicationVerificationFailure,
            Self::NotACa { .. } | Self::PathTooLong { .. } | Self::TooManyCertificates { .. } | Self::PathsTooMany => {
                CertificateError::Other(OtherError(Arc::new(self.clone())))
            }
        }
    }
}

/// At most eight of many, so that a message stays readable.
struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        if self.0.is_empty() {
            return f.write_str("nobody");
        }
        let separators = iter::once("").chain(iter::repeat(", "));
        self.0
            .iter()
            .take(SHOWN)
            .zip(separators)
            .try_for_each(|(item, separator)| write!(f, "{separator}\"{item}\""))?;
        if self.0.len() > SHOWN { write!(f, " and {} more", self.0.len() - SHOWN) } else { Ok(()) }
    }
}

struct Because(Option<&'static str>);

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |reason| write!(f, " ({reason})"))
    }
}
