//! Every reason for which a path is refused, and the paths that are good.

use std::time::Duration;

use mantlet::x509::{RefusalReason, TrustMaterial, Usage};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize,
    SubjectPublicKeyInfo, date_time_ymd,
};
use rustls_pki_types::CertificateDer;

use super::pki::{Ca, Folder, dns, now, refused, spiffe, verdict, verdict_at};

fn trusting(root: &Ca) -> TrustMaterial {
    Folder::trusting(&[&root.cert]).material()
}

#[test]
fn a_chain_over_presented_intermediates_gives_its_path() {
    let root = Ca::root("root");
    let outer = root.sub("outer");
    let inner = outer.sub("inner");
    let leaf = inner.leaf("ads");
    let path = verdict(&trusting(&root), &leaf.cert, &[&outer.cert, &inner.cert]).expect("trusted");
    let intermediates: Vec<_> = path.intermediates.iter().map(|info| info.subject.as_str()).collect();
    assert_eq!((path.end_entity.subject.as_str(), path.anchor.subject.as_str()), ("CN=ads", "CN=root"));
    assert_eq!(intermediates, ["CN=inner", "CN=outer"]);
    assert_eq!(path.end_entity.names.to_string(), "spiffe://fm/ads");
}

#[test]
fn an_intermediate_that_the_peer_left_out_is_taken_from_the_configuration() {
    let root = Ca::root("root");
    let sub = root.sub("sub");
    let leaf = sub.leaf("ads");
    assert_eq!(refused(verdict(&trusting(&root), &leaf.cert, &[])).0, "unknown_issuer");
    let material = Folder::trusting(&[&root.cert]).intermediates(&[&sub.cert]).material();
    assert!(verdict(&material, &leaf.cert, &[]).is_ok());
}

#[test]
fn the_accepted_kinds_of_keys_are_accepted() {
    let root = Ca::self_signed("root", KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("key"), |_| {});
    let sub = root.certify("sub", KeyPair::generate_for(&PKCS_ED25519).expect("key"), |_| {});
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("key");
    let rsa_sub = sub.certify("rsa", rsa, |_| {});
    let leaf = rsa_sub.leaf("ads");
    assert!(verdict(&trusting(&root), &leaf.cert, &[&sub.cert, &rsa_sub.cert]).is_ok());
}

#[test]
fn expired_leaf_is_refused_with_the_date() {
    let root = Ca::root("root");
    let leaf = root.leaf_with("ads", |params| params.not_after = date_time_ymd(2029, 12, 1));
    let (label, text) = refused(verdict(&trusting(&root), &leaf.cert, &[]));
    assert_eq!(label, "expired");
    assert_eq!(text, "the certificate of \"CN=ads\" expired 2029-12-01T00:00:00Z");
}

#[test]
fn a_certificate_is_valid_through_its_last_second() {
    let root = Ca::root("root");
    let leaf = root.leaf_with("ads", |params| params.not_after = date_time_ymd(2030, 1, 1));
    let material = trusting(&root);
    let at = |offset| verdict_at(&material, &leaf.cert, &[], Usage::Client, now() + offset);
    assert!(at(Duration::from_millis(999)).is_ok());
    assert!(matches!(at(Duration::from_secs(1)), Err(RefusalReason::Expired { .. })));
}

#[test]
fn expired_intermediate_is_named() {
    let root = Ca::root("root");
    let sub = root.sub_with("sub", |params| params.not_after = date_time_ymd(2029, 12, 1));
    let leaf = sub.leaf("ads");
    let (_, text) = refused(verdict(&trusting(&root), &leaf.cert, &[&sub.cert]));
    assert_eq!(text, "the certificate of \"CN=sub\" expired 2029-12-01T00:00:00Z");
}

#[test]
fn a_leaf_from_the_future_is_refused_with_the_clock_in_the_hint() {
    let root = Ca::root("root");
    let leaf = root.leaf_with("ads", |params| params.not_before = date_time_ymd(2030, 6, 1));
    let reason = verdict(&trusting(&root), &leaf.cert, &[]).expect_err("refused");
    assert_eq!(reason.label(), "not_yet_valid");
    assert!(reason.hint().contains("clock skew"));
    assert!(reason.to_string().contains("2030-06-01T00:00:00Z"));
}

