//! Whether the process is ready for traffic: the one place that decides it, for `/readyz` and `/status` alike.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::revocation::{CrlStatus, Freshness, SourceStatus};
use crate::x509::{CertificateInfo, Instant};

use super::Running;
use super::reload::ReloadRecord;

/// Whether the process is ready for traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// True where `not_ready` is empty.
    pub ready: bool,
    /// Why it is not ready, one reason each.
    pub not_ready: Vec<String>,
    /// What an operator should look at, though it does not keep traffic away.
    pub warnings: Vec<String>,
}

impl Readiness {
    pub(super) fn judge(running: &Running, reload: &ReloadRecord, now: SystemTime) -> Self {
        let mut not_ready = Vec::new();
        if running.draining {
            not_ready.push("the process is shutting down".to_owned());
        }
        if running.listeners.is_empty() {
            not_ready.push("no listener is bound yet".to_owned());
        }
        not_ready.extend(fault_of_own(running.own.as_ref(), now));
        if running.is_nobody_let_in {
            let sources = running.revocation.sources.iter().map(silent).collect::<Vec<_>>().join("; ");
            not_ready.push(format!("no CRL is loaded yet, so that every peer would be refused: {sources}"));
        }
        let mut warnings: Vec<String> = running.revocation.own.iter().map(|own| own.message.clone()).collect();
        warnings.extend(running.revocation.crls.iter().filter_map(|crl| overdue(crl, now)));
        if let Some(error) = &reload.last_error {
            let (time, message) = (Instant(error.time), &error.message);
            warnings.push(format!("the reload at {time} was refused, what ran before stays in use: {message}"));
        }
        Self { ready: not_ready.is_empty(), not_ready, warnings }
    }

    /// One line a reason, or `ready`; then one line a warning.
    pub(super) fn to_text(&self) -> String {
        let verdict = if self.ready { &["ready".to_owned()][..] } else { &self.not_ready };
        let warnings = self.warnings.iter().map(|warning| format!("warning: {warning}"));
        verdict.iter().cloned().chain(warnings).map(|line| one_line(&line) + "\n").collect()
    }
}

fn fault_of_own(own: Option<&CertificateInfo>, now: SystemTime) -> Option<String> {
    let Some(own) = own else {
        return Some("no certificate of our own is loaded yet".to_owned());
    };
    if now > own.not_after {
        let (title, end) = (own.title(), Instant(own.not_after));
        return Some(format!("our certificate {title} expired {end}; issue a new one"));
    }
    if now < own.not_before {
        let (title, start) = (own.title(), Instant(own.not_before));
        return Some(format!("our certificate {title} is not valid before {start}; compare the clocks"));
    }
    None
}

fn overdue(crl: &CrlStatus, now: SystemTime) -> Option<String> {
    let (source, issuer, due) = (&crl.info.source, &crl.info.issuer, Instant(crl.serves_until));
    match crl.state(now) {
        Freshness::Fresh | Freshness::Due => None,
        Freshness::Stale => Some(format!("{source}: the next CRL of {issuer} was due {due}; fetch or issue a new one")),
        Freshness::Expired => Some(format!(
            "{source}: the CRL of {issuer} has expired, its successor was due {due}; fetch or issue a new one"
        )),
    }
}

fn silent(source: &SourceStatus) -> String {
    let reason = source.last_error.as_deref().unwrap_or("has not answered yet");
    format!("{} {reason}", source.source)
}

/// A message may span lines, but a reason here is one.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
