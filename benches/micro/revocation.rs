//! Judging a certificate against CRLs of growing length, which should cost the same, and loading them.

use std::time::SystemTime;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use mantlet::x509::{RefusalReason, SerialNumber, Usage};
use rcgen::CertificateRevocationList;

use crate::is_measuring;
use crate::pki::{Issued, Pki, Sources, load};

/// How many certificates are revoked. The longest lists take seconds to make in a development build.
fn lengths() -> &'static [usize] {
    if is_measuring() { &[0, 1_000, 100_000, 1_000_000] } else { &[0, 1_000] }
}

#[divan::bench(args = lengths(), min_time = 1)]
fn verify_good_leaf(bencher: Bencher, entries: usize) {
    let scene = Scene::new(entries, as_der);
    let (material, leaf, now) = (load(&scene.sources), &scene.good.der, SystemTime::now());
    bencher.bench_local(|| material.verify(black_box(leaf), &[], Usage::Client, now).expect("good"));
}

#[divan::bench(args = lengths().iter().filter(|entries| **entries > 0), min_time = 1)]
fn verify_revoked_leaf(bencher: Bencher, entries: usize) {
    let scene = Scene::new(entries, as_der);
    let (material, leaf, now) = (load(&scene.sources), &scene.revoked.der, SystemTime::now());
    bencher.bench_local(|| {
        let refusal = material.verify(black_box(leaf), &[], Usage::Client, now).expect_err("revoked");
        assert!(matches!(refusal.reason, RefusalReason::Revoked { .. }), "{refusal:?}");
        refusal
    });
}

/// The lookup alone, of every certificate of a verified path.
#[divan::bench(args = lengths(), min_time = 1)]
fn look_up(bencher: Bencher, entries: usize) {
    let scene = Scene::new(entries, as_der);
    let (material, now) = (load(&scene.sources), SystemTime::now());
    let path = material.verify(&scene.good.der, &[], Usage::Client, now).expect("good");
    bencher.bench_local(|| assert!(material.is_unrevoked(black_box(&path), now)));
}

#[divan::bench(args = lengths(), sample_count = 20)]
fn load_der(bencher: Bencher, entries: usize) {
    let scene = Scene::new(entries, as_der);
    bencher.counter(ItemsCount::new(entries)).bench_local(|| load(&scene.sources));
}

#[divan::bench(args = lengths(), sample_count = 20)]
fn load_pem(bencher: Bencher, entries: usize) {
    let scene = Scene::new(entries, |crl| crl.pem().expect("PEM").into_bytes());
    bencher.counter(ItemsCount::new(entries)).bench_local(|| load(&scene.sources));
}

fn as_der(crl: &CertificateRevocationList) -> Vec<u8> {
    crl.der().to_vec()
}

/// Two certificates, and a CRL that lists one of them among many.
struct Scene {
    sources: Sources,
    good: Issued,
    revoked: Issued,
    /// Holds the files.
    _pki: Pki,
}

impl Scene {
    fn new(entries: usize, encode: impl Fn(&CertificateRevocationList) -> Vec<u8>) -> Self {
        let mut pki = Pki::new();
        let (good, revoked) = (pki.issue("good"), pki.issue("revoked"));
        // The order of revocation, which is none of serial numbers.
        let mut serials = strangers(entries);
        if let Some(middle) = serials.get_mut(entries / 2) {
            middle.clone_from(&revoked.serial);
        }
        let crl = pki.sign_crl(serials.iter());
        let sources = pki.sources(None, pki.write("list.crl", &encode(&crl)));
        let loaded: Vec<usize> = load(&sources).lists().load().crls().map(|crl| crl.info.entries).collect();
        assert_eq!(loaded, [entries]);
        Self { sources, good, revoked, _pki: pki }
    }
}

/// Serial numbers that nobody here has, of the length that the authority gives, and the same at each run.
fn strangers(count: usize) -> Vec<SerialNumber> {
    let mut random = fastrand::Rng::with_seed(0x005e_71a1);
    let mut serial = || {
        let mut octets = [0; 17];
        random.fill(&mut octets);
        octets[0] = octets[0] & 0x3f | 0x40;
        SerialNumber::from_der_content(&octets)
    };
    (0..count).map(|_| serial()).collect()
}
