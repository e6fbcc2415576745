//! The certificates of a comparison, made with `mantlet ca` in a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rcgen::{CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber};
use serde::Deserialize;
use time::{Duration, OffsetDateTime};
use tokio::process::Command;

/// The DNS name in the server's certificate.
pub(crate) const SERVER_NAME: &str = "server.mesh.local";
/// The SPIFFE ID in the server's certificate.
pub(crate) const SERVER_ID: &str = "spiffe://mesh.local/ns/shop/sa/server";
/// The SPIFFE ID in the client's certificate.
pub(crate) const CLIENT_ID: &str = "spiffe://mesh.local/ns/shop/sa/client";
/// The common name in the client's certificate, for peers that cannot read SPIFFE IDs.
pub(crate) const CLIENT_COMMON_NAME: &str = "client";

/// The trust domain of every authority here.
pub(crate) const TRUST_DOMAIN: &str = "mesh.local";
/// A common name, and the arguments for all others.
type Names = (&'static str, &'static [&'static str]);

/// Longer than any run.
const LIFETIME: &str = "7d";

/// A certificate chain and its key, as files.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) certificate: PathBuf,
    pub(crate) private_key: PathBuf,
    /// Both in one file.
    pub(crate) bundle: PathBuf,
}

/// Everything that was issued.
#[derive(Debug)]
pub(crate) struct Pki {
    pub(crate) anchor: PathBuf,
    /// Revokes `client_revoked` and `server_revoked`.
    pub(crate) crl: PathBuf,
    pub(crate) server: Credentials,
    pub(crate) client: Credentials,
    pub(crate) server_revoked: Credentials,
    pub(crate) client_revoked: Credentials,
    /// Of our CA, for another service.
    pub(crate) server_wrong_name: Credentials,
    /// The right names, from a CA that nobody trusts.
    pub(crate) server_other_ca: Credentials,
    pub(crate) client_other_ca: Credentials,
    authority: PathBuf,
    revoked_serials: Vec<Vec<u8>>,
}

impl Pki {
    /// Makes all of it in `folder` with the program `mantlet`.
    pub(crate) async fn create(mantlet: &Path, folder: &Path) -> anyhow::Result<Self> {
        let server: Names = ("server", &["--dns", SERVER_NAME, "--spiffe", SERVER_ID]);
        let client: Names = (CLIENT_COMMON_NAME, &["--spiffe", CLIENT_ID]);
        let elsewhere: Names =
            ("elsewhere", &["--dns", "elsewhere.mesh.local", "--spiffe", "spiffe://mesh.local/ns/shop/sa/elsewhere"]);
        let ours = Authority::init(mantlet, folder.join("ca")).await?;
        let theirs = Authority::init(mantlet, folder.join("other-ca")).await?;
        let server_revoked = ours.issue("revoked", server).await?;
        let client_revoked = ours.issue("revoked", client).await?;
        for credentials in [&server_revoked, &client_revoked] {
            ours.run("revoke", &["--cert", text(&credentials.certificate)?]).await?;
        }
        ours.run("crl", &["--next-update", LIFETIME]).await?;
        Ok(Self {
            anchor: ours.folder.join("ca.pem"),
            crl: ours.folder.join("ca.crl"),
            server: ours.issue("good", server).await?,
            client: ours.issue("good", client).await?,
            server_wrong_name: ours.issue("good", elsewhere).await?,
            server_other_ca: theirs.issue("good", server).await?,
            client_other_ca: theirs.issue("good", client).await?,
            server_revoked,
            client_revoked,
            revoked_serials: ours.revoked_serials().await?,
            authority: ours.folder,
        })
    }

    /// A CRL of our CA with `count` more serial numbers; made once.
    pub(crate) fn large_crl(&self, count: u32) -> anyhow::Result<PathBuf> {
        // Sixteen bytes each, as those of real certificates, in no order.
        let more = (1..=count).map(|number| spread(number).to_be_bytes().to_vec());
        self.sign_crl(&format!("ca-{count}.crl"), 1_000, self.revoked_serials.iter().cloned().chain(more))
    }

    /// A CRL of our CA that lists nobody, older than all others; made once.
    pub(crate) fn empty_crl(&self) -> anyhow::Result<PathBuf> {
        self.sign_crl("ca-empty.crl", 0, std::iter::empty())
    }

    fn sign_crl(&self, name: &str, number: u64, serials: impl Iterator<Item = Vec<u8>>) -> anyhow::Result<PathBuf> {
        let file = self.authority.join(name);
        if file.exists() {
            return Ok(file);
        }
        let key = KeyPair::from_pem(&read(&self.authority.join("authority/root.key"))?)?;
        let issuer = Issuer::from_ca_cert_pem(&read(&self.anchor)?, key)?;
        let now = OffsetDateTime::now_utc();
        let revoked_certs = serials.map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        });
        let crl = CertificateRevocationListParams {
            this_update: now - Duration::minutes(if number == 0 { 60 } else { 1 }),
            next_update: now + Duration::days(7),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        fs::write(&file, crl.signed_by(&issuer)?.pem()?)?;
        Ok(file)
    }
}

