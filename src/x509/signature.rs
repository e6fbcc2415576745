//! The signed outer SEQUENCE that certificates and CRLs share, split without copying (RFC 5280 sections 4.1 and 5.1).

use der::{Decode, Header, Reader, SliceReader, Tag};
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::algorithms::SIGNATURE_ALGORITHMS;

/// `SEQUENCE { tbs, signatureAlgorithm, signature BIT STRING }`
pub(super) struct Signed<'a> {
    /// What is signed, tag and length included.
    pub(super) tbs: &'a [u8],
    /// The content of the `AlgorithmIdentifier`.
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
}

/// Why a signature was not found good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignatureFault {
    /// It was not made by this key over these bytes.
    Wrong,
    /// No accepted algorithm goes with it and the key.
    Unsupported,
}

impl<'a> Signed<'a> {
    pub(super) fn split(der: &'a [u8]) -> der::Result<Self> {
        let mut outer = SliceReader::new(der)?;
        let content = content_of(&mut outer, Tag::Sequence)?;
        outer.finish(())?;
        let mut inner = SliceReader::new(content)?;
        let tbs = inner.tlv_bytes()?;
        let algorithm = content_of(&mut inner, Tag::Sequence)?;
        let signature = content_of(&mut inner, Tag::BitString)?;
        inner.finish(())?;
        // The first octet counts unused bits, of which a signature has none.
        let Some((0, signature)) = signature.split_first() else {
            return Err(Tag::BitString.value_error());
        };
        Ok(Self { tbs, algorithm, signature })
    }
}

/// The content of the next element, which must have the tag.
pub(super) fn content_of<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> der::Result<&'a [u8]> {
    let header = Header::decode(reader)?;
    header.tag.assert_eq(tag)?;
    reader.read_slice(header.length)
}

/// Verifies the signature with the key of the given certificate, by the accepted algorithms.
pub(super) fn verify(signed: &Signed<'_>, issuer: &CertificateDer<'_>) -> Result<(), SignatureFault> {
    let issuer = EndEntityCert::try_from(issuer).map_err(|_| SignatureFault::Unsupported)?;
    let algorithms = SIGNATURE_ALGORITHMS.iter().filter(|known| known.signature_alg_id().as_ref() == signed.algorithm);
    let mut fault = SignatureFault::Unsupported;
    for algorithm in algorithms {
        match issuer.verify_signature(*algorithm, signed.tbs, signed.signature) {
            Ok(()) => return Ok(()),
            Err(webpki::Error::InvalidSignatureForPublicKey) => fault = SignatureFault::Wrong,
            Err(_) => {}
        }
    }
    Err(fault)
}

/// Whether a certificate is signed with the key that it certifies.
pub fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    Signed::split(certificate).is_ok_and(|signed| verify(&signed, certificate).is_ok())
}
