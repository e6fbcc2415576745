//! Everything of a certificate that `mantlet cert show` prints, and the files that hold certificates.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{DistributionPointName, ExtendedKeyUsage, GeneralName, KeyUsage, ParsedExtension};
use x509_parser::prelude::FromDer;

use super::certificate::Hex;
use super::diagnosis::signature_algorithm_name;
use super::distinguished_name::{printable, rfc4514};
use super::facts::Facts;
use super::pem::{self, Block, MAX_PEM_BYTES, PemError};
use super::private_key::is_key;
use super::{CertificateInfo, MalformedCertificate};

/// A certificate in full, for people. Every text is safe to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateDetails {
    /// The fields that identify it.
    pub info: CertificateInfo,
    /// Every subject alternative name with its kind, such as `DNS:*.internal`.
    pub subject_alternative_names: Vec<String>,
    /// The kind of key, such as `ECDSA P-256` or `RSA 2048`.
    pub key: String,
    /// How it is signed, such as `ECDSA and SHA-256`.
    pub signature_algorithm: String,
    /// The bits of the key usage extension by their RFC 5280 names; absent without the extension.
    pub key_usage: Option<Vec<&'static str>>,
    /// The purposes of the extended key usage extension; absent without the extension.
    pub extended_key_usage: Option<Vec<String>>,
    /// True for a CA (basic constraints).
    pub is_ca: bool,
    /// Most intermediates below this CA; absent where it sets no limit.
    pub path_length: Option<u32>,
    /// The URIs where CRLs are to be found.
    pub crl_distribution_points: Vec<String>,
    /// The subject key identifier in hexadecimal.
    pub subject_key_id: Option<String>,
    /// The authority key identifier in hexadecimal.
    pub authority_key_id: Option<String>,
    /// Critical extensions that are not understood, by object identifier: such a certificate is refused.
    pub unknown_critical_extensions: Vec<String>,
}

/// A file's certificates, and what else it holds.
pub struct CertificateFile {
    /// The certificates in the order of the file; at least one.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The labels of private keys, such as `PRIVATE KEY`. The keys themselves are dropped unread.
    pub private_keys: Vec<String>,
    /// The labels of other blocks.
    pub others: Vec<String>,
}

/// Why a file gave no certificates.
#[derive(Debug, Error)]
pub enum CertificateFileError {
    /// It could not be read, or its PEM is broken.
    #[error("{}: {problem}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// It holds no certificate.
    #[error("{}: holds no certificate: found {found}, expected CERTIFICATE in PEM or DER", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
}

impl CertificateFile {
    /// Reads a file in PEM, or of one certificate in DER.
    ///
    /// # Errors
    /// Where it cannot be read, is larger than 1 MiB, its PEM is broken, or it holds no certificate. Whether the
    /// certificates are well-formed is not looked at.
    pub fn read(path: &Path) -> Result<Self, CertificateFileError> {
        let unreadable =
            |error: PemError| CertificateFileError::Unreadable { path: path.to_owned(), problem: error.to_string() };
        let bytes = pem::read(path, MAX_PEM_BYTES).map_err(unreadable)?;
        if pem::is_der(&bytes) {
            let certificates = vec![CertificateDer::from(bytes.to_vec())];
            return Ok(Self { certificates, private_keys: Vec::new(), others: Vec::new() });
        }
        let blocks = pem::blocks(&bytes).map_err(unreadable)?;
        let found = || pem::contents(&blocks);
        let (certificates, rest): (Vec<&Block>, Vec<&Block>) = blocks.iter().partition(|block| block.is_certificate());
        let (keys, others): (Vec<&Block>, Vec<&Block>) = rest.into_iter().partition(|block| is_key(block));
        if certificates.is_empty() {
            return Err(CertificateFileError::NoCertificate { path: path.to_owned(), found: found() });
        }
        let labels = |blocks: Vec<&Block>| blocks.iter().map(|block| block.label.clone()).collect();
        Ok(Self {
            certificates: certificates.iter().map(|block| CertificateDer::from(block.der.to_vec())).collect(),
            private_keys: labels(keys),
            others: labels(others),
        })
    }
}