/// A positive 128-bit number that looks random and is the same in every run.
fn spread(number: u32) -> u128 {
    let multiplied =
        (u128::from(number) << 64 | 0x9e37_79b9_7f4a_7c15).wrapping_mul(0x2545_f491_4f6c_dd1d_2b99_2ddf_a232_49d7);
    multiplied >> 2 | 1 << 125
}

/// A certificate authority in a folder of its own.
struct Authority<'a> {
    mantlet: &'a Path,
    folder: PathBuf,
}

#[derive(Deserialize)]
struct Listed {
    serial: String,
    state: String,
}

impl<'a> Authority<'a> {
    async fn init(mantlet: &'a Path, folder: PathBuf) -> anyhow::Result<Self> {
        let authority = Self { mantlet, folder };
        authority.run("init", &["--trust-domain", TRUST_DOMAIN]).await?;
        Ok(authority)
    }

    /// A certificate in a folder of its own: those of the same names differ in nothing but what they are to be refused for.
    async fn issue(&self, folder: &str, (name, names): Names) -> anyhow::Result<Credentials> {
        let folder = self.folder.join(folder);
        self.run("issue", &[&["--name", name, "--ttl", LIFETIME, "--out", text(&folder)?], names].concat()).await?;
        let in_folder = |ending: &str| folder.join(format!("{name}{ending}"));
        let credentials = Credentials {
            certificate: in_folder(".pem"),
            private_key: in_folder(".key"),
            bundle: in_folder(".bundle"),
        };
        let bundle = read(&credentials.certificate)? + &read(&credentials.private_key)?;
        fs::write(&credentials.bundle, bundle)?;
        Ok(credentials)
    }

    async fn revoked_serials(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        let listed: Vec<Listed> = serde_json::from_str(&self.run("list", &["--json"]).await?)?;
        let revoked = listed.iter().filter(|certificate| certificate.state == "revoked");
        revoked
            .map(|certificate| {
                from_hex(&certificate.serial).with_context(|| format!("{} is no serial number", certificate.serial))
            })
            .collect()
    }

    async fn run(&self, subcommand: &str, arguments: &[&str]) -> anyhow::Result<String> {
        mantlet_ca(self.mantlet, &self.folder, &[&[subcommand], arguments].concat()).await
    }
}

/// Runs `mantlet ca` on the authority in `folder`, and gives what it printed.
pub(crate) async fn mantlet_ca(mantlet: &Path, folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(mantlet);
    command.arg("ca").args(arguments).arg("--dir").arg(folder).kill_on_drop(true);
    let output = command.output().await.with_context(|| format!("cannot start {}", mantlet.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("mantlet ca {}: {}: {}", arguments.join(" "), output.status, said.trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The bytes of a number in hexadecimal, two digits each.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<_> = text.bytes().filter(|byte| *byte != b':').collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
