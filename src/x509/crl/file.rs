//! CRLs as they lie in a file or come over a network: one in DER, or any number in PEM.

use std::path::Path;

use thiserror::Error;

use crate::x509::pem::{self, PemError};

use super::MAX_CRLS;

const LABEL: &str = "X509 CRL";
/// The most octets in which CRLs are read at all: DER of four length octets ends there.
pub const MAX_CRL_BYTES: u64 = (1 << 28) - 1;

/// Octets that hold no CRL.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct CrlFileError(Inner);

#[derive(Debug, Error)]
enum Inner {
    #[error("{0}")]
    Pem(#[from] PemError),
    #[error("is no regular file, expected one")]
    Irregular,
    #[error("holds {count} CRLs, expected {MAX_CRLS} at most")]
    TooMany { count: usize },
    #[error("holds no CRL: found {found}, expected X509 CRL in PEM or DER")]
    NoCrl { found: String },
}

/// The CRLs in a file of at most `limit` octets, each in DER.
///
/// # Errors
/// Where the file cannot be read, is larger, or holds none.
pub fn read_crl_file(path: &Path, limit: u64) -> Result<Vec<Vec<u8>>, CrlFileError> {
    // Reading a pipe might never end.
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(CrlFileError(Inner::Irregular));
    }
    let mut bytes = pem::read(path, limit.min(MAX_CRL_BYTES)).map_err(|error| CrlFileError(error.into()))?;
    split_crls(std::mem::take::<Vec<u8>>(&mut bytes))
}

/// The CRLs among octets in PEM or DER, each in DER. At least one, or an error.
///
/// # Errors
/// Where there is none, or more than could be used.
pub fn split_crls(bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, CrlFileError> {
    if pem::is_der(&bytes) {
        return Ok(vec![bytes]);
    }
    let blocks = pem::blocks(&bytes).map_err(|error| CrlFileError(error.into()))?;
    let count = blocks.iter().filter(|block| block.label == LABEL).count();
    if count == 0 {
        return Err(CrlFileError(Inner::NoCrl { found: pem::contents(&blocks) }));
    }
    if count > MAX_CRLS {
        return Err(CrlFileError(Inner::TooMany { count }));
    }
    let ders = blocks.into_iter().filter(|block| block.label == LABEL);
    Ok(ders.map(|mut block| std::mem::take::<Vec<u8>>(&mut block.der)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_crl_is_said_to_be_none() {
        let text = |bytes: &[u8]| split_crls(bytes.to_vec()).expect_err("no CRL").to_string();
        assert_eq!(text(b""), "holds no CRL: found no PEM block, expected X509 CRL in PEM or DER");
        assert_eq!(text(b"<html>404</html>"), "holds no CRL: found no PEM block, expected X509 CRL in PEM or DER");
        assert!(text(b"-----BEGIN X509 CRL-----\n").contains("has no matching end"));
    }
}
