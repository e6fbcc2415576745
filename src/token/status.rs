//! What an operator sees of an issuer.

use std::sync::Arc;
use std::time::SystemTime;

/// How old the keys of an issuer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyState {
    /// There are none: its tokens are answered with 503.
    Missing,
    /// The issuer says that they hold.
    Fresh,
    /// None could be fetched since that was over; they still serve.
    Stale,
    /// They do not serve any more: its tokens are answered with 503.
    Expired,
}

/// One issuer, its keys and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerStatus {
    /// Its name.
    pub name: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// Where its keys are.
    pub jwks_url: String,
    /// The keys in use, by algorithm and `kid`.
    pub keys: Vec<String>,
    /// Keys that are not used, and why.
    pub left_out: Option<Arc<str>>,
    /// When the keys in use were last confirmed.
    pub fetched_at: Option<SystemTime>,
    /// Until when they are fresh.
    pub fresh_until: Option<SystemTime>,
    /// Until when they serve.
    pub serves_until: Option<SystemTime>,
    /// When it was last asked.
    pub last_attempt: Option<SystemTime>,
    /// Why the last attempt failed.
    pub last_error: Option<Arc<str>>,
    /// When it is asked again; absent while it is being asked.
    pub next_attempt: Option<SystemTime>,
    /// Answers that could be used.
    pub successes: u64,
    /// Answers that could not, and attempts without an answer.
    pub failures: u64,
}

impl KeyState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Missing, Self::Fresh, Self::Stale, Self::Expired];

    /// Its name in metrics, status and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Expired => "expired",
        }
    }
}

impl IssuerStatus {
    /// How old its keys are at this time.
    pub fn state(&self, now: SystemTime) -> KeyState {
        match (self.fresh_until, self.serves_until) {
            (Some(fresh), _) if now < fresh => KeyState::Fresh,
            (Some(_), Some(serves)) if now < serves => KeyState::Stale,
            (Some(_), _) => KeyState::Expired,
            (None, _) => KeyState::Missing,
        }
    }
}
