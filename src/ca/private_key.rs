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
/// What opening a key of another maker may take: a file is not to use up the memory, or minutes.
const MAX_SCRYPT_BYTES: u128 = 256 << 20;
/// How often it may take that memory, one after the other.
const MAX_SCRYPT_P: u16 = 16;
const MAX_PBKDF2_ROUNDS: u32 = 10_000_000;

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
    if let Some(excess) = excess_of(&sealed) {
        return Err(CaError::unusable(path, format!("{excess}; encrypt the key anew, by \"openssl pkcs8 -topk8\"")));
    }
    let der = sealed.decrypt(read_passphrase(file)?.as_slice()).map_err(|error| match error {
        // The library says the one for the other.
        pkcs8::Error::EncryptedPrivateKey(pkcs5::Error::DecryptFailed | pkcs5::Error::EncryptFailed) => wrong(),
        _ => CaError::unusable(path, "encrypted by another scheme than PBES2 with scrypt or PBKDF2, and AES"),
    })?;
    // A wrong passphrase in a few hundred leaves what looks decrypted and is no key.
    KeyPair::try_from(&PrivatePkcs8KeyDer::from(der.as_bytes())).map_err(|_| wrong())
}

/// What is wrong with the derivation that the file asks for, if it is beyond its bounds.
fn excess_of(sealed: &EncryptedPrivateKeyInfo<'_>) -> Option<String> {
    match &sealed.encryption_algorithm.pbes2()?.kdf {
        pbes2::Kdf::Scrypt(scrypt) => {
            let (n, r, p) = (scrypt.cost_parameter, scrypt.block_size, scrypt.parallelization);
            let asked = format!("scrypt with N = {n}, r = {r} and p = {p}");
            // The library panics at an N of zero.
            if n < 2 || !n.is_power_of_two() || r == 0 || p == 0 {
                return Some(format!("{asked} does not exist"));
            }
            let is_within = 128 * u128::from(n) * u128::from(r) <= MAX_SCRYPT_BYTES && p <= MAX_SCRYPT_P;
            (!is_within)
                .then(|| format!("{asked} takes more than {} MiB {MAX_SCRYPT_P} times over", MAX_SCRYPT_BYTES >> 20))
        }
        pbes2::Kdf::Pbkdf2(pbkdf2) => {
            let rounds = pbkdf2.iteration_count;
            (rounds > MAX_PBKDF2_ROUNDS)
                .then(|| format!("PBKDF2 with {rounds} rounds takes more than {MAX_PBKDF2_ROUNDS}"))
        }
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use pbes2::{EncryptionScheme, Kdf, Pbkdf2Params, Pbkdf2Prf, ScryptParams};

    /// What is said of a key whose encryption asks for this derivation.
    fn refusal(kdf: Kdf<'_>) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let passphrase = folder.path().join("passphrase");
        std::fs::write(&passphrase, "correct").expect("written");
        let encryption = EncryptionScheme::Aes256Cbc { iv: &[0; IV_BYTES] };
        let encryption_algorithm = pkcs5::EncryptionScheme::Pbes2(pbes2::Parameters { kdf, encryption });
        let sealed = EncryptedPrivateKeyInfo { encryption_algorithm, encrypted_data: &[0; 64] };
        let sealed = SecretDocument::try_from(sealed).expect("in range");
        let pem = sealed.to_pem(ENCRYPTED, LineEnding::LF).expect("small");
        from_pem(pem.as_bytes(), Path::new("root.key"), Some(&passphrase)).expect_err("no key").to_string()
    }

    fn scrypt(cost_parameter: u64, block_size: u16, parallelization: u16) -> Kdf<'static> {
        Kdf::Scrypt(ScryptParams { salt: &[0; 16], cost_parameter, block_size, parallelization, key_length: None })
    }

    fn pbkdf2(iteration_count: u32) -> Kdf<'static> {
        let prf = Pbkdf2Prf::HmacWithSha256;
        Kdf::Pbkdf2(Pbkdf2Params { salt: &[0; 16], iteration_count, key_length: None, prf })
    }

    #[test]
    fn a_derivation_that_would_take_too_much_is_refused_before_it_begins() {
        for (n, r, p) in [(1 << 40, 8, 1), (1 << 19, 8, 1), (1 << 62, u16::MAX, 1), (2, u16::MAX, u16::MAX), (2, 1, 17)]
        {
            let refusal = refusal(scrypt(n, r, p));
            let values = format!("root.key: scrypt with N = {n}, r = {r} and p = {p} takes more");
            assert!(refusal.starts_with(&values), "{refusal}");
        }
        let refused = refusal(pbkdf2(2_000_000_000));
        assert!(refused.starts_with("root.key: PBKDF2 with 2000000000 rounds takes more"), "{refused}");
        for within in [scrypt(1 << 10, 8, 16), pbkdf2(1000)] {
            let refused = refusal(within);
            assert!(refused.contains("does not open this key"), "{refused}");
        }
    }

    #[test]
    fn parameters_that_make_no_sense_are_refused_without_a_panic() {
        for kdf in [scrypt(0, 8, 1), scrypt(1, 8, 1), scrypt(3, 8, 1), scrypt(2, 0, 1), scrypt(2, 8, 0), pbkdf2(0)] {
            let refused = refusal(kdf);
            assert!(refused.starts_with("root.key: "), "{refused}");
        }
    }
}
