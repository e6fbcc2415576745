//! The fields of one certificate that rules look at, read once.
//!
//! Signatures, validity, basic constraints and name constraints of a path are judged by webpki on its own reading. What
//! webpki does not expose (key usage, the key's kind, IP names) is read here, and what cannot be read is refused.

use std::net::IpAddr;

use aws_lc_rs::digest;
use rustls_pki_types::DnsName;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, KeyUsage, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::identity::{ProvenNames, SpiffeId};

use super::certificate::MalformedCertificate;
use super::distinguished_name::{printable, rfc4514};
use super::instant::system_time;
use super::{CertificateInfo, RefusalReason, SerialNumber, Usage};

const CRL_DISTRIBUTION_POINTS: &[u8] = &[0x55, 0x1d, 0x1f];
const NO_REV_AVAIL: &[u8] = &[0x55, 0x1d, 0x38];

/// The kind of a public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyKind {
    EcdsaP256,
    EcdsaP384,
    Ed25519,
    Rsa {
        bits: usize,
    },
    /// A kind that is never accepted, by its name or its object identifier.
    Other(String),
}

/// The purposes of an extended key usage extension that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Purposes {
    pub(super) client: bool,
    pub(super) server: bool,
}

/// Names a key under which certificates were issued: SHA-256 of the subject public key info and the subject. A CA of the
/// same name with another key has another one.
pub(super) type IssuerKey = [u8; 32];

/// The fields of one certificate that rules look at.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) info: CertificateInfo,
    pub(super) key: KeyKind,
    pub(super) key_usage: Option<KeyUsage>,
    pub(super) is_ca: bool,
    pub(super) path_len: Option<u32>,
    pub(super) purposes: Option<Purposes>,
    /// Why its names do not identify one peer.
    pub(super) identity_fault: Option<RefusalReason>,
    /// Subject and issuer are the same name.
    pub(super) self_issued: bool,
    /// Zero for what is not a CA: nothing is looked up under it.
    pub(super) issuer_key: IssuerKey,
    /// The value of the CRL distribution points extension.
    pub(super) distribution_points: Option<Box<[u8]>>,
    /// The noRevAvail extension is there (RFC 9608).
    no_rev_avail: bool,
}

impl Facts {
    pub(super) fn read(der: &[u8]) -> Result<Self, MalformedCertificate> {
        let malformed = |detail: String| MalformedCertificate { detail };
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|error| malformed(parse_detail(&error)))?;
        if !rest.is_empty() {
            return Err(malformed(format!("{} bytes follow the certificate", rest.len())));
        }
        let mut facts = Self::of_fields(der, &certificate);
        for extension in certificate.extensions() {
            facts.take_extension(&extension.oid.to_id_string(), extension.parsed_extension())?;
            match extension.oid.as_bytes() {
                CRL_DISTRIBUTION_POINTS => facts.distribution_points = Some(extension.value.into()),
                NO_REV_AVAIL => facts.no_rev_avail = true,
                _ => {}
            }
        }
        if facts.is_ca {
            facts.issuer_key = issuer_key(certificate.public_key().raw, certificate.subject().as_raw());
        }
        Ok(facts)
    }

    fn of_fields(der: &[u8], certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        let info = CertificateInfo {
            subject: rfc4514(certificate.subject()),
            issuer: rfc4514(certificate.issuer()),
            serial: SerialNumber::from_der_content(certificate.raw_serial()),
            names: ProvenNames::default(),
            not_before: system_time(validity.not_before.timestamp()),
            not_after: system_time(validity.not_after.timestamp()),
            fingerprint: sha256(&[der]),
        };
        Self {
            info,
            key: key_kind(certificate.public_key()),
            key_usage: None,
            is_ca: false,
            path_len: None,
            purposes: None,
            identity_fault: None,
            self_issued: certificate.subject().as_raw() == certificate.issuer().as_raw(),
            issuer_key: [0; 32],
            distribution_points: None,
            no_rev_avail: false,
        }
    }

    fn take_extension(&mut self, oid: &str, extension: &ParsedExtension<'_>) -> Result<(), MalformedCertificate> {
        match extension {
            ParsedExtension::KeyUsage(usage) => self.key_usage = Some(*usage),
            ParsedExtension::BasicConstraints(constraints) => {
                self.is_ca = constraints.ca;
                self.path_len = constraints.path_len_constraint;
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                self.purposes = Some(Purposes { client: usage.client_auth, server: usage.server_auth });
            }
            ParsedExtension::SubjectAlternativeName(names) => self.take_names(&names.general_names)?,
            ParsedExtension::ParseError { .. } if is_looked_at(oid) => {
                return Err(MalformedCertificate { detail: format!("the extension {oid} is ill-formed") });
            }
            _ => {}
        }
        Ok(())
    }

    fn take_names(&mut self, general_names: &[GeneralName<'_>]) -> Result<(), MalformedCertificate> {
        let mut spiffe_uris = Vec::new();
        for name in general_names {
            match name {
                GeneralName::URI(uri) if has_spiffe_scheme(uri) => spiffe_uris.push(*uri),
                GeneralName::DNSName(name) => self.info.names.dns_names.extend(plain_dns_name(name)),
                GeneralName::IPAddress(octets) => {
                    let address = ip_address(octets).ok_or_else(|| MalformedCertificate {
                        detail: format!("an IP subject alternative name of {} octets", octets.len()),
                    })?;
                    self.info.names.ip_addresses.push(address);
                }
                GeneralName::Invalid(tag, _) => {
                    let detail = format!("a subject alternative name of kind [{}] is ill-formed", tag.0);
                    return Err(MalformedCertificate { detail });
                }
                _ => {}
            }
        }
        match spiffe_uris.as_slice() {
            [] => {}
            [one] => match one.parse::<SpiffeId>() {
                Ok(id) => self.info.names.spiffe_id = Some(id),
                Err(error) => {
                    let (uri, problem) = (printable(one), printable(&error.to_string()));
                    self.identity_fault = Some(RefusalReason::InvalidSpiffeId { uri, problem });
                }
            },
            several => {
                let names = several.iter().map(|uri| printable(uri)).collect();
                self.identity_fault = Some(RefusalReason::AmbiguousIdentity { names });
            }
        }
        Ok(())
    }

    /// True where the key usage extension is absent or has the bit that `bit` reads.
    pub(super) fn allows(&self, bit: fn(&KeyUsage) -> bool) -> bool {
        self.key_usage.as_ref().is_none_or(bit)
    }

    /// True where its CA says that it publishes no revocation of it (RFC 9608). A CA's certificate cannot say so, nor one that
    /// says where its CRL is (section 3): such a one contradicts itself and is looked up.
    pub(super) fn has_no_revocation(&self) -> bool {
        self.no_rev_avail && !self.is_ca && self.distribution_points.is_none()
    }

    /// True where the extended key usage extension is absent (RFC 5280 section 4.2.1.12: any purpose) or names the usage.
    pub(super) fn has_purpose(&self, usage: Usage) -> bool {
        self.purposes.is_none_or(|purposes| match usage {
            Usage::Client => purposes.client,
            Usage::Server => purposes.server,
        })
    }
}