#[test]
fn an_unknown_issuer_is_named_beside_the_anchors() {
    let root = Ca::root("root");
    let stranger = Ca::root("stranger");
    let (label, text) = refused(verdict(&trusting(&root), &stranger.leaf("ads").cert, &[]));
    assert_eq!(label, "unknown_issuer");
    assert_eq!(text, "the issuer \"CN=stranger\" is neither a trust anchor nor leads to one; trusted: \"CN=root\"");
}

#[test]
fn a_presented_root_is_not_trusted_for_being_presented() {
    let root = Ca::root("root");
    let stranger = Ca::root("stranger");
    let verdict = verdict(&trusting(&root), &stranger.leaf("ads").cert, &[&stranger.cert]);
    assert_eq!(refused(verdict).0, "unknown_issuer");
}

#[test]
fn a_ca_of_the_same_name_with_another_key_is_refused() {
    let root = Ca::root("root");
    let impostor = Ca::root("root");
    let (label, text) = refused(verdict(&trusting(&root), &impostor.leaf("ads").cert, &[]));
    assert_eq!(label, "bad_signature");
    assert_eq!(text, "the certificate of \"CN=ads\" was not signed by the key of \"CN=root\" that is known here");
}

#[test]
fn the_other_of_two_anchors_with_one_name_is_found() {
    let old = Ca::root("root");
    let new = Ca::root("root");
    let material = Folder::trusting(&[&old.cert, &new.cert]).material();
    assert!(verdict(&material, &new.leaf("ads").cert, &[]).is_ok());
    assert!(verdict(&material, &old.leaf("ads").cert, &[]).is_ok());
}

#[test]
fn an_expired_anchor_does_not_hide_its_successor_of_the_same_key() {
    let key = || KeyPair::from_pem(include_key()).expect("key");
    let expired = Ca::self_signed("root", key(), |params| params.not_after = date_time_ymd(2029, 12, 1));
    let renewed = Ca::self_signed("root", key(), |_| {});
    let other = Ca::root("other");
    let leaf = renewed.leaf("ads");
    let both = Folder::trusting(&[&expired.cert, &renewed.cert]).material();
    let path = verdict(&both, &leaf.cert, &[]).expect("trusted");
    assert_eq!(path.anchor.not_after, std::time::SystemTime::from(date_time_ymd(2031, 1, 1)));
    let (label, text) = refused(verdict(&Folder::trusting(&[&expired.cert, &other.cert]).material(), &leaf.cert, &[]));
    assert_eq!(label, "anchor_expired");
    assert!(text.contains("2029-12-01T00:00:00Z"), "{text}");
}

fn include_key() -> &'static str {
    static KEY: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    KEY.get_or_init(|| KeyPair::generate().expect("key").serialize_pem())
}

#[test]
fn a_usage_that_the_extended_key_usage_lacks_is_refused() {
    let root = Ca::root("root");
    let leaf = root.leaf_with("ads", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let material = trusting(&root);
    assert!(verdict_at(&material, &leaf.cert, &[], Usage::Server, now()).is_ok());
    let (label, text) = refused(verdict(&material, &leaf.cert, &[]));
    assert_eq!(
        (label, text.as_str()),
        ("wrong_usage", "the extended key usage of \"CN=ads\" does not include clientAuth")
    );
    let any = root.leaf_with("ads", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]);
    assert_eq!(refused(verdict(&material, &any.cert, &[])).0, "wrong_usage");
    let absent = root.leaf_with("ads", |params| params.extended_key_usages = Vec::new());
    assert!(verdict(&material, &absent.cert, &[]).is_ok());
}

