//! From webpki's error, which names no certificate, to a reason that does.
//!
//! Only runs once a chain has been refused; nothing here decides about trust, save that [`bound_paths`] refuses early.

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::algorithms::key_fault;
use super::facts::Facts;
use super::instant::system_time;
use super::{RefusalReason, TrustMaterial, Usage};

/// Most steps that the search for a path may take. An honest chain with two cross-signed alternatives takes about ten.
const MAX_STEPS: usize = 32;
/// webpki's own limit of intermediates in a path.
const MAX_INTERMEDIATES: usize = 6;

/// Refuses certificates that were made to form very many paths: webpki's budget would admit seconds of work.
pub(super) fn bound_paths(
    end_entity: &EndEntityCert<'_>,
    presented: &[CertificateDer<'_>],
    pool: &[CertificateDer<'_>],
) -> Result<(), RefusalReason> {
    // Three take 15 steps at most, and the configured are the operator's own.
    if presented.len() <= 3 {
        return Ok(());
    }
    let parsed: Vec<EndEntityCert<'_>> = pool.iter().filter_map(|der| EndEntityCert::try_from(der).ok()).collect();
    let mut steps = 0;
    let mut used = vec![false; parsed.len()];
    if count_steps(end_entity.issuer(), &parsed, &mut used, 0, &mut steps) {
        Ok(())
    } else {
        Err(RefusalReason::PathsTooMany)
    }
}

/// False once there are more than [`MAX_STEPS`].
fn count_steps(issuer: &[u8], pool: &[EndEntityCert<'_>], used: &mut [bool], depth: usize, steps: &mut usize) -> bool {
    if depth == MAX_INTERMEDIATES {
        return true;
    }
    for index in 0..pool.len() {
        if used[index] || pool[index].subject() != issuer {
            continue;
        }
        *steps += 1;
        if *steps > MAX_STEPS {
            return false;
        }
        used[index] = true;
        let within = count_steps(pool[index].issuer(), pool, used, depth + 1, steps);
        used[index] = false;
        if !within {
            return false;
        }
    }
    true
}

/// Why webpki could not read a certificate that x509-parser can.
pub(super) fn unparsed(error: &Error, der: &[u8], subject: &str) -> RefusalReason {
    match error {
        Error::UnsupportedCriticalExtension => {
            RefusalReason::CriticalExtension { subject: subject.to_owned(), extension: unknown_critical_text(der) }
        }
        Error::UnsupportedCertVersion => RefusalReason::Malformed { detail: "it is not version 3".to_owned() },
        error => RefusalReason::Malformed { detail: error.to_string() },
    }
}

fn unknown_critical_text(der: &[u8]) -> String {
    X509Certificate::from_der(der)
        .map_or_else(|_| String::new(), |(_, certificate)| unknown_critical(&certificate).join(", "))
}

/// The critical extensions that webpki does not process, by object identifier.
pub(super) fn unknown_critical(certificate: &X509Certificate<'_>) -> Vec<String> {
    const PROCESSED: [&str; 6] = ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.31", "2.5.29.37"];
    let critical = certificate.extensions().iter().filter(|extension| extension.critical);
    let unknown = critical.map(|extension| extension.oid.to_id_string()).filter(|oid| !PROCESSED.contains(&&**oid));
    unknown.collect()
}

/// The reason behind webpki's error, with the certificate that it is most likely about.
pub(super) fn explain(
    error: &Error,
    material: &TrustMaterial,
    end_entity: &Facts,
    end_entity_der: &CertificateDer<'_>,
    pool: &[CertificateDer<'_>],
    usage: Usage,
) -> RefusalReason {
    let chain = Chain::follow(end_entity, end_entity_der, pool);
    let title = end_entity.info.title();
    match error {
        Error::CertExpired { not_after, .. } => {
            let not_after = from_unix(*not_after);
            RefusalReason::Expired { subject: chain.title_where(|facts| facts.info.not_after == not_after), not_after }
        }
        Error::CertNotValidYet { not_before, .. } => {
            let not_before = from_unix(*not_before);
            let subject = chain.title_where(|facts| facts.info.not_before == not_before);
            RefusalReason::NotYetValid { subject, not_before }
        }
        Error::UnknownIssuer => {
            let view = material.anchor_views.of(end_entity.info.names.spiffe_id.as_ref());
            let anchors = view.places.iter().map(|place| material.anchors[*place].title()).collect();
            RefusalReason::UnknownIssuer { issuer: chain.last().info.issuer.clone(), anchors }
        }
        Error::InvalidSignatureForPublicKey => chain.weak_key().unwrap_or_else(|| {
            let (subject, issuer) = chain.badly_signed(material);
            RefusalReason::BadSignature { subject, issuer }
        }),
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
        | Error::SignatureAlgorithmMismatch => chain.unsupported(),
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
            RefusalReason::WrongUsage { subject: chain.title_where(|facts| !facts.has_purpose(usage)), usage }
        }
        Error::NameConstraintViolation | Error::MalformedNameConstraint | Error::InvalidNetworkMaskConstraint => {
            RefusalReason::NameConstraint { subject: title }
        }
        Error::PathLenConstraintViolated => chain.too_long(),
        Error::MaximumPathDepthExceeded => {
            RefusalReason::PathTooLong { limit: MAX_INTERMEDIATES, by: "mantlet".to_owned() }
        }
        Error::EndEntityUsedAsCa => RefusalReason::NotACa { subject: chain.first_not_ca() },
        Error::CaUsedAsEndEntity => RefusalReason::CaAsEndEntity { subject: title },
        Error::UnsupportedCriticalExtension => chain.critical_extension(),
        Error::MaximumPathBuildCallsExceeded
        | Error::MaximumSignatureChecksExceeded
        | Error::MaximumNameConstraintComparisonsExceeded => RefusalReason::PathsTooMany,
        error => RefusalReason::Malformed { detail: error.to_string() },
    }
}

/// The end entity and the first certificates found above it, by name.
struct Chain<'a> {
    links: Vec<(Facts, &'a [u8])>,
}

impl<'a> Chain<'a> {
    fn follow(end_entity: &Facts, der: &'a CertificateDer<'_>, pool: &'a [CertificateDer<'_>]) -> Self {
        let mut links = vec![(end_entity.clone(), der.as_ref())];
        let mut rest: Vec<(Facts, &[u8])> =
            pool.iter().filter_map(|der| Some((Facts::read(der).ok()?, der.as_ref()))).collect();
        while let Some(position) = links.last().and_then(|(last, _)| {
            rest.iter().position(|(facts, _)| facts.info.subject == last.info.issuer && !facts.self_issued)
        }) {
            links.push(rest.swap_remove(position));
        }
        Self { links }
    }

    fn last(&self) -> &Facts {
        &self.links[self.links.len() - 1].0
    }

    /// The first certificate that answers, or the end entity.
    fn title_where(&self, answers: impl Fn(&Facts) -> bool) -> String {
        let found = self.links.iter().find(|(facts, _)| answers(facts)).unwrap_or(&self.links[0]);
        found.0.info.title()
    }

    fn first_not_ca(&self) -> String {
        let found = self.links.iter().skip(1).find(|(facts, _)| !facts.is_ca).unwrap_or(&self.links[0]);
        found.0.info.title()
    }

    fn weak_key(&self) -> Option<RefusalReason> {
        self.links.iter().skip(1).find_map(|(facts, _)| key_fault(&facts.key, &facts.info.title()))
    }

    /// The subject and issuer of the first certificate whose signature does not verify with the next one's key.
    fn badly_signed(&self, material: &TrustMaterial) -> (String, String) {
        let anchors = material.anchor_facts.iter().zip(&material.anchor_ders).map(|(facts, der)| (facts, der.as_ref()));
        let above: Vec<(&Facts, &[u8])> = self.links.iter().map(|(facts, der)| (facts, *der)).chain(anchors).collect();
        let bad = self.links.iter().find(|(facts, der)| {
            let mut issuers = above.iter().filter(|(issuer, _)| issuer.info.subject == facts.info.issuer).peekable();
            issuers.peek().is_some() && !issuers.any(|(_, issuer)| is_signed_by(der, issuer))
        });
        let (facts, _) = bad.unwrap_or(&self.links[0]);
        (facts.info.title(), facts.info.issuer.clone())
    }

    fn unsupported(&self) -> RefusalReason {
        if let Some(fault) = self.weak_key() {
            return fault;
        }
        let described = self.links.iter().filter_map(|(facts, der)| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            let oid = certificate.signature_algorithm.algorithm.to_id_string();
            Some((facts.info.title(), signature_algorithm_name(&oid)))
        });
        let (subject, name) = described
            .clone()
            .find(|(_, name)| !name.is_accepted)
            .or_else(|| described.clone().next())
            .unwrap_or_else(|| (self.links[0].0.info.title(), signature_algorithm_name("?")));
        RefusalReason::UnsupportedAlgorithm { subject, algorithm: format!("is signed with {}", name.text) }
    }

    fn too_long(&self) -> RefusalReason {
        let above = self.links.iter().enumerate().skip(1);
        let mut limited = above.filter_map(|(position, (facts, _))| {
            let limit = usize::try_from(facts.path_len?).ok()?;
            (position - 1 > limit).then(|| (limit, facts.info.title()))
        });
        let (limit, by) = limited.next_back().unwrap_or((0, "a CA of the path".to_owned()));
        RefusalReason::PathTooLong { limit, by }
    }

    fn critical_extension(&self) -> RefusalReason {
        let found = self.links.iter().map(|(facts, der)| (facts.info.title(), unknown_critical_text(der)));
        let (subject, extension) = found
            .into_iter()
            .find(|(_, extension)| !extension.is_empty())
            .unwrap_or_else(|| (self.links[0].0.info.title(), "of unknown identifier".to_owned()));
        RefusalReason::CriticalExtension { subject, extension }
    }
}

fn is_signed_by(der: &[u8], issuer: &[u8]) -> bool {
    super::signature::Signed::split(der)
        .is_ok_and(|signed| super::signature::verify(&signed, &CertificateDer::from(issuer)).is_ok())
}

/// A signature algorithm as people know it.
pub(super) struct AlgorithmName {
    pub(super) text: String,
    is_accepted: bool,
}

pub(super) fn signature_algorithm_name(oid: &str) -> AlgorithmName {
    let (text, is_accepted) = match oid {
        "1.2.840.10045.4.3.2" => ("ECDSA and SHA-256", true),
        "1.2.840.10045.4.3.3" => ("ECDSA and SHA-384", true),
        "1.3.101.112" => ("Ed25519", true),
        "1.2.840.113549.1.1.11" => ("RSA and SHA-256", true),
        "1.2.840.113549.1.1.12" => ("RSA and SHA-384", true),
        "1.2.840.113549.1.1.13" => ("RSA and SHA-512", true),
        "1.2.840.113549.1.1.10" => ("RSA-PSS", true),
        "1.2.840.10045.4.1" => ("ECDSA and SHA-1", false),
        "1.2.840.10045.4.3.4" => ("ECDSA and SHA-512", false),
        "1.2.840.113549.1.1.4" => ("RSA and MD5", false),
        "1.2.840.113549.1.1.5" => ("RSA and SHA-1", false),
        other => return AlgorithmName { text: format!("the algorithm {other}"), is_accepted: false },
    };
    AlgorithmName { text: text.to_owned(), is_accepted }
}

fn from_unix(time: UnixTime) -> std::time::SystemTime {
    system_time(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}
