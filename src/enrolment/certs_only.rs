//! The certificates in a certs-only CMS message (RFC 7030 section 4.1.3, RFC 5652 sections 3 and 5.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::{Decode, Header, Reader, SliceReader, Tag, TagNumber};
use rustls_pki_types::CertificateDer;

/// Most certificates of one message.
const MAX_CERTIFICATES: usize = 32;

/// id-signedData
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];

const CONSTRUCTED_0: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };

/// Reads the body of an answer: base64, whose line breaks and PEM armour do not matter.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(body: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"-----"));
    let base64: Vec<u8> = lines.flatten().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let der = STANDARD.decode(base64).map_err(|_| "it is not base64".to_owned())?;
    let certificates = certificates(&der).map_err(|error| format!("it is no certs-only CMS message: {error}"))?;
    match certificates.len() {
        0 => Err("it holds no certificate".to_owned()),
        count if count > MAX_CERTIFICATES => Err(format!("it holds more than {MAX_CERTIFICATES} certificates")),
        _ => Ok(certificates),
    }
}

/// `ContentInfo { id-signedData, [0] SignedData { version, digestAlgorithms, encapContentInfo, [0] certificates, .. } }`
fn certificates(der: &[u8]) -> der::Result<Vec<CertificateDer<'static>>> {
    let mut outer = SliceReader::new(der)?;
    let mut info = SliceReader::new(content_of(&mut outer, Tag::Sequence)?)?;
    outer.finish(())?;
    if content_of(&mut info, Tag::ObjectIdentifier)? != SIGNED_DATA {
        return Err(Tag::ObjectIdentifier.value_error());
    }
    let mut explicit = SliceReader::new(content_of(&mut info, CONSTRUCTED_0)?)?;
    let mut signed = SliceReader::new(content_of(&mut explicit, Tag::Sequence)?)?;
    content_of(&mut signed, Tag::Integer)?;
    content_of(&mut signed, Tag::Set)?;
    content_of(&mut signed, Tag::Sequence)?;
    if signed.is_finished() || signed.peek_tag()? != CONSTRUCTED_0 {
        return Ok(Vec::new());
    }
    let mut set = SliceReader::new(content_of(&mut signed, CONSTRUCTED_0)?)?;
    let mut certificates = Vec::new();
    while !set.is_finished() && certificates.len() <= MAX_CERTIFICATES {
        certificates.push(CertificateDer::from(set.tlv_bytes()?.to_vec()));
    }
    Ok(certificates)
}

/// The content of the next element, which must have the tag.
fn content_of<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> der::Result<&'a [u8]> {
    let header = Header::decode(reader)?;
    header.tag.assert_eq(tag)?;
    reader.read_slice(header.length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("short");
        assert!(length < 128);
        [&[tag, length], content].concat()
    }

    fn message(certificates: &[u8]) -> Vec<u8> {
        let data = tlv(0x30, &tlv(0x06, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01]));
        let signed = tlv(0x30, &[&[2, 1, 1, 0x31, 0][..], &data, certificates, &[0x31, 0]].concat());
        tlv(0x30, &[tlv(0x06, SIGNED_DATA), tlv(0xa0, &signed)].concat())
    }

    #[test]
    fn certificates_come_out_as_they_went_in() {
        let der = message(&tlv(0xa0, &[tlv(0x30, &[5, 0]), tlv(0x30, &[2, 1, 7])].concat()));
        let armoured = format!("-----BEGIN PKCS7-----\r\n{}\r\n-----END PKCS7-----\r\n", STANDARD.encode(&der));
        let found = read(armoured.as_bytes()).expect("read");
        assert_eq!(
            found.iter().map(|der| der.to_vec()).collect::<Vec<_>>(),
            [vec![0x30, 2, 5, 0], vec![0x30, 3, 2, 1, 7]]
        );
    }

    #[test]
    fn anything_else_says_what_it_is() {
        let encoded = |der: &[u8]| read(STANDARD.encode(der).as_bytes()).expect_err("refused");
        assert_eq!(read(b"*").expect_err("refused"), "it is not base64");
        assert_eq!(encoded(&message(&[])), "it holds no certificate");
        let mut cut = message(&tlv(0xa0, &tlv(0x30, &[5, 0])));
        cut.pop();
        assert!(encoded(&cut).starts_with("it is no certs-only CMS message"));
        assert!(encoded(b"").starts_with("it is no certs-only CMS message"));
        let many = tlv(0xa0, &[[0x30, 0]; MAX_CERTIFICATES + 1].concat());
        assert_eq!(encoded(&message(&many)), "it holds more than 32 certificates");
    }
}
