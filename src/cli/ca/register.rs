//! `mantlet ca register`, `secret` and `bootstrap`: who may enrol, and with what.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::ca::{Audience, DnsName, IssuedSecret, RegisterRequest, ServiceName, Timestamp, write_durably};
use crate::cli::output::print_json;
use crate::identity::SpiffeId;

use super::place::Place;
use super::{Actor, Usage};

/// Register a name, so that a service can enrol under it
///
/// Prints a one-time secret, which is the password of its first enrolment: give it to that service and to nobody else. What
/// its certificates say is what is registered here, whatever it asks for.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mantlet ca register adservice --dir ca --dns adservice --dns ads.internal
  mantlet ca register adservice --dir ca --dns adservice --max-ttl 1h --json | jq -r .secret")]
pub(super) struct Register {
    /// The name: user name of the enrolment, common name, and by default the path of the SPIFFE ID
    name: ServiceName,
    #[command(flatten)]
    place: Place,
    /// DNS name of the service; may be given more than once
    #[arg(long, value_name = "NAME")]
    dns: Vec<DnsName>,
    /// IP address of the service; may be given more than once
    #[arg(long, value_name = "ADDR")]
    ip: Vec<IpAddr>,
    /// SPIFFE ID in the authority's trust domain; by default its member called NAME
    #[arg(long, value_name = "ID")]
    spiffe: Option<SpiffeId>,
    /// What its certificates are good for: calling, being called, or both
    #[arg(long, value_enum, default_value_t)]
    usage: Usage,
    /// How long its certificates are valid, 397d at most [default: that of the authority]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    max_ttl: Option<Duration>,
    /// For how long it is registered; no certificate outlives that [default: until it is removed]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    expires: Option<Duration>,
    /// How long the one-time secret can be used
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration)]
    secret_ttl: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    actor: Actor,
}

/// Make another one-time secret for a registered name
///
/// Earlier ones that were not used are void.
#[derive(clap::Args)]
pub(super) struct Secret {
    /// The name
    name: ServiceName,
    #[command(flatten)]
    place: Place,
    /// How long it can be used
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    actor: Actor,
}

/// Make a bootstrap certificate for a registered name: good for enrolment, and for nothing else
///
/// One PEM file with the key and the certificate (mode 0600). It can enrol any number of times until it ends or is revoked, also
/// once the service's own certificate has expired. No peer accepts it.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  mantlet ca bootstrap adservice --dir ca --out secrets/adservice-bootstrap.pem")]
pub(super) struct Bootstrap {
    /// The name
    name: ServiceName,
    #[command(flatten)]
    place: Place,
    /// File to write [default: NAME-bootstrap.pem in the folder given by --dir]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How long it is valid, 397d at most
    #[arg(long, value_name = "DURATION", default_value = "365d", value_parser = humantime::parse_duration)]
    ttl: Duration,
    #[command(flatten)]
    actor: Actor,
}

pub(super) async fn register(args: Register) -> anyhow::Result<()> {
    let authority = args.place.open().await?;
    let request = RegisterRequest {
        name: args.name,
        spiffe: args.spiffe,
        dns: args.dns,
        ip: args.ip,
        usage: args.usage.into(),
        max_ttl: args.max_ttl,
        expires: args.expires,
        secret_ttl: args.secret_ttl,
    };
    let made = authority.register(&request, &args.actor.name(), Timestamp::now()).await?;
    if args.json {
        return print_secret_json(&made);
    }
    say!("registered {} as {}", made.entity.name, made.entity.spiffe)?;
    print_secret(&made)
}

pub(super) async fn secret(args: &Secret) -> anyhow::Result<()> {
    let authority = args.place.open().await?;
    let made = authority.new_secret(&args.name, args.ttl, &args.actor.name(), Timestamp::now()).await?;
    if args.json {
        return print_secret_json(&made);
    }
    say!("made a one-time secret for {}; earlier ones are void", made.entity.name)?;
    print_secret(&made)
}

pub(super) async fn bootstrap(args: Bootstrap) -> anyhow::Result<()> {
    let authority = args.place.open().await?;
    let _lock = authority.lock_files()?;
    let made = authority.bootstrap(&args.name, args.ttl, &args.actor.name(), Timestamp::now()).await?;
    if let Some(warning) = &made.warning {
        eprintln!("mantlet: warning: {warning}");
    }
    let out = args.out.unwrap_or_else(|| args.place.dir().join(format!("{}-bootstrap.pem", args.name)));
    write_durably(&out, made.combined_pem().as_bytes(), Audience::Owner)?;
    say!("made a bootstrap certificate for {}, valid until {}", args.name, made.certificate.not_after)?;
    say!("  file          {}  (keep it secret: it holds the key)", out.display())?;
    say!("  serial        {}", made.certificate.serial)?;
    say!("next: name it as bootstrap under [identity] of {}", args.name)
}

fn print_secret(made: &IssuedSecret) -> anyhow::Result<()> {
    say!("  one-time secret  {}", made.secret.reveal())?;
    say!("  can be used      once, until {}", made.expires)?;
    say!("It is shown this once: what is on record is its digest alone.")
}

fn print_secret_json(made: &IssuedSecret) -> anyhow::Result<()> {
    let mut document = super::entities::document(&made.entity);
    document["secret"] = json!(made.secret.reveal());
    document["secret_expires"] = json!(made.expires.to_string());
    print_json(&document)
}
