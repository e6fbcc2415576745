//! Which CRL answers for which certificate: partitions, deltas, certificates without revocation.

use rcgen::{CertificateParams, CrlDistributionPoint, CustomExtension, SerialNumber};

use super::crl_server::CrlServer;
use super::made::{Made, point, tlv};
use super::rig::Rig;
use crate::cert::{Ca, Leaf};

const SERIAL: &[u8] = &[0x4f, 2, 3, 4];
const ON_HOLD: &[u8] = &[0x4f, 9];
const HOLD: Option<u8> = Some(6);
const REMOVE: Option<u8> = Some(8);

fn numbered(ca: &Ca, serial: &[u8], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
    ca.leaf_with("ads", |params| {
        params.serial_number = Some(SerialNumber::from_slice(serial));
        change(params);
    })
}

fn at(url: &str) -> impl FnOnce(&mut CertificateParams) {
    move |params: &mut CertificateParams| {
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![url.to_owned()] }];
    }
}

/// An engine that was given these CRLs, each at an address of its own.
fn given(root: &Ca, crls: &[Made]) -> (Rig, Vec<CrlServer>) {
    let servers: Vec<CrlServer> = crls.iter().map(|crl| CrlServer::of_crl(&crl.signed_by(root))).collect();
    let urls: Vec<String> = servers.iter().map(|server| server.url("/")).collect();
    (Rig::with(&[&root.cert], &urls), servers)
}

#[test]
fn a_partition_answers_for_the_certificates_that_name_it_and_for_no_other() {
    let root = Ca::root("root");
    let one = Made::numbered(1).confined(&point("http://ca/1")).revoking(SERIAL, None);
    let two = Made::numbered(1).confined(&point("http://ca/2"));
    let (rig, _servers) = given(&root, &[one, two]);
    let verdict = |serial, url| rig.verdict(&[&numbered(&root, serial, at(url)).cert]);
    assert_eq!(verdict(SERIAL, "http://ca/1"), "revoked");
    assert_eq!((verdict(&[7], "http://ca/1"), verdict(&[7], "http://ca/2")), ("good", "good"));
    assert_eq!(verdict(&[7], "http://ca/3"), "revocation_unknown", "no partition that is here covers it");
    assert_eq!(rig.verdict(&[&numbered(&root, &[7], |_| {}).cert]), "revocation_unknown", "it names none");
    assert_eq!(verdict(SERIAL, "http://ca/2"), "revoked", "whoever is listed anywhere by the issuer is revoked");
    let scopes: Vec<String> = rig.status().crls.iter().map(|crl| crl.info.scope.clone()).collect();
    assert_eq!(scopes, ["all certificates of http://ca/1", "all certificates of http://ca/2"]);
}

#[test]
fn a_crl_of_ca_certificates_says_nothing_of_end_entities_and_the_other_way_round() {
    let root = Ca::root("root");
    let (users, authorities) = (tlv(0x81, &[0xff]), tlv(0x82, &[0xff]));
    let sub = root.sub_with("sub", |params| params.serial_number = Some(SerialNumber::from_slice(SERIAL)));
    let leaf = numbered(&root, &[7], |_| {});
    let below = sub.leaf("below");
    let (rig, _servers) = given(&root, &[Made::numbered(1).confined(&users)]);
    assert_eq!(rig.verdict(&[&leaf.cert]), "good");
    assert_eq!(rig.verdict(&[&below.cert, &sub.cert]), "revocation_unknown");
    let (rig, _servers) = given(&root, &[Made::numbered(1).confined(&authorities).revoking(SERIAL, None)]);
    assert_eq!(rig.verdict(&[&leaf.cert]), "revocation_unknown");
    // Nothing is known of the leaf, and that its CA is revoked is known.
    let sub_crl = CrlServer::of_crl(&Made::numbered(1).signed_by(&sub));
    let root_crl = CrlServer::of_crl(&Made::numbered(1).confined(&authorities).revoking(SERIAL, None).signed_by(&root));
    let mut rig = Rig::with(&[&root.cert], &[root_crl.url("/"), sub_crl.url("/")]);
    assert_eq!(rig.verdict(&[&below.cert, &sub.cert]), "revocation_unknown");
    rig.hear();
    rig.pass(super::rig::HOUR);
    assert_eq!(rig.verdict(&[&below.cert, &sub.cert]), "revoked");
}

