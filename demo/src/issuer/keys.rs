//! The keys that tokens are signed with: RSA keys in a folder, each with the time from which it signs.
//!
//! The one that signs is that whose time has come last. All of the others are published too: those whose time is still to
//! come, so that whoever caches keys has them before they are needed, and those whose tokens are still good.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// Clocks differ: a key begins to sign, and is forgotten, that much later.
pub(super) const SLACK: Duration = Duration::from_secs(2);
const CERTIFICATE_LIFE: time::Duration = time::Duration::days(365);

/// All keys, the one that signed first in front.
#[derive(Debug)]
pub(super) struct Keys {
    folder: PathBuf,
    keys: Vec<Key>,
}

/// A key with the names by which verifiers find it.
#[derive(Debug)]
pub(super) struct Key {
    /// Its thumbprint (RFC 7638).
    pub(super) kid: String,
    pub(super) pair: KeyPair,
    signs_from: u64,
    file: PathBuf,
    modulus: String,
    exponent: String,
    /// A certificate that it has signed itself, as PEM.
    certificate: String,
}

/// A new RSA key of 2048 bits.
pub(super) fn generate() -> anyhow::Result<KeyPair> {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).context("no RSA key can be made")
}

impl Keys {
    /// The keys in `folder`, which is made where it is not there, with a first key that signs at once.
    pub(super) fn open(folder: &Path, now: SystemTime) -> anyhow::Result<Self> {
        if !folder.is_dir() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut keys = Self::read(folder)?;
        if keys.keys.is_empty() {
            keys.publish(generate()?, now)?;
        }
        Ok(keys)
    }

    /// The keys in `folder`.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut keys = Vec::new();
        for entry in entries {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "key") {
                keys.push(Key::read(&file).with_context(|| format!("{} is no key of the issuer", file.display()))?);
            }
        }
        keys.sort_by_key(|key| key.signs_from);
        Ok(Self { folder: folder.to_owned(), keys })
    }

    /// Keeps a new key, which is published at once and signs from that time on.
    pub(super) fn publish(&mut self, pair: KeyPair, signs_from: SystemTime) -> anyhow::Result<&Key> {
        let seconds = seconds(signs_from);
        let key = Key::new(pair, seconds, |kid| self.folder.join(format!("{seconds}-{kid}.key")))?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&key.file)?;
        file.write_all(key.pair.serialize_pem().as_bytes())?;
        let place = self.keys.partition_point(|other| other.signs_from <= key.signs_from);
        self.keys.insert(place, key);
        Ok(&self.keys[place])
    }

    /// Removes the keys whose last token has run out.
    pub(super) fn forget_retired(&mut self, now: SystemTime, token_ttl: Duration) -> anyhow::Result<()> {
        let is_retired = |next: &Key| next.signs_from + (token_ttl + SLACK).as_secs() < seconds(now);
        let retired = self.keys.iter().skip(1).take_while(|next| is_retired(next)).count();
        for key in self.keys.drain(..retired) {
            fs::remove_file(&key.file).with_context(|| format!("cannot remove {}", key.file.display()))?;
        }
        Ok(())
    }

    /// The key that signs.
    pub(super) fn signing(&self, now: SystemTime) -> anyhow::Result<&Key> {
        let now = seconds(now);
        let signing = self.keys.iter().rev().find(|key| key.signs_from <= now);
        signing.with_context(|| format!("no key in {} signs yet", self.folder.display()))
    }

    /// The key that signs, by itself.
    pub(super) fn into_signing(mut self, now: SystemTime) -> anyhow::Result<Key> {
        let kid = self.signing(now)?.kid.clone();
        let place = self.keys.iter().position(|key| key.kid == kid).context("it is there")?;
        Ok(self.keys.swap_remove(place))
    }

    /// All keys as a JWK Set (RFC 7517).
    pub(super) fn jwks(&self) -> Value {
        json!({ "keys": self.keys.iter().map(Key::jwk).collect::<Vec<_>>() })
    }

    /// All keys as Firebase publishes them: an object of PEM certificates by key id.
    pub(super) fn x509(&self) -> Value {
        self.keys.iter().map(|key| (key.kid.clone(), Value::from(key.certificate.clone()))).collect()
    }
}

