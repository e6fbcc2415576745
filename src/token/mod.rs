//! Tokens of end users: JWTs that issuers sign, verified here with their public keys.
//!
//! A task owns the [`Engine`], which fetches the keys of every issuer in the background and keeps them fresh. Requests ask [`Issuers`], which
//! holds the keys in use; no request waits for a fetch as long as the key of its token is there. Which users a route needs is left to
//! `policy`, and what a refusal looks like in HTTP to `proxy`.

mod answer;
mod claims;
mod compact;
mod engine;
mod error;
mod issuers;
mod json;
mod keeping;
mod key;
mod metrics;
mod schedule;
mod source;
mod status;
mod verified;

pub use engine::{Absorbed, Engine, Event, Prepared, check_anchors};
pub use error::{Invalid, TokenError, Unavailable};
pub use issuers::{Accepted, Issuers};
pub use status::{IssuerStatus, KeyState};
