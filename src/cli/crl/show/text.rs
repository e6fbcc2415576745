//! CRLs for people.

use std::fmt::Write as _;
use std::time::SystemTime;

use crate::cli::{span_of_time, time_span};
use crate::x509::{CrlEntry, Instant, SerialNumber};

use super::super::shown;
use super::subject::{Subject, Verdict, remedy};
use super::{Answer, MAX_CRLS, MAX_ENTRIES};

impl Answer<'_> {
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        for subject in &self.subjects {
            if !text.is_empty() {
                text.push('\n');
            }
            let _ = writeln!(text, "CRL {} of {}", subject.position, self.total);
            for (name, value) in self.rows(subject) {
                let _ = writeln!(text, "  {name:<14} {value}");
            }
            entries(&mut text, subject);
        }
        if self.total > MAX_CRLS {
            let _ = writeln!(text, "\nand {} more CRLs, which are not shown", self.total - MAX_CRLS);
        }
        text
    }

    fn rows(&self, subject: &Subject) -> Vec<(&'static str, String)> {
        let (details, now) = (&subject.details, self.now);
        let kind = match &details.base_number {
            None => "complete".to_owned(),
            Some(base) => format!("delta: what has changed since the complete CRL {base}"),
        };
        let mut rows = vec![
            ("issuer", shown(&details.issuer)),
            ("number", details.number.to_string()),
            ("kind", kind),
            ("covers", shown(&details.scope)),
            ("this update", format!("{} ({})", Instant(details.this_update), span_of_time(now, details.this_update))),
            ("next update", format!("{} ({})", Instant(details.next_update), due(details.next_update, now))),
            ("entries", details.entries_total.to_string()),
            ("SHA-256", hex(&details.fingerprint)),
        ];
        rows.extend(details.freshest.iter().map(|url| ("deltas at", shown(url))));
        match &subject.verdict {
            Verdict::NotVerified => rows.push(("signature", "not verified (no --trust-anchors)".to_owned())),
            Verdict::SignedBy(signer) => {
                let (title, serial, end) = (shown(&signer.title()), &signer.serial, Instant(signer.not_after));
                rows.push(("signature", format!("verified: by {title}, serial {serial}, valid until {end}")));
            }
            Verdict::Refused(error) => {
                rows.push(("signature", format!("NOT VERIFIED: it {}", shown(&error.to_string()))));
                rows.push(("remedy", remedy(error).to_owned()));
            }
        }
        if let (Some(serial), Some(listed)) = (&self.args.serial, &subject.listed) {
            rows.extend(answer_for(serial, listed, details.base_number.is_some()));
        }
        rows
    }
}

/// Whether a certificate is listed.
fn answer_for(serial: &SerialNumber, listed: &[CrlEntry], is_delta: bool) -> Vec<(&'static str, String)> {
    if listed.is_empty() {
        let hint = if is_delta { "; the complete CRL may list it" } else { "" };
        return vec![("serial", format!("{serial} is not listed{hint}"))];
    }
    let line = |entry: &CrlEntry| {
        let reason = entry.reason.map_or("without a reason".to_owned(), |reason| format!("for {reason}"));
        let invalid = entry.invalid_since.map(|since| format!(", key unsafe since {}", Instant(since)));
        format!("{serial} IS LISTED since {} {reason}{}", Instant(entry.since), invalid.unwrap_or_default())
    };
    listed.iter().map(|entry| ("serial", line(entry))).collect()
}

/// The first entries as a table.
fn entries(text: &mut String, subject: &Subject) {
    let details = &subject.details;
    if !details.entries.is_empty() {
        let _ = writeln!(text, "\n  {:<40}  {:<20}  {:<20}  INVALID SINCE", "SERIAL", "REVOKED", "REASON");
    }
    for entry in &details.entries {
        let (serial, since) = (entry.serial.to_string(), Instant(entry.since).to_string());
        let invalid = entry.invalid_since.map(|since| Instant(since).to_string());
        let (reason, invalid) = (entry.reason.unwrap_or("-"), invalid.as_deref().unwrap_or("-"));
        let _ = writeln!(text, "  {serial:<40}  {since:<20}  {reason:<20}  {invalid}");
    }
    let left = details.entries_total - details.entries.len();
    if left > 0 && details.entries_total <= MAX_ENTRIES as usize {
        let _ = writeln!(text, "  and {left} more; --entries {} shows them", details.entries_total);
    } else if left > 0 {
        let _ = writeln!(text, "  and {left} more; --serial asks for one of them");
    }
}

fn due(next_update: SystemTime, now: SystemTime) -> String {
    match next_update.duration_since(now) {
        Ok(left) => format!("in {}", time_span(left.as_secs())),
        Err(over) => format!("OVERDUE by {}: its successor should be out", time_span(over.duration().as_secs())),
    }
}

pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}
