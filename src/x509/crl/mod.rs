//! CRLs (RFC 5280 section 5): verified once, when they are read; held in one compact index; looked up without a copy.

mod details;
mod distribution_point;
mod error;
mod fields;
mod file;
mod index;
mod list;
mod serials;

pub use details::{CrlDetails, CrlEntry};
pub use error::CrlError;
pub use file::{CrlFileError, MAX_CRL_BYTES, read_crl_file, split_crls};
pub use index::{MAX_CRLS, MAX_ISSUER_BYTES, NotTaken, RevocationIndex};
pub use list::{CrlInfo, CrlIssuers, VerifiedCrl, digest};

pub(super) use distribution_point::DistributionPoint;
pub(super) use index::{Status, Subject};
pub(super) use serials::Reason;
