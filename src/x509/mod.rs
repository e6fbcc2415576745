//! Certificates, keys and revocation: what is loaded from files, and whether a path leads from a peer to an anchor.
//!
//! One immutable [`TrustMaterial`] holds all of it; a reload makes a new one. The TLS handshake, the sweep over live
//! connections and `mantlet cert verify` all call [`TrustMaterial::verify`]. TLS itself is left to `tls`, and what a
//! verified peer may do to `policy`.

mod certificate;
mod material;
mod path;
mod refusal;
mod serial;
mod sources;

pub use certificate::CertificateInfo;
pub use material::{MaterialPart, MaterialProblem, MaterialSources, TrustMaterial};
pub use path::{Usage, VerifiedPath};
pub use refusal::{Refusal, RefusalReason};
pub use serial::{SerialNumber, SerialNumberError};
