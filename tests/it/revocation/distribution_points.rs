//! Distribution points: learnt from verified paths alone, from hosts that may be asked, and not too many.

use mantlet::config::Revocation;
use rcgen::{Certificate, CertificateParams, CrlDistributionPoint, SerialNumber};

use super::crl_server::{Answer, CrlServer};
use super::made::{FRESHEST_CRL, Made, point, sequence};
use super::rig::{HOUR, Rig, located};
use crate::cert::{Ca, Leaf};

const SERIAL: &[u8] = &[0x4f, 2, 3, 4];

fn at(url: &str) -> impl FnOnce(&mut CertificateParams) {
    move |params: &mut CertificateParams| {
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![url.to_owned()] }];
        params.serial_number = Some(SerialNumber::from_slice(SERIAL));
    }
}

fn learning(anchors: &[&Certificate], change: impl FnOnce(&mut Revocation)) -> Rig {
    let mut settings = Revocation { distribution_points: true, ..Revocation::of([]) };
    change(&mut settings);
    let mut rig = Rig::new(anchors, settings);
    rig.start();
    rig
}

#[test]
fn the_first_peer_of_an_unknown_ca_is_refused_until_its_crl_is_there() {
    let root = Ca::root("root");
    let server = CrlServer::of_crl(&Made::numbered(1).signed_by(&root));
    let leaf = root.leaf_with("ads", at(&server.url("/ca.crl")));
    let mut rig = learning(&[&root.cert], |_| {});
    assert_eq!(rig.verdict(&[&leaf.cert]), "revocation_unknown");
    rig.hear();
    assert_eq!((rig.verdict(&[&leaf.cert]), rig.source(0).kind), ("good", "distribution_point"));
    server.answer(Answer::crl(&Made::numbered(2).revoking(SERIAL, None).signed_by(&root)));
    rig.pass(HOUR);
    assert_eq!(rig.verdict(&[&leaf.cert]), "revoked", "it is asked again like any other");
}

#[test]
fn nothing_is_asked_for_a_certificate_that_leads_to_no_anchor() {
    let (root, stranger, namesake) = (Ca::root("root"), Ca::root("stranger"), Ca::root("root"));
    let server = CrlServer::of_crl(&Made::numbered(1).signed_by(&stranger));
    let rig = learning(&[&root.cert], |_| {});
    for ca in [&stranger, &namesake] {
        let leaf = ca.leaf_with("ads", at(&server.url("/")));
        assert_ne!(rig.verdict(&[&leaf.cert, &ca.cert]), "good");
    }
    let mut rig = rig;
    rig.pass(HOUR);
    assert_eq!((server.requests().len(), rig.status().sources.len()), (0, 0));
}

#[test]
fn hosts_off_the_list_are_not_asked_nor_redirected_to() {
    let root = Ca::root("root");
    let elsewhere = CrlServer::of_crl(&Made::numbered(1).signed_by(&root));
    let to = |server: &CrlServer, host: &str| server.url("/ca.crl").replace("127.0.0.1", host);
    let listed =
        CrlServer::start(Answer::Status("302 Found", format!("location: {}\r\n", to(&elsewhere, "127.0.0.1"))));
    let mut rig =
        learning(&[&root.cert], |settings| settings.distribution_point_hosts = vec![located("localhost".to_owned())]);
    assert_eq!(rig.verdict(&[&root.leaf_with("ads", at(&to(&elsewhere, "127.0.0.1"))).cert]), "revocation_unknown");
    rig.hear();
    assert_eq!(rig.status().sources.len(), 0);
    assert_eq!(rig.verdict(&[&root.leaf_with("ads", at(&to(&listed, "LOCALHOST"))).cert]), "revocation_unknown");
    rig.hear();
    let said = rig.error();
    assert!(
        said.contains("redirects: to \"127.0.0.1\", which is not among revocation.distribution_point_hosts"),
        "{said}"
    );
    assert_eq!(elsewhere.requests().len(), 0);
}

#[test]
fn without_the_option_nothing_is_asked() {
    let root = Ca::root("root");
    let server = CrlServer::of_crl(&Made::numbered(1).signed_by(&root));
    let mut rig = learning(&[&root.cert], |settings| settings.distribution_points = false);
    assert_eq!(rig.verdict(&[&root.leaf_with("ads", at(&server.url("/"))).cert]), "revocation_unknown");
    rig.hear();
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn the_crl_of_an_intermediate_that_only_peers_present_is_verified_with_the_key_that_was_learnt() {
    let root = Ca::root("root");
    let sub_server = CrlServer::start(Answer::Silence);
    let root_server = CrlServer::of_crl(&Made::numbered(1).signed_by(&root));
    let sub = root.sub_with("sub", at(&root_server.url("/root.crl")));
    sub_server.answer(Answer::crl(&Made::numbered(1).signed_by(&sub)));
    let leaf: Leaf = sub.leaf_with("ads", at(&sub_server.url("/sub.crl")));
    let mut rig = learning(&[&root.cert], |_| {});
    let chain = [&leaf.cert, &sub.cert];
    for _ in 0..2 {
        assert_eq!(rig.verdict(&chain), "revocation_unknown");
        rig.hear();
    }
    assert_eq!(rig.verdict(&chain), "good");
    sub_server.answer(Answer::crl(&Made::numbered(2).revoking(SERIAL, None).signed_by(&sub)));
    rig.pass(HOUR);
    assert_eq!(rig.verdict(&chain), "revoked");
}

#[test]
fn there_are_not_too_many_of_them() {
    let root = Ca::root("root");
    let mut rig = learning(&[&root.cert], |settings| settings.fetch_timeout = std::time::Duration::from_secs(1));
    let server = CrlServer::start(Answer::Status("404 Not Found", String::new()));
    for number in 0..300 {
        let leaf = root.leaf_with("ads", at(&server.url(&format!("/{number}.crl"))));
        assert_eq!(rig.verdict(&[&leaf.cert]), "revocation_unknown");
        rig.hear();
    }
    assert_eq!(rig.status().sources.len(), 128);
}

#[test]
fn the_delta_crl_that_a_complete_one_points_to_is_fetched() {
    let root = Ca::root("root");
    let delta = CrlServer::of_crl(&Made::numbered(2).since(1).revoking(SERIAL, None).signed_by(&root));
    let freshest = sequence(&sequence(&point(&delta.url("/delta.crl"))));
    let server = CrlServer::of_crl(&Made::numbered(1).with_extension(FRESHEST_CRL, false, &freshest).signed_by(&root));
    let mut rig = learning(&[&root.cert], |_| {});
    let leaf = root.leaf_with("ads", at(&server.url("/ca.crl")));
    assert_eq!(rig.verdict(&[&leaf.cert]), "revocation_unknown");
    rig.hear();
    assert_eq!((rig.numbers(), rig.verdict(&[&leaf.cert])), (vec!["01".to_owned(), "02".to_owned()], "revoked"));
}
