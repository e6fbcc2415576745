//! The value of a certificate's CRL distribution points extension, from a handshake to the addresses that would be asked.

#![no_main]

use std::sync::{Arc, LazyLock, Mutex};

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use mantlet::config::CrlUrl;
use mantlet::x509::{CertificateDetails, RevocationIndex, VerifiedCrl};
use mantlet_fuzz::pki::{PKI, Trust, now};
use mantlet_fuzz::{der, seeds};

/// A partition is in use, so that each certificate's points are compared with its own.
static TRUST: LazyLock<Mutex<Trust>> = LazyLock::new(|| {
    let trust = PKI.trust();
    let crls = seeds::partitions().into_iter().map(|tbs| {
        let crl = VerifiedCrl::read(&PKI.sign(&tbs), &PKI.issuers, &Arc::from("seed"), now());
        Arc::new(crl.expect("a CRL"))
    });
    trust.revoke(crls.fold(RevocationIndex::default(), |index, crl| index.with(&crl).expect("taken")));
    Mutex::new(trust)
});

fuzz_target!(|data: &[u8]| {
    let leaf = PKI.leaf(9, Some(data.to_vec()));
    let _ = CertificateDetails::from_der(leaf.der());
    let mut trust = TRUST.lock().expect("one thread");
    let refusal = trust.refusal(&leaf);
    let wanted = trust.wanted.try_recv();
    assert!(wanted.is_err() || refusal == Some("revocation_unknown"), "only what is unknown is wanted");
    for text in wanted.iter().flat_map(|wanted| &wanted.distribution_points) {
        if let Ok(url) = text.parse::<CrlUrl>() {
            assert!(url.url().username().is_empty() && url.url().password().is_none());
            assert_eq!(url.to_string().parse::<CrlUrl>().as_ref(), Ok(&url), "an address reads what it prints");
        }
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let changed = der::mutate(&data[..size], seed, |octets| mantlet_fuzz::resize(octets, fuzzer_mutate));
    if changed.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..changed.len()].copy_from_slice(&changed);
    changed.len()
});
