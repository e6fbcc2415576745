//! The PKI of the containers: a folder for each of them, which is a volume that no other container sees.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::pki::{Authority, Credentials, TRUST_DOMAIN, spiffe_id};

/// Make or renew the PKI of the containers: a folder for each of them
///
/// Run again it issues new certificates and a new CRL, which running sidecars take up by themselves.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder that holds a folder for each container, all of which must be there
    #[arg(long, default_value = "/pki")]
    dir: PathBuf,
    /// The mantlet program
    #[arg(long, default_value = "mantlet", value_name = "PATH")]
    mantlet: PathBuf,
    /// Give the attacker what an attacker would like to come through with, a stolen key among it, instead of renewing
    #[arg(long)]
    steal: bool,
    /// Revoke the stolen key, instead of renewing
    #[arg(long, conflicts_with = "steal")]
    revoke_stolen: bool,
}

/// Whoever has a sidecar, which is what its host is called as well.
const MEMBERS: [&str; 5] = ["gateway", "adservice", "userservice", "ads-db", "users-db"];
/// As long as a demonstration may be left running.
const LIFETIME: &str = "7d";

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let authorities = args.dir.join("authority");
    let mesh = Authority::open_or_init(&args.mantlet, authorities.join("mesh")).await?;
    let attacker = args.dir.join("attacker");
    if args.steal {
        arm(&mesh, &args.mantlet, &authorities, &attacker).await?;
        println!(
            "The attacker has a key that was stolen from the gateway, an expired certificate, and one of another CA."
        );
        return Ok(());
    }
    if args.revoke_stolen {
        mesh.revoke(&Credentials::named("stolen", &attacker)).await?;
        hand_out_crl(&mesh, &authorities, &args.dir).await?;
        println!("The stolen key is revoked, and every sidecar has the new CRL.");
        return Ok(());
    }
    for member in MEMBERS {
        let folder = args.dir.join(member);
        mesh.issue(member, &folder, &["--dns", member, "--ttl", LIFETIME]).await?;
        replace(&mesh.certificate(), &folder.join("ca.pem"))?;
    }
    hand_out_crl(&mesh, &authorities, &args.dir).await?;
    let public = Authority::open_or_init(&args.mantlet, authorities.join("public")).await?;
    let served = ["--usage", "server", "--ttl", LIFETIME, "--dns", "localhost", "--ip", "127.0.0.1", "--dns"];
    public.issue("public", &args.dir.join("gateway"), &[&served[..], &["gateway"]].concat()).await?;
    public.issue("issuer", &args.dir.join("issuer"), &[&served[..], &["issuer"]].concat()).await?;
    for folder in ["gateway", "client"] {
        replace(&public.certificate(), &args.dir.join(folder).join("public-ca.pem"))?;
    }
    println!("The PKI of spiffe://{TRUST_DOMAIN} is made: a folder each for {}.", MEMBERS.join(", "));
    Ok(())
}

/// What an attacker would like to come through with. The stolen key is another one each time.
async fn arm(mesh: &Authority<'_>, mantlet: &Path, authorities: &Path, attacker: &Path) -> anyhow::Result<()> {
    let gateway = spiffe_id("gateway");
    let as_gateway = ["--spiffe", &gateway, "--ttl", LIFETIME];
    mesh.issue("stolen", attacker, &as_gateway).await?;
    if !attacker.join("expired.pem").exists() {
        mesh.expired("expired", attacker, &gateway)?;
    }
    let foreign = Authority::open_or_init(mantlet, authorities.join("foreign")).await?;
    foreign.issue("foreign", attacker, &as_gateway).await?;
    replace(&mesh.certificate(), &attacker.join("ca.pem"))
}

async fn hand_out_crl(mesh: &Authority<'_>, authorities: &Path, dir: &Path) -> anyhow::Result<()> {
    let crl = authorities.join("ca.crl");
    mesh.sign_crl(&crl, LIFETIME).await?;
    MEMBERS.iter().try_for_each(|member| replace(&crl, &dir.join(member).join("ca.crl")))
}

/// Puts a copy of a file in the place of another, so that a reader finds the one or the other as a whole.
fn replace(from: &Path, to: &Path) -> anyhow::Result<()> {
    let new = to.with_extension("new");
    fs::copy(from, &new)
        .and_then(|_| fs::rename(&new, to))
        .with_context(|| format!("{} cannot be copied to {}", from.display(), to.display()))
}
