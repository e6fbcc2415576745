//! `[admin]`: health, metrics and status.

use crate::net::Address;

use super::Located;
use super::listeners::{Claims, read_plaintext_listen};
use super::reader::TableReader;

/// The admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens, in plaintext. An address off loopback takes `unsafe_listen = true`.
    pub listen: Located<Address>,
}

pub(super) fn read(t: &mut TableReader<'_, '_, '_>, claims: &mut Claims) -> Option<Admin> {
    let listen = read_plaintext_listen(t, "127.0.0.1:9900", "anyone who reaches it may read the status");
    claims.listen(t.title(), listen.as_ref(), false);
    Some(Admin { listen: listen? })
}