#[test]
fn the_extended_key_usage_of_cas_and_anchors_confines_what_is_below() {
    let root = Ca::root("root");
    let sub = root.sub_with("sub", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let (_, text) = refused(verdict(&trusting(&root), &sub.leaf("ads").cert, &[&sub.cert]));
    assert_eq!(text, "the extended key usage of \"CN=sub\" does not include clientAuth");
    let root =
        Ca::root_with("servers", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let (_, text) = refused(verdict(&trusting(&root), &root.leaf("ads").cert, &[]));
    assert_eq!(text, "the extended key usage of \"CN=servers\" does not include clientAuth");
}

#[test]
fn key_usage_is_enforced_on_every_certificate_of_the_path() {
    let root = Ca::root("root");
    let material = trusting(&root);
    let leaf = root.leaf_with("ads", |params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]);
    let (label, text) = refused(verdict(&material, &leaf.cert, &[]));
    assert_eq!((label, text.as_str()), ("key_usage", "the key usage of \"CN=ads\" does not include digitalSignature"));
    let sub = root.sub_with("sub", |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    let (label, text) = refused(verdict(&material, &sub.leaf("ads").cert, &[&sub.cert]));
    assert_eq!((label, text.as_str()), ("key_usage", "the key usage of \"CN=sub\" does not include keyCertSign"));
}

#[test]
fn dns_name_constraints_are_enforced() {
    let root = Ca::root("root");
    let sub = root.sub_with("sub", |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("internal".into())],
            excluded_subtrees: Vec::new(),
        });
    });
    let material = trusting(&root);
    let inside = sub.leaf_with("ads", |params| params.subject_alt_names = vec![dns("ads.internal")]);
    assert!(verdict(&material, &inside.cert, &[&sub.cert]).is_ok());
    let outside = sub.leaf_with("ads", |params| params.subject_alt_names = vec![dns("ads.example")]);
    assert_eq!(refused(verdict(&material, &outside.cert, &[&sub.cert])).0, "name_constraint");
}

/// `permittedSubtrees { uniformResourceIdentifier "fm" }`, which rcgen cannot write.
fn uri_constraint() -> CustomExtension {
    let mut extension =
        CustomExtension::from_oid_content(&[2, 5, 29, 30], b"\x30\x08\xa0\x06\x30\x04\x86\x02fm".to_vec());
    extension.set_criticality(true);
    extension
}

#[test]
fn a_uri_name_constraint_refuses_every_uri_rather_than_being_ignored() {
    let root = Ca::root("root");
    let sub = root.sub_with("sub", |params| params.custom_extensions = vec![uri_constraint()]);
    let material = trusting(&root);
    let reason = verdict(&material, &sub.leaf("ads").cert, &[&sub.cert]).expect_err("refused");
    assert_eq!(reason.label(), "name_constraint");
    assert!(reason.hint().contains("URI"));
    let without_uri = sub.leaf_with("ads", |params| params.subject_alt_names = vec![dns("ads.internal")]);
    assert!(verdict(&material, &without_uri.cert, &[&sub.cert]).is_ok());
}

#[test]
fn name_constraints_of_the_anchor_count() {
    let root = Ca::root_with("root", |params| params.custom_extensions = vec![uri_constraint()]);
    assert_eq!(refused(verdict(&trusting(&root), &root.leaf("ads").cert, &[])).0, "name_constraint");
}

#[test]
fn path_length_is_limited_by_cas_anchors_and_configuration() {
    let constrained = |params: &mut rcgen::CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let root = Ca::root("root");
    let outer = root.sub_with("outer", constrained);
    let inner = outer.sub("inner");
    let leaf = inner.leaf("ads");
    let (label, text) = refused(verdict(&trusting(&root), &leaf.cert, &[&outer.cert, &inner.cert]));
    assert_eq!(
        (label, text.as_str()),
        ("path_too_long", "the path has more intermediates than the 0 that CN=outer allows")
    );

    let root = Ca::root_with("root", constrained);
    let sub = root.sub("sub");
    let (label, _) = refused(verdict(&trusting(&root), &sub.leaf("ads").cert, &[&sub.cert]));
    assert_eq!(label, "path_too_long");
    assert!(verdict(&trusting(&root), &root.leaf("ads").cert, &[]).is_ok());

    let root = Ca::root("root");
    let sub = root.sub("sub");
    let mut folder = Folder::trusting(&[&root.cert]);
    folder.sources.max_depth = 0;
    let (_, text) = refused(verdict(&folder.material(), &sub.leaf("ads").cert, &[&sub.cert]));
    assert_eq!(text, "the path has more intermediates than the 0 that trust.max_depth allows");
}

