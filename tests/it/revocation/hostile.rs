//! CRLs and CAs that mean ill, or that break the profile: none is used, and none takes a good one's place.

use rcgen::{CertificateParams, KeyUsagePurpose, SerialNumber, date_time_ymd};

use super::crl_server::{Answer, CrlServer};
use super::made::{CRL_NUMBER, Made, entry, extension, sequence, tlv};
use super::rig::{HOUR, Rig};
use crate::cert::Ca;

const SERIAL: &[u8] = &[0x4f, 2, 3, 4];

/// Offers these octets to an engine that holds a CRL which lists one certificate; why they are refused.
fn refused(root: &Ca, octets: &[u8]) -> String {
    let server = CrlServer::of_crl(&Made::numbered(1).revoking(SERIAL, None).signed_by(root));
    let mut rig = Rig::with(&[&root.cert], &[server.url("/")]);
    server.answer(Answer::crl(octets));
    rig.pass(HOUR);
    let leaf = root.leaf_with("ads", |params| params.serial_number = Some(SerialNumber::from_slice(SERIAL)));
    assert_eq!((rig.numbers(), rig.verdict(&[&leaf.cert])), (vec!["01".to_owned()], "revoked"), "the good one stays");
    rig.error()
}

#[test]
fn what_breaks_the_profile_is_refused_with_the_section() {
    let root = Ca::root("root");
    let critical = |oid: &[u8]| sequence(&extension(oid, true, &[5, 0]));
    let good = Made::numbered(2);
    let cases = [
        (good.clone().without_number(), "has no CRL number (RFC 5280 section 5.2.3)"),
        (
            good.clone().with_number(&[0xff]),
            "has a CRL number that is negative or longer than 20 octets (RFC 5280 section 5.2.3)",
        ),
        (
            good.clone().with_number(&[1; 22]),
            "has a CRL number that is negative or longer than 20 octets (RFC 5280 section 5.2.3)",
        ),
        (good.clone().times(-3600, -7200), "has its nextUpdate, 2029-12-31T22:00:00Z, before its thisUpdate"),
        (
            good.clone().with_extension(&[0x2a, 3], true, &[5, 0]),
            "has the critical extension 1.2.3, which is not understood (RFC 5280 section 5.2)",
        ),
        (good.clone().with_extension(CRL_NUMBER, false, &tlv(0x02, &[9])), "has the extension 2.5.29.20 twice"),
        (
            good.clone().with_entries(&entry(&[1; 22], &[])),
            "lists a serial number of 22 octets, expected 1 to 20 (RFC 5280 section 4.1.2.2)",
        ),
        (good.clone().with_entries(&entry(&[], &[])), "lists a serial number of 0 octets"),
        (
            good.clone().with_entries(&entry(&[7], &critical(&[0x2a, 3]))),
            "has the critical extension 1.2.3, which is not understood",
        ),
        (
            good.clone().with_entries(&entry(&[7], &critical(&[0x55, 0x1d, 0x1d]))),
            "is an indirect CRL (RFC 5280 section 5.2.5)",
        ),
        (
            good.clone()
                .with_entries(&entry(&[7], &sequence(&extension(&[0x55, 0x1d, 0x15], false, &tlv(0x0a, &[1, 2]))))),
            "ill-formed reason code (RFC 5280 section 5.3.1)",
        ),
        (
            good.clone().with_entries(&sequence(&[tlv(0x02, &[7]), tlv(0x17, b"not a date, at all")].concat())),
            "is not a CRL in DER",
        ),
        (good.clone().with_entries(&tlv(0x02, &[7])), "is not a CRL in DER"),
    ];
    for (crl, message) in cases {
        let said = refused(&root, &crl.signed_by(&root));
        assert!(said.contains(message), "{said}: expected {message}");
    }
}

#[test]
fn asn1_that_goes_deep_is_not_followed() {
    let root = Ca::root("root");
    let nest = |depth: usize| (0..depth).fold(Vec::new(), |inner, _| tlv(0x30, &inner));
    let crl = Made::numbered(2).with_extension(&[0x2a, 3], true, &nest(20_000)).signed_by(&root);
    assert!(refused(&root, &crl).contains("critical extension 1.2.3"));
    assert!(refused(&root, &nest(50_000)).contains("is not a CRL in DER"));
}

