//! `mantlet ca list`: every certificate that an authority issued, and how it stands.

use std::io::{self, Write as _};
use std::path::PathBuf;

use serde_json::json;

use crate::ca::{Access, Authority, CertificateKind, IssuedCertificate, Store, Timestamp};

/// List the certificates issued, with their state: valid, expired or revoked
///
/// Expired certificates stay on the list; a revoked one counts as revoked also after its end.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mantlet ca list --dir certs
  mantlet ca list --dir certs --json | jq -r '.[] | select(.state == \"valid\") | .spiffe'")]
pub(super) struct List {
    /// Directory of the authority
    #[arg(long)]
    dir: PathBuf,
    /// List the authority's own certificates too
    #[arg(long)]
    all: bool,
    /// Print a JSON array, one object for each certificate
    #[arg(long)]
    json: bool,
}

pub(super) fn list(args: &List) -> anyhow::Result<()> {
    let authority = Authority::open(&args.dir, Access::Shared)?;
    super::print_warnings(&authority);
    let (store, now) = (authority.store(), Timestamp::now());
    let listed: Vec<_> =
        store.issued().iter().filter(|issued| args.all || issued.kind == CertificateKind::EndEntity).collect();
    let text = if args.json { format!("{:#}\n", document(store, &listed, now)) } else { table(store, &listed, now) };
    match io::stdout().write_all(text.as_bytes()) {
        // The reader, such as `head`, had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn document(store: &Store, listed: &[&IssuedCertificate], now: Timestamp) -> serde_json::Value {
    let certificates = listed.iter().map(|issued| {
        let mut entry = json!(issued);
        entry["state"] = state_name(store, issued, now).into();
        if let Some(revocation) = store.revocation(&issued.serial) {
            entry["revoked_at"] = revocation.at.to_string().into();
            entry["reason"] = revocation.reason.as_str().into();
        }
        entry
    });
    certificates.collect()
}

fn table(store: &Store, listed: &[&IssuedCertificate], now: Timestamp) -> String {
    let heading = ["SERIAL", "NAME", "SPIFFE ID", "NOT AFTER", "STATE"].map(str::to_owned);
    let rows = listed.iter().map(|issued| {
        [
            issued.serial.to_string(),
            issued.name.clone(),
            issued.spiffe.to_string(),
            issued.not_after.to_string(),
            state(store, issued, now),
        ]
    });
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    rows.iter().map(|row| line(row, widths)).collect()
}

fn line(row: &[String; 5], widths: [usize; 5]) -> String {
    let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
    format!("{}\n", cells.join("  ").trim_end())
}

fn state(store: &Store, issued: &IssuedCertificate, now: Timestamp) -> String {
    match store.revocation(&issued.serial) {
        Some(revocation) => format!("revoked ({}, {})", revocation.reason, revocation.at),
        None => state_name(store, issued, now).to_owned(),
    }
}

fn state_name(store: &Store, issued: &IssuedCertificate, now: Timestamp) -> &'static str {
    if store.revocation(&issued.serial).is_some() {
        "revoked"
    } else if issued.not_after < now {
        "expired"
    } else {
        "valid"
    }
}
