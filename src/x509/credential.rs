//! A chain with its key from one PEM file, whose path nobody has verified yet: what we present to an authority.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::kept::Kept;

use super::CertificateInfo;
use super::pem::{self, Block, MAX_PEM_BYTES, PemError};
use super::private_key::signing_key;

/// A chain and its key. `Debug` shows no key.
#[derive(Debug, Clone)]
pub struct Credential {
    /// For the TLS library.
    pub key: Arc<CertifiedKey>,
    /// What the end-entity certificate says of itself.
    pub info: CertificateInfo,
}

/// Why a file holds no credential.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {detail}", path.display())]
pub struct CredentialError {
    /// The file.
    pub path: PathBuf,
    /// What was found.
    pub detail: String,
}

impl Credential {
    /// Reads a file with one private key and its certificate, end entity first.
    ///
    /// # Errors
    /// What is missing, malformed, or does not belong together.
    pub fn read(path: &Path) -> Result<Self, CredentialError> {
        let error = |detail: String| CredentialError { path: path.to_owned(), detail };
        let blocks = pem::read(path, MAX_PEM_BYTES).and_then(|bytes| pem::blocks(&bytes));
        let blocks = blocks.map_err(|cause| error(cause.to_string()))?;
        let key = signing_key(&blocks).map_err(|cause| error(cause.to_string()))?;
        let chain: Vec<CertificateDer<'static>> =
            blocks.iter().filter(|block| block.is_certificate()).map(|block| block.der.to_vec().into()).collect();
        let Some(first) = chain.first() else {
            return Err(error(format!("holds no certificate: found {}, expected CERTIFICATE", pem::contents(&blocks))));
        };
        let info = CertificateInfo::from_der(first).map_err(|cause| error(cause.to_string()))?;
        let key = CertifiedKey::new(chain, key);
        key.keys_match().map_err(|_| error("the private key is not that of the first certificate".to_owned()))?;
        Ok(Self { key: Arc::new(key), info })
    }
}

/// The certificates of a PEM file in DER, in its order.
///
/// # Errors
/// Why the file cannot be read.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    certificates_of(path, pem::read(path, MAX_PEM_BYTES))
}

/// The same of a file that nobody else may write to.
///
/// # Errors
/// Why the file cannot be read, or who else may write to it.
pub(crate) fn read_kept_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    certificates_of(path, pem::read_kept(path, Kept::File, MAX_PEM_BYTES))
}

fn certificates_of(
    path: &Path,
    bytes: Result<Zeroizing<Vec<u8>>, PemError>,
) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let blocks = bytes.and_then(|bytes| pem::blocks(&bytes));
    let blocks = blocks.map_err(|cause| CredentialError { path: path.to_owned(), detail: cause.to_string() })?;
    Ok(blocks.iter().filter(|block| Block::is_certificate(block)).map(|block| block.der.to_vec().into()).collect())
}
