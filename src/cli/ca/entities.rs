//! `mantlet ca show`, `suspend`, `resume` and `remove`: what becomes of a registration.

use serde_json::{Value, json};

use crate::ca::{Authority, CertificateFilter, Entity, EntityState, ServiceName, Timestamp};
use crate::cli::output::{print, print_json};

use super::Actor;
use super::list::{aligned, entry};
use super::place::Place;

/// Show a registered name: what its certificates say, its certificates that are valid, its one-time secrets
#[derive(clap::Args)]
pub(super) struct Show {
    /// The name
    name: ServiceName,
    #[command(flatten)]
    place: Place,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Keep a registered name from enrolling and renewing, until it is resumed
///
/// Its certificates stay good until they end: "mantlet ca revoke --name NAME" ends them at once.
#[derive(clap::Args)]
pub(super) struct Suspend {
    #[command(flatten)]
    change: Change,
}

/// Let a suspended name enrol and renew again
#[derive(clap::Args)]
pub(super) struct Resume {
    #[command(flatten)]
    change: Change,
}

/// End a registration for good
///
/// Its one-time secrets are void and nothing renews. Its certificates stay good until they end: revoke them where that is too late.
#[derive(clap::Args)]
pub(super) struct Remove {
    #[command(flatten)]
    change: Change,
}

#[derive(clap::Args)]
struct Change {
    /// The name
    name: ServiceName,
    #[command(flatten)]
    place: Place,
    /// Why, for the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    actor: Actor,
}

pub(super) async fn list(authority: &Authority, as_json: bool) -> anyhow::Result<()> {
    let entities = authority.entities().await?;
    if as_json {
        return print_json(&entities.iter().map(document).collect());
    }
    let rows = entities.iter().map(|entity| {
        let names: Vec<String> =
            entity.dns.iter().map(ToString::to_string).chain(entity.ip.iter().map(ToString::to_string)).collect();
        [entity.name.to_string(), entity.spiffe.to_string(), names.join(" "), state(entity)]
    });
    print(&aligned(["NAME", "SPIFFE ID", "NAMES", "STATE"], rows))
}

pub(super) async fn show(args: &Show) -> anyhow::Result<()> {
    let authority = args.place.open().await?;
    let (entity, now) = (authority.registered(&args.name).await?, Timestamp::now());
    let filter =
        CertificateFilter { name: Some(args.name.to_string()), valid_at: Some(now), ..CertificateFilter::default() };
    let certificates = authority.certificates(&filter).await?;
    let open = authority.secrets(&args.name).await?;
    let open: Vec<_> = open.into_iter().filter(|secret| secret.used_at.is_none() && secret.expires > now).collect();
    if args.json {
        let mut shown = document(&entity);
        shown["certificates"] = certificates.iter().map(|record| entry(record, now)).collect();
        shown["open_secrets"] = open.iter().map(|secret| json!({ "expires": secret.expires.to_string() })).collect();
        return print_json(&shown);
    }
    let mut lines = vec![format!("{}  {}", entity.name, state(&entity)), format!("  SPIFFE ID     {}", entity.spiffe)];
    lines.extend(entity.dns.iter().map(|dns| format!("  DNS name      {dns}")));
    lines.extend(entity.ip.iter().map(|ip| format!("  IP address    {ip}")));
    lines.extend(entity.max_ttl.map(|ttl| format!("  lifetime      {}", humantime::format_duration(ttl))));
    lines.extend(entity.expires.map(|expires| format!("  registered    until {expires}")));
    lines.extend(certificates.iter().map(|record| {
        let issued = &record.certificate;
        format!("  {:<12}  serial {}, until {}", issued.kind.to_string(), issued.serial, issued.not_after)
    }));
    lines.extend(open.iter().map(|secret| format!("  secret        not used yet, until {}", secret.expires)));
    print(&(lines.join("\n") + "\n"))
}

pub(super) async fn suspend(args: &Suspend) -> anyhow::Result<()> {
    set(&args.change, EntityState::Suspended).await
}

pub(super) async fn resume(args: &Resume) -> anyhow::Result<()> {
    set(&args.change, EntityState::Active).await
}

pub(super) async fn remove(args: &Remove) -> anyhow::Result<()> {
    set(&args.change, EntityState::Removed).await
}

async fn set(args: &Change, state: EntityState) -> anyhow::Result<()> {
    let authority = args.place.open().await?;
    let (actor, now) = (args.actor.name(), Timestamp::now());
    let entity = authority.set_state(&args.name, state, &args.reason, &actor, now).await?;
    say!("{} is {}", entity.name, entity.state)?;
    let filter =
        CertificateFilter { name: Some(args.name.to_string()), valid_at: Some(now), ..CertificateFilter::default() };
    let valid = authority.certificates(&filter).await?;
    if state != EntityState::Active && !valid.is_empty() {
        say!(
            "  note          {} of its certificates stay valid; \"mantlet ca revoke --dir {} --name {}\" ends them",
            valid.len(),
            args.place.dir().display(),
            args.name
        )?;
    }
    Ok(())
}

/// A registration as JSON.
pub(super) fn document(entity: &Entity) -> Value {
    let dns: Vec<&str> = entity.dns.iter().map(crate::ca::DnsName::as_str).collect();
    json!({
        "name": entity.name.as_str(),
        "spiffe": entity.spiffe.as_str(),
        "dns": dns,
        "ip": entity.ip,
        "usage": entity.usage.as_str(),
        "max_ttl_seconds": entity.max_ttl.map(|ttl| ttl.as_secs()),
        "expires": entity.expires.map(|expires| expires.to_string()),
        "state": entity.state.as_str(),
        "created": entity.created.to_string(),
    })
}

fn state(entity: &Entity) -> String {
    match entity.expires {
        Some(expires) if entity.state == EntityState::Active && expires <= Timestamp::now() => {
            format!("ended {expires}")
        }
        _ => entity.state.to_string(),
    }
}
