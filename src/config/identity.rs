//! `[identity]`: the certificate and key that prove who we are.

use std::path::PathBuf;

use super::Located;

/// The files of our own certificate chain and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM chain, end-entity certificate first. A combined file may hold the key too.
    pub certificate: Located<PathBuf>,
    /// PEM private key; absent where the certificate file holds it.
    pub private_key: Option<Located<PathBuf>>,
}