#[test]
fn crls_of_some_reasons_answer_together() {
    let root = Ca::root("root");
    let some = Made::numbered(1).confined(&tlv(0x83, &[5, 0b0110_0000]));
    let rest = Made::numbered(1).confined(&tlv(0x83, &[7, 0b0001_1111, 0b1000_0000]));
    let leaf = numbered(&root, SERIAL, |_| {});
    let (rig, _servers) = given(&root, std::slice::from_ref(&some));
    assert_eq!(rig.verdict(&[&leaf.cert]), "revocation_unknown");
    let (rig, _servers) = given(&root, &[some.clone(), rest.clone()]);
    assert_eq!(rig.verdict(&[&leaf.cert]), "good");
    let (rig, _servers) = given(&root, &[some, rest.revoking(SERIAL, Some(4))]);
    assert_eq!(rig.verdict(&[&leaf.cert]), "revoked");
}

#[test]
fn indirect_and_other_unsupported_crls_are_refused_with_the_section() {
    let root = Ca::root("root");
    let cases = [
        (
            tlv(0x84, &[0xff]),
            "is an indirect CRL (RFC 5280 section 5.2.5), expected one of the issuer's own certificates",
        ),
        (
            tlv(0x85, &[0xff]),
            "covers attribute certificates alone (issuing distribution point, RFC 5280 section 5.2.5), which is not supported",
        ),
        (tlv(0xa0, &tlv(0xa1, &[])), "covers a distribution point named relative to the CRL issuer"),
        (tlv(0xa0, &tlv(0xa0, &[])), "is not a CRL in DER"),
        (
            [tlv(0x81, &[0xff]), tlv(0x82, &[0xff])].concat(),
            "covers user certificates alone and CA certificates alone at once",
        ),
    ];
    for (fields, message) in cases {
        let (rig, _servers) = given(&root, &[Made::numbered(1).confined(&fields)]);
        assert!(rig.error().contains(message), "{}: expected {message}", rig.error());
        assert_eq!(rig.verdict(&[&numbered(&root, SERIAL, |_| {}).cert]), "revocation_unknown");
    }
}

#[test]
fn a_delta_adds_and_releases_what_was_on_hold_and_nothing_else() {
    let root = Ca::root("root");
    let complete = Made::numbered(5).revoking(ON_HOLD, HOLD).revoking(&[0x11], Some(1)).revoking(&[0x12], HOLD);
    let delta = Made::numbered(6)
        .since(5)
        .revoking(SERIAL, Some(1))
        .revoking(ON_HOLD, REMOVE)
        .revoking(&[0x11], REMOVE)
        .revoking(&[0x13], REMOVE);
    let verdicts = |rig: &Rig| {
        let verdict = |serial: &[u8]| rig.verdict(&[&numbered(&root, serial, |_| {}).cert]);
        [SERIAL, ON_HOLD, &[0x11], &[0x12], &[0x13]].map(verdict)
    };
    let (rig, _servers) = given(&root, std::slice::from_ref(&complete));
    assert_eq!(verdicts(&rig), ["good", "revoked", "revoked", "revoked", "good"]);
    for crls in [[complete.clone(), delta.clone()], [delta, complete]] {
        let (mut rig, _servers) = given(&root, &crls);
        // A delta that came before its complete CRL is asked for again.
        rig.pass(super::rig::MINUTE);
        assert_eq!(verdicts(&rig), ["revoked", "good", "revoked", "revoked", "good"]);
    }
}

