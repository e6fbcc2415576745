//! A CA that signs whatever CRL is asked of it, around the present.

use std::path::PathBuf;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CrlDistributionPoint, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, SerialNumber, SigningKey as _,
};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::support::pki::{validity, write_private};

pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// The serial number of the certificate that [`Ca::issue`] makes.
pub(super) const SERIAL: &[u8] = &[0x0a, 0x1b];
pub(super) const KEY_COMPROMISE: u8 = 1;

/// An authority and the folder of its files.
pub(super) struct Ca {
    name: &'static str,
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(super) folder: tempfile::TempDir,
}

/// A CRL to be made.
pub(super) struct Crl<'a> {
    pub(super) number: u8,
    pub(super) base: Option<u8>,
    /// Serial number and reason code.
    pub(super) entries: &'a [(&'a [u8], u8)],
    /// From now; a negative one has passed.
    pub(super) next_update: time::Duration,
}

impl Default for Crl<'_> {
    fn default() -> Self {
        Self { number: 7, base: None, entries: &[], next_update: time::Duration::DAY }
    }
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let header = match length {
        [0, short @ ..0x80] => vec![tag, short],
        [0, one] => vec![tag, 0x81, one],
        [first, second] => vec![tag, 0x82, first, second],
    };
    [header, content].concat()
}

fn time(at: OffsetDateTime) -> Vec<u8> {
    let text = at.format(format_description!("[year][month][day][hour][minute][second]Z")).unwrap();
    tlv(0x18, &[text.as_bytes()])
}

fn extension(last_arc: u8, value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&tlv(0x06, &[&[0x55, 0x1d, last_arc]]), &tlv(0x04, &[value])])
}

impl Ca {
    pub(super) fn new(name: &'static str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = validity(DAY);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { name, issuer, folder }
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub(super) fn anchors(&self) -> String {
        self.path("ca.pem")
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.folder.path().join(name), content).unwrap();
        self.path(name)
    }

    /// Writes `own.pem` and `own.key`, whose CRL is said to be at these addresses.
    pub(super) fn issue(&self, points: &[String]) -> PathBuf {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI("spiffe://fleamarket.internal/ads".try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(SerialNumber::from_slice(SERIAL));
        params.crl_distribution_points =
            points.iter().map(|uri| CrlDistributionPoint { uris: vec![uri.clone()] }).collect();
        (params.not_before, params.not_after) = validity(DAY);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        write_private(&self.folder.path().join("own.key"), &key.serialize_pem());
        self.write("own.pem", certificate.pem()).into()
    }

    /// In DER.
    pub(super) fn crl(&self, crl: &Crl<'_>) -> Vec<u8> {
        let now = OffsetDateTime::now_utc();
        let algorithm = tlv(0x30, &[&tlv(0x06, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]])]);
        let attribute = tlv(0x30, &[&tlv(0x06, &[&[0x55, 4, 3]]), &tlv(0x0c, &[self.name.as_bytes()])]);
        let entry = |(serial, reason): &(&[u8], u8)| {
            let reason = extension(0x15, &tlv(0x0a, &[&[*reason]]));
            let invalid = extension(0x18, &tlv(0x18, &[b"20200102030405Z"]));
            tlv(0x30, &[&tlv(0x02, &[serial]), &time(now - time::Duration::DAY), &tlv(0x30, &[&reason, &invalid])])
        };
        let entries: Vec<u8> = crl.entries.iter().flat_map(entry).collect();
        let number = extension(0x14, &tlv(0x02, &[&[crl.number]]));
        let base = crl.base.map(|base| extension(0x1b, &tlv(0x02, &[&[base]]))).unwrap_or_default();
        // A higher number is issued later.
        let this_update = now - 2 * time::Duration::DAY + time::Duration::minutes(crl.number.into());
        let tbs = tlv(
            0x30,
            &[
                &tlv(0x02, &[&[1]]),
                &algorithm,
                &tlv(0x30, &[&tlv(0x31, &[&attribute])]),
                &time(this_update),
                &time(now + crl.next_update),
                &if entries.is_empty() { Vec::new() } else { tlv(0x30, &[&entries]) },
                &tlv(0xa0, &[&tlv(0x30, &[&number, &base])]),
            ],
        );
        let signature = self.issuer.key().sign(&tbs).unwrap();
        tlv(0x30, &[&tbs, &algorithm, &tlv(0x03, &[&[0], &signature])])
    }
}

/// As PEM.
pub(super) fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN X509 CRL-----\n{text}\n-----END X509 CRL-----\n")
}
