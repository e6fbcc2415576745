//! A closed certificate authority in a directory: it issues, revokes, registers who may enrol, and signs CRLs.
//!
//! What was issued and revoked is the [`Store`]'s, which alone writes it. Judging certificates is left to `x509`, serving over a
//! network to `authority`, and words for people to `cli`.
//!
//! The directory holds what is handed out; `authority/` in it, mode 0700, what is not:
//!
//! ```text
//! DIR/ca.pem                        the trust anchors
//! DIR/ca.crl                        the CRLs, by `mantlet ca crl`
//! DIR/NAME.pem, DIR/NAME.key        by `mantlet ca issue`
//! DIR/authority/root.pem, root.key  the root; its key may be kept elsewhere where there is an intermediate
//! DIR/authority/intermediate.pem, intermediate.key
//! DIR/authority/root-2.pem, ...     the same of the second generation, after a rotation
//! DIR/authority/authority.db        every certificate, revocation, CRL, registration and log entry (with -wal and -shm in use)
//! DIR/authority/store               the address of the `PostgreSQL` database that holds them instead
//! DIR/authority/lock                locked by commands while they write files
//! ```

mod as_text;
mod authority;
mod crl;
mod enrolment;
mod entity;
mod error;
mod issuance;
mod issuers;
mod ledger;
mod name;
mod private_key;
mod record;
mod registration;
mod revocation;
mod rotation;
mod signer;
mod store;
mod timestamp;

pub use crate::config::PostgresUrl;
pub use crate::durable::{Audience, write_durably};
pub use crate::x509::SigningRequest;
pub use authority::{Authority, FilesLock, InitOptions};
pub use crl::{CrlBundle, CrlOptions, CrlSummary, DueCrls, UnlistedRevocation};
pub use enrolment::{CertificateFault, Enrolled, EnrolmentCredential, EnrolmentError};
pub use entity::{Entity, EntityState, OneTimeSecret};
pub use error::CaError;
pub(crate) use error::chain;
pub use issuance::{Credential, CredentialUsage, IssueRequest, MAX_TTL, RevocationPointers, distribution_point_of};
pub use issuers::{Issuers, pem_of};
pub use name::{DnsName, NameError, ServiceName};
pub use record::{
    CertificateKind, CertificateRecord, CrlRecord, IssuedCertificate, IssuerId, IssuerIdError, Revocation, StoredCrl,
    Tier,
};
pub use registration::{IssuedSecret, RegisterRequest};
pub use revocation::{RevocationOutcome, RevocationReason};
pub use rotation::{RotationStatus, RotationStep};
pub use signer::KeyAlgorithm;
pub use store::{CertificateFilter, LogEntry, SecretRecord, Store, StoreFigures, StorePlace, StoreState};
pub use timestamp::{Timestamp, TimestampError};
