//! Why an authority or an agent gave nothing, and what to do about it.

use std::fmt;
use std::time::Duration;

use crate::tls::HandshakeError;
use crate::x509::UnusableMaterial;

/// Why something that was asked of the authority did not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What it is down to.
    pub kind: FailureKind,
    /// A short fixed name for metrics and logs.
    pub label: &'static str,
    /// What happened.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// When the authority wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

/// What a failure is down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The authority does not answer, or not now.
    Away,
    /// It answers that it does not certify us: an operator has to act.
    Refused,
    /// Whoever answers does not prove to be the authority.
    Distrusted,
    /// Something here, or in the answer, cannot be used.
    Unusable,
}

/// Longest text of the authority that is passed on.
const MAX_TEXT: usize = 300;

impl Failure {
    pub(super) fn new(kind: FailureKind, label: &'static str, message: String, remedy: impl Into<String>) -> Self {
        Self { kind, label, message, remedy: remedy.into(), retry_after: None }
    }

    pub(super) fn away(message: String) -> Self {
        let remedy = "look whether the authority runs and can be reached from here";
        Self::new(FailureKind::Away, "away", message, remedy)
    }

    pub(super) fn unusable(message: String, remedy: impl Into<String>) -> Self {
        Self::new(FailureKind::Unusable, "unusable", message, remedy)
    }

    pub(super) fn distrusted(message: String, remedy: impl Into<String>) -> Self {
        Self::new(FailureKind::Distrusted, "distrusted", message, remedy)
    }

    /// What was got, or what is held, cannot be used.
    pub(super) fn of_material(unusable: &UnusableMaterial) -> Self {
        let fatal = unusable.problems.iter().find(|problem| problem.fatal);
        let (message, remedy) =
            fatal.map(|problem| (problem.message.clone(), problem.remedy.clone())).unwrap_or_default();
        Self::unusable(message, remedy)
    }

    pub(super) fn of_handshake(error: &HandshakeError) -> Self {
        match error {
            HandshakeError::Refused(refusal) => {
                let message = format!("whoever answers does not prove to be the authority: {error}");
                Self::distrusted(message, refusal.reason.hint())
            }
            HandshakeError::Closed | HandshakeError::Io(_) | HandshakeError::TimedOut(_) => {
                Self::away(format!("the TLS handshake failed: {error}"))
            }
            _ => Self { remedy: error.hint().to_owned(), ..Self::away(format!("the TLS handshake failed: {error}")) },
        }
    }

    /// An answer that is no success. `reason` is the label that the authority gives, `text` its line for people, and `asked` what
    /// was asked for.
    pub(super) fn of_answer(
        asked: &str,
        name: &str,
        status: http::StatusCode,
        reason: Option<&str>,
        text: &str,
        retry_after: Option<Duration>,
    ) -> Self {
        let (label, remedy) = known(reason.unwrap_or_default(), name);
        let kind = match status.as_u16() {
            408 | 429 | 500.. => FailureKind::Away,
            400..=499 => FailureKind::Refused,
            _ => FailureKind::Unusable,
        };
        let label = match (label, kind) {
            ("", FailureKind::Away) => "unavailable",
            ("", FailureKind::Refused) => "refused",
            ("", _) => "unusable",
            (label, _) => label,
        };
        let said = printable(text);
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        let message = format!("the authority answers {status} to {asked}{said}");
        Self { kind, label, message, remedy, retry_after }
    }
}

/// The labels that an authority of mantlet gives, and what follows from them.
fn known(reason: &str, name: &str) -> (&'static str, String) {
    let secret = format!(
        "make another secret with \"mantlet ca secret {name} --dir DIR\" at the authority and write it to identity.bootstrap_secret_file"
    );
    match reason {
        "unauthenticated" => ("unauthenticated", "look at what identity.bootstrap names".to_owned()),
        "credential" => {
            ("credential", format!("the name is unknown there, or the secret is wrong, used or expired; {secret}"))
        }
        "certificate" => {
            ("certificate", "present a certificate of this authority; \"mantlet ca bootstrap\" makes one".to_owned())
        }
        "suspended" => (
            "suspended",
            format!("the registration of {name} is suspended; \"mantlet ca resume {name} --dir DIR\" lifts that"),
        ),
        "removed" => (
            "removed",
            format!("the registration of {name} was removed; register it again with \"mantlet ca register\""),
        ),
        "expired" => (
            "expired",
            format!("the registration of {name} has expired; register it again with \"mantlet ca register\""),
        ),
        "revoked" => {
            ("revoked", format!("what proved who we are was revoked; where that was not meant to last, {secret}"))
        }
        "certificate_expired" => ("certificate_expired", format!("what proved who we are has expired; {secret}")),
        "wrong_certificate" => {
            ("wrong_certificate", "name a bootstrap certificate of this authority as identity.bootstrap".to_owned())
        }
        "rate_limited" => ("rate_limited", "it is tried again".to_owned()),
        "unavailable" => ("unavailable", "it is tried again; look at the authority's log".to_owned()),
        "not_found" => ("not_found", "is identity.authority the address of an authority?".to_owned()),
        _ => ("", "look at the authority's log".to_owned()),
    }
}

/// Text from elsewhere as one short line that is safe in logs and on terminals.
pub(super) fn printable(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    line.chars().take(MAX_TEXT).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.remedy)
    }
}
