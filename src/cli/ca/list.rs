//! `mantlet ca list`: every certificate that an authority issued, and how it stands.

use serde_json::json;

use crate::ca::{CertificateFilter, CertificateRecord, ServiceName, Timestamp};
use crate::cli::output::print;

use super::place::Place;

/// List the certificates issued, with their state: valid, expired or revoked
///
/// Expired certificates stay on the list; a revoked one counts as revoked also after its end.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mantlet ca list --dir certs
  mantlet ca list --dir certs --json | jq -r '.[] | select(.state == \"valid\") | .spiffe'")]
pub(super) struct List {
    #[command(flatten)]
    place: Place,
    /// List the authority's own certificates too
    #[arg(long)]
    all: bool,
    /// List those of this name only
    #[arg(long, value_name = "NAME")]
    name: Option<ServiceName>,
    /// List who is registered instead
    #[arg(long, conflicts_with_all = ["all", "name"])]
    registered: bool,
    /// Print a JSON array, one object for each certificate or registration
    #[arg(long)]
    json: bool,
}

pub(super) async fn list(args: &List) -> anyhow::Result<()> {
    let authority = args.place.open().await?;
    if args.registered {
        return super::entities::list(&authority, args.json).await;
    }
    let filter = CertificateFilter {
        name: args.name.as_ref().map(ServiceName::to_string),
        own: args.all,
        ..CertificateFilter::default()
    };
    let (listed, now) = (authority.certificates(&filter).await?, Timestamp::now());
    print(&if args.json { format!("{:#}\n", document(&listed, now)) } else { table(&listed, now) })
}

fn document(listed: &[CertificateRecord], now: Timestamp) -> serde_json::Value {
    listed.iter().map(|record| entry(record, now)).collect()
}

/// One certificate as JSON.
pub(super) fn entry(record: &CertificateRecord, now: Timestamp) -> serde_json::Value {
    let mut entry = json!(record.certificate);
    entry["state"] = state_name(record, now).into();
    if let Some(revocation) = record.revocation {
        entry["revoked_at"] = revocation.at.to_string().into();
        entry["reason"] = revocation.reason.as_str().into();
    }
    entry
}

fn table(listed: &[CertificateRecord], now: Timestamp) -> String {
    let rows = listed.iter().map(|record| {
        let issued = &record.certificate;
        [
            issued.serial.to_string(),
            issued.name.clone(),
            issued.spiffe.to_string(),
            issued.not_after.to_string(),
            state(record, now),
        ]
    });
    aligned(["SERIAL", "NAME", "SPIFFE ID", "NOT AFTER", "STATE"], rows)
}

/// A table for people: each column as wide as its widest cell.
pub(super) fn aligned<const N: usize>(heading: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = std::iter::once(heading.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    rows.iter().map(|row| line(row, widths)).collect()
}

fn line<const N: usize>(row: &[String; N], widths: [usize; N]) -> String {
    let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
    format!("{}\n", cells.join("  ").trim_end())
}

fn state(record: &CertificateRecord, now: Timestamp) -> String {
    match record.revocation {
        Some(revocation) => format!("revoked ({}, {})", revocation.reason, revocation.at),
        None => state_name(record, now).to_owned(),
    }
}

fn state_name(record: &CertificateRecord, now: Timestamp) -> &'static str {
    if record.revocation.is_some() {
        "revoked"
    } else if record.certificate.not_after < now {
        "expired"
    } else {
        "valid"
    }
}
