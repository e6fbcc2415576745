//! What EST sends, in DER: certificates alone (RFC 5652 section 5, "certs-only"), and the attributes of a request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::x509::der_writer::{SEQUENCE, element};

const SET: u8 = 0x31;
/// `[0]`, constructed.
const CONTEXT_0: u8 = 0xa0;
/// id-signedData
const SIGNED_DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// id-data
const DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// id-ecPublicKey with the curve secp256r1, and ecdsa-with-SHA256.
const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const SECP256R1: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ECDSA_WITH_SHA256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// A signed message without content or signers, which carries certificates.
pub(super) fn certificates_alone<'a>(ders: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let version = [0x02, 0x01, 0x01];
    let certificates: Vec<u8> = ders.flatten().copied().collect();
    let signed_data = element(
        SEQUENCE,
        &[
            &version,
            &element(SET, &[]),
            &element(SEQUENCE, &[DATA]),
            &element(CONTEXT_0, &[&certificates]),
            &element(SET, &[]),
        ],
    );
    element(SEQUENCE, &[SIGNED_DATA, &element(CONTEXT_0, &[&signed_data])])
}

/// What a request had best be made with (RFC 7030 section 4.5.2): a key on P-256, signed with SHA-256.
pub(super) fn request_attributes() -> Vec<u8> {
    let key = element(SEQUENCE, &[EC_PUBLIC_KEY, &element(SET, &[SECP256R1])]);
    element(SEQUENCE, &[&key, ECDSA_WITH_SHA256])
}

/// Base64 in lines, as RFC 8951 section 3 has it for these bodies.
pub(super) fn in_lines(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    text.as_bytes().chunks(64).flat_map(|line| line.iter().copied().chain([b'\n'])).map(char::from).collect()
}
