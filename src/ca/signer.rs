//! The authority's certificates and keys as files, and what signs with them.

use std::fmt::{self, Write as _};
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use aws_lc_rs::digest;
use rcgen::{Issuer, KeyPair, PublicKeyData as _};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::error::io_error;
use super::private_key;
use super::{CaError, IssuerId, Timestamp};

/// No certificate, key or CRL of ours comes near this; a file beyond it is something else.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The kind of a key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyAlgorithm {
    /// ECDSA on the curve P-256, which every TLS peer has.
    #[default]
    P256,
    /// ECDSA on the curve P-384.
    P384,
    /// Ed25519. Some TLS peers lack it.
    Ed25519,
}

impl KeyAlgorithm {
    pub(super) fn generate(self) -> Result<KeyPair, CaError> {
        let algorithm = match self {
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        };
        KeyPair::generate_for(algorithm).map_err(CaError::making("key"))
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Ed25519 => "ed25519",
        })
    }
}

/// A certificate of the authority with its key, ready to sign.
pub(super) struct Signer {
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) id: IssuerId,
    pub(super) not_after: Timestamp,
    /// The subject key identifier, which is the authority key identifier of what it signs.
    pub(super) key_identifier: Vec<u8>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Signer {
    /// Takes a certificate and reads its key, which must belong together.
    ///
    /// # Errors
    /// [`CaError::KeyMissing`] where the key is kept elsewhere, and everything that is wrong with the file.
    pub(super) fn load(
        id: IssuerId,
        der: &[u8],
        key_file: &Path,
        passphrase_file: Option<&Path>,
        purpose: &'static str,
    ) -> Result<Self, CaError> {
        let key = match read_bounded(key_file) {
            Err(CaError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Err(CaError::KeyMissing { path: key_file.to_owned(), issuer: id, purpose });
            }
            read => Zeroizing::new(read?),
        };
        let key = private_key::from_pem(&key, key_file, passphrase_file)?;
        let unreadable = || CaError::unusable(key_file, format!("the {id} certificate in the store cannot be read"));
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| unreadable())?;
        if certificate.public_key().raw != key.subject_public_key_info() {
            return Err(CaError::unusable(key_file, format!("this key is not that of the {id} certificate")));
        }
        let not_after = Timestamp::from_unix(certificate.validity().not_after.timestamp());
        let key_identifier = subject_key_identifier(&certificate).ok_or_else(unreadable)?;
        let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(der), key).map_err(CaError::making("issuer"))?;
        Ok(Self { issuer, id, not_after, key_identifier })
    }
}

fn subject_key_identifier(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
        _ => None,
    })
}

/// The first certificate of a PEM or DER file.
pub(super) fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, CaError> {
    let bytes = read_bounded(path)?;
    if let Ok(certificate) = CertificateDer::from_pem_slice(&bytes) {
        return Ok(certificate);
    }
    match X509Certificate::from_der(&bytes) {
        Ok(([], _)) => Ok(CertificateDer::from(bytes)),
        _ => Err(CaError::unusable(path, "holds no certificate in PEM or DER")),
    }
}

pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, CaError> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(io_error("read", path))?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(CaError::unusable(path, format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

/// What to tell the operator about a path that others than its owner can get at.
pub(super) fn exposure_of(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    let wanted = if path.is_dir() { "700" } else { "600" };
    (mode & 0o077 != 0).then(|| {
        let path = path.display();
        format!("{path}: mode {:03o} lets others in than its owner; run \"chmod {wanted} {path}\"", mode & 0o777)
    })
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hexadecimal(digest::digest(&digest::SHA256, bytes).as_ref())
}

pub(super) fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}
