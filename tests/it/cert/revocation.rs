//! Revocation: which CRL answers for which certificate, and what an unknown status means.

use std::time::{Duration, Instant};

use mantlet::config::{OnUnknown, RevocationDepth};
use mantlet::x509::Usage;
use proptest::prelude::*;
use rcgen::{Issuer, KeyPair, KeyUsagePurpose, RevocationReason, SerialNumber, date_time_ymd};

use super::pki::{Ca, Folder, Leaf, crl_params, crls, now, refused, verdict, verdict_at};

const SERIAL: &[u8] = &[0x8f, 2, 3, 4, 5, 6, 7, 8];

fn numbered(ca: &Ca, serial: &[u8]) -> Leaf {
    ca.leaf_with("ads", |params| params.serial_number = Some(SerialNumber::from_slice(serial)))
}

#[test]
fn a_listed_certificate_is_refused_with_date_and_reason() {
    let root = Ca::root("root");
    // The first bit of the serial number is set, so DER puts a zero octet before it.
    let crl = root.crl(&[SERIAL, &[1], SERIAL]);
    let material = Folder::trusting(&[&root.cert]).revoking(&[&crl]).material();
    let (label, text) = refused(verdict(&material, &numbered(&root, SERIAL).cert, &[]));
    assert_eq!(label, "revoked");
    assert_eq!(
        text,
        "the certificate with serial 8f02030405060708 is revoked since 2029-06-01T00:00:00Z (keyCompromise)"
    );
    assert!(verdict(&material, &numbered(&root, &[2]).cert, &[]).is_ok());
    let crl = &crls(&material)[0];
    assert_eq!((crl.entries, crl.issuer.as_str()), (2, "CN=root"), "duplicates count once");
    assert_eq!((crl.number.to_string().as_str(), crl.scope.as_str()), ("07", "all certificates"));
}

#[test]
fn a_revoked_intermediate_is_refused_unless_only_end_entities_are_looked_up() {
    let root = Ca::root("root");
    let sub = root.sub_with("sub", |params| params.serial_number = Some(SerialNumber::from_slice(SERIAL)));
    let leaf = sub.leaf("ads");
    let (root_crl, sub_crl) = (root.crl(&[SERIAL]), sub.crl(&[]));
    let mut folder = Folder::trusting(&[&root.cert]).intermediates(&[&sub.cert]).revoking(&[&root_crl, &sub_crl]);
    assert_eq!(refused(verdict(&folder.material(), &leaf.cert, &[])).0, "revoked");
    folder.revocation().depth = RevocationDepth::EndEntity;
    assert!(verdict(&folder.material(), &leaf.cert, &[]).is_ok());
}

#[test]
fn a_good_cross_signed_path_is_found_beside_a_revoked_one() {
    let (old, new) = (Ca::root("old"), Ca::root("new"));
    let key = KeyPair::generate().expect("key");
    let copy = KeyPair::from_pem(&key.serialize_pem()).expect("key");
    let by_old = old.certify("sub", key, |params| params.serial_number = Some(SerialNumber::from_slice(SERIAL)));
    let by_new = new.certify("sub", copy, |_| {});
    let leaf = by_new.leaf("ads");
    let crls = [old.crl(&[SERIAL]), new.crl(&[]), by_new.crl(&[])];
    let folder = Folder::trusting(&[&old.cert, &new.cert])
        .intermediates(&[&by_new.cert])
        .revoking(&[&crls[0], &crls[1], &crls[2]]);
    let path = verdict(&folder.material(), &leaf.cert, &[&by_old.cert]).expect("the other path");
    assert_eq!(path.anchor.subject, "CN=new");
    let only_old = Folder::trusting(&[&old.cert]).intermediates(&[&by_new.cert]).revoking(&[&crls[0], &crls[2]]);
    assert_eq!(refused(verdict(&only_old.material(), &leaf.cert, &[&by_old.cert])).0, "revoked");
}

