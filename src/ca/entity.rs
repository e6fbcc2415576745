//! Who may enrol: the registrations, and the one-time secrets that go with them.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::identity::SpiffeId;

use super::signer::hexadecimal;
use super::{CaError, CredentialUsage, DnsName, ServiceName, Timestamp};

/// Octets of a one-time secret: so many that a plain digest keeps it, since no list of guesses reaches it.
const SECRET_OCTETS: usize = 32;

/// A name that is registered, and what its certificates are to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// The name, which is also the common name.
    pub name: ServiceName,
    /// Its SPIFFE ID.
    pub spiffe: SpiffeId,
    /// Its DNS names.
    pub dns: Vec<DnsName>,
    /// Its IP addresses.
    pub ip: Vec<IpAddr>,
    /// What its certificates are for.
    pub usage: CredentialUsage,
    /// The longest life of a certificate; by default the authority's.
    pub max_ttl: Option<Duration>,
    /// When the registration ends. No certificate outlives it.
    pub expires: Option<Timestamp>,
    /// Whether it may enrol.
    pub state: EntityState,
    /// When it was registered.
    pub created: Timestamp,
    /// The version of the store's state at its last change.
    pub version: i64,
}

/// Whether a registered name may enrol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntityState {
    /// It may.
    Active,
    /// Not until it is resumed.
    Suspended,
    /// Never again, unless it is registered anew.
    Removed,
}

/// A one-time secret. `Debug` does not show it.
#[derive(Clone)]
pub struct OneTimeSecret(Zeroizing<String>);

impl EntityState {
    /// As the store and JSON have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Removed => "removed",
        }
    }

    pub(super) fn from_stored(text: &str) -> Option<Self> {
        [Self::Active, Self::Suspended, Self::Removed].into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for EntityState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl OneTimeSecret {
    pub(super) fn random() -> Result<Self, CaError> {
        let mut octets = Zeroizing::new([0; SECRET_OCTETS]);
        getrandom::fill(octets.as_mut()).map_err(|reason| CaError::Random { reason })?;
        Ok(Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(octets.as_ref()))))
    }

    /// The secret as it is handed over: 43 characters of base64url.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(super) fn digest(&self) -> String {
        digest_of_secret(&self.0)
    }
}

/// What the store knows a secret by. To look a digest up takes no longer for a near miss than for a far one in any way that
/// helps: who can choose digests freely has broken SHA-256.
pub(super) fn digest_of_secret(secret: &str) -> String {
    hexadecimal(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref())
}

impl fmt::Debug for OneTimeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeSecret")
    }
}
