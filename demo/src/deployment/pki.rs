//! The PKI of the containers: who may enrol, what the public sees, and what an attacker would like to come through with. Each folder is
//! a volume that no other container sees, but for the authority's own, which the container that serves it has too.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::builder::PossibleValuesParser;

use crate::pki::{Authority, Credentials, TRUST_DOMAIN, spiffe_id};

/// Make the authority of the containers, and register each of them: a folder for each, with its one-time secret
///
/// Run again it registers who is missing, and renews what the public sees, which running containers take up by themselves.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder that holds a folder for each container, all of which must be there
    #[arg(long, default_value = "/pki")]
    dir: PathBuf,
    /// The mantlet program
    #[arg(long, default_value = "mantlet", value_name = "PATH")]
    mantlet: PathBuf,
    /// Give that container another one-time secret to enrol with, instead
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(MEMBERS))]
    secret: Option<String>,
    /// Give the attacker what an attacker would like to come through with, a stolen key among it, instead
    #[arg(long, conflicts_with = "secret")]
    steal: bool,
    /// Revoke the stolen key, instead
    #[arg(long, conflicts_with_all = ["secret", "steal"])]
    revoke_stolen: bool,
}

/// Whoever has a sidecar, which is what its host is called as well.
const MEMBERS: [&str; 5] = ["gateway", "adservice", "userservice", "ads-db", "users-db"];
/// What holds the one-time secret in the folder of a member.
const SECRET: &str = "enrolment.secret";
/// How long the public's certificates and the stolen one are valid: as long as a demonstration may be left running.
const LIFETIME: &str = "7d";

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let mesh = Authority::open_or_init(&args.mantlet, args.dir.join("authority/ca")).await?;
    if let Some(member) = &args.secret {
        keep_secret(&mesh.secret(member).await?, &args.dir.join(member))?;
        println!("{member} has another one-time secret.");
    } else if args.steal {
        arm(&mesh, &args.mantlet, &args.dir).await?;
        println!(
            "The attacker has a key and a used secret that were stolen from the gateway, an expired certificate, and one of another CA."
        );
    } else if args.revoke_stolen {
        mesh.revoke(&Credentials::named("stolen", &args.dir.join("attacker"))).await?;
        println!("The stolen key is revoked.");
    } else {
        for member in MEMBERS {
            register(&mesh, member, &args.dir.join(member)).await?;
        }
        certify_public(&args.mantlet, &args.dir).await?;
        println!("The authority of spiffe://{TRUST_DOMAIN} is made, and these may enrol: {}.", MEMBERS.join(", "));
    }
    Ok(())
}

/// Has a member enrol: its folder gets the anchor by which the authority proves itself, and a secret by which the member does.
async fn register(mesh: &Authority<'_>, member: &str, folder: &Path) -> anyhow::Result<()> {
    replace(&mesh.certificate(), &folder.join("ca.pem"))?;
    // A secret that was used has brought a certificate, which is renewed without it.
    if folder.join(SECRET).exists() {
        return Ok(());
    }
    let is_registered = mesh.is_registered(member).await?;
    let secret = if is_registered { mesh.secret(member).await? } else { mesh.register(member, member).await? };
    keep_secret(&secret, folder)
}

/// Issues what the public sees, by an authority that no sidecar trusts.
async fn certify_public(mantlet: &Path, dir: &Path) -> anyhow::Result<()> {
    let public = Authority::open_or_init(mantlet, dir.join("others/public")).await?;
    let served = ["--usage", "server", "--ttl", LIFETIME, "--dns", "localhost", "--ip", "127.0.0.1", "--dns"];
    public.issue("public", &dir.join("gateway"), &[&served[..], &["gateway"]].concat()).await?;
    public.issue("issuer", &dir.join("issuer"), &[&served[..], &["issuer"]].concat()).await?;
    ["gateway", "client"]
        .iter()
        .try_for_each(|folder| replace(&public.certificate(), &dir.join(folder).join("public-ca.pem")))
}

/// What an attacker would like to come through with. The stolen key is another one each time.
async fn arm(mesh: &Authority<'_>, mantlet: &Path, dir: &Path) -> anyhow::Result<()> {
    let (others, attacker, gateway) = (dir.join("others"), &dir.join("attacker"), dir.join("gateway"));
    let gateway_id = spiffe_id("gateway");
    let as_gateway = ["--spiffe", &gateway_id, "--ttl", LIFETIME];
    mesh.issue("stolen", attacker, &as_gateway).await?;
    if !attacker.join("expired.pem").exists() {
        mesh.expired("expired", attacker, &gateway_id)?;
    }
    let foreign = Authority::open_or_init(mantlet, others.join("foreign")).await?;
    foreign.issue("foreign", attacker, &as_gateway).await?;
    replace(&gateway.join(SECRET), &attacker.join("used.secret"))?;
    replace(&mesh.certificate(), &attacker.join("ca.pem"))
}

/// Puts a secret where its member reads it, for the owner of the file alone.
fn keep_secret(secret: &str, folder: &Path) -> anyhow::Result<()> {
    let (file, new) = (folder.join(SECRET), folder.join(SECRET).with_extension("new"));
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        writeln!(file, "{secret}")
    };
    write()
        .and_then(|()| fs::rename(&new, &file))
        .with_context(|| format!("the one-time secret cannot be written to {}", file.display()))
}

/// Puts a copy of a file in the place of another, so that a reader finds the one or the other as a whole.
fn replace(from: &Path, to: &Path) -> anyhow::Result<()> {
    let new = to.with_extension("new");
    fs::copy(from, &new)
        .and_then(|_| fs::rename(&new, to))
        .with_context(|| format!("{} cannot be copied to {}", from.display(), to.display()))
}
