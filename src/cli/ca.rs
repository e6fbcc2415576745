//! `mantlet ca`: a closed certificate authority in a directory.

/// Prints a line; a reader that has gone away (`| head`) is no failure.
macro_rules! say {
    ($($text:tt)*) => { crate::cli::output::print(&(format!($($text)*) + "\n")) };
}

mod entities;
mod list;
mod log;
mod place;
mod register;
mod rotate;
mod serve;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::builder::{PossibleValue, TypedValueParser as _};
use serde_json::json;

use crate::ca::{
    Audience, Authority, Credential, CredentialUsage, CrlOptions, DnsName, InitOptions, IssueRequest, IssuerId,
    KeyAlgorithm, RevocationReason, ServiceName, Tier, Timestamp, write_durably,
};
use crate::identity::{SpiffeId, TrustDomain};
use crate::x509::SerialNumber;

use place::{PassphraseFile, Place, print_warnings};

/// Run a closed certificate authority in a directory
///
/// The directory holds ca.pem, the trust anchor that every sidecar lists, and by default the certificates and CRL as well.
/// What must stay secret is in authority/ below it: keep that folder on the machine that issues, and back it up. Commands
/// may run at the same time, and one that is killed leaves nothing half done.
#[derive(clap::Args)]
#[command(after_help = "\
Example: a trust domain with two services
  mantlet ca init  --dir certs --trust-domain fleamarket.internal
  mantlet ca issue --dir certs --name adservice --dns adservice
  mantlet ca issue --dir certs --name userservice --dns userservice
  mantlet ca crl   --dir certs
The same with services that enrol by themselves
  mantlet ca init     --dir ca --trust-domain fleamarket.internal
  mantlet ca register --dir ca adservice --dns adservice
  mantlet ca serve    authority.toml")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Init(Init),
    Issue(Issue),
    Revoke(Revoke),
    Crl(Crl),
    List(list::List),
    Register(register::Register),
    Secret(register::Secret),
    Bootstrap(register::Bootstrap),
    Show(entities::Show),
    Suspend(entities::Suspend),
    Resume(entities::Resume),
    Remove(entities::Remove),
    Log(log::Log),
    Rotate(rotate::Rotate),
    Serve(serve::Serve),
}

/// Who is named in the authority's log.
#[derive(clap::Args)]
struct Actor {
    /// Who does this, for the log [default: the user who runs it]
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
}

