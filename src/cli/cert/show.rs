//! `mantlet cert show`: what a certificate says of itself.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::cli::output::{print, print_json, unusable};
use crate::cli::time_span;
use crate::x509::{CertificateDetails, CertificateFile, Instant};

use super::info_json;

/// Show every certificate of a file
///
/// Prints what the certificates of a PEM or DER file say of themselves. Nothing is verified: for a verdict use "mantlet
/// cert verify". A private key in the file is mentioned and never shown. Exit code 2 where the file holds no certificate.
#[derive(clap::Args)]
pub(super) struct Args {
    /// File of certificates, PEM or DER
    file: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let file = match CertificateFile::read(&args.file) {
        Ok(file) => file,
        Err(error) => return Ok(unusable(&[error.to_string()])),
    };
    let mut certificates = Vec::new();
    let mut problems = Vec::new();
    for (der, position) in file.certificates.iter().zip(1..) {
        match CertificateDetails::from_der(der) {
            Ok(details) => certificates.push(details),
            Err(error) => problems.push(format!("{}: certificate {position}: {error}", args.file.display())),
        }
    }
    if !problems.is_empty() {
        return Ok(unusable(&problems));
    }
    if args.json {
        print_json(&json!({
            "certificates": certificates.iter().map(details_json).collect::<Vec<_>>(),
            "private_keys": file.private_keys,
            "others": file.others,
        }))?;
    } else {
        print(&text(&certificates, &file, SystemTime::now()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn details_json(details: &CertificateDetails) -> Value {
    let mut json = info_json(&details.info);
    let more = json!({
        "subject_alternative_names": details.subject_alternative_names,
        "key": details.key,
        "signature_algorithm": details.signature_algorithm,
        "key_usage": details.key_usage,
        "extended_key_usage": details.extended_key_usage,
        "is_ca": details.is_ca,
        "path_length": details.path_length,
        "crl_distribution_points": details.crl_distribution_points,
        "subject_key_id": details.subject_key_id,
        "authority_key_id": details.authority_key_id,
        "unknown_critical_extensions": details.unknown_critical_extensions,
    });
    if let (Some(fields), Value::Object(more)) = (json.as_object_mut(), more) {
        fields.extend(more);
    }
    json
}

fn text(certificates: &[CertificateDetails], file: &CertificateFile, now: SystemTime) -> String {
    let mut text = String::new();
    for (details, position) in certificates.iter().zip(1..) {
        if position > 1 {
            text.push('\n');
        }
        let _ = writeln!(text, "certificate {position} of {}", certificates.len());
        for (name, value) in rows(details, now) {
            let _ = writeln!(text, "  {name:<22} {value}");
        }
    }
    for label in &file.private_keys {
        let _ = writeln!(text, "\nprivate key present ({label}), not shown");
    }
    for label in &file.others {
        let _ = writeln!(text, "\nalso in this file: {label}");
    }
    text
}

fn rows(details: &CertificateDetails, now: SystemTime) -> Vec<(&'static str, String)> {
    let info = &details.info;
    let or_none = |text: &str| if text.is_empty() { "(empty)".to_owned() } else { text.to_owned() };
    let mut rows = vec![
        ("subject", or_none(&info.subject)),
        ("issuer", or_none(&info.issuer)),
        ("serial", info.serial.to_string()),
    ];
    rows.extend(details.subject_alternative_names.iter().map(|name| ("name", name.clone())));
    rows.extend([
        ("not before", Instant(info.not_before).to_string()),
        ("not after", format!("{} ({})", Instant(info.not_after), remaining(info.not_before, info.not_after, now))),
        ("key", details.key.clone()),
        ("signed with", details.signature_algorithm.clone()),
    ]);
    let lists = [
        ("key usage", details.key_usage.as_ref().map(|bits| bits.join(", "))),
        ("extended key usage", details.extended_key_usage.as_ref().map(|purposes| purposes.join(", "))),
    ];
    rows.extend(lists.into_iter().map(|(name, value)| (name, value.unwrap_or_else(|| "absent: any".to_owned()))));
    let ca = match (details.is_ca, details.path_length) {
        (false, _) => "not a CA".to_owned(),
        (true, None) => "CA".to_owned(),
        (true, Some(length)) => format!("CA, at most {length} intermediates below it"),
    };
    rows.push(("basic constraints", ca));
    rows.extend(details.crl_distribution_points.iter().map(|uri| ("CRL", uri.clone())));
    rows.extend(details.subject_key_id.iter().map(|id| ("subject key id", id.clone())));
    rows.extend(details.authority_key_id.iter().map(|id| ("authority key id", id.clone())));
    let unknown = details.unknown_critical_extensions.iter();
    rows.extend(
        unknown.map(|oid| ("critical extension", format!("{oid}, not understood: the certificate is refused"))),
    );
    rows.push(("SHA-256 fingerprint", info.fingerprint_hex()));
    rows
}

/// Where the present stands to the validity.
fn remaining(not_before: SystemTime, not_after: SystemTime, now: SystemTime) -> String {
    if let Ok(ahead) = not_before.duration_since(now)
        && !ahead.is_zero()
    {
        return format!("becomes valid in {}", time_span(ahead.as_secs()));
    }
    match not_after.duration_since(now) {
        Ok(left) => format!("expires in {}", time_span(left.as_secs())),
        Err(past) => format!("expired {} ago", time_span(past.duration().as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn validity_is_told_as_the_time_left() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(remaining(at(0), at(3 * 86_400), at(0)), "expires in 3d");
        assert_eq!(remaining(at(0), at(86_400), at(0)), "expires in 1d");
        assert_eq!(remaining(at(0), at(100), at(220)), "expired 2m ago");
        assert_eq!(remaining(at(90), at(1000), at(0)), "becomes valid in 1m 30s");
    }
}
