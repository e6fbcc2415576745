//! CRLs for machines.

use serde_json::{Value, json};

use crate::x509::{CrlEntry, Instant};

use super::Answer;
use super::subject::{Subject, Verdict, remedy};
use super::text::hex;

impl Answer<'_> {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "source": self.args.input,
            "crls_total": self.total,
            "crls": self.subjects.iter().map(|subject| self.subject_to_json(subject)).collect::<Vec<_>>(),
        })
    }

    fn subject_to_json(&self, subject: &Subject) -> Value {
        let details = &subject.details;
        json!({
            "issuer": details.issuer,
            "number": details.number.to_string(),
            "base_number": details.base_number.as_ref().map(ToString::to_string),
            "scope": details.scope,
            "this_update": Instant(details.this_update).to_string(),
            "next_update": Instant(details.next_update).to_string(),
            "overdue": subject.is_overdue(self.now),
            "entries_total": details.entries_total,
            "entries": details.entries.iter().map(entry_to_json).collect::<Vec<_>>(),
            "fingerprint_sha256": hex(&details.fingerprint),
            "freshest": details.freshest,
            "signature": verdict_to_json(&subject.verdict),
            "listed": subject.listed.as_ref().map(|listed| json!({
                "serial": self.args.serial.as_ref().map(ToString::to_string),
                "is_listed": !listed.is_empty(),
                "entries": listed.iter().map(entry_to_json).collect::<Vec<_>>(),
            })),
        })
    }
}

/// `verified` is null where nobody asked.
fn verdict_to_json(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::NotVerified => json!({ "verified": null }),
        Verdict::SignedBy(signer) => json!({
            "verified": true,
            "signer": {
                "subject": signer.subject,
                "serial": signer.serial.to_string(),
                "not_after": Instant(signer.not_after).to_string(),
                "fingerprint_sha256": signer.fingerprint_hex(),
            },
        }),
        Verdict::Refused(error) => json!({
            "verified": false,
            "message": error.to_string(),
            "remedy": remedy(error),
        }),
    }
}

fn entry_to_json(entry: &CrlEntry) -> Value {
    json!({
        "serial": entry.serial.to_string(),
        "since": Instant(entry.since).to_string(),
        "reason": entry.reason,
        "invalid_since": entry.invalid_since.map(|since| Instant(since).to_string()),
    })
}
