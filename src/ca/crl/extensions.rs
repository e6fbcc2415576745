//! The extensions that make delta CRLs of CRLs: the library that makes CRLs knows neither.

use der::{Encode as _, Reader as _, SliceReader, Tag};
use rcgen::{KeyPair, SigningKey as _};

use crate::ca::CaError;
use crate::x509::der_writer::{SEQUENCE, element, unsigned};

const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
/// `[0]`, constructed.
const CONTEXT_0: u8 = 0xa0;
/// `[6]`, a `uniformResourceIdentifier`.
const URI: u8 = 0x86;
/// id-ce-freshestCRL
const FRESHEST_CRL: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x2e];
/// id-ce-deltaCRLIndicator
const DELTA_CRL_INDICATOR: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x1b];
const TRUE: &[u8] = &[0x01, 0x01, 0xff];

/// An `Extension` in DER.
pub(super) struct CrlExtension(Vec<u8>);

impl CrlExtension {
    /// Where the delta CRL of a complete CRL is; never critical (RFC 5280 section 5.2.6).
    pub(super) fn freshest_crl(url: &str) -> Self {
        // CRLDistributionPoints of one point with a fullName.
        let name = element(CONTEXT_0, &[&element(CONTEXT_0, &[&element(URI, &[url.as_bytes()])])]);
        let points = element(SEQUENCE, &[&element(SEQUENCE, &[&name])]);
        Self(element(SEQUENCE, &[FRESHEST_CRL, &element(OCTET_STRING, &[&points])]))
    }

    /// That a CRL lists what has changed since the complete one of this number; always critical (RFC 5280 section 5.2.4).
    pub(super) fn delta_crl_indicator(base: u64) -> Self {
        Self(element(SEQUENCE, &[DELTA_CRL_INDICATOR, TRUE, &element(OCTET_STRING, &[&unsigned(base)])]))
    }

    /// The same CRL with this extension, signed anew.
    pub(super) fn added_to(&self, crl: &[u8], key: &KeyPair) -> Result<Vec<u8>, CaError> {
        let (tbs, algorithm) = self.parts(crl).expect("a CRL that was just made, whose extensions come last");
        let signature = key.sign(&tbs).map_err(CaError::making("CRL"))?;
        Ok(element(SEQUENCE, &[&tbs, algorithm, &element(BIT_STRING, &[&[0], &signature])]))
    }

    /// What is to be signed, and the algorithm.
    fn parts<'a>(&self, crl: &'a [u8]) -> der::Result<(Vec<u8>, &'a [u8])> {
        let mut inner = SliceReader::new(content(crl)?)?;
        let (tbs, algorithm) = (content(inner.tlv_bytes()?)?, inner.tlv_bytes()?);
        let mut fields = SliceReader::new(tbs)?;
        let mut last: &[u8] = &[];
        while !fields.is_finished() {
            last = fields.tlv_bytes()?;
        }
        if last.first() != Some(&CONTEXT_0) {
            return Err(Tag::Sequence.value_error());
        }
        let before = &tbs[..tbs.len() - last.len()];
        let extensions = element(SEQUENCE, &[content(content(last)?)?, &self.0]);
        Ok((element(SEQUENCE, &[before, &element(CONTEXT_0, &[&extensions])]), algorithm))
    }
}

/// The content of the one element that these octets are.
fn content(element: &[u8]) -> der::Result<&[u8]> {
    let reader = SliceReader::new(element)?;
    let header = reader.peek_header()?;
    let header_length = usize::try_from(header.encoded_len()?)?;
    Ok(&element[header_length..])
}
