//! `[identity]`: the certificate and key that prove who we are.

use std::path::PathBuf;

use super::Located;
use super::reader::TableReader;

/// The files of our own certificate chain and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM chain, end-entity certificate first. A combined file may hold the key too.
    pub certificate: Located<PathBuf>,
    /// PEM private key; absent where the certificate file holds it.
    pub private_key: Option<Located<PathBuf>>,
}

pub(super) fn read(t: &mut TableReader<'_, '_, '_>) -> Option<Identity> {
    let certificate = t.path("certificate");
    t.require("certificate", "name the PEM file of our chain, such as certificate = \"certs/service.pem\"");
    let private_key = t.path("private_key");
    Some(Identity { certificate: certificate?, private_key })
}