#[test]
fn negative_zero_duplicate_and_unsorted_serial_numbers_are_looked_up() {
    let root = Ca::root("root");
    let crl = Made::numbered(1)
        .revoking(&[0x80], None)
        .revoking(&[0], None)
        .revoking(SERIAL, Some(6))
        .revoking(SERIAL, Some(1))
        .revoking(&[0, 0x90], Some(200))
        .signed_by(&root);
    let server = CrlServer::of_crl(&crl);
    let rig = Rig::with(&[&root.cert], &[server.url("/")]);
    assert_eq!(rig.crl().info.entries, 4);
    let verdict = |serial: &[u8]| {
        let leaf = root.leaf_with("ads", |params| params.serial_number = Some(SerialNumber::from_slice(serial)));
        rig.verdict(&[&leaf.cert])
    };
    assert_eq!([verdict(SERIAL), verdict(&[0x90]), verdict(&[0x91])], ["revoked", "revoked", "good"]);
}

#[test]
fn a_crl_that_a_leaf_signed_is_refused() {
    let root = Ca::root("root");
    let leaf = root.leaf_with("root", |params| params.key_usages.push(KeyUsagePurpose::CrlSign));
    let forger = Ca { params: root.params.clone(), key: leaf.key, cert: leaf.cert };
    let said = refused(&root, &Made::numbered(2).signed_by(&forger));
    assert!(said.contains("is signed by another key than that of \"CN=root\" known here"), "{said}");
}

#[test]
fn a_crl_of_an_intermediate_without_crl_sign_is_refused() {
    let root = Ca::root("root");
    let server = CrlServer::of_crl(&Made::numbered(1).signed_by(&root));
    let sub =
        root.sub_with("sub", |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    let sub_server = CrlServer::of_crl(&Made::numbered(1).signed_by(&sub));
    let mut rig = Rig::with(&[&root.cert], &[server.url("/"), sub_server.url("/")]);
    let leaf = sub.leaf("ads");
    assert_eq!(rig.verdict(&[&leaf.cert, &sub.cert]), "revocation_unknown");
    rig.hear();
    rig.pass(HOUR);
    let said = rig.source(1).last_error.expect("an error");
    assert!(said.contains("whose key usage does not include cRLSign (RFC 5280 section 4.2.1.3)"), "{said}");
    assert_eq!(rig.verdict(&[&leaf.cert, &sub.cert]), "revocation_unknown");
}

#[test]
fn a_crl_of_an_issuer_whose_certificate_has_ended_is_refused() {
    let ended = Ca::root_with("root", |params| params.not_after = date_time_ymd(2029, 12, 1));
    let valid = Ca::root("valid");
    let server = CrlServer::of_crl(&Made::numbered(1).signed_by(&ended));
    let rig = Rig::with(&[&ended.cert, &valid.cert], &[server.url("/")]);
    assert!(rig.error().contains("whose certificate is valid until 2029-12-01T00:00:00Z only"), "{}", rig.error());
}

#[test]
fn the_crl_of_a_namesake_neither_clears_nor_condemns() {
    let (ours, theirs) = (Ca::root("root"), Ca::root("root"));
    let server = CrlServer::of_crl(&Made::numbered(1).signed_by(&theirs));
    let rig = Rig::with(&[&ours.cert, &theirs.cert], &[server.url("/")]);
    let leaf = |ca: &Ca| ca.leaf_with("ads", |params| params.serial_number = Some(SerialNumber::from_slice(SERIAL)));
    assert_eq!(rig.verdict(&[&leaf(&ours).cert]), "revocation_unknown");
    assert_eq!(rig.verdict(&[&leaf(&theirs).cert]), "good");
}

#[test]
fn ten_million_entries_are_more_than_are_taken_and_half_a_million_are_not() {
    let root = Ca::root("root");
    let serial = |number: u32| [&[0x41][..], &number.to_be_bytes()].concat();
    let entries = |count: u32| (0..count).flat_map(|number| entry(&serial(number), &[])).collect::<Vec<u8>>();
    let many = Made::numbered(1).with_entries(&entries(500_000)).signed_by(&root);
    let server = CrlServer::of_crl(&many);
    let mut rig = Rig::with(&[&root.cert], &[server.url("/")]);
    assert_eq!(rig.crl().info.entries, 500_000);
    let leaf = root.leaf_with("ads", |params| params.serial_number = Some(SerialNumber::from_slice(&serial(77_777))));
    assert_eq!(rig.verdict(&[&leaf.cert]), "revoked");
    // Its length alone is enough to refuse ten million.
    let length = 10_000_000 * many.len() / 500_000;
    server.answer(Answer::Raw(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes()));
    rig.pass(HOUR);
    assert!(rig.error().contains("is larger than 134217728 bytes"), "{}", rig.error());
    assert_eq!(rig.verdict(&[&leaf.cert]), "revoked");
}
