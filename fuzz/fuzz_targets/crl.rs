//! Octets as a stranger sends them: split into CRLs, each read for people and offered for use.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use mantlet::x509::{CrlDetails, VerifiedCrl, split_crls};
use mantlet_fuzz::der;
use mantlet_fuzz::pki::{PKI, now};

fuzz_target!(|data: &[u8]| {
    let Ok(ders) = split_crls(data.to_vec()) else { return };
    for der in ders {
        let details = CrlDetails::read(&der, 4);
        if let Ok(details) = &details {
            assert!(details.entries.len() <= 4.min(details.entries_total));
        }
        let verified = VerifiedCrl::read(&der, &PKI.issuers, &Arc::from("input"), now());
        // No input holds a signature of a key that was made after it.
        assert!(verified.is_err());
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    // Half of the time as libFuzzer does it, so that lengths are wrong as well.
    if seed & 1 == 0 || data[..size].starts_with(b"-----") {
        return fuzzer_mutate(data, size, max_size);
    }
    let changed = der::mutate(&data[..size], seed >> 1 << 1, |octets| mantlet_fuzz::resize(octets, fuzzer_mutate));
    if changed.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..changed.len()].copy_from_slice(&changed);
    changed.len()
});
