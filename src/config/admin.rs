//! `[admin]`: health, metrics and status.

use crate::net::Address;

use super::Located;

/// The admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens, in plaintext. An address off loopback takes `unsafe_listen = true`.
    pub listen: Located<Address>,
}
