//! `mantlet ca`: a closed certificate authority in a directory.

mod list;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::builder::{PossibleValue, TypedValueParser as _};
use serde_json::json;

use crate::ca::{
    Access, Audience, Authority, Credential, CredentialUsage, CrlOptions, DnsName, InitOptions, IssueRequest,
    KeyAlgorithm, RevocationReason, ServiceName, Tier, Timestamp, write_durably,
};
use crate::identity::{SpiffeId, TrustDomain};
use crate::x509::SerialNumber;

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
  mantlet ca crl   --dir certs")]
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
}

/// Make a new authority: a root key and certificate, and an intermediate on request
///
/// Refuses a directory that has an authority or a ca.pem already.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mantlet ca init --dir certs --trust-domain fleamarket.internal
  mantlet ca init --dir /srv/pki --trust-domain fleamarket.internal --intermediate --ttl 1825d")]
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
    /// Directory of the authority
    #[arg(long)]
    dir: PathBuf,
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
}

/// Revoke a certificate for good
///
/// Peers learn of it from the next CRL. To revoke again changes nothing and succeeds: the first date and reason stay.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mantlet ca revoke --dir certs --cert certs/adservice.pem --reason keyCompromise
  mantlet ca revoke --dir certs --serial 4f:1c:00:9a:...   (mantlet ca list shows them)
Then:
  mantlet ca crl --dir certs")]
