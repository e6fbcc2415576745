//! Whether a certificate proves a name that was expected of its holder.

use rustls_pki_types::{CertificateDer, DnsName, ServerName};
use webpki::EndEntityCert;

use crate::identity::{PeerPattern, ProvenNames};

/// True where the end entity proves one of the names that `expected` stands for.
///
/// An expected DNS name may also be covered by a wildcard of the certificate (RFC 6125 section 6.4.3: the leftmost label
/// alone). SPIFFE IDs and IP addresses are compared exactly, and a wildcard on the expecting side is met by a name of the
/// certificate only, never by another wildcard. The common name does not count.
pub fn proves_name(end_entity: &CertificateDer<'_>, expected: &PeerPattern, names: &ProvenNames) -> bool {
    expected.matches_names(names)
        || match expected {
            PeerPattern::Dns(name) => is_valid_for(end_entity, name),
            _ => false,
        }
}

fn is_valid_for(end_entity: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(name) = DnsName::try_from(name) else {
        return false;
    };
    EndEntityCert::try_from(end_entity)
        .is_ok_and(|parsed| parsed.verify_is_valid_for_subject_name(&ServerName::DnsName(name)).is_ok())
}
