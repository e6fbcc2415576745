//! What stands behind the signature check: each element of the input is a `TBSCertList` that the CA signs, and certificates are
//! looked up in what comes of them.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use mantlet::x509::{CrlDetails, NotTaken, RevocationIndex, VerifiedCrl};
use mantlet_fuzz::der;
use mantlet_fuzz::pki::{PKI, SERIALS, Trust, now};

/// Most CRLs of one input.
const MAX_CRLS: usize = 6;

static TRUST: LazyLock<Trust> = LazyLock::new(|| PKI.trust());

fuzz_target!(|data: &[u8]| {
    let (mut index, mut rest, mut signed) = (RevocationIndex::default(), data, Vec::new());
    while let Some((tbs, after)) = der::split_first(rest).filter(|_| signed.len() < MAX_CRLS) {
        (signed, rest) = ([signed, vec![PKI.sign(tbs)]].concat(), after);
    }
    let mut taken: Vec<(Vec<u8>, Arc<VerifiedCrl>)> = Vec::new();
    for der in signed {
        let details = CrlDetails::read(&der, usize::MAX);
        let Ok(crl) = VerifiedCrl::read(&der, &PKI.issuers, &Arc::from("input"), now()) else { continue };
        let (crl, details) = (Arc::new(crl), details.expect("what is used can be shown"));
        assert!(crl.info.entries <= details.entries_total);
        assert_eq!((&crl.info.number, &crl.info.scope), (&details.number, &details.scope));
        match index.with(&crl) {
            Ok(next) => {
                assert_eq!(next.with(&crl).err(), Some(NotTaken::Unchanged), "what is in use is not taken again");
                index = next;
                taken.push((der, crl));
            }
            Err(NotTaken::Unchanged | NotTaken::Older { .. } | NotTaken::NoBase { .. } | NotTaken::TooMany) => {}
        }
    }
    let in_use: Vec<Arc<VerifiedCrl>> = index.crls().cloned().collect();
    for crl in &in_use {
        assert!(index.next_update(crl) >= crl.info.next_update);
    }
    TRUST.revoke(index);
    let is_without_delta = in_use.iter().all(|crl| crl.info.base_number.is_none());
    for (leaf, serial) in PKI.leaves.iter().zip(SERIALS) {
        let refusal = TRUST.refusal(leaf);
        if in_use.is_empty() {
            assert_eq!(refusal, Some("revocation_unknown"));
        }
        let is_listed =
            taken.iter().filter(|(_, crl)| in_use.iter().any(|used| Arc::ptr_eq(used, crl))).any(|(der, _)| {
                let details = CrlDetails::read(der, usize::MAX).expect("read before");
                let mut entries = details.entries.iter();
                // As the index has it: without octets that DER forbids at the front.
                entries.any(|entry| entry.serial.as_der_content() == [serial])
            });
        if is_listed && is_without_delta {
            assert_eq!(refusal, Some("revoked"), "a complete CRL lists it");
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
