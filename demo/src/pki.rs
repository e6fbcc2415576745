//! The closed public key infrastructure of the flea market, made with `mantlet ca` in a temporary folder.
//!
//! Beside the certificates that the flow needs it makes those that an attacker would like to come through with.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use tokio::process::Command;

/// The trust domain that every identity of the flea market is in.
pub(crate) const TRUST_DOMAIN: &str = "fleamarket.internal";

/// A certificate chain and its key, as files.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) certificate: PathBuf,
    pub(crate) private_key: PathBuf,
}

/// Everything that was issued.
#[derive(Debug)]
pub(crate) struct Pki {
    pub(crate) anchor: PathBuf,
    pub(crate) crl: PathBuf,
    pub(crate) gateway: Credentials,
    pub(crate) ad_service: Credentials,
    pub(crate) user_service: Credentials,
    /// A service of the house that may read ads, and may not say who a user is.
    pub(crate) back_office: Credentials,
    /// The authority of what the public sees, which no sidecar trusts.
    pub(crate) public_anchor: PathBuf,
    /// What the gateway shows to the public.
    pub(crate) public: Credentials,
    /// What the token issuer shows.
    pub(crate) issuer: Credentials,
    /// The gateway's name in a certificate of a CA that nobody here trusts.
    pub(crate) foreign: Credentials,
    /// `AdService`'s name in another certificate of that CA.
    pub(crate) foreign_ad_service: Credentials,
    /// The gateway's name in a certificate that was good until an hour ago.
    pub(crate) expired: Credentials,
    /// The gateway's name in a certificate whose key was reported stolen.
    pub(crate) revoked: Credentials,
}

/// The SPIFFE ID of a service of the flea market.
pub(crate) fn spiffe_id(service: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/{service}")
}

/// Makes the PKI in `folder` with the program `mantlet`.
pub(crate) async fn create(mantlet: &Path, folder: &Path) -> anyhow::Result<Pki> {
    let ours = Authority::init(mantlet, folder.join("ca")).await?;
    let issued = folder.join("issued");
    fs::create_dir(&issued)?;
    let gateway_id = spiffe_id("gateway");

    let gateway = ours.issue("gateway", &issued, &[]).await?;
    let served_here = ["--dns", "localhost", "--ip", "127.0.0.1"];
    let ad_service = ours.issue("adservice", &issued, &served_here).await?;
    let user_service = ours.issue("userservice", &issued, &served_here).await?;
    let back_office = ours.issue("backoffice", &issued, &[]).await?;

    let everybodys = Authority::init(mantlet, folder.join("public-ca")).await?;
    let public = everybodys.issue("public", &issued, &served_here).await?;
    let tokens = everybodys.issue("issuer", &issued, &served_here).await?;

    let stolen = ours.issue("stolen", &issued, &["--spiffe", &gateway_id]).await?;
    ours.revoke(&stolen).await?;
    let crl = issued.join("ca.crl");
    ours.sign_crl(&crl, "24h").await?;

    let theirs = Authority::init(mantlet, folder.join("foreign-ca")).await?;
    let foreign = theirs.issue("foreign", &issued, &["--spiffe", &gateway_id]).await?;
    let ads_id = spiffe_id("adservice");
    let foreign_ad_service =
        theirs.issue("foreign-adservice", &issued, &[&["--spiffe", &ads_id], &served_here[..]].concat()).await?;
    let expired = ours.expired("expired", &issued, &gateway_id)?;

    Ok(Pki {
        anchor: ours.certificate(),
        crl,
        gateway,
        ad_service,
        user_service,
        back_office,
        public_anchor: everybodys.certificate(),
        public,
        issuer: tokens,
        foreign,
        foreign_ad_service,
        expired,
        revoked: stolen,
    })
}

/// A certificate authority in a folder of its own.
pub(crate) struct Authority<'a> {
    mantlet: &'a Path,
    folder: PathBuf,
}

