//! Certificates, keys and CRLs: what is loaded from files, and whether a path leads from a peer to an anchor.
//!
//! One immutable [`TrustMaterial`] holds all of it; a reload makes a new one. The TLS handshake, the sweep over live
//! connections and `mantlet cert verify` all call [`TrustMaterial::verify`]. TLS itself is left to `tls`, and what a
//! verified peer may do to `policy`.

mod algorithms;
mod anchor_view;
mod bare_key;
mod candidate;
mod certificate;
mod credential;
mod crl;
#[cfg(feature = "authority")]
pub(crate) mod der_writer;
mod details;
mod diagnosis;
mod distinguished_name;
mod facts;
mod given;
mod instant;
mod load;
mod material;
mod names;
mod path;
mod pem;
mod private_key;
mod public;
mod refusal;
mod revocation;
mod serial;
mod signature;
mod signing_request;
mod sources;

pub use bare_key::{BareKey, BareKeyKind};
pub use certificate::{CertificateInfo, MalformedCertificate};
pub(crate) use credential::read_kept_certificates;
pub use credential::{Credential, CredentialError, read_certificates};
pub use crl::{
    CrlDetails, CrlEntry, CrlError, CrlFileError, CrlInfo, CrlIssuers, MAX_CRL_BYTES, MAX_CRLS, MAX_ISSUER_BYTES,
    NotTaken, RevocationIndex, VerifiedCrl, digest, read_crl_file, split_crls,
};
pub use details::{CertificateDetails, CertificateFile, CertificateFileError};
pub use given::{Bundle, GivenMaterial, split_certificates};
pub use instant::Instant;
pub use material::{MaterialPart, MaterialProblem, MaterialSources, TrustMaterial, UnusableMaterial};
pub use names::{presented_names, proves_name};
pub use path::{Usage, VerifiedPath};
pub use public::{PublicCertificate, PublicSources};
pub use refusal::{Refusal, RefusalReason};
pub use revocation::{RevocationLists, RevocationPolicy, WantedCrl};
pub use serial::{SerialNumber, SerialNumberError};
pub use signature::is_self_signed;
pub use signing_request::{MAX_SIGNING_REQUEST_BYTES, SigningRequest, SigningRequestError};
