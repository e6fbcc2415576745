//! Whether the process is ready for traffic: the one place that decides it, for `/readyz` and `/status` alike.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::enrolment::EnrolmentStatus;
use crate::revocation::{CrlStatus, Freshness, SourceStatus};
use crate::token::{IssuerStatus, KeyState};
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
        let enrolment = running.enrolment.as_ref();
        let not_enrolled = enrolment.and_then(EnrolmentStatus::not_ready);
        // The authority's reason says more than that there is no certificate.
        let of_own =
            fault_of_own(running.own.as_ref(), now).filter(|_| running.own.is_some() || not_enrolled.is_none());
        not_ready.extend(of_own);
        not_ready.extend(not_enrolled);
        if running.is_nobody_let_in {
            let sources = running.revocation.sources.iter().map(silent).collect::<Vec<_>>().join("; ");
            let why = if sources.is_empty() { "its sources are asked once there is a certificate" } else { &sources };
            not_ready.push(format!("no CRL is loaded yet, so that every peer would be refused: {why}"));
        }
        not_ready.extend(running.issuers.iter().filter_map(never_had));
        let mut warnings: Vec<String> = running.revocation.own.iter().map(|own| own.message.clone()).collect();
        warnings.extend(enrolment.iter().flat_map(|enrolment| enrolment.warnings(now)));
        warnings.extend(running.revocation.crls.iter().filter_map(|crl| overdue(crl, now)));
        warnings.extend(running.issuers.iter().filter_map(|issuer| aged(issuer, now)));
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

/// An issuer whose tokens could never be verified.
fn never_had(issuer: &IssuerStatus) -> Option<String> {
    let IssuerStatus { name, jwks_url, .. } = issuer;
    let reason = issuer.last_error.as_deref().unwrap_or("has not answered yet");
    let is_unheard = issuer.successes == 0 && issuer.fetched_at.is_none();
    is_unheard.then(|| format!("no keys of the issuer {name:?} are here yet, so that none of its tokens can be verified: {jwks_url} {reason}"))
}

fn aged(issuer: &IssuerStatus, now: SystemTime) -> Option<String> {
    let IssuerStatus { name, jwks_url, .. } = issuer;
    let reason = issuer.last_error.as_deref().unwrap_or("has not answered since");
    let until = issuer.serves_until.map(|until| Instant(until).to_string()).unwrap_or_default();
    match issuer.state(now) {
        KeyState::Fresh => None,
        KeyState::Stale => {
            Some(format!("the keys of the issuer {name:?} are stale and serve until {until}: {jwks_url} {reason}"))
        }
        KeyState::Expired => Some(format!(
            "the keys of the issuer {name:?} served until {until}, its tokens are answered with 503: {jwks_url} {reason}"
        )),
        KeyState::Missing if issuer.successes == 0 => None,
        KeyState::Missing => Some(format!(
            "there are no keys of the issuer {name:?}, its tokens are answered with 503: {jwks_url} {reason}"
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
