//! What an operator sees of an enrolment.

use std::time::{Duration, SystemTime};

use crate::x509::Instant;

use super::Failure;

/// Who gives us certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Giver {
    /// An authority that certifies a key of ours.
    Authority,
    /// A SPIFFE agent, over the Workload API.
    WorkloadApi,
}

/// What is known of an enrolment.
#[derive(Debug, Clone, PartialEq)]
pub struct EnrolmentStatus {
    /// Who gives us certificates.
    pub giver: Giver,
    /// The address of the authority or of the agent.
    pub authority: String,
    /// The name that we are registered by; of an agent the SPIFFE ID that it gave, or that is asked for, and empty before.
    pub name: String,
    /// Why there is no certificate that can be used; absent where there is one.
    pub missing: Option<String>,
    /// When the certificate in use ends.
    pub not_after: Option<SystemTime>,
    /// When it is renewed; an agent does that when it wants.
    pub renewal: Option<SystemTime>,
    /// When the authority was last asked for a certificate.
    pub last_attempt: Option<SystemTime>,
    /// When it last gave one.
    pub last_success: Option<SystemTime>,
    /// When it is asked again; absent while it is being asked.
    pub next_attempt: Option<SystemTime>,
    /// Certificates that it gave since the start.
    pub successes: u64,
    /// Attempts since the start that brought none.
    pub failures: u64,
    /// Since when no attempt has brought any; absent where the last one has.
    pub failing_since: Option<SystemTime>,
    /// Why the last one has not.
    pub last_error: Option<Failure>,
    /// What the authority says of our registration; empty where it was not heard yet, and for an agent, which says nothing of it.
    pub registration: String,
    /// Whether changes are heard of at once; of an agent, whether its stream is open.
    pub push: PushStatus,
    /// The authority's clock less ours in seconds.
    pub clock_skew: Option<i64>,
}

/// Whether changes are heard of at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushStatus {
    /// They are.
    pub connected: bool,
    /// Why not.
    pub last_error: Option<Failure>,
}

/// From this many seconds on, a clock that is another than the authority's is told.
pub(super) const SKEW: i64 = 30;

impl Giver {
    /// `authority` or `workload_api`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::WorkloadApi => "workload_api",
        }
    }
}

impl EnrolmentStatus {
    /// True where the authority gives no certificate, though it was asked for one.
    pub fn is_failing(&self) -> bool {
        self.failing_since.is_some()
    }

    /// Why the process cannot serve.
    pub fn not_ready(&self) -> Option<String> {
        let (authority, name) = (&self.authority, &self.name);
        let missing = self.missing.as_ref()?;
        Some(match (&self.last_error, self.last_attempt) {
            (Some(failure), _) if self.giver == Giver::WorkloadApi => {
                format!("we are given no identity: {failure} ({missing})")
            }
            (None, _) if self.giver == Giver::WorkloadApi => {
                format!("{authority} is being asked for our identity ({missing})")
            }
            (Some(failure), _) => format!("{authority} has not certified {name}: {failure} ({missing})"),
            (None, Some(_)) => format!("{authority} is being asked to certify {name} ({missing})"),
            (None, None) => format!("{authority} has not been asked to certify {name} yet ({missing})"),
        })
    }

    /// What should be looked at, though it keeps no traffic away yet.
    pub fn warnings(&self, now: SystemTime) -> Vec<String> {
        let mut warnings = Vec::new();
        if let (Some(failure), None, Some(end)) = (&self.last_error, &self.missing, self.not_after) {
            let left = match end.duration_since(now) {
                Ok(left) => format!("ends in {}", humantime::format_duration(Duration::from_secs(left.as_secs()))),
                Err(_) => format!("ended {}", Instant(end)),
            };
            warnings.push(match self.giver {
                Giver::Authority => format!("the renewal of our certificate, which {left}, fails: {failure}"),
                Giver::WorkloadApi => format!("nothing new comes beside our certificate, which {left}: {failure}"),
            });
        }
        if matches!(self.registration.as_str(), "suspended" | "removed") {
            warnings.push(format!("the authority has {} the registration of {}", self.registration, self.name));
        }
        warnings.extend(self.clock_skew.filter(|skew| skew.abs() >= SKEW).map(skewed));
        warnings
    }
}

/// A skew in words.
pub(super) fn skewed(skew: i64) -> String {
    let way = if skew < 0 { "ahead of" } else { "behind" };
    let by = humantime::format_duration(Duration::from_secs(skew.unsigned_abs()));
    format!("the clock of this machine is {by} {way} the authority's; set one of the two")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skew_is_told_from_the_side_of_this_machine() {
        assert_eq!(skewed(90), "the clock of this machine is 1m 30s behind the authority's; set one of the two");
        assert_eq!(skewed(-30), "the clock of this machine is 30s ahead of the authority's; set one of the two");
    }
}