#[test]
fn a_missing_crl_denies_unless_allowed() {
    let (root, other) = (Ca::root("root"), Ca::root("other"));
    let mut folder = Folder::trusting(&[&root.cert, &other.cert]).revoking(&[&other.crl(&[])]);
    let leaf = numbered(&root, &[9]);
    let (label, text) = refused(verdict(&folder.material(), &leaf.cert, &[]));
    assert_eq!(label, "revocation_unknown");
    assert_eq!(text, "the revocation status of serial 09 is unknown: no CRL of \"CN=root\" is loaded");
    folder.revocation().on_missing = OnUnknown::Allow;
    assert!(verdict(&folder.material(), &leaf.cert, &[]).is_ok());
}

#[test]
fn a_stale_crl_serves_through_its_grace_and_denies_after_it() {
    let root = Ca::root("root");
    let mut folder = Folder::trusting(&[&root.cert]).revoking(&[&root.crl(&[SERIAL])]);
    let (good, bad) = (numbered(&root, &[9]), numbered(&root, SERIAL));
    let day = Duration::from_secs(86_400);
    let material = folder.material();
    let at = |leaf: &Leaf, offset| verdict_at(&material, &leaf.cert, &[], Usage::Client, now() + offset);
    assert!(at(&good, day + Duration::from_secs(3600)).is_ok());
    let (label, text) = refused(at(&good, day + Duration::from_secs(3601)));
    assert_eq!(label, "revocation_stale");
    assert!(text.ends_with("the CRL of \"CN=root\" is stale, its next update was due 2030-01-02T00:00:00Z"), "{text}");
    assert_eq!(refused(at(&bad, day * 2)).0, "revoked", "an entry counts however old the list is");
    folder.revocation().on_stale = OnUnknown::Allow;
    let material = folder.material();
    let at = |leaf: &Leaf, offset| verdict_at(&material, &leaf.cert, &[], Usage::Client, now() + offset);
    assert!(at(&good, day * 2).is_ok());
    assert_eq!(refused(at(&bad, day * 2)).0, "revoked");
}

#[test]
fn the_crl_of_a_ca_of_the_same_name_does_not_answer() {
    let (ours, theirs) = (Ca::root("root"), Ca::root("root"));
    let folder = Folder::trusting(&[&ours.cert, &theirs.cert]).revoking(&[&theirs.crl(&[SERIAL])]);
    let material = folder.material();
    assert_eq!(refused(verdict(&material, &numbered(&ours, SERIAL).cert, &[])).0, "revocation_unknown");
    assert_eq!(refused(verdict(&material, &numbered(&theirs, SERIAL).cert, &[])).0, "revoked");
    let foreign = Folder::trusting(&[&ours.cert]).revoking(&[&theirs.crl(&[])]);
    assert!(foreign.fatal().ends_with("is signed by another key than that of \"CN=root\" known here"));
}

#[test]
fn the_newer_of_two_crls_of_one_issuer_wins_in_either_order() {
    let root = Ca::root("root");
    let older = root.crl(&[]);
    let newer = root.crl_with(&[SERIAL], |crl| {
        crl.crl_number = SerialNumber::from_slice(&[1, 0]);
    });
    let leaf = numbered(&root, SERIAL);
    for crls in [[&older, &newer], [&newer, &older]] {
        let (material, notes) = Folder::trusting(&[&root.cert]).revoking(&crls).load().expect("usable");
        assert_eq!(refused(verdict(&material, &leaf.cert, &[])).0, "revoked");
        assert!(notes.iter().any(|note| note.message.contains("a newer CRL of \"CN=root\" is loaded")), "{notes:?}");
    }
}

