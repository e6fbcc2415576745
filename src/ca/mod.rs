//! A closed certificate authority in a directory: it issues, revokes, and signs CRLs.
//!
//! What was issued and revoked is the [`Store`]'s, which alone writes it. Judging certificates is left to `x509`, and
//! words for people to `cli`.
//!
//! The directory holds what is handed out; `authority/` in it, mode 0700, what is not:
//!
//! ```text
//! DIR/ca.pem                        the trust anchor
//! DIR/ca.crl                        the CRLs, by `mantlet ca crl`
//! DIR/NAME.pem, DIR/NAME.key        by `mantlet ca issue`
//! DIR/authority/root.pem, root.key  the root; its key may be kept elsewhere where there is an intermediate
//! DIR/authority/intermediate.pem, intermediate.key
//! DIR/authority/root.crl            the root's last CRL, where there is an intermediate
//! DIR/authority/ledger.jsonl        every certificate, revocation and CRL number: one line each, only ever appended to
//! ```

mod authority;
mod crl;
mod error;
mod issuance;
mod ledger;
mod name;
mod revocation;
mod signer;
mod store;
mod timestamp;

pub use crate::durable::{Audience, write_durably};
pub use authority::{Authority, InitOptions};
pub use crl::{CrlBundle, CrlOptions, CrlSummary};
pub use error::CaError;
pub use issuance::{Credential, CredentialUsage, IssueRequest, MAX_TTL};
pub use ledger::{CertificateKind, CrlRecord, IssuedCertificate, Revocation, Tier};
pub use name::{DnsName, NameError, ServiceName};
pub use revocation::{RevocationOutcome, RevocationReason};
pub use signer::KeyAlgorithm;
pub use store::{Access, Store};
pub use timestamp::{Timestamp, TimestampError};
