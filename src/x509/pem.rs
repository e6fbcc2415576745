//! Files of certificates, keys and CRLs: read within a bound, PEM taken tolerantly.
//!
//! Editors, Windows and `openssl` leave byte order marks, CR LF, blanks and text around the blocks; none of it changes what
//! a block holds, so none of it is refused. The DER inside is left to others, who take it strictly.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::kept::{Kept, OpenError, Reached};

use super::distinguished_name::printable;

/// Largest file of certificates or keys.
pub(super) const MAX_PEM_BYTES: u64 = 1 << 20;

/// Longest label of a block.
const MAX_LABEL: usize = 64;
/// Most labels that a message names.
const MAX_NAMED: usize = 4;

/// One block: what stands between `-----BEGIN label-----` and `-----END label-----`.
pub(super) struct Block {
    pub(super) label: String,
    /// It holds a key at times.
    pub(super) der: Zeroizing<Vec<u8>>,
    /// RFC 1421 headers say that it is encrypted.
    pub(super) is_encrypted: bool,
}

impl Block {
    pub(super) fn is_certificate(&self) -> bool {
        matches!(self.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE")
    }
}

/// Why a file gave no blocks.
#[derive(Debug, Error)]
pub(super) enum PemError {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Reached(#[from] Reached),
    #[error("is larger than {limit} bytes, the most that is read")]
    TooLarge { limit: u64 },
    #[error("line {line}: \"-----BEGIN {label}-----\" has no matching end")]
    NoEnd { line: usize, label: String },
    #[error("line {line}: \"-----END {found}-----\" ends a block that began as \"{label}\"")]
    OtherEnd { line: usize, label: String, found: String },
    #[error("line {line}: the block \"{label}\" is not base64")]
    Base64 { line: usize, label: String },
}

/// The whole file, whose bytes are wiped when dropped.
pub(super) fn read(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, PemError> {
    read_all(File::open(path)?, limit)
}

/// The same of a file that nobody else reaches, judged where it is opened.
pub(super) fn read_kept(path: &Path, kept: Kept, limit: u64) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let file = kept.open(path).map_err(|error| match error {
        OpenError::Io(error) => PemError::Io(error),
        OpenError::Reached(reached) => PemError::Reached(reached),
    })?;
    read_all(file, limit)
}

fn read_all(file: File, limit: u64) -> Result<Zeroizing<Vec<u8>>, PemError> {
    // With room for all of it from the start no copy stays behind in a buffer that was outgrown.
    let expected = file.metadata()?.len().min(limit) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(expected).unwrap_or(0)));
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(PemError::TooLarge { limit });
    }
    Ok(bytes)
}

/// True where the bytes are one DER element from first to last, so not text.
pub(super) fn is_der(bytes: &[u8]) -> bool {
    use der::Reader as _;
    let whole = der::SliceReader::new(bytes).and_then(|mut reader| {
        reader.tlv_bytes()?;
        reader.finish(())
    });
    bytes.first() == Some(&0x30) && whole.is_ok()
}

/// The blocks in the order of the file.
pub(super) fn blocks(bytes: &[u8]) -> Result<Vec<Block>, PemError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut blocks = Vec::new();
    let mut lines = bytes.split(|byte| *byte == b'\n').zip(1..);
    while let Some((text, line)) = lines.next() {
        let Some(label) = marker(text, b"-----BEGIN ") else {
            continue;
        };
        blocks.push(block(label, line, &mut lines)?);
    }
    Ok(blocks)
}

fn block<'a>(
    label: String,
    begin: usize,
    lines: &mut impl Iterator<Item = (&'a [u8], usize)>,
) -> Result<Block, PemError> {
    let mut base64 = Zeroizing::new(Vec::new());
    let mut is_encrypted = false;
    for (text, line) in lines {
        if let Some(found) = marker(text, b"-----END ") {
            if found != label {
                return Err(PemError::OtherEnd { line, label, found });
            }
            let der = STANDARD.decode(&*base64).map_err(|_| PemError::Base64 { line: begin, label: label.clone() })?;
            return Ok(Block { label, der: Zeroizing::new(der), is_encrypted });
        }
        if text.contains(&b':') {
            is_encrypted |= text.windows(9).any(|word| word == b"ENCRYPTED");
        } else {
            base64.extend(text.iter().filter(|byte| !byte.is_ascii_whitespace()));
        }
    }
    Err(PemError::NoEnd { line: begin, label })
}

/// The label of a marker line, safe to print and short.
fn marker(line: &[u8], prefix: &[u8]) -> Option<String> {
    let label = line.trim_ascii().strip_prefix(prefix)?.strip_suffix(b"-----")?;
    (label.len() <= MAX_LABEL).then_some(())?;
    Some(printable(&String::from_utf8_lossy(label)))
}

/// What a file holds, for messages: `2 × CERTIFICATE, 1 × PRIVATE KEY`.
pub(super) fn contents(blocks: &[Block]) -> String {
    let (mut counts, mut others): (Vec<(&str, usize)>, _) = (Vec::new(), 0);
    for block in blocks {
        let has_room = counts.len() < MAX_NAMED;
        match counts.iter_mut().find(|(label, _)| *label == block.label) {
            Some((_, count)) => *count += 1,
            None if has_room => counts.push((&block.label, 1)),
            None => others += 1,
        }
    }
    if counts.is_empty() {
        return "no PEM block".to_owned();
    }
    let named = counts.iter().map(|(label, count)| format!("{count} x {label}"));
    named.chain((others > 0).then(|| format!("{others} others"))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_editors_and_tools_leave_around_a_block_does_not_matter() {
        let text = b"\xef\xbb\xbfsubject=CN = x\r\n  -----BEGIN CERTIFICATE-----  \r\nMAMC \r\n\r\nAQE=\t\r\n-----END CERTIFICATE----- \r\n\r\n\
            0 s: text -----BEGIN\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
        let blocks = blocks(text).expect("tolerated");
        assert_eq!(contents(&blocks), "1 x CERTIFICATE, 1 x PRIVATE KEY");
        assert_eq!(*blocks[0].der, [0x30, 3, 2, 1, 1]);
        assert!(is_der(&blocks[0].der));
        assert!(!is_der(b"0 s:CN"));
    }

    #[test]
    fn broken_blocks_name_their_line() {
        for (text, message) in [
            ("\n-----BEGIN X-----\nAAAA", "line 2: \"-----BEGIN X-----\" has no matching end"),
            ("-----BEGIN X-----\n-----END Y-----", "line 2: \"-----END Y-----\" ends a block that began as \"X\""),
            ("-----BEGIN X-----\nA*\n-----END X-----", "line 1: the block \"X\" is not base64"),
        ] {
            assert_eq!(blocks(text.as_bytes()).err().map(|error| error.to_string()).as_deref(), Some(message));
        }
    }

    #[test]
    fn an_encrypted_key_is_recognised_by_its_headers() {
        let text = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        assert!(blocks(text.as_bytes()).expect("read")[0].is_encrypted);
    }
}
