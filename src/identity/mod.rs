//! Who a peer or an end user is, or which peers are meant: SPIFFE IDs, DNS names and the patterns that match them.
//!
//! Reading names out of certificates is left to `x509`; deciding what a name may do is left to `policy`.

mod pattern;
mod spiffe;
mod user;

pub use pattern::{PatternError, PeerPattern};
pub use spiffe::{SpiffeId, SpiffeIdError, TrustDomain};
pub use user::User;

use std::fmt;
use std::net::IpAddr;

/// What a verified certificate proves about its holder.
///
/// The SPIFFE ID comes first, then DNS names, then IP addresses; the common name never counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProvenNames {
    /// The SPIFFE ID: the URI subject alternative name, of which a certificate may carry one (SPIFFE X509-SVID section 2).
    pub spiffe_id: Option<SpiffeId>,
    /// DNS subject alternative names in lower case. A wildcard names no single peer and is left out.
    pub dns_names: Vec<String>,
    /// IP subject alternative names.
    pub ip_addresses: Vec<IpAddr>,
}

impl ProvenNames {
    /// True where the certificate names nobody: such a peer matches no pattern.
    pub fn is_empty(&self) -> bool {
        self.spiffe_id.is_none() && self.dns_names.is_empty() && self.ip_addresses.is_empty()
    }
}

/// The name by which a peer is known in headers, logs and metrics: its first proven name.
impl fmt::Display for ProvenNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = &self.spiffe_id {
            return id.fmt(f);
        }
        match (self.dns_names.first(), self.ip_addresses.first()) {
            (Some(name), _) => f.write_str(name),
            (None, Some(address)) => address.fmt(f),
            (None, None) => f.write_str("(no name)"),
        }
    }
}

/// Who is at the other end of a connection, as far as its handshake proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerIdentity {
    /// The peer proved possession of a key whose certificate names it so.
    Authenticated(ProvenNames),
    /// The peer sent an empty Certificate message (RFC 8446 section 4.4.2.4), which `client_auth = "optional"` admits.
    Anonymous,
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authenticated(names) => names.fmt(f),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}