impl Key {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let name = file.file_stem().and_then(|name| name.to_str()).context("its name is not UTF-8")?;
        let (seconds, _) = name.split_once('-').context("its name is not TIME-KID.key")?;
        let pair = KeyPair::from_pem(&fs::read_to_string(file)?)?;
        Self::new(pair, seconds.parse()?, |_| file.to_owned())
    }

    /// A key that is in no folder and that nobody publishes.
    pub(super) fn unpublished(pair: KeyPair) -> anyhow::Result<Self> {
        Self::new(pair, seconds(SystemTime::now()), |_| PathBuf::new())
    }

    fn new(pair: KeyPair, signs_from: u64, file: impl FnOnce(&str) -> PathBuf) -> anyhow::Result<Self> {
        let (modulus, exponent) = rsa_numbers(pair.der_bytes()).context("it is no RSA key")?;
        let (modulus, exponent) = (URL_SAFE_NO_PAD.encode(modulus), URL_SAFE_NO_PAD.encode(exponent));
        let members = format!(r#"{{"e":"{exponent}","kty":"RSA","n":"{modulus}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes()));
        let begins = OffsetDateTime::from_unix_timestamp(i64::try_from(signs_from)?)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "the flea market's token issuer");
        params.not_before = begins - time::Duration::days(1);
        params.not_after = begins + CERTIFICATE_LIFE;
        let certificate = params.self_signed(&pair)?.pem();
        let file = file(&kid);
        Ok(Self { kid, pair, signs_from, file, modulus, exponent, certificate })
    }

    pub(super) fn jwk(&self) -> Value {
        json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.kid, "n": self.modulus, "e": self.exponent })
    }

    /// From when on it signs, in seconds since 1970.
    pub(super) fn signs_from(&self) -> u64 {
        self.signs_from
    }
}

/// The modulus and the exponent of an `RSAPublicKey` (RFC 8017, appendix A.1.1) without leading zeros.
fn rsa_numbers(der: &[u8]) -> anyhow::Result<(&[u8], &[u8])> {
    let (sequence, _) = element(0x30, der)?;
    let (modulus, rest) = element(0x02, sequence)?;
    let (exponent, _) = element(0x02, rest)?;
    Ok((without_zeros(modulus), without_zeros(exponent)))
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    &number[zeros..]
}

/// The content of a DER element with that tag, and what follows it.
fn element(tag: u8, der: &[u8]) -> anyhow::Result<(&[u8], &[u8])> {
    let [found, length, rest @ ..] = der else { bail!("the DER ends early") };
    if *found != tag {
        bail!("the DER has tag {found:#04x} instead of {tag:#04x}");
    }
    let (length, rest) = match length {
        0..0x80 => (usize::from(*length), rest),
        long => {
            let (octets, rest) = rest.split_at_checked(usize::from(long & 0x7f)).context("the DER ends early")?;
            (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
        }
    };
    rest.split_at_checked(length).context("the DER ends early")
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_new_key_is_published_before_it_signs_and_the_old_one_until_its_last_token_has_run_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut keys = Keys::open(folder.path(), at(1_000_000)).unwrap();
        let old = keys.signing(at(1_000_000)).unwrap().kid.clone();
        let new = keys.publish(generate().unwrap(), at(1_000_300)).unwrap().kid.clone();

        let published = |keys: &Keys| keys.jwks()["keys"].as_array().unwrap().len();
        assert_eq!(keys.signing(at(1_000_299)).unwrap().kid, old);
        assert_eq!(keys.signing(at(1_000_300)).unwrap().kid, new);
        assert_eq!(published(&keys), 2);
        keys.forget_retired(at(1_003_902), TTL).unwrap();
        assert_eq!(published(&keys), 2);
        keys.forget_retired(at(1_003_903), TTL).unwrap();
        assert_eq!(published(&keys), 1);
        assert_eq!(keys.x509().as_object().unwrap().keys().collect::<Vec<_>>(), [&new]);
    }

    #[test]
    fn keys_outlive_the_issuer_in_files_that_nobody_else_reads() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let kid = Keys::open(&path, at(1_000_000)).unwrap().signing(at(1_000_000)).unwrap().kid.clone();

        assert_eq!(Keys::open(&path, at(2_000_000)).unwrap().signing(at(2_000_000)).unwrap().kid, kid);
        for entry in fs::read_dir(&path).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn the_numbers_of_a_key_are_those_of_its_certificate() {
        let pair = generate().unwrap();
        let (modulus, exponent) = rsa_numbers(pair.der_bytes()).unwrap();
        assert_eq!((modulus.len(), exponent), (256, &[1, 0, 1][..]));
        assert!(rsa_numbers(&pair.der_bytes()[..100]).is_err());
    }
}