impl Actor {
    fn name(&self) -> String {
        let of_environment = || {
            // Behind sudo the variable names who asked; root is no answer to "who".
            let names = ["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
            names.into_iter().find(|name| !name.is_empty())
        };
        let of_system = || format!("uid {}", rustix::process::getuid().as_raw());
        self.actor.clone().or_else(of_environment).unwrap_or_else(of_system)
    }
}

/// Make a new authority: a root key and certificate, and an intermediate on request
///
/// Refuses a directory that has an authority or a ca.pem already. With --passphrase-file its keys are encrypted (PKCS #8), and every
/// command that uses one needs the same.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mantlet ca init --dir certs --trust-domain fleamarket.internal
  mantlet ca init --dir /srv/pki --trust-domain fleamarket.internal --intermediate --ttl 1825d
  mantlet ca init --dir /srv/pki --trust-domain fleamarket.internal --passphrase-file /run/secrets/ca-passphrase")]
struct Init {
    /// Directory of the authority; made where it is missing
    #[arg(long)]
    dir: PathBuf,
    /// Name that all its SPIFFE IDs begin with, such as fleamarket.internal
    #[arg(long, value_name = "NAME")]
    trust_domain: TrustDomain,
    /// How long the authority's certificates are valid
    #[arg(long, value_name = "DURATION", default_value = "3650d", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// Issue from an intermediate, so that the root key can be kept off this machine
    #[arg(long)]
    intermediate: bool,
    /// Kind of the authority's keys
    #[arg(long, value_enum, default_value_t)]
    algorithm: Algorithm,
    #[command(flatten)]
    passphrase: PassphraseFile,
}

/// Issue a certificate and its key: NAME.pem (the chain) and NAME.key (mode 0600)
///
/// A certificate of the same name is replaced in the folder, and stays valid until it expires or is revoked. The files are
/// replaced whole, so a running sidecar takes the new ones over.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mantlet ca issue --dir certs --name adservice --dns adservice --dns ads.internal
  mantlet ca issue --dir certs --name gateway --ip 10.0.0.7 --ttl 30d --out /etc/mantlet
  mantlet ca issue --dir certs --name ads-eu --spiffe spiffe://fleamarket.internal/eu/adservice")]
struct Issue {
    #[command(flatten)]
    place: Place,
    /// What the files are called, the common name, and by default the path of the SPIFFE ID
    #[arg(long)]
    name: ServiceName,
    /// DNS name of the service; may be given more than once
    #[arg(long, value_name = "NAME")]
    dns: Vec<DnsName>,
    /// IP address of the service; may be given more than once
    #[arg(long, value_name = "ADDR")]
    ip: Vec<IpAddr>,
    /// SPIFFE ID in the authority's trust domain; by default its member called --name
    #[arg(long, value_name = "ID")]
    spiffe: Option<SpiffeId>,
    /// How long the certificate is valid, 397d at most and never beyond its issuer
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// Folder to write to; made where it is missing [default: the folder given by --dir]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What the certificate is good for: calling, being called, or both
    #[arg(long, value_enum, default_value_t)]
    usage: Usage,
    /// Kind of the key
    #[arg(long, value_enum, default_value_t)]
    algorithm: Algorithm,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    actor: Actor,
}

/// Revoke a certificate for good
///
/// Peers learn of it from the next CRL, which "mantlet ca serve" signs at once. To revoke again changes nothing and succeeds: the
/// first date and reason stay. With --name all certificates of that name are revoked, and its unused one-time secrets are void;
/// it may still enrol anew, which "mantlet ca suspend" prevents.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mantlet ca revoke --dir certs --cert certs/adservice.pem --reason keyCompromise
  mantlet ca revoke --dir certs --serial 4f:1c:00:9a:...   (mantlet ca list shows them)
  mantlet ca revoke --dir certs --name adservice
Then, unless the authority runs as a service:
  mantlet ca crl --dir certs")]
struct Revoke {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    which: Which,
    /// Why, as peers will read it in the CRL
    #[arg(long, default_value = "unspecified", ignore_case = true, value_parser = reason_parser())]
    reason: RevocationReason,
    #[command(flatten)]
    actor: Actor,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// File of the certificate, PEM or DER; the first one in it counts
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Serial number of the certificate in hexadecimal
    #[arg(long, value_name = "HEX")]
    serial: Option<SerialNumber>,
    /// All certificates of a name that are valid
    #[arg(long, value_name = "NAME")]
    name: Option<ServiceName>,
}

/// Sign the CRL, with the next CRL number
///
/// With an intermediate, the file holds two CRLs: the intermediate's and the root's. Where the root key is kept elsewhere, the
/// root's last CRL is taken as long as it says all there is to say. Run this well before the next update: peers refuse
/// certificates once it has passed.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mantlet ca crl --dir certs
  mantlet ca crl --dir certs --out /srv/www/fleamarket.crl --next-update 7d")]
struct Crl {
    #[command(flatten)]
    place: Place,
    /// File to write (PEM) [default: ca.crl in the folder given by --dir]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How long until the next CRL
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration)]
    next_update: Duration,
    /// The same for the root's CRL where an intermediate issues; at least --next-update
    #[arg(long, value_name = "DURATION", default_value = "180d", value_parser = humantime::parse_duration)]
    root_next_update: Duration,
    #[command(flatten)]
    actor: Actor,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Algorithm {
    /// ECDSA on P-256, which every TLS peer has
    #[default]
    P256,
    /// ECDSA on P-384
    P384,
    /// Ed25519, which some TLS peers lack
    Ed25519,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Usage {
    #[default]
    Both,
    Client,
    Server,
}

pub(super) fn execute(args: Args) -> anyhow::Result<ExitCode> {
    if let Command::Serve(args) = args.command {
        return serve::serve(&args);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match args.command {
            Command::Init(args) => init(&args).await,
            Command::Issue(args) => issue(args).await,
            Command::Revoke(args) => revoke(&args).await,
            Command::Crl(args) => crl(args).await,
            Command::List(args) => list::list(&args).await,
            Command::Register(args) => register::register(args).await,
            Command::Secret(args) => register::secret(&args).await,
            Command::Bootstrap(args) => register::bootstrap(args).await,
            Command::Show(args) => entities::show(&args).await,
            Command::Suspend(args) => entities::suspend(&args).await,
            Command::Resume(args) => entities::resume(&args).await,
            Command::Remove(args) => entities::remove(&args).await,
            Command::Log(args) => log::log(&args).await,
            Command::Rotate(args) => rotate::rotate(args).await,
            Command::Serve(_) => Ok(()),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn init(args: &Init) -> anyhow::Result<()> {
    let options = InitOptions {
        trust_domain: args.trust_domain.clone(),
        ttl: args.ttl,
        intermediate: args.intermediate,
        algorithm: args.algorithm.into(),
        passphrase_file: args.passphrase.passphrase_file.clone(),
    };
    let now = Timestamp::now();
    let authority = Authority::init(&args.dir, &options, now).await?;
    print_warnings(&authority);
    let until = now.saturating_add(args.ttl);
    say!("made a certificate authority for {}, valid until {until}", args.trust_domain)?;
    say!("  trust anchor  {}  (give it to every service)", authority.anchors_file().display())?;
    say!("  root key      {}  (keep it secret)", authority.key_file(IssuerId::ROOT).display())?;
    if args.intermediate {
        let issuing = IssuerId::ROOT.with_tier(Tier::Intermediate);
        say!("  issuing key   {}  (keep it secret)", authority.key_file(issuing).display())?;
        say!(
            "The intermediate issues: move the root key offline now. It is needed again only to revoke the intermediate and to\n\
             renew the root's CRL, by \"mantlet ca crl\", within 180 days."
        )?;
    }
    say!("next: mantlet ca issue --dir {} --name NAME --dns HOST", args.dir.display())?;
    say!(
        "  or: mantlet ca register --dir {} NAME --dns HOST, for services that enrol by themselves",
        args.dir.display()
    )?;
    Ok(())
}

async fn issue(args: Issue) -> anyhow::Result<()> {
    let authority = args.place.open().await?;
    // Two commands that issue the same name must not mix their files.
    let _lock = authority.lock_files()?;
    let now = Timestamp::now();
    let out = args.out.unwrap_or_else(|| args.place.dir().to_owned());
    let request = IssueRequest {
        name: args.name,
        dns: args.dns,
        ip: args.ip,
        spiffe: args.spiffe,
        ttl: args.ttl,
        usage: args.usage.into(),
        algorithm: args.algorithm.into(),
    };
    let credential = authority.issue(&request, &args.actor.name(), now).await?;
    if let Some(warning) = &credential.warning {
        eprintln!("mantlet: warning: {warning}");
    }
    let serial = &credential.certificate.serial;
    let (chain, key) = credential
        .write_to(&out)
        .with_context(|| format!("serial {serial} is recorded but its files were not written; issue again"))?;
    if args.json {
        let document = json!({ "certificate": &credential.certificate, "chain_file": chain, "key_file": key });
        say!("{document:#}")?;
        return Ok(());
    }
    let certificate = &credential.certificate;
    say!("issued {}, valid until {}", certificate.spiffe, certificate.not_after)?;
    say!("  certificate   {}", chain.display())?;
    say!("  private key   {}", key.display())?;
    say!("  serial        {serial}")?;
    print_earlier(&authority, &credential, now).await?;
    say!("next: name both files under [identity], and {} under [trust]", authority.anchors_file().display())?;
    Ok(())
}

/// Names the certificate that the new one stands in for, since it is valid still.
async fn print_earlier(authority: &Authority, credential: &Credential, now: Timestamp) -> anyhow::Result<()> {
    if let Some(latest) = authority.earlier_than(&credential.certificate, now).await? {
        say!(
            "  note          serial {} of the same name stays valid until {} unless it is revoked",
            latest.certificate.serial,
            latest.certificate.not_after
        )?;
    }
    Ok(())
}

async fn revoke(args: &Revoke) -> anyhow::Result<()> {
    let authority = args.place.open().await?;
    let (actor, now) = (args.actor.name(), Timestamp::now());
    let serial = match (&args.which.cert, &args.which.serial, &args.which.name) {
        (Some(file), ..) => authority.serial_of_file(file).await?,
        (None, Some(serial), _) => serial.clone(),
        (None, None, Some(name)) => {
            for certificate in authority.revoke_name(name, args.reason, &actor, now).await? {
                say!("revoked {} (serial {}) at {now} ({})", certificate.spiffe, certificate.serial, args.reason)?;
            }
            return print_after_revoking(&authority).await;
        }
        (None, None, None) => anyhow::bail!("give --cert, --serial or --name"),
    };
    let outcome = authority.revoke(&serial, args.reason, &actor, now).await?;
    let (certificate, revocation) = (&outcome.certificate, outcome.revocation);
    let (at, reason) = (revocation.at, revocation.reason);
    if outcome.newly {
        say!("revoked {} (serial {serial}) at {at} ({reason})", certificate.spiffe)?;
    } else {
        say!("{} (serial {serial}) is revoked already, since {at} ({reason}); nothing changed", certificate.spiffe)?;
    }
    print_after_revoking(&authority).await
}

/// Says how peers learn of it, and what none of them will for want of a key.
async fn print_after_revoking(authority: &Authority) -> anyhow::Result<()> {
    let unlisted = authority.unlisted_revocations().await?;
    for unlisted in &unlisted {
        eprintln!("mantlet: warning: {unlisted}");
    }
    if unlisted.is_empty() {
        say!(
            "next: a running \"mantlet ca serve\" signs the CRL at once, or its /readyz says why not; without one, mantlet ca crl \
             --dir {}, for peers learn of it from the CRL",
            authority.directory().display()
        )?;
    }
    Ok(())
}

async fn crl(args: Crl) -> anyhow::Result<()> {
    let authority = args.place.open().await?;
    let _lock = authority.lock_files()?;
    let options = CrlOptions { next_update: args.next_update, root_next_update: args.root_next_update };
    let bundle = authority.sign_crls(&options, &args.actor.name(), Timestamp::now()).await?;
    for warning in &bundle.warnings {
        eprintln!("mantlet: warning: {warning}");
    }
    let out = args.out.unwrap_or_else(|| args.place.dir().join("ca.crl"));
    write_durably(&out, bundle.pem.as_bytes(), Audience::Anyone)?;
    for list in &bundle.lists {
        let verb = if list.newly_signed { "signed" } else { "kept" };
        let (issuer, number, next_update) = (list.record.issuer, list.record.number, list.record.next_update);
        say!("{verb} the {issuer}'s CRL number {number}: {} revoked, next update {next_update}", list.entries)?;
    }
    say!("  file          {}", out.display())?;
    say!("next: name it under [revocation] of every service, and run this again before the next update")?;
    Ok(())
}

fn reason_parser() -> impl clap::builder::TypedValueParser<Value = RevocationReason> {
    let names = RevocationReason::ALL.map(|reason| PossibleValue::new(reason.as_str()));
    clap::builder::PossibleValuesParser::new(names).try_map(|name| name.parse::<RevocationReason>())
}

impl From<Algorithm> for KeyAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::P256 => Self::P256,
            Algorithm::P384 => Self::P384,
            Algorithm::Ed25519 => Self::Ed25519,
        }
    }
}

impl From<Usage> for CredentialUsage {
    fn from(usage: Usage) -> Self {
        match usage {
            Usage::Both => Self::Both,
            Usage::Client => Self::Client,
            Usage::Server => Self::Server,
        }
    }
}
