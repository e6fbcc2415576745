//! Private keys: PKCS#8, SEC1 and PKCS#1 in PEM, never encrypted.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::SigningKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use thiserror::Error;
use zeroize::Zeroize;

use super::pem::{Block, contents};

/// Why blocks hold no usable key. Never shows any of the key.
#[derive(Debug, Error)]
pub(super) enum KeyError {
    #[error("holds no private key: found {found}, expected one of PRIVATE KEY, EC PRIVATE KEY, RSA PRIVATE KEY")]
    None { found: String },
    #[error("holds {count} private keys, expected one")]
    Several { count: usize },
    #[error("the private key is encrypted, and there is nobody to ask for the passphrase")]
    Encrypted,
    #[error("the private key is {label}, expected PKCS#8, SEC1 or PKCS#1")]
    Kind { label: String },
    #[error(
        "the private key cannot be used: {reason}; accepted are ECDSA P-256 and P-384, Ed25519 and RSA of 2048 bits or more"
    )]
    Unusable { reason: String },
}

impl KeyError {
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Encrypted => {
                "decrypt it with \"openssl pkey -in FILE -out NEW\" and protect the new file with chmod 600"
            }
            Self::Kind { .. } => "convert it with \"openssl pkey -in FILE -out NEW\"",
            Self::None { .. } | Self::Several { .. } => "name the file that holds the one key of the certificate",
            Self::Unusable { .. } => "issue a new key and certificate with \"mantlet ca issue\"",
        }
    }
}

/// True for the block of a private key, whatever its kind.
pub(super) fn is_key(block: &Block) -> bool {
    block.label.ends_with("PRIVATE KEY")
}

/// The one private key among the blocks.
pub(super) fn signing_key(blocks: &[Block]) -> Result<Arc<dyn SigningKey>, KeyError> {
    let keys: Vec<&Block> = blocks.iter().filter(|block| is_key(block)).collect();
    let block = match keys.as_slice() {
        [] => return Err(KeyError::None { found: contents(blocks) }),
        [one] => one,
        several => return Err(KeyError::Several { count: several.len() }),
    };
    if block.is_encrypted || block.label.starts_with("ENCRYPTED") {
        return Err(KeyError::Encrypted);
    }
    let mut key = match block.label.as_str() {
        "PRIVATE KEY" => PrivateKeyDer::from(PrivatePkcs8KeyDer::from(block.der.to_vec())),
        "EC PRIVATE KEY" => PrivateKeyDer::from(PrivateSec1KeyDer::from(block.der.to_vec())),
        "RSA PRIVATE KEY" => PrivateKeyDer::from(PrivatePkcs1KeyDer::from(block.der.to_vec())),
        other => return Err(KeyError::Kind { label: other.to_owned() }),
    };
    let usable = any_supported_type(&key).map_err(|error| KeyError::Unusable { reason: error.to_string() });
    key.zeroize();
    usable
}