struct Revoke {
    /// Directory of the authority
    #[arg(long)]
    dir: PathBuf,
    #[command(flatten)]
    which: Which,
    /// Why, as peers will read it in the CRL
    #[arg(long, default_value = "unspecified", ignore_case = true, value_parser = reason_parser())]
    reason: RevocationReason,
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
    /// Directory of the authority
    #[arg(long)]
    dir: PathBuf,
    /// File to write (PEM) [default: ca.crl in the folder given by --dir]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How long until the next CRL
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration)]
    next_update: Duration,
    /// The same for the root's CRL where an intermediate issues; at least --next-update
    #[arg(long, value_name = "DURATION", default_value = "180d", value_parser = humantime::parse_duration)]
    root_next_update: Duration,
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
    match args.command {
        Command::Init(args) => init(&args),
        Command::Issue(args) => issue(args),
        Command::Revoke(args) => revoke(&args),
        Command::Crl(args) => crl(args),
        Command::List(args) => list::list(&args),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn init(args: &Init) -> anyhow::Result<()> {
    let options = InitOptions {
        trust_domain: args.trust_domain.clone(),
        ttl: args.ttl,
        intermediate: args.intermediate,
        algorithm: args.algorithm.into(),
    };
    let authority = Authority::init(&args.dir, &options, Timestamp::now())?;
    print_warnings(&authority);
    let until = authority.store().issued()[0].not_after;
    println!("made a certificate authority for {}, valid until {until}", args.trust_domain);
    println!("  trust anchor  {}  (give it to every service)", authority.anchors_file().display());
    println!("  root key      {}  (keep it secret)", authority.key_file(Tier::Root).display());
    if args.intermediate {
        println!("  issuing key   {}  (keep it secret)", authority.key_file(Tier::Intermediate).display());
        println!(
            "The intermediate issues: move the root key offline now. It is needed again only to revoke the intermediate and to\n\
             renew the root's CRL, by \"mantlet ca crl\", within 180 days."
        );
    }
    println!("next: mantlet ca issue --dir {} --name NAME --dns HOST", args.dir.display());
    Ok(())
}

fn issue(args: Issue) -> anyhow::Result<()> {
    let mut authority = Authority::open(&args.dir, Access::Exclusive)?;
    let now = Timestamp::now();
    let out = args.out.unwrap_or_else(|| args.dir.clone());
    let request = IssueRequest {
        name: args.name,
        dns: args.dns,
        ip: args.ip,
        spiffe: args.spiffe,
        ttl: args.ttl,
        usage: args.usage.into(),
        algorithm: args.algorithm.into(),
    };
    let issued = authority.issue(&request, now);
    print_warnings(&authority);
    let credential = issued?;
    let serial = &credential.certificate.serial;
    // The authority is still locked: two commands that issue the same name cannot mix their files.
    let (chain, key) = credential
        .write_to(&out)
        .with_context(|| format!("serial {serial} is recorded but its files were not written; issue again"))?;
    if args.json {
        let document = json!({ "certificate": &credential.certificate, "chain_file": chain, "key_file": key });
        println!("{document:#}");
        return Ok(());
    }
    let certificate = &credential.certificate;
    println!("issued {}, valid until {}", certificate.spiffe, certificate.not_after);
    println!("  certificate   {}", chain.display());
    println!("  private key   {}", key.display());
    println!("  serial        {serial}");
    print_earlier(&authority, &credential, now);
    println!("next: name both files under [identity], and {} under [trust]", authority.anchors_file().display());
    Ok(())
}

/// Names the certificates that the new one stands in for, since they are valid still.
fn print_earlier(authority: &Authority, credential: &Credential, now: Timestamp) {
    let new = &credential.certificate;
    let store = authority.store();
    let mut alive = store.issued().iter().filter(|earlier| {
        earlier.name == new.name
            && earlier.kind == new.kind
            && earlier.serial != new.serial
            && earlier.not_after > now
            && store.revocation(&earlier.serial).is_none()
    });
    if let Some(latest) = alive.next_back() {
        println!(
            "  note          serial {} of the same name stays valid until {} unless it is revoked",
            latest.serial, latest.not_after
        );
    }
}

fn revoke(args: &Revoke) -> anyhow::Result<()> {
    let mut authority = Authority::open(&args.dir, Access::Exclusive)?;
    let serial = match (&args.which.cert, &args.which.serial) {
        (Some(file), _) => authority.serial_of_file(file)?,
        (None, Some(serial)) => serial.clone(),
        (None, None) => anyhow::bail!("give --cert or --serial"),
    };
    let revoked = authority.revoke(&serial, args.reason, Timestamp::now());
    print_warnings(&authority);
    let outcome = revoked?;
    let (certificate, revocation) = (&outcome.certificate, outcome.revocation);
    let (at, reason) = (revocation.at, revocation.reason);
    if !outcome.newly {
        println!("{} (serial {serial}) is revoked already, since {at} ({reason}); nothing changed", certificate.spiffe);
        return Ok(());
    }
    println!("revoked {} (serial {serial}) at {at} ({reason})", certificate.spiffe);
    println!("next: mantlet ca crl --dir {}, for peers learn of it from the CRL", args.dir.display());
    Ok(())
}

fn crl(args: Crl) -> anyhow::Result<()> {
    let mut authority = Authority::open(&args.dir, Access::Exclusive)?;
    let options = CrlOptions { next_update: args.next_update, root_next_update: args.root_next_update };
    let signed = authority.sign_crls(&options, Timestamp::now());
    print_warnings(&authority);
    let bundle = signed?;
    let out = args.out.unwrap_or_else(|| args.dir.join("ca.crl"));
    write_durably(&out, bundle.pem.as_bytes(), Audience::Anyone)?;
    for list in &bundle.lists {
        let verb = if list.newly_signed { "signed" } else { "kept" };
        let (issuer, number, next_update) = (list.record.issuer, list.record.number, list.record.next_update);
        println!("{verb} the {issuer}'s CRL number {number}: {} revoked, next update {next_update}", list.entries);
    }
    println!("  file          {}", out.display());
    println!("next: name it under [revocation] of every service, and run this again before the next update");
    Ok(())
}

fn print_warnings(authority: &Authority) {
    for warning in authority.warnings() {
        eprintln!("mantlet: warning: {warning}");
    }
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