impl<'a> Authority<'a> {
    async fn init(mantlet: &'a Path, folder: PathBuf) -> anyhow::Result<Self> {
        let authority = Self { mantlet, folder };
        authority.ca("init", &["--trust-domain", TRUST_DOMAIN]).await?;
        Ok(authority)
    }

    /// The authority in `folder`, made where there is none.
    pub(crate) async fn open_or_init(mantlet: &'a Path, folder: PathBuf) -> anyhow::Result<Self> {
        if folder.join("ca.pem").is_file() {
            return Ok(Self { mantlet, folder });
        }
        Self::init(mantlet, folder).await
    }

    pub(crate) async fn issue(&self, name: &str, out: &Path, more: &[&str]) -> anyhow::Result<Credentials> {
        let out_text = path_text(out)?;
        self.ca("issue", &[&["--name", name, "--out", out_text], more].concat()).await?;
        Ok(Credentials::named(name, out))
    }

    pub(crate) async fn revoke(&self, credentials: &Credentials) -> anyhow::Result<()> {
        let certificate = path_text(&credentials.certificate)?;
        self.ca("revoke", &["--cert", certificate, "--reason", "keyCompromise"]).await.map(drop)
    }

    async fn sign_crl(&self, out: &Path, next_update: &str) -> anyhow::Result<()> {
        self.ca("crl", &["--out", path_text(out)?, "--next-update", next_update]).await.map(drop)
    }

    /// Registers a name, and gives its first one-time secret.
    pub(crate) async fn register(&self, name: &str, dns: &str) -> anyhow::Result<String> {
        secret_in(&self.ca("register", &[name, "--dns", dns, "--json"]).await?)
    }

    /// Gives another one-time secret for a registered name.
    pub(crate) async fn secret(&self, name: &str) -> anyhow::Result<String> {
        secret_in(&self.ca("secret", &[name, "--json"]).await?)
    }

    pub(crate) async fn is_registered(&self, name: &str) -> anyhow::Result<bool> {
        let registered: Value = serde_json::from_str(&self.ca("list", &["--registered", "--json"]).await?)?;
        let registered = registered.as_array().context("mantlet ca list printed no list")?;
        Ok(registered.iter().any(|entity| entity["name"] == name && entity["state"] != "removed"))
    }

    /// What the command prints.
    async fn ca(&self, subcommand: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(self.mantlet);
        command.args(["ca", subcommand, "--dir"]).arg(&self.folder).args(arguments).kill_on_drop(true);
        let output = command.output().await.with_context(|| format!("cannot start {}", self.mantlet.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("mantlet ca {subcommand} {}: {}: {}", arguments.join(" "), output.status, said.trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate that no authority would issue, signed with the key of this one: it ended an hour ago.
    pub(crate) fn expired(&self, name: &str, out: &Path, spiffe: &str) -> anyhow::Result<Credentials> {
        let key = KeyPair::from_pem(&read(&self.folder.join("authority/root.key"))?)
            .context("the CA's key cannot be used")?;
        let issuer = Issuer::from_ca_cert_pem(&read(&self.certificate())?, key)?;
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = now - Duration::hours(25);
        params.not_after = now - Duration::hours(1);
        params.subject_alt_names = vec![SanType::URI(spiffe.try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let own_key = KeyPair::generate()?;
        let credentials = Credentials::named(name, out);
        fs::write(&credentials.certificate, params.signed_by(&own_key, &issuer)?.pem())?;
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&credentials.private_key)?;
        file.write_all(own_key.serialize_pem().as_bytes())?;
        Ok(credentials)
    }
}

impl Credentials {
    pub(crate) fn named(name: &str, folder: &Path) -> Self {
        Self { certificate: folder.join(format!("{name}.pem")), private_key: folder.join(format!("{name}.key")) }
    }
}

/// The secret in what `mantlet ca register` and `secret` print.
fn secret_in(printed: &str) -> anyhow::Result<String> {
    let printed: Value = serde_json::from_str(printed)?;
    Ok(printed["secret"].as_str().context("mantlet ca printed no secret")?.to_owned())
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
