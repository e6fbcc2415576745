//! Inputs to begin with: one for each thing that a CRL or a distribution point may say.

use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, KeyIdMethod,
    RevocationReason, RevokedCertParams, SerialNumber, date_time_ymd,
};

use crate::der::tlv;
use crate::pki::{PKI, SERIALS, algorithm, issuer, point_name, points};

/// A `TBSCertList` in the making.
struct Tbs {
    number: u8,
    entries: Vec<Vec<u8>>,
    extensions: Vec<Vec<u8>>,
}

/// Whole files for the target `crl`: DER and PEM, one and several.
pub fn files() -> Vec<Vec<u8>> {
    let lists = lists();
    let mut files: Vec<Vec<u8>> = lists.iter().flatten().map(|tbs| PKI.sign(tbs)).collect();
    let ours = [made_by_rcgen(false), made_by_rcgen(true)];
    files.extend(ours.iter().map(|crl| crl.der().to_vec()));
    let pem: String = ours.iter().map(|crl| crl.pem().expect("PEM")).collect();
    files.push(pem.into_bytes());
    files
}

/// `TBSCertList`s for the target `signed_crl`: each list is offered in its order.
pub fn lists() -> Vec<Vec<Vec<u8>>> {
    let [first, second] = SERIALS;
    let delta = |number| extension(0x1b, true, &tlv(0x02, &[&[number]]));
    let scope = |fields: &[&[u8]]| extension(0x1c, true, &tlv(0x30, fields));
    let some_reasons = tlv(0x83, &[&[5, 0b0110_0000]]);
    let other_reasons = tlv(0x83, &[&[7, 0b0001_1111, 0b1000_0000]]);
    let freshest = extension(0x2e, false, &points());
    let entry_extension = |value: &[u8]| extension(0x18, false, &tlv(0x18, &[value]));
    vec![
        vec![Tbs::new(1).build()],
        vec![
            Tbs::new(1).entry(first, Some(1), &[]).entry(second, None, &[&entry_extension(b"20290101000000Z")]).build(),
        ],
        // A hold that a delta takes back, and one that it adds.
        vec![
            Tbs::new(1).entry(first, Some(6), &[]).extension(freshest.clone()).build(),
            Tbs::new(2).entry(first, Some(8), &[]).entry(second, Some(6), &[]).extension(delta(1)).build(),
        ],
        // Partitions by point and by reasons, and one of each kind of certificate.
        vec![
            Tbs::new(1).extension(scope(&[&point_name("http://ca/1")])).entry(second, Some(4), &[]).build(),
            Tbs::new(1).extension(scope(&[&point_name("http://ca/2"), &some_reasons])).build(),
        ],
        vec![
            Tbs::new(1).extension(scope(&[&some_reasons])).build(),
            Tbs::new(1).extension(scope(&[&other_reasons])).build(),
        ],
        vec![
            Tbs::new(1).extension(scope(&[&tlv(0x81, &[&[0xff]])])).build(),
            Tbs::new(1).extension(scope(&[&tlv(0x82, &[&[0xff]])])).build(),
        ],
        // What goes on, and what goes back.
        vec![Tbs::new(3).build(), Tbs::new(9).entry(first, Some(9), &[]).build(), Tbs::new(2).build()],
        vec![Tbs::new(1).extension(scope(&[&tlv(0x84, &[&[0xff]])])).build()],
        vec![Tbs::new(1).extension(scope(&[&tlv(0x85, &[&[0xff]])])).build()],
    ]
}

/// The CRLs of two distribution points.
pub fn partitions() -> Vec<Vec<u8>> {
    let scope = |url: &str| extension(0x1c, true, &tlv(0x30, &[&point_name(url)]));
    ["http://ca/1", "http://ca/2"].map(|url| Tbs::new(1).extension(scope(url)).build()).into()
}

/// Values of the extension for the target `distribution_points`.
pub fn distribution_points() -> Vec<Vec<u8>> {
    let one = |fields: &[&[u8]]| tlv(0x30, &[&tlv(0x30, fields)]);
    let relative = tlv(0xa0, &[&tlv(0xa1, &[&tlv(0x31, &[])])]);
    let directory = tlv(0xa0, &[&tlv(0xa0, &[&tlv(0xa4, &[&issuer()])])]);
    let indirect = tlv(0xa2, &[&tlv(0xa4, &[&issuer()])]);
    vec![
        points(),
        one(&[&point_name("https://user:password@[::1]:8443/ca.crl?x=1#y")]),
        one(&[&point_name("ldap://ca/cn=root"), &tlv(0x81, &[&[0, 0xff]])]),
        one(&[&relative]),
        one(&[&directory]),
        one(&[&point_name("http://ca/1"), &indirect]),
        tlv(0x30, &[]),
    ]
}

fn made_by_rcgen(is_partition: bool) -> rcgen::CertificateRevocationList {
    let point = CrlIssuingDistributionPoint {
        distribution_point: CrlDistributionPoint { uris: vec!["http://ca/1".to_owned()] },
        scope: Some(CrlScope::UserCertsOnly),
    };
    let revoked = |number: u8| RevokedCertParams {
        serial_number: SerialNumber::from_slice(&[number; 16]),
        revocation_time: date_time_ymd(2029, 6, 1),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: Some(date_time_ymd(2029, 5, 1)),
    };
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2029, 12, 31),
        next_update: date_time_ymd(2050, 1, 2),
        crl_number: SerialNumber::from(7),
        issuing_distribution_point: Some(point).filter(|_| is_partition),
        revoked_certs: (1..4).map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&PKI.issuer()).expect("a CRL")
}

impl Tbs {
    fn new(number: u8) -> Self {
        let number_extension = extension(0x14, false, &tlv(0x02, &[&[number]]));
        Self { number, entries: Vec::new(), extensions: vec![number_extension] }
    }

    fn entry(mut self, serial: u8, reason: Option<u8>, more: &[&[u8]]) -> Self {
        let reason = reason.map(|code| extension(0x15, false, &tlv(0x0a, &[&[code]])));
        let extensions: Vec<&[u8]> = reason.as_deref().into_iter().chain(more.iter().copied()).collect();
        let extensions = if extensions.is_empty() { Vec::new() } else { tlv(0x30, &extensions) };
        self.entries.push(tlv(0x30, &[&tlv(0x02, &[&[serial]]), &tlv(0x17, &[b"290601000000Z"]), &extensions]));
        self
    }

    fn extension(mut self, extension: Vec<u8>) -> Self {
        self.extensions.push(extension);
        self
    }

    fn build(self) -> Vec<u8> {
        // A CRL with a higher number is issued later.
        let this_update = format!("2912310000{:02}Z", self.number);
        let entries = if self.entries.is_empty() { Vec::new() } else { tlv(0x30, &[&self.entries.concat()]) };
        let fields: [&[u8]; 7] = [
            &tlv(0x02, &[&[1]]),
            &algorithm(),
            &issuer(),
            &tlv(0x17, &[this_update.as_bytes()]),
            &tlv(0x18, &[b"20300102000000Z"]),
            &entries,
            &tlv(0xa0, &[&tlv(0x30, &[&self.extensions.concat()])]),
        ];
        tlv(0x30, &fields)
    }
}

/// An extension of the arc 2.5.29.
fn extension(last_arc: u8, is_critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if is_critical { tlv(0x01, &[&[0xff]]) } else { Vec::new() };
    tlv(0x30, &[&tlv(0x06, &[&[0x55, 0x1d, last_arc]]), &critical, &tlv(0x04, &[value])])
}