#[test]
fn crls_that_cannot_be_used_stop_the_start_with_the_reason() {
    let root = Ca::root("root");
    let stranger = Ca::root("stranger");
    let fatal = |crl: &rcgen::CertificateRevocationList| Folder::trusting(&[&root.cert]).revoking(&[crl]).fatal();
    assert!(fatal(&stranger.crl(&[])).contains("no certificate of that subject is among the anchors"));
    let future = root.crl_with(&[], |crl| crl.this_update = date_time_ymd(2030, 1, 1) + time::Duration::minutes(6));
    assert!(fatal(&future).ends_with("is issued 2030-01-01T00:06:00Z, which lies ahead"));
    let signer = Ca::root_with("root", |params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    let mut claimed = signer.params.clone();
    claimed.key_usages = vec![KeyUsagePurpose::CrlSign];
    let crl = crl_params(&[]).signed_by(&Issuer::from_params(&claimed, &signer.key)).expect("signed");
    let message = Folder::trusting(&[&signer.cert]).revoking(&[&crl]).fatal();
    assert!(message.contains("does not include cRLSign"), "{message}");
}

#[test]
fn a_crl_file_that_is_absent_empty_or_of_another_kind_stops_the_start() {
    let root = Ca::root("root");
    let mut folder = Folder::trusting(&[&root.cert]).revoking(&[]);
    let absent = folder.path().join("absent.crl");
    folder.revoking_files([absent]);
    assert!(folder.fatal().contains("absent.crl: cannot be read"));
    let pem = folder.write("cert.crl", root.cert.pem());
    folder.revoking_files([pem]);
    assert!(folder.fatal().ends_with("holds no CRL: found 1 x CERTIFICATE, expected X509 CRL in PEM or DER"));
    let der = folder.write("der.crl", root.crl(&[SERIAL]).der());
    folder.revoking_files([der]);
    assert_eq!(refused(verdict(&folder.material(), &numbered(&root, SERIAL).cert, &[])).0, "revoked");
}

#[test]
fn our_own_revocation_is_told_and_does_not_keep_the_list_from_being_loaded() {
    let root = Ca::root("root");
    let mut folder = Folder::trusting(&[&root.cert]).revoking(&[&root.crl(&[SERIAL])]);
    folder.own(&numbered(&root, SERIAL), &[]);
    let (material, notes) = folder.load().expect("usable");
    assert!(notes.iter().any(|note| note.message.contains("is revoked since")), "{notes:?}");
    assert_eq!(refused(verdict(&material, &numbered(&root, SERIAL).cert, &[])).0, "revoked");
}

#[test]
fn a_hundred_thousand_entries_are_found_quickly() {
    let root = Ca::root("root");
    let serials: Vec<[u8; 16]> = (0..100_000u128)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) | 1 << 120).to_be_bytes())
        .collect();
    let listed: Vec<&[u8]> = serials.iter().map(<[u8; 16]>::as_slice).collect();
    let folder = Folder::trusting(&[&root.cert]).revoking(&[&root.crl(&listed)]);
    let material = folder.material();
    assert_eq!(crls(&material)[0].entries, 100_000);
    let (bad, good) = (numbered(&root, &serials[77_777]), numbered(&root, &[3; 16]));
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(refused(verdict(&material, &bad.cert, &[])).0, "revoked");
        assert!(verdict(&material, &good.cert, &[]).is_ok());
    }
    assert!(started.elapsed() < Duration::from_secs(2), "a scan of the list would take far longer");
}

#[test]
fn every_entry_withdraws_whatever_its_reason() {
    let root = Ca::root("root");
    for (reason, name) in [
        (Some(RevocationReason::CertificateHold), " (certificateHold)"),
        (Some(RevocationReason::RemoveFromCrl), " (removeFromCRL)"),
        (None, ""),
    ] {
        let crl = root.crl_with(&[SERIAL], |crl| crl.revoked_certs[0].reason_code = reason);
        let material = Folder::trusting(&[&root.cert]).revoking(&[&crl]).material();
        let (label, text) = refused(verdict(&material, &numbered(&root, SERIAL).cert, &[]));
        assert_eq!(label, "revoked");
        assert!(text.ends_with(&format!("2029-06-01T00:00:00Z{name}")), "{text}");
    }
}

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u8::try_from(content.len()).expect("short");
    let header = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
    [header, content].concat()
}