/// The extensions that rules look at here; another that x509-parser cannot read is webpki's or nobody's business.
fn is_looked_at(oid: &str) -> bool {
    matches!(oid, "2.5.29.15" | "2.5.29.17" | "2.5.29.19" | "2.5.29.37")
}

fn has_spiffe_scheme(uri: &str) -> bool {
    uri.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe:"))
}

/// The name in lower case, where it is a DNS name that stands for one host.
fn plain_dns_name(name: &str) -> Option<String> {
    let is_plain = !name.ends_with('.') && DnsName::try_from(name).is_ok();
    is_plain.then(|| name.to_ascii_lowercase())
}

fn ip_address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

pub(super) fn key_kind(key: &SubjectPublicKeyInfo<'_>) -> KeyKind {
    let algorithm = key.algorithm.algorithm.to_id_string();
    match algorithm.as_str() {
        "1.3.101.112" => KeyKind::Ed25519,
        "1.2.840.113549.1.1.1" => match key.parsed() {
            Ok(PublicKey::RSA(rsa)) => KeyKind::Rsa { bits: rsa_bits(rsa.modulus) },
            _ => KeyKind::Other("an ill-formed RSA key".to_owned()),
        },
        "1.2.840.10045.2.1" => {
            let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
            match curve.map(|curve| curve.to_id_string()).as_deref() {
                Some("1.2.840.10045.3.1.7") => KeyKind::EcdsaP256,
                Some("1.3.132.0.34") => KeyKind::EcdsaP384,
                Some("1.3.132.0.35") => KeyKind::Other("ECDSA P-521".to_owned()),
                Some(other) => KeyKind::Other(format!("ECDSA on the curve {other}")),
                None => KeyKind::Other("ECDSA without a named curve".to_owned()),
            }
        }
        "1.2.840.10040.4.1" => KeyKind::Other("DSA".to_owned()),
        _ => KeyKind::Other(format!("the key algorithm {algorithm}")),
    }
}

fn rsa_bits(modulus: &[u8]) -> usize {
    let significant = modulus.iter().position(|octet| *octet != 0).map_or(&[][..], |first| &modulus[first..]);
    significant.first().map_or(0, |first| significant.len() * 8 - first.leading_zeros() as usize)
}

pub(super) fn issuer_key(spki: &[u8], subject: &[u8]) -> IssuerKey {
    sha256(&[spki, subject])
}

pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut octets = [0; 32];
    octets.copy_from_slice(context.finish().as_ref());
    octets
}

fn parse_detail(error: &x509_parser::nom::Err<x509_parser::error::X509Error>) -> String {
    match error {
        x509_parser::nom::Err::Incomplete(_) => "it ends too early".to_owned(),
        x509_parser::nom::Err::Error(error) | x509_parser::nom::Err::Failure(error) => error.to_string(),
    }
}

impl std::fmt::Display for KeyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::EcdsaP256 => f.write_str("ECDSA P-256"),
            Self::EcdsaP384 => f.write_str("ECDSA P-384"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Rsa { bits } => write!(f, "RSA {bits}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}
