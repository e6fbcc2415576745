//! `mantlet cert verify`: the verdict of the handshake, without a handshake.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::output::{print, print_json, unusable};
use crate::config::{OnUnknown, RevocationDepth};
use crate::identity::{PeerPattern, ProvenNames};
use crate::revocation::read_paths;
use crate::x509::{
    CertificateFile, CertificateInfo, CrlInfo, Instant, MAX_CRL_BYTES, MaterialProblem, MaterialSources, Refusal,
    RefusalReason, RevocationLists, RevocationPolicy, TrustMaterial, Usage, VerifiedPath, presented_names, proves_name,
};

use super::info_json;

/// Verify a certificate chain as a handshake does
///
/// The first certificate of FILE is the end entity, the others are the intermediates that a peer would present. Runs the
/// code of the handshake, offline: with --time also on material that has expired. Exit code 0 and the path when trusted, 1
/// and the reason when refused, 2 when a file or an argument cannot be used.
///
/// Without --crl revocation is not checked, and the output says so. With it every certificate below the trust anchor needs
/// a CRL of its issuer that is not past its next update.
#[derive(clap::Args)]
pub(super) struct Args {
    /// File of trust anchors, PEM; may be repeated. The operating system's roots are never used
    #[arg(long, value_name = "FILE", required = true)]
    trust_anchors: Vec<PathBuf>,
    /// File of further intermediates, PEM; may be repeated
    #[arg(long, value_name = "FILE")]
    intermediates: Vec<PathBuf>,
    /// File or folder of CRLs, PEM or DER; may be repeated. Delta CRLs are applied to their complete ones
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,
    /// Verify as of this time instead of now, such as 2026-01-02T03:04:05Z
    #[arg(long, value_name = "RFC3339", value_parser = parse_time)]
    time: Option<SystemTime>,
    /// What the certificate is to be used for; without it one of both suffices, and the output says which
    #[arg(long)]
    usage: Option<UsageArgument>,
    /// The name that the certificate must prove, as on an "expect" list
    #[arg(long, value_name = "spiffe://...|DNS-NAME|IP", value_parser = parse_name)]
    name: Option<PeerPattern>,
    /// Most intermediates in the path
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(0..=6))]
    max_depth: u8,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// File of the chain, PEM or DER
    file: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum UsageArgument {
    /// A caller's: clientAuth
    Client,
    /// A server's: serverAuth
    Server,
}

/// What is known once the chain is trusted.
struct Trusted {
    path: VerifiedPath,
    usages: Vec<Usage>,
}

pub(super) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let now = args.time.unwrap_or_else(SystemTime::now);
    // Nobody hears of CRLs that are missing here: a tool fetches nothing.
    let (lists, _) = RevocationLists::new();
    let (material, notes) = match TrustMaterial::load_at(&sources(args), &lists, now) {
        Ok(loaded) => loaded,
        Err(unusable_material) => {
            return Ok(unusable(&unusable_material.problems.iter().map(problem_text).collect::<Vec<_>>()));
        }
    };
    let (index, problems) = read_paths(&args.crl, MAX_CRL_BYTES, &material.crl_issuers(), now);
    if !problems.is_empty() {
        let texts = problems.iter().map(|(_, message, remedy)| format!("{message}; {remedy}"));
        return Ok(unusable(&texts.collect::<Vec<_>>()));
    }
    lists.store(index);
    let file = match CertificateFile::read(&args.file) {
        Ok(file) => file,
        Err(error) => return Ok(unusable(&[error.to_string()])),
    };
    for note in &notes {
        eprintln!("mantlet: note: {}", problem_text(note));
    }
    let verdict = judge(args, &material, &file.certificates, now);
    if args.json {
        print_json(&verdict_json(args, &material, &verdict, now))?;
    } else {
        print(&verdict_text(args, &material, &verdict, now))?;
    }
    Ok(if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(super::super::exit_code::FAILED) })
}

fn sources(args: &Args) -> MaterialSources {
    let revocation = (!args.crl.is_empty()).then_some(RevocationPolicy {
        grace: Duration::ZERO,
        on_stale: OnUnknown::Deny,
        on_missing: OnUnknown::Deny,
        depth: RevocationDepth::Chain,
    });
    MaterialSources {
        certificate: None,
        private_key: None,
        anchors: args.trust_anchors.clone(),
        intermediates: args.intermediates.clone(),
        max_depth: args.max_depth,
        revocation,
        kept_in: None,
    }
}

