//! Why a token is not accepted: in full for the log, and in few fixed words for whoever sent it.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use thiserror::Error;

use crate::config::TokenAlgorithm;
use crate::x509::Instant;

/// Most characters of what a token says that a message repeats.
const MAX_SHOWN: usize = 128;

/// Why there is no user. `Display` is for logs: it may name what the token claims, never the token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    /// The token is not good: 401.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Whether the token is good cannot be told for now: 503.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What is wrong with a token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Invalid {
    /// Longer than any issuer's may be, or than this issuer's.
    #[error("the token is of {octets} octets: expected {limit} at most")]
    TooLarge {
        /// Its length.
        octets: usize,
        /// The most that is read.
        limit: usize,
    },
    /// Not three parts.
    #[error("the token is no JWT in compact form: expected three parts with a dot between")]
    Form,
    /// A part in another alphabet, padded, or with bits left over.
    #[error("the {part} of the token is not base64url without padding")]
    Base64 {
        /// `header`, `claims` or `signature`.
        part: &'static str,
    },
    /// A part that is no object, or one that could be read in two ways.
    #[error("the {part} of the token {detail}")]
    Json {
        /// `header` or `claims`.
        part: &'static str,
        /// What the reader found.
        detail: String,
    },
    /// A `crit` member.
    #[error("the header of the token has \"crit\": no extension is understood")]
    Critical,
    /// Meant for something else.
    #[error("the token is of the type {typ}: expected \"JWT\", \"at+jwt\" or none")]
    Type {
        /// Its `typ`.
        typ: String,
    },
    /// No `alg`.
    #[error("the header of the token has no \"alg\"")]
    NoAlgorithm,
    /// No algorithm that is ever verified; `none` among them.
    #[error("the token is signed by {alg}: expected RS256, ES256 or EdDSA")]
    Algorithm {
        /// Its `alg`.
        alg: String,
    },
    /// `kid` is no text, empty or too long.
    #[error("the \"kid\" of the token is not a text of 1 to 256 octets")]
    Kid,
    /// A claim that has to be there is not.
    #[error("the token has no {claim:?}")]
    NoClaim {
        /// Its name.
        claim: &'static str,
    },
    /// A claim of another kind.
    #[error("the {claim:?} of the token is not {expected}")]
    Claim {
        /// Its name.
        claim: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// Nobody we know.
    #[error("the token is issued by {issuer}, which is no issuer here")]
    UnknownIssuer {
        /// Its `iss`.
        issuer: String,
    },
    /// Somebody whose tokens are good elsewhere.
    #[error("the token is issued by {issuer:?}, whose tokens are not accepted here")]
    IssuerNotAccepted {
        /// The name of the issuer.
        issuer: String,
    },
    /// An algorithm that is not this issuer's.
    #[error("the token is signed by {}, which is not among the algorithms of {issuer:?}", .algorithm.name())]
    NotPinned {
        /// The name of the issuer.
        issuer: String,
        /// Its algorithm.
        algorithm: TokenAlgorithm,
    },
    /// A key that the issuer does not have, or not for this algorithm.
    #[error("{issuer:?} has no key {kid} for {}", .algorithm.name())]
    UnknownKey {
        /// The name of the issuer.
        issuer: String,
        /// The token's `kid`.
        kid: String,
        /// The token's algorithm.
        algorithm: TokenAlgorithm,
    },
    /// No `kid`, and not exactly one key that could be meant.
    #[error("the token names no key, and {issuer:?} has {keys} for {}: expected exactly one", .algorithm.name())]
    NoKid {
        /// The name of the issuer.
        issuer: String,
        /// Its keys for this algorithm.
        keys: usize,
        /// The token's algorithm.
        algorithm: TokenAlgorithm,
    },
    /// The certificate that the key came in is not valid at this time.
    #[error("the key {kid} of {issuer:?} came in a certificate that is not valid now")]
    KeyOutsideValidity {
        /// The name of the issuer.
        issuer: String,
        /// The `kid`.
        kid: String,
    },
    /// Not signed by this key.
    #[error("the signature of the token was not made by the key {kid} of {issuer:?}")]
    Signature {
        /// The name of the issuer.
        issuer: String,
        /// The `kid` of the key that was tried.
        kid: String,
    },
    /// Meant for others.
    #[error("the token is for {audience}, which is not among the audiences of {issuer:?}")]
    Audience {
        /// The name of the issuer.
        issuer: String,
        /// Its `aud`.
        audience: String,
    },
    /// Over.
    #[error("the token expired {}, {} ago", Instant(*.at), whole(*.ago))]
    Expired {
        /// Its `exp`.
        at: SystemTime,
        /// How long ago that was.
        ago: Duration,
    },
    /// Not begun.
    #[error("the token is not valid before {}, in {}; compare the clocks", Instant(*.at), whole(*.ahead))]
    NotYetValid {
        /// Its `nbf`.
        at: SystemTime,
        /// How long that is from now.
        ahead: Duration,
    },
    /// Issued later than now.
    #[error("the token was issued {}, {} from now; compare the clocks", Instant(*.at), whole(*.ahead))]
    IssuedInFuture {
        /// Its `iat`.
        at: SystemTime,
        /// How long that is from now.
        ahead: Duration,
    },
}

