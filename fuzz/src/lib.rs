//! What the fuzz targets share: DER that is mutated as a tree, a PKI with a key of its own, and the seeds.

pub mod der;
pub mod pki;
pub mod seeds;

/// How much a mutation may add.
const GROWTH: usize = 64;

/// Changes octets by libFuzzer's own mutations, which work in a buffer of fixed size.
pub fn resize(octets: &mut Vec<u8>, mutate: impl FnOnce(&mut [u8], usize, usize) -> usize) {
    let size = octets.len();
    octets.resize(size + GROWTH, 0);
    let max_size = octets.len();
    let size = mutate(octets, size, max_size);
    octets.truncate(size);
}
