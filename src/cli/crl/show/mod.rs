//! `mantlet crl show`: what CRLs say of themselves, and whether an accepted CA signed them.

mod input;
mod json;
mod subject;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use crate::cli::exit_code;
use crate::cli::output::{print, print_json, unusable};
use crate::x509::{MaterialSources, RevocationLists, SerialNumber, TrustMaterial};

use super::problem_text;
use input::Input;
use subject::{Subject, Verdict};

/// Most CRLs of one file that are shown.
const MAX_CRLS: usize = 1024;
/// Most entries of one CRL that are shown.
const MAX_ENTRIES: u32 = 100_000;

/// Show every CRL of a file or at an address
///
/// Prints what the CRLs of a PEM or DER file say: issuer, number, scope, dates and the first entries. With --trust-anchors
/// each is verified as a sidecar does it, with the keys of the anchors and the intermediates; without them nothing is
/// verified, and the output says so. Exit code 0 when all are shown, and verified where asked; 1 when one is not verified; 2
/// when something cannot be read or an argument cannot be used.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mantlet crl show certs/ca.crl
  mantlet crl show certs/ca.crl --trust-anchors certs/ca.pem --serial 0a1b
  mantlet crl show http://ca.internal/ca.crl --json | jq -r '.crls[].next_update'")]
pub(super) struct Args {
    /// File of CRLs, PEM or DER, or an address to fetch them from: http://..., https://...
    #[arg(value_name = "FILE|URL")]
    input: String,
    /// Most entries shown of each CRL
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_ENTRIES)))]
    entries: u32,
    /// Say whether this certificate is listed
    #[arg(long, value_name = "HEX")]
    serial: Option<SerialNumber>,
    /// File of trust anchors to verify with, PEM; may be repeated. The operating system's roots are never used
    #[arg(long, value_name = "FILE")]
    trust_anchors: Vec<PathBuf>,
    /// File of intermediates whose CRLs are verified too, PEM; may be repeated
    #[arg(long, value_name = "FILE", requires = "trust_anchors")]
    intermediates: Vec<PathBuf>,
    /// Most bytes read of a file or an answer
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1..(1 << 28)))]
    max_size: u64,
    /// How long a fetch may take in all, such as 30s
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Everything that is printed.
struct Answer<'a> {
    args: &'a Args,
    /// How many CRLs the input holds.
    total: usize,
    subjects: Vec<Subject>,
    now: SystemTime,
}

pub(super) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let now = SystemTime::now();
    let material = match material(args, now) {
        Ok(material) => material,
        Err(problems) => return Ok(unusable(&problems)),
    };
    let ders = match Input::new(&args.input).and_then(|input| input.read(args, material.as_ref())) {
        Ok(ders) => ders,
        Err(problem) => return Ok(unusable(&[problem])),
    };
    let total = ders.len();
    let issuers = material.as_ref().map(TrustMaterial::crl_issuers);
    let (mut subjects, mut problems) = (Vec::new(), Vec::new());
    for (der, position) in ders.iter().zip(1..).take(MAX_CRLS) {
        match Subject::read(der, position, args, issuers.as_ref(), now) {
            Ok(subject) => subjects.push(subject),
            Err(error) => {
                problems.push(format!("{}: CRL {position}: {error}; {}", args.input, subject::remedy(&error)));
            }
        }
    }
    let answer = Answer { args, total, subjects, now };
    if args.json {
        print_json(&answer.to_json())?;
    } else {
        print(&answer.to_text())?;
    }
    if !problems.is_empty() {
        return Ok(unusable(&problems));
    }
    let is_refused = |subject: &Subject| matches!(subject.verdict, Verdict::Refused(_));
    let is_good = !answer.subjects.iter().any(is_refused);
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(exit_code::FAILED) })
}

/// What CRLs are verified with; nothing where that is not asked for.
fn material(args: &Args, now: SystemTime) -> Result<Option<TrustMaterial>, Vec<String>> {
    if args.trust_anchors.is_empty() {
        return Ok(None);
    }
    let sources = MaterialSources {
        certificate: None,
        private_key: None,
        anchors: args.trust_anchors.clone(),
        intermediates: args.intermediates.clone(),
        max_depth: 6,
        revocation: None,
        kept_in: None,
    };
    // Nothing is looked up in them.
    let (lists, _) = RevocationLists::new();
    let (material, notes) = TrustMaterial::load_at(&sources, &lists, now)
        .map_err(|unusable| unusable.problems.iter().map(problem_text).collect::<Vec<_>>())?;
    for note in &notes {
        eprintln!("mantlet: note: {}", problem_text(note));
    }
    Ok(Some(material))
}