impl CertificateDetails {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// As [`CertificateInfo::from_der`].
    pub fn from_der(der: &[u8]) -> Result<Self, MalformedCertificate> {
        let facts = Facts::read(der)?;
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| MalformedCertificate { detail: error.to_string() })?;
        let signed_with = certificate.signature_algorithm.algorithm.to_id_string();
        let mut details = Self {
            key: facts.key.to_string(),
            is_ca: facts.is_ca,
            path_length: facts.path_len,
            info: facts.info,
            signature_algorithm: signature_algorithm_name(&signed_with).text,
            subject_alternative_names: Vec::new(),
            key_usage: None,
            extended_key_usage: None,
            crl_distribution_points: Vec::new(),
            subject_key_id: None,
            authority_key_id: None,
            unknown_critical_extensions: super::diagnosis::unknown_critical(&certificate),
        };
        for extension in certificate.extensions() {
            details.take_extension(extension.parsed_extension());
        }
        Ok(details)
    }

    fn take_extension(&mut self, extension: &ParsedExtension<'_>) {
        match extension {
            ParsedExtension::SubjectAlternativeName(names) => {
                self.subject_alternative_names = names.general_names.iter().map(general_name).collect();
            }
            ParsedExtension::KeyUsage(usage) => self.key_usage = Some(key_usage_names(*usage)),
            ParsedExtension::ExtendedKeyUsage(usage) => self.extended_key_usage = Some(purpose_names(usage)),
            ParsedExtension::CRLDistributionPoints(points) => {
                let names = points.points.iter().filter_map(|point| match &point.distribution_point {
                    Some(DistributionPointName::FullName(names)) => Some(names),
                    _ => None,
                });
                self.crl_distribution_points = names
                    .flatten()
                    .filter_map(|name| match name {
                        GeneralName::URI(uri) => Some(printable(uri)),
                        _ => None,
                    })
                    .collect();
            }
            ParsedExtension::SubjectKeyIdentifier(id) => self.subject_key_id = Some(Hex(id.0).to_string()),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                self.authority_key_id = id.key_identifier.as_ref().map(|id| Hex(id.0).to_string());
            }
            _ => {}
        }
    }
}

fn general_name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::URI(uri) => format!("URI:{}", printable(uri)),
        GeneralName::DNSName(name) => format!("DNS:{}", printable(name)),
        GeneralName::RFC822Name(name) => format!("email:{}", printable(name)),
        GeneralName::IPAddress(octets) => match (<[u8; 4]>::try_from(*octets), <[u8; 16]>::try_from(*octets)) {
            (Ok(v4), _) => format!("IP:{}", IpAddr::from(v4)),
            (_, Ok(v6)) => format!("IP:{}", IpAddr::from(v6)),
            _ => format!("IP:#{}", Hex(octets)),
        },
        GeneralName::DirectoryName(name) => format!("directory:{}", rfc4514(name)),
        other => printable(&other.to_string()),
    }
}

fn key_usage_names(usage: KeyUsage) -> Vec<&'static str> {
    const NAMES: [&str; 9] = [
        "digitalSignature",
        "nonRepudiation",
        "keyEncipherment",
        "dataEncipherment",
        "keyAgreement",
        "keyCertSign",
        "cRLSign",
        "encipherOnly",
        "decipherOnly",
    ];
    NAMES.iter().enumerate().filter(|(bit, _)| usage.flags >> bit & 1 == 1).map(|(_, name)| *name).collect()
}

fn purpose_names(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let known = [
        (usage.any, "anyExtendedKeyUsage"),
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ];
    let named = known.iter().filter(|(present, _)| *present).map(|(_, name)| (*name).to_owned());
    named.chain(usage.other.iter().map(x509_parser::asn1_rs::Oid::to_id_string)).collect()
}