#[test]
fn a_delta_needs_a_complete_crl_that_is_not_older_than_its_base() {
    let root = Ca::root("root");
    let leaf = numbered(&root, SERIAL, |_| {});
    let delta = Made::numbered(9).since(7).revoking(SERIAL, None);
    let (rig, _servers) = given(&root, std::slice::from_ref(&delta));
    assert!(rig.error().contains("starts from the complete CRL 07, and none is loaded"), "{}", rig.error());
    assert_eq!(rig.verdict(&[&leaf.cert]), "revocation_unknown", "a delta alone clears nobody");
    let (mut rig, servers) = given(&root, &[Made::numbered(6), delta.clone()]);
    rig.pass(super::rig::MINUTE);
    let said = rig.source(1).last_error.expect("an error");
    assert!(said.contains("starts from the complete CRL 07, and 06 is loaded"), "{said}");
    assert_eq!(rig.verdict(&[&leaf.cert]), "good");
    servers[0].answer(super::crl_server::Answer::crl(&Made::numbered(8).signed_by(&root)));
    rig.pass(super::rig::HOUR);
    rig.pass(super::rig::HOUR);
    assert_eq!(rig.verdict(&[&leaf.cert]), "revoked");
    // A complete CRL that is newer than the delta makes it pointless.
    servers[0].answer(super::crl_server::Answer::crl(&Made::numbered(10).signed_by(&root)));
    rig.pass(super::rig::HOUR);
    assert_eq!((rig.numbers(), rig.verdict(&[&leaf.cert])), (vec!["0a".to_owned()], "good"));
}

#[test]
fn a_delta_of_another_scope_is_not_applied() {
    let root = Ca::root("root");
    let complete = Made::numbered(5).revoking(ON_HOLD, HOLD);
    let elsewhere = Made::numbered(6).since(5).confined(&point("http://ca/1")).revoking(ON_HOLD, REMOVE);
    let (rig, _servers) = given(&root, &[complete, elsewhere]);
    assert_eq!(rig.verdict(&[&numbered(&root, ON_HOLD, |_| {}).cert]), "revoked");
}

#[test]
fn a_fresh_delta_keeps_a_complete_crl_in_service() {
    let root = Ca::root("root");
    let complete = Made::numbered(5).times(-7200, 600);
    let delta = Made::numbered(6).since(5).times(-3600, 5 * 3600);
    let (mut rig, servers) = given(&root, &[complete, delta]);
    // A delta that came before its complete CRL is asked for again.
    rig.pass(super::rig::MINUTE);
    for server in &servers {
        server.answer(super::crl_server::Answer::Silence);
    }
    rig.now += 3 * super::rig::HOUR;
    assert_eq!(rig.verdict(&[&numbered(&root, SERIAL, |_| {}).cert]), "good");
    rig.now += 4 * super::rig::HOUR;
    assert_eq!(rig.verdict(&[&numbered(&root, SERIAL, |_| {}).cert]), "revocation_stale");
}

#[test]
fn a_certificate_whose_ca_publishes_no_revocation_needs_no_crl() {
    let root = Ca::root("root");
    let none = |params: &mut CertificateParams| {
        let extension = CustomExtension::from_oid_content(&[2, 5, 29, 56], vec![5, 0]);
        params.custom_extensions = vec![extension];
    };
    let rig = Rig::with(&[&root.cert], &["http://127.0.0.1:9/ca.crl".to_owned()]);
    assert_eq!(rig.verdict(&[&numbered(&root, SERIAL, none).cert]), "good");
    assert_eq!(rig.verdict(&[&numbered(&root, SERIAL, |_| {}).cert]), "revocation_unknown");
    let contradictory = |params: &mut CertificateParams| {
        none(params);
        at("http://ca/1")(params);
    };
    assert_eq!(rig.verdict(&[&numbered(&root, SERIAL, contradictory).cert]), "revocation_unknown");
    let sub = root.sub_with("sub", none);
    let below = numbered(&sub, SERIAL, none);
    assert_eq!(rig.verdict(&[&below.cert, &sub.cert]), "revocation_unknown", "a CA cannot say so of itself");
    let (rig, _servers) = given(&root, &[Made::numbered(1).revoking(SERIAL, None)]);
    assert_eq!(
        rig.verdict(&[&numbered(&root, SERIAL, none).cert]),
        "revoked",
        "what is listed is revoked all the same"
    );
}