/// Why it cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// There is no key: none was ever had, or the issuer has withdrawn all.
    #[error("there are no keys of {issuer:?}: {reason}")]
    NoKeys {
        /// The name of the issuer.
        issuer: String,
        /// Why not.
        reason: String,
    },
    /// The last keys are older than they serve.
    #[error("the keys of {issuer:?} served until {}: {reason}", Instant(*.until))]
    TooOld {
        /// The name of the issuer.
        issuer: String,
        /// When their time was over.
        until: SystemTime,
        /// Why there are no newer ones.
        reason: String,
    },
    /// The key is not among those that are had, and the issuer does not say whether there is another.
    #[error("the key {kid} of {issuer:?} is not known, and the issuer cannot be asked: {reason}")]
    KeyNotKnown {
        /// The name of the issuer.
        issuer: String,
        /// The token's `kid`.
        kid: String,
        /// Why not.
        reason: String,
    },
}

impl TokenError {
    /// Its name in metrics and access events, one of few.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Invalid(invalid) => invalid.label(),
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// What whoever sent the token may know (`error_description` of RFC 6750 section 3): it repeats nothing, of the token or of ours.
    pub fn description(&self) -> &'static str {
        match self {
            Self::Invalid(invalid) => invalid.description(),
            Self::Unavailable(_) => "whether the token is good cannot be told for now",
        }
    }
}

impl Invalid {
    /// The labels of all of them.
    pub const LABELS: [&'static str; 10] = [
        "malformed",
        "algorithm",
        "issuer",
        "unknown_key",
        "signature",
        "audience",
        "expired",
        "not_yet_valid",
        "claims",
        "too_large",
    ];

    fn label(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Form | Self::Base64 { .. } | Self::Json { .. } | Self::Critical | Self::Type { .. } | Self::Kid => {
                "malformed"
            }
            Self::NoAlgorithm | Self::Algorithm { .. } | Self::NotPinned { .. } => "algorithm",
            Self::UnknownIssuer { .. } | Self::IssuerNotAccepted { .. } => "issuer",
            Self::UnknownKey { .. } | Self::NoKid { .. } | Self::KeyOutsideValidity { .. } => "unknown_key",
            Self::Signature { .. } => "signature",
            Self::Audience { .. } => "audience",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } | Self::IssuedInFuture { .. } => "not_yet_valid",
            Self::NoClaim { .. } | Self::Claim { .. } => "claims",
        }
    }

    fn description(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "the token is too large",
            Self::Form | Self::Base64 { .. } | Self::Json { .. } | Self::Kid => "the token is malformed",
            Self::Critical => "the token needs an extension that is not understood",
            Self::Type { .. } => "the token is of another type",
            Self::NoAlgorithm | Self::Algorithm { .. } | Self::NotPinned { .. } => {
                "the token is signed by an algorithm that is not accepted"
            }
            Self::UnknownIssuer { .. } | Self::IssuerNotAccepted { .. } => {
                "the token is of an issuer that is not accepted"
            }
            Self::UnknownKey { .. } | Self::NoKid { .. } | Self::KeyOutsideValidity { .. } => {
                "the token is signed by an unknown key"
            }
            Self::Signature { .. } => "the signature of the token is wrong",
            Self::Audience { .. } => "the token is meant for another audience",
            Self::Expired { .. } => "the token has expired",
            Self::NotYetValid { .. } | Self::IssuedInFuture { .. } => "the token is not valid yet",
            Self::NoClaim { .. } => "the token lacks a claim",
            Self::Claim { .. } => "a claim of the token is malformed",
        }
    }
}

/// What a token says, in quotes, short and safe to print.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A value that should be a text, likewise.
pub(super) fn shown_value(value: &Value) -> String {
    value.as_str().map_or_else(|| format!("no text but {}", kind(value)), shown)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Whole seconds, for people.
fn whole(span: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(span.as_secs()))
}
