//! The authority's private keys at rest: PKCS #8 in PEM, in plaintext or encrypted with a passphrase (RFC 5958, PBES2 of RFC 8018).

use std::path::Path;

use pkcs8::pkcs5::{self, pbes2, scrypt};
use pkcs8::{EncryptedPrivateKeyInfo, LineEnding, PrivateKeyInfo, SecretDocument};
use rcgen::KeyPair;
use rustls_pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

use super::CaError;
use super::signer::read_bounded;

/// The label of an encrypted key (RFC 7468 section 11).
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
/// 16 MiB five times over, a quarter of a second or so, which are as hard to search as 128 MiB once; OpenSSL takes no more than 32
/// MiB.
const SCRYPT_LOG_N: u8 = 14;
const SCRYPT_R: u32 = 8;
const SCRYPT_P: u32 = 5;
const SALT_BYTES: usize = 16;
const IV_BYTES: usize = 16;

/// A key in PEM, encrypted by scrypt and AES-256 where there is a passphrase.
pub(super) fn to_pem(key: &KeyPair, passphrase_file: Option<&Path>) -> Result<Zeroizing<String>, CaError> {
    let Some(file) = passphrase_file else {
        return Ok(Zeroizing::new(key.serialize_pem()));
    };
    let passphrase = read_passphrase(file)?;
    let (mut salt, mut iv) = ([0; SALT_BYTES], [0; IV_BYTES]);
    for octets in [&mut salt[..], &mut iv[..]] {
        getrandom::fill(octets).map_err(|reason| CaError::Random { reason })?;
    }
    let der = Zeroizing::new(key.serialize_der());
    let scrypt = scrypt::Params::new(SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P, scrypt::Params::RECOMMENDED_LEN);
    let parameters = pbes2::Parameters::scrypt_aes256cbc(scrypt.expect("in range"), &salt, &iv).expect("in range");
    let plain = PrivateKeyInfo::try_from(der.as_slice()).expect("a key that was just made");
    // Of version 1, without the public key: OpenSSL 3.0 reads no other of Ed25519.
    let plain = PrivateKeyInfo { public_key: None, ..plain };
    let sealed = plain.encrypt_with_params(parameters, passphrase.as_slice()).expect("in range");
    Ok(sealed.to_pem(ENCRYPTED, LineEnding::LF).expect("a key is small"))
}

/// Reads a key, with the passphrase where it is encrypted. `path` is named in errors.
pub(super) fn from_pem(pem: &[u8], path: &Path, passphrase_file: Option<&Path>) -> Result<KeyPair, CaError> {
    // The parser's own words are left out: they could quote the key.
    let unreadable = || CaError::unusable(path, "not a PKCS #8 private key in PEM");
    let text = std::str::from_utf8(pem).map_err(|_| unreadable())?;
    if !is_encrypted(text) {
        return KeyPair::from_pem(text).map_err(|_| unreadable());
    }
    let file = passphrase_file.ok_or_else(|| CaError::PassphraseMissing { path: path.to_owned() })?;
    let wrong = || CaError::PassphraseWrong { path: path.to_owned(), file: file.to_owned() };
    let (_, sealed) = SecretDocument::from_pem(text).map_err(|_| unreadable())?;
    let sealed = EncryptedPrivateKeyInfo::try_from(sealed.as_bytes()).map_err(|_| unreadable())?;
    let der = sealed.decrypt(read_passphrase(file)?.as_slice()).map_err(|error| match error {
        // The library says the one for the other.
        pkcs8::Error::EncryptedPrivateKey(pkcs5::Error::DecryptFailed | pkcs5::Error::EncryptFailed) => wrong(),
        _ => CaError::unusable(path, "encrypted by another scheme than PBES2 with scrypt or PBKDF2, and AES"),
    })?;
    // A wrong passphrase in a few hundred leaves what looks decrypted and is no key.
    KeyPair::try_from(&PrivatePkcs8KeyDer::from(der.as_bytes())).map_err(|_| wrong())
}

/// True where a file holds an encrypted key.
pub(super) fn is_encrypted_file(path: &Path) -> bool {
    let pem = read_bounded(path).map(Zeroizing::new);
    pem.is_ok_and(|pem| std::str::from_utf8(&pem).is_ok_and(is_encrypted))
}

fn is_encrypted(pem: &str) -> bool {
    pem.contains(&format!("-----BEGIN {ENCRYPTED}-----"))
}

/// All of a file but the line's end, if it has one.
fn read_passphrase(file: &Path) -> Result<Zeroizing<Vec<u8>>, CaError> {
    let mut passphrase = Zeroizing::new(read_bounded(file)?);
    if passphrase.ends_with(b"\n") {
        passphrase.pop();
    }
    if passphrase.ends_with(b"\r") {
        passphrase.pop();
    }
    if passphrase.is_empty() {
        return Err(CaError::unusable(file, "holds no passphrase"));
    }
    Ok(passphrase)
}