#[test]
fn a_leaf_cannot_issue() {
    let root = Ca::root("root");
    let fake = root.sub_with("leaf", |params| {
        params.is_ca = IsCa::NoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    let (label, text) = refused(verdict(&trusting(&root), &fake.leaf("ads").cert, &[&fake.cert]));
    assert_eq!(
        (label, text.as_str()),
        ("not_a_ca", "\"CN=leaf\" is not a CA (basic constraints) and issued a certificate of the path")
    );
}

#[test]
fn a_ca_cannot_stand_for_a_peer() {
    let root = Ca::root("root");
    let sub = root.sub("sub");
    assert_eq!(refused(verdict(&trusting(&root), &sub.cert, &[])).0, "ca_as_end_entity");
}

#[test]
fn an_unknown_critical_extension_is_refused_by_its_identifier() {
    let critical = || {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        extension.set_criticality(true);
        vec![extension]
    };
    let root = Ca::root("root");
    let material = trusting(&root);
    let leaf = root.leaf_with("ads", |params| params.custom_extensions = critical());
    let (label, text) = refused(verdict(&material, &leaf.cert, &[]));
    assert_eq!(label, "critical_extension");
    assert!(text.contains("1.3.6.1.4.1.99999.1"), "{text}");
    let sub = root.sub_with("sub", |params| params.custom_extensions = critical());
    let (label, text) = refused(verdict(&material, &sub.leaf("ads").cert, &[&sub.cert]));
    assert_eq!(label, "critical_extension");
    assert!(text.contains("CN=sub"), "{text}");
}

#[test]
fn two_spiffe_ids_or_an_ill_formed_one_are_refused() {
    let root = Ca::root("root");
    let material = trusting(&root);
    let named = |names: Vec<rcgen::SanType>| root.leaf_with("ads", |params| params.subject_alt_names = names);
    let two = named(vec![spiffe("spiffe://fm/a"), spiffe("spiffe://fm/b")]);
    let (label, text) = refused(verdict(&material, &two.cert, &[]));
    assert_eq!(label, "ambiguous_identity");
    assert!(text.contains("\"spiffe://fm/a\", \"spiffe://fm/b\""), "{text}");
    for ill_formed in ["spiffe://fm/../a", "SPIFFE://fm/a", "spiffe:fm", "spiffe://FM/a"] {
        let leaf = named(vec![spiffe(ill_formed)]);
        assert_eq!(refused(verdict(&material, &leaf.cert, &[])).0, "invalid_spiffe_id", "{ill_formed}");
    }
    let beside = named(vec![spiffe("https://fm/a"), spiffe("spiffe://fm/b")]);
    let path = verdict(&material, &beside.cert, &[]).expect("trusted");
    assert_eq!(path.end_entity.names.to_string(), "spiffe://fm/b");
}

#[test]
fn more_than_sixteen_presented_certificates_are_not_looked_at() {
    let root = Ca::root("root");
    let sub = root.sub("sub");
    let (label, _) = refused(verdict(&trusting(&root), &root.leaf("ads").cert, &[&sub.cert; 17]));
    assert_eq!(label, "too_many_certificates");
    assert!(verdict(&trusting(&root), &root.leaf("ads").cert, &[&sub.cert; 16]).is_ok());
}

#[test]
fn certificates_made_to_form_very_many_paths_are_refused_early() {
    let stranger = Ca::root("x");
    let mesh: Vec<Ca> = (0..16).map(|_| stranger.sub("x")).collect();
    let presented: Vec<_> = mesh.iter().map(|ca| &ca.cert).collect();
    let root = Ca::root("root");
    let started = std::time::Instant::now();
    assert_eq!(refused(verdict(&trusting(&root), &stranger.leaf("ads").cert, &presented)).0, "paths_too_many");
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn bytes_that_are_no_certificate_are_malformed() {
    let root = Ca::root("root");
    let material = trusting(&root);
    let trailing = [root.leaf("ads").cert.der().as_ref(), &[0]].concat();
    for der in [&b""[..], b"0", &[0x30, 0x80, 0, 0], &trailing] {
        let refusal = material.verify(&CertificateDer::from(der), &[], Usage::Client, now()).expect_err("refused");
        assert_eq!((refusal.reason.label(), refusal.certificate), ("malformed", None), "{der:?}");
    }
}

#[test]
fn refusals_map_to_the_fitting_alert() {
    use rustls::CertificateError;
    let root = Ca::root("root");
    let expired = root.leaf_with("ads", |params| params.not_after = date_time_ymd(2029, 12, 1));
    let reason = verdict(&trusting(&root), &expired.cert, &[]).expect_err("refused");
    assert_eq!(reason.certificate_error(), CertificateError::Expired);
    let stranger = Ca::root("stranger").leaf("ads");
    let reason = verdict(&trusting(&root), &stranger.cert, &[]).expect_err("refused");
    assert_eq!(reason.certificate_error(), CertificateError::UnknownIssuer);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_certificate_never_panics_and_is_never_trusted(position in any::<prop::sample::Index>(), mask in 1..=255u8, cut in any::<prop::sample::Index>()) {
        static PKI: std::sync::OnceLock<(TrustMaterial, Vec<u8>)> = std::sync::OnceLock::new();
        let (material, good) = PKI.get_or_init(|| {
            let root = Ca::root("root");
            (trusting(&root), root.leaf("ads").cert.der().to_vec())
        });
        let mut changed = good.clone();
        let position = position.index(changed.len());
        changed[position] ^= mask;
        let judge = |der: &[u8]| material.verify(&CertificateDer::from(der), &[], Usage::Client, now());
        prop_assert!(judge(&changed).is_err());
        prop_assert!(judge(&good[..cut.index(good.len())]).is_err());
        prop_assert!(judge(good).is_ok());
    }
}

/// A public key that rcgen itself would not make.
fn openssl_public_key(arguments: &[&str]) -> SubjectPublicKeyInfo {
    let run = |arguments: &[&str], input: &[u8]| {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let mut child = Command::new("openssl")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl");
        child.stdin.take().expect("piped").write_all(input).expect("written");
        child.wait_with_output().expect("output").stdout
    };
    let key = run(arguments, &[]);
    let public = run(&["pkey", "-pubout"], &key);
    SubjectPublicKeyInfo::from_pem(&String::from_utf8(public).expect("PEM")).expect("public key")
}

#[test]
fn a_weak_rsa_key_is_refused_with_its_bits() {
    let root = Ca::root("root");
    let weak = openssl_public_key(&["genrsa", "1024"]);
    let mut leaf = super::pki::ca_params("ads");
    leaf.is_ca = IsCa::NoCa;
    leaf.key_usages = Vec::new();
    let cert = leaf.signed_by(&weak, &root.issuer()).expect("signed");
    let (label, text) = refused(verdict(&trusting(&root), &cert, &[]));
    assert_eq!((label, text.as_str()), ("weak_key", "the RSA key of \"CN=ads\" has 1024 bits, fewer than 2048"));
    let sub = super::pki::ca_params("sub").signed_by(&weak, &root.issuer()).expect("signed");
    let message = Folder::trusting(&[&sub]).fatal();
    assert!(message.contains("has 1024 bits"), "{message}");
}

#[test]
fn a_curve_or_digest_outside_the_accepted_ones_is_refused() {
    let root = Ca::root("root");
    let p521 = || KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).expect("key");
    let leaf = root.leaf_of(p521(), "ads", |_| {});
    let (label, text) = refused(verdict(&trusting(&root), &leaf.cert, &[]));
    assert_eq!(label, "unsupported_algorithm");
    assert_eq!(text, "the certificate of \"CN=ads\" has a key of ECDSA P-521, which is not accepted");
    let sub = root.certify("sub", p521(), |_| {});
    let (label, text) = refused(verdict(&trusting(&root), &sub.leaf("ads").cert, &[&sub.cert]));
    assert_eq!(label, "unsupported_algorithm");
    assert!(text.contains("\"CN=sub\" has a key of ECDSA P-521"), "{text}");
}

#[test]
fn sha1_is_refused() {
    let root = Ca::root("root");
    let folder = Folder::new();
    let key = folder.write("root.key", root.key.serialize_pem());
    let cert = folder.write("root.pem", root.cert.pem());
    let script = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=ads 2>/dev/null \
        | openssl x509 -req -sha1 -CA \"$0\" -CAkey \"$1\" -CAcreateserial -CAserial \"$0.srl\" -days 1 \
            -extfile \"$2\" -outform DER 2>/dev/null";
    let extensions = folder.write("ext", "basicConstraints=CA:FALSE\n");
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .args([&cert, &key, &extensions])
        .output()
        .expect("openssl");
    let der = CertificateDer::from(output.stdout);
    let soon = std::time::SystemTime::now() + Duration::from_secs(60);
    let anchor = Ca::self_signed("root", KeyPair::from_pem(&root.key.serialize_pem()).expect("key"), |params| {
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2999, 1, 1);
    });
    let material = Folder::trusting(&[&anchor.cert]).material();
    let reason = material.verify(&der, &[], Usage::Client, soon).expect_err("refused").reason;
    assert_eq!(
        reason.to_string(),
        "the certificate of \"CN=ads\" is signed with ECDSA and SHA-1, which is not accepted"
    );
}
