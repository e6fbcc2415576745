//! A CA with a key made at the start, what it certified, and the trust in it. No input depends on the key.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use mantlet::config::{OnUnknown, RevocationDepth};
use mantlet::x509::{
    CrlIssuers, MaterialSources, Refusal, RevocationIndex, RevocationLists, RevocationPolicy, TrustMaterial, Usage,
    WantedCrl,
};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, SanType, SerialNumber,
    SigningKey as _, date_time_ymd,
};
use tokio::sync::mpsc;

use crate::der::tlv;

/// The serial number of the certificate without a distribution point, and of the one with some.
pub const SERIALS: [u8; 2] = [5, 6];

/// One PKI for the whole run.
pub static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);

pub struct Pki {
    params: CertificateParams,
    key: KeyPair,
    pub issuers: CrlIssuers,
    anchors: tempfile::TempDir,
    /// In the order of [`SERIALS`].
    pub leaves: Vec<Certificate>,
}

/// Trust in the CA, with some CRLs in use.
pub struct Trust {
    pub material: TrustMaterial,
    /// What hears of CRLs that are missing.
    pub wanted: mpsc::Receiver<WantedCrl>,
}

/// 2030-01-01T00:00:00Z
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000)
}

/// `AlgorithmIdentifier` of Ed25519.
pub fn algorithm() -> Vec<u8> {
    tlv(0x30, &[&tlv(0x06, &[&[0x2b, 0x65, 0x70]])])
}

/// The name of the CA.
pub fn issuer() -> Vec<u8> {
    let attribute = tlv(0x30, &[&tlv(0x06, &[&[0x55, 4, 3]]), &tlv(0x0c, &[b"root"])]);
    tlv(0x30, &[&tlv(0x31, &[&attribute])])
}

/// A `DistributionPointName` of one address.
pub fn point_name(url: &str) -> Vec<u8> {
    tlv(0xa0, &[&tlv(0xa0, &[&tlv(0x86, &[url.as_bytes()])])])
}

/// Two distribution points, the second one for some reasons alone.
pub fn points() -> Vec<u8> {
    let some = tlv(0x81, &[&[5, 0b0110_0000]]);
    tlv(0x30, &[&tlv(0x30, &[&point_name("http://ca/1")]), &tlv(0x30, &[&point_name("http://ca/2"), &some])])
}

impl Pki {
    fn new() -> Self {
        let mut params = params("root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let root = params.self_signed(&key).expect("a certificate");
        let mut issuers = CrlIssuers::default();
        issuers.learn(root.der().clone());
        let anchors = tempfile::tempdir().expect("a folder");
        std::fs::write(anchors.path().join("root.pem"), root.pem()).expect("written");
        let mut pki = Self { params, key, issuers, anchors, leaves: Vec::new() };
        pki.leaves = vec![pki.leaf(SERIALS[0], None), pki.leaf(SERIALS[1], Some(points()))];
        pki
    }

    /// A certificate with this value of its CRL distribution points extension.
    pub fn leaf(&self, serial: u8, points: Option<Vec<u8>>) -> Certificate {
        let mut params = params("leaf");
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        params.subject_alt_names = vec![SanType::URI("spiffe://fuzz/leaf".try_into().expect("IA5"))];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let extension = |value| CustomExtension::from_oid_content(&[2, 5, 29, 31], value);
        params.custom_extensions = points.into_iter().map(extension).collect();
        params.signed_by(&self.key, &self.issuer()).expect("a certificate")
    }

    /// What signs with the key of the CA.
    pub fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// A CRL around a `TBSCertList`, signed by the CA.
    pub fn sign(&self, tbs: &[u8]) -> Vec<u8> {
        let signature = self.key.sign(tbs).expect("a signature");
        tlv(0x30, &[tbs, &algorithm(), &tlv(0x03, &[&[0], &signature])])
    }

    /// Trust that looks certificates up in these CRLs.
    pub fn trust(&self) -> Trust {
        let (lists, wanted) = RevocationLists::new();
        let sources = MaterialSources {
            certificate: None,
            private_key: None,
            anchors: vec![self.anchors.path().join("root.pem")],
            intermediates: Vec::new(),
            max_depth: 4,
            revocation: Some(RevocationPolicy {
                grace: Duration::ZERO,
                on_stale: OnUnknown::Deny,
                on_missing: OnUnknown::Deny,
                depth: RevocationDepth::Chain,
            }),
        };
        let (material, _) = TrustMaterial::load_at(&sources, &Arc::clone(&lists), now()).expect("trust");
        Trust { material, wanted }
    }
}

impl Trust {
    /// Replaces the CRLs in use.
    pub fn revoke(&self, index: RevocationIndex) {
        self.material.lists().store(index);
    }

    /// The label of the refusal, if it is refused.
    pub fn refusal(&self, leaf: &Certificate) -> Option<&'static str> {
        let verdict = self.material.verify(leaf.der(), &[], Usage::Client, now());
        verdict.err().map(|refusal: Box<Refusal>| refusal.reason.label())
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2029, 1, 1);
    params.not_after = date_time_ymd(2031, 1, 1);
    params
}