/// A CRL of "root" whose `TBSCertList` has the given fields around algorithm, issuer and thisUpdate.
fn hand_made(root: &Ca, version: &[u8], rest: &[&[u8]]) -> Vec<u8> {
    use rcgen::SigningKey as _;
    let algorithm = tlv(0x30, &[&tlv(0x06, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]])]);
    let attribute = tlv(0x30, &[&tlv(0x06, &[&[0x55, 4, 3]]), &tlv(0x0c, &[b"root"])]);
    let issuer = tlv(0x30, &[&tlv(0x31, &[&attribute])]);
    let this_update = tlv(0x17, &[b"291231000000Z"]);
    let tbs = tlv(0x30, &[version, &algorithm, &issuer, &this_update, &rest.concat()]);
    let signature = root.key.sign(&tbs).expect("signed");
    tlv(0x30, &[&tbs, &algorithm, &tlv(0x03, &[&[0], &signature])])
}

#[test]
fn crls_outside_the_profile_are_refused_with_the_section() {
    let root = Ca::root("root");
    let mut folder = Folder::trusting(&[&root.cert]).revoking(&[]);
    let next_update = tlv(0x17, &[b"300102000000Z"]);
    let version2 = tlv(0x02, &[&[1]]);
    let extension =
        |oid: &[u8], value: &[u8]| tlv(0x30, &[&tlv(0x06, &[oid]), &tlv(0x01, &[&[0xff]]), &tlv(0x04, &[value])]);
    let extensions = |list: &[&[u8]]| tlv(0xa0, &[&tlv(0x30, list)]);
    let number = tlv(0x30, &[&tlv(0x06, &[&[0x55, 0x1d, 0x14]]), &tlv(0x04, &[&[2, 1, 1]])]);
    let delta = extensions(&[&number, &extension(&[0x55, 0x1d, 0x1b], &[2, 1, 1])]);
    let unknown = extensions(&[&number, &extension(&[0x2a, 3], &[5, 0])]);
    let plain = extensions(&[&number]);
    let cases = [
        (
            hand_made(&root, &[], &[&next_update]),
            "version 1 CRL, expected version 2 with a CRL number (RFC 5280 section 5.1.2.1)",
        ),
        (
            hand_made(&root, &version2, &[&plain]),
            "no nextUpdate, so nothing says how long it holds (RFC 5280 section 5.1.2.5)",
        ),
        (
            hand_made(&root, &version2, &[&next_update, &delta]),
            "is a delta CRL of \"CN=root\" that starts from the complete CRL 01, and none is loaded",
        ),
        (
            hand_made(&root, &version2, &[&next_update, &unknown]),
            "has the critical extension 1.2.3, which is not understood (RFC 5280 section 5.2)",
        ),
    ];
    for (crl, message) in cases {
        let path = folder.write("made.crl", crl);
        folder.revoking_files([path]);
        assert!(folder.fatal().ends_with(message), "{}", folder.fatal());
    }
    let path = folder.write("made.crl", hand_made(&root, &version2, &[&next_update, &plain]));
    folder.revoking_files([path]);
    assert_eq!(crls(&folder.material()).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_or_truncated_crl_never_panics_and_is_never_used(position in any::<prop::sample::Index>(), mask in 1..=255u8, cut in any::<prop::sample::Index>()) {
        static PKI: std::sync::OnceLock<(Folder, Vec<u8>)> = std::sync::OnceLock::new();
        let (folder, good) = PKI.get_or_init(|| {
            let root = Ca::root("root");
            let der = root.crl(&[SERIAL, &[1]]).der().to_vec();
            let mut folder = Folder::trusting(&[&root.cert]).revoking(&[]);
            let path = folder.path().join("changed.crl");
            folder.revoking_files([path]);
            (folder, der)
        });
        let mut changed = good.clone();
        let position = position.index(changed.len());
        changed[position] ^= mask;
        folder.write("changed.crl", &changed);
        prop_assert!(folder.load().is_err());
        folder.write("changed.crl", &good[..cut.index(good.len())]);
        prop_assert!(folder.load().is_err());
    }
}