fn judge(
    args: &Args,
    material: &TrustMaterial,
    certificates: &[CertificateDer<'static>],
    now: SystemTime,
) -> Result<Trusted, Box<Refusal>> {
    let Some((end_entity, presented)) = certificates.split_first() else {
        return Err(Box::new(Refusal { certificate: None, reason: RefusalReason::NoCertificate }));
    };
    let verify = |usage| material.verify(end_entity, presented, usage, now);
    let trusted = match args.usage {
        Some(UsageArgument::Client) => Trusted { path: verify(Usage::Client)?, usages: vec![Usage::Client] },
        Some(UsageArgument::Server) => Trusted { path: verify(Usage::Server)?, usages: vec![Usage::Server] },
        None => either(verify(Usage::Client), verify(Usage::Server))?,
    };
    if let Some(expected) = &args.name {
        let info = &trusted.path.end_entity;
        if !proves_name(end_entity, expected, &info.names) {
            let reason =
                RefusalReason::NameMismatch { expected: expected.to_string(), found: presented_names(end_entity) };
            return Err(Box::new(Refusal { certificate: Some(Box::new(info.clone())), reason }));
        }
    }
    Ok(trusted)
}

/// Good for one usage is enough; where it is good for none, a reason other than the usage tells more.
fn either(
    client: Result<VerifiedPath, Box<Refusal>>,
    server: Result<VerifiedPath, Box<Refusal>>,
) -> Result<Trusted, Box<Refusal>> {
    match (client, server) {
        (Ok(path), Ok(_)) => Ok(Trusted { path, usages: vec![Usage::Client, Usage::Server] }),
        (Ok(path), Err(_)) => Ok(Trusted { path, usages: vec![Usage::Client] }),
        (Err(_), Ok(path)) => Ok(Trusted { path, usages: vec![Usage::Server] }),
        (Err(client), Err(server)) if matches!(client.reason, RefusalReason::WrongUsage { .. }) => Err(server),
        (Err(client), Err(_)) => Err(client),
    }
}

fn all_names(names: &ProvenNames) -> String {
    let spiffe = names.spiffe_id.iter().map(ToString::to_string);
    let addresses = names.ip_addresses.iter().map(ToString::to_string);
    let all: Vec<String> = spiffe.chain(names.dns_names.iter().cloned()).chain(addresses).collect();
    all.join(", ")
}

fn problem_text(problem: &MaterialProblem) -> String {
    format!("{}; {}", problem.message, problem.remedy)
}

fn revocation_text(args: &Args, material: &TrustMaterial) -> String {
    match (args.crl.is_empty(), material.lists().load().crls().count()) {
        (true, _) => "not checked (no --crl)".to_owned(),
        (false, 1) => "checked against 1 CRL".to_owned(),
        (false, count) => format!("checked against {count} CRLs"),
    }
}

fn roles(path: &VerifiedPath) -> Vec<(&'static str, &CertificateInfo)> {
    let intermediates = path.intermediates.iter().map(|info| ("intermediate", info));
    let end_entity = std::iter::once(("end entity", &path.end_entity));
    end_entity.chain(intermediates).chain([("trust anchor", &path.anchor)]).collect()
}

fn verdict_text(
    args: &Args,
    material: &TrustMaterial,
    verdict: &Result<Trusted, Box<Refusal>>,
    now: SystemTime,
) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<13} {value}");
    };
    match verdict {
        Ok(trusted) => {
            let usages: Vec<String> = trusted.usages.iter().map(ToString::to_string).collect();
            row("usage", &usages.join(", "));
            row("revocation", &revocation_text(args, material));
            if let Some(name) = &args.name {
                row("proves", &name.to_string());
            }
            row("as of", &Instant(now).to_string());
            for (role, info) in roles(&trusted.path) {
                row(role, &certificate_line(info));
            }
            format!("trusted\n{text}")
        }
        Err(refusal) => {
            row("reason", &refusal.reason.to_string());
            row("hint", refusal.reason.hint());
            row("revocation", &revocation_text(args, material));
            row("as of", &Instant(now).to_string());
            if let Some(info) = &refusal.certificate {
                row("certificate", &certificate_line(info));
            }
            format!("refused: {}\n{text}", refusal.reason.label())
        }
    }
}

fn certificate_line(info: &CertificateInfo) -> String {
    let names = if info.names.is_empty() { String::new() } else { format!(", {}", all_names(&info.names)) };
    let (title, serial, from, to) = (info.title(), &info.serial, Instant(info.not_before), Instant(info.not_after));
    format!("{title}{names}, serial {serial}, valid {from} to {to}")
}

fn verdict_json(
    args: &Args,
    material: &TrustMaterial,
    verdict: &Result<Trusted, Box<Refusal>>,
    now: SystemTime,
) -> Value {
    let as_of = Instant(now).to_string();
    let revocation_checked = !args.crl.is_empty();
    let crls: Vec<Value> = material.lists().load().crls().map(|crl| crl_json(&crl.info)).collect();
    match verdict {
        Ok(trusted) => json!({
            "trusted": true,
            "as_of": as_of,
            "revocation_checked": revocation_checked,
            "crls": crls,
            "usages": trusted.usages.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "name": args.name.as_ref().map(ToString::to_string),
            "path": roles(&trusted.path).into_iter().map(|(_, info)| info_json(info)).collect::<Vec<_>>(),
        }),
        Err(refusal) => json!({
            "trusted": false,
            "as_of": as_of,
            "revocation_checked": revocation_checked,
            "crls": crls,
            "reason": refusal.reason.label(),
            "message": refusal.reason.to_string(),
            "hint": refusal.reason.hint(),
            "certificate": refusal.certificate.as_deref().map(info_json),
        }),
    }
}

fn crl_json(crl: &CrlInfo) -> Value {
    json!({
        "issuer": crl.issuer,
        "scope": crl.scope,
        "number": crl.number.to_string(),
        "base_number": crl.base_number.as_ref().map(ToString::to_string),
        "this_update": Instant(crl.this_update).to_string(),
        "next_update": Instant(crl.next_update).to_string(),
        "entries": crl.entries,
    })
}

fn parse_time(text: &str) -> Result<SystemTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(SystemTime::from)
        .map_err(|error| format!("{error}; expected a time such as 2026-01-02T03:04:05Z"))
}

fn parse_name(text: &str) -> Result<PeerPattern, String> {
    match text.parse() {
        Ok(PeerPattern::Anonymous) => Err("\"anonymous\" is nobody that a certificate could name".to_owned()),
        Ok(pattern) => Ok(pattern),
        Err(error) => Err(error.to_string()),
    }
}
