//! The fields of a CRL, read against the profile of RFC 5280 section 5 without copying. Nothing is verified here.

use std::time::SystemTime;

use der::asn1::{GeneralizedTime, UtcTime};
use der::{Decode, Reader, SliceReader, Tag, TagNumber};
use x509_parser::prelude::{FromDer, X509Name};

use crate::x509::SerialNumber;
use crate::x509::distinguished_name::rfc4514;
use crate::x509::signature::{Signed, content_of};

use super::distribution_point::{DistributionPoint, Scope, ScopeError};
use super::error::CrlError;

const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 0x14];
const REASON_CODE: &[u8] = &[0x55, 0x1d, 0x15];
const INVALIDITY_DATE: &[u8] = &[0x55, 0x1d, 0x18];
const DELTA_CRL_INDICATOR: &[u8] = &[0x55, 0x1d, 0x1b];
const ISSUING_DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 0x1c];
const CERTIFICATE_ISSUER: &[u8] = &[0x55, 0x1d, 0x1d];
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x23];
const FRESHEST_CRL: &[u8] = &[0x55, 0x1d, 0x2e];

/// Longest serial number and CRL number: 20 octets and one of the sign (RFC 5280 sections 4.1.2.2 and 5.2.3).
const MAX_NUMBER: usize = 21;
/// Longest issuer name that is written out: nothing has vouched for it yet.
const MAX_NAME: usize = 1024;
/// Most extensions of a CRL or of an entry.
const MAX_EXTENSIONS: usize = 32;

/// The fields of a `TBSCertList` (RFC 5280 section 5.1.2).
#[derive(Debug)]
pub(super) struct Fields<'a> {
    /// The content of the issuer name.
    pub(super) issuer: &'a [u8],
    issuer_tlv: &'a [u8],
    pub(super) this_update: SystemTime,
    pub(super) next_update: SystemTime,
    pub(super) number: SerialNumber,
    /// The number of the CRL that a delta is to be applied to; nothing for a complete CRL.
    pub(super) base_number: Option<SerialNumber>,
    pub(super) scope: Scope,
    /// Where delta CRLs are to be had.
    pub(super) freshest: Vec<String>,
    /// The content of `revokedCertificates`.
    entries: &'a [u8],
}

/// One entry of a CRL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// The content octets of the serial number.
    pub(super) serial: &'a [u8],
    /// Seconds since 1970.
    pub(super) since: u64,
    /// The reason code (RFC 5280 section 5.3.1).
    pub(super) reason: Option<u8>,
    /// When the key is known or suspected to have become unsafe, in seconds since 1970 (section 5.3.2).
    pub(super) invalid_since: Option<u64>,
}

/// One extension of a CRL or of an entry.
struct Extension<'a> {
    oid: &'a [u8],
    is_critical: bool,
    value: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn read(signed: &Signed<'a>) -> Result<Self, CrlError> {
        let mut outer = SliceReader::new(signed.tbs)?;
        let mut reader = SliceReader::new(content_of(&mut outer, Tag::Sequence)?)?;
        if reader.peek_tag()? != Tag::Integer {
            return Err(CrlError::Version1);
        }
        if content_of(&mut reader, Tag::Integer)? != [1] {
            return Err(CrlError::Version);
        }
        if content_of(&mut reader, Tag::Sequence)? != signed.algorithm {
            return Err(CrlError::OtherAlgorithm);
        }
        let issuer_tlv = reader.tlv_bytes()?;
        let issuer = content_of(&mut SliceReader::new(issuer_tlv)?, Tag::Sequence)?;
        if issuer.is_empty() {
            return Err(CrlError::NoIssuer);
        }
        let this_update = time(&mut reader)?;
        if !matches!(reader.peek_tag(), Ok(Tag::UtcTime | Tag::GeneralizedTime)) {
            return Err(CrlError::NoNextUpdate);
        }
        let next_update = time(&mut reader)?;
        if next_update < this_update {
            return Err(CrlError::EndsBeforeItBegins { this_update, next_update });
        }
        let entries =
            if reader.peek_tag() == Ok(Tag::Sequence) { content_of(&mut reader, Tag::Sequence)? } else { &[] };
        let extensions_tag = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };
        let extensions = if reader.is_finished() { &[][..] } else { content_of(&mut reader, extensions_tag)? };
        reader.finish(())?;
        let mut fields = Self {
            issuer,
            issuer_tlv,
            this_update,
            next_update,
            number: SerialNumber::from_der_content(&[]),
            base_number: None,
            scope: Scope::default(),
            freshest: Vec::new(),
            entries,
        };
        fields.take_extensions(extensions)?;
        Ok(fields)
    }

    fn take_extensions(&mut self, tagged: &'a [u8]) -> Result<(), CrlError> {
        let mut number = None;
        if !tagged.is_empty() {
            let mut outer = SliceReader::new(tagged)?;
            let extensions = content_of(&mut outer, Tag::Sequence)?;
            outer.finish(())?;
            each_extension(extensions, |Extension { oid, is_critical, value }| {
                match oid {
                    CRL_NUMBER => number = Some(read_number(value)?),
                    DELTA_CRL_INDICATOR => self.base_number = Some(read_number(value)?),
                    ISSUING_DISTRIBUTION_POINT => self.scope = Scope::read(value)?,
                    FRESHEST_CRL => {
                        let points = DistributionPoint::read_all(value)?;
                        self.freshest = points.iter().flat_map(DistributionPoint::urls).map(str::to_owned).collect();
                    }
                    AUTHORITY_KEY_IDENTIFIER => {}
                    other if is_critical => return Err(CrlError::critical(other)),
                    _ => {}
                }
                Ok(())
            })?;
        }
        self.number = number.ok_or(CrlError::NoNumber)?;
        Ok(())
    }

    /// The issuer as RFC 4514 text.
    pub(super) fn issuer_text(&self) -> String {
        if self.issuer_tlv.len() > MAX_NAME {
            return format!("a name of {} octets", self.issuer_tlv.len());
        }
        X509Name::from_der(self.issuer_tlv).map_or_else(|_| "an ill-formed name".to_owned(), |(_, name)| rfc4514(&name))
    }

    /// The entries in their order; after an error there are no more.
    pub(super) fn entries(&self) -> impl Iterator<Item = Result<Entry<'a>, CrlError>> + use<'a> {
        let mut rest = SliceReader::new(self.entries).ok().filter(|_| !self.entries.is_empty());
        std::iter::from_fn(move || {
            let reader = rest.as_mut()?;
            let entry = Entry::read(reader);
            if entry.is_err() || reader.is_finished() {
                rest = None;
            }
            Some(entry)
        })
    }

    /// How many octets the entries take.
    pub(super) fn entries_len(&self) -> usize {
        self.entries.len()
    }
}

impl<'a> Entry<'a> {
    fn read(reader: &mut SliceReader<'a>) -> Result<Self, CrlError> {
        let mut reader = SliceReader::new(content_of(reader, Tag::Sequence)?)?;
        let serial = content_of(&mut reader, Tag::Integer)?;
        if serial.is_empty() || serial.len() > MAX_NUMBER {
            return Err(CrlError::SerialLength { octets: serial.len() });
        }
        let mut entry = Self { serial, since: time_seconds(&mut reader)?, reason: None, invalid_since: None };
        if !reader.is_finished() {
            each_extension(content_of(&mut reader, Tag::Sequence)?, |extension| entry.take_extension(&extension))?;
            reader.finish(())?;
        }
        Ok(entry)
    }

    fn take_extension(&mut self, extension: &Extension<'_>) -> Result<(), CrlError> {
        let mut value = SliceReader::new(extension.value)?;
        match extension.oid {
            REASON_CODE => {
                let [code] = content_of(&mut value, Tag::Enumerated)? else {
                    return Err(CrlError::ReasonCode);
                };
                self.reason = Some(*code);
            }
            INVALIDITY_DATE => {
                self.invalid_since = Some(GeneralizedTime::decode(&mut value)?.to_unix_duration().as_secs());
            }
            CERTIFICATE_ISSUER => return Err(CrlError::Indirect),
            other if extension.is_critical => return Err(CrlError::critical(other)),
            _ => return Ok(()),
        }
        value.finish(())?;
        Ok(())
    }
}

/// Hands out the extensions of an `Extensions`, none of them twice. A CRL may have millions, so nothing is allocated.
fn each_extension<'a>(
    content: &'a [u8],
    mut take: impl FnMut(Extension<'a>) -> Result<(), CrlError>,
) -> Result<(), CrlError> {
    let mut reader = SliceReader::new(content)?;
    let mut seen = [&[][..]; MAX_EXTENSIONS];
    let mut count = 0;
    while !reader.is_finished() {
        let extension = Extension::read(content_of(&mut reader, Tag::Sequence)?)?;
        if count == MAX_EXTENSIONS || seen[..count].contains(&extension.oid) {
            return Err(CrlError::extension_twice(extension.oid));
        }
        seen[count] = extension.oid;
        count += 1;
        take(extension)?;
    }
    Ok(())
}

impl<'a> Extension<'a> {
    fn read(content: &'a [u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(content)?;
        let oid = content_of(&mut reader, Tag::ObjectIdentifier)?;
        let is_critical = reader.peek_tag()? == Tag::Boolean && content_of(&mut reader, Tag::Boolean)? != [0];
        let value = content_of(&mut reader, Tag::OctetString)?;
        reader.finish(())?;
        Ok(Self { oid, is_critical, value })
    }
}

/// A number of at most 20 octets that is not negative (RFC 5280 section 5.2.3).
fn read_number(value: &[u8]) -> Result<SerialNumber, CrlError> {
    let mut reader = SliceReader::new(value)?;
    let number = content_of(&mut reader, Tag::Integer)?;
    reader.finish(())?;
    match number {
        [first, ..] if *first < 0x80 && number.len() <= MAX_NUMBER => Ok(SerialNumber::from_der_content(number)),
        _ => Err(CrlError::Number),
    }
}

impl From<ScopeError> for CrlError {
    fn from(error: ScopeError) -> Self {
        let scope = match error {
            ScopeError::Malformed(error) => return Self::Der(error),
            ScopeError::Indirect => return Self::Indirect,
            ScopeError::AttributeCertificates => "attribute certificates alone".to_owned(),
            ScopeError::RelativeName => "a distribution point named relative to the CRL issuer".to_owned(),
            ScopeError::Contradictory => "user certificates alone and CA certificates alone at once".to_owned(),
            ScopeError::Unknown(number) => format!("field [{number}], which is unknown or ill-formed"),
        };
        Self::Scope { scope }
    }
}

fn time(reader: &mut SliceReader<'_>) -> der::Result<SystemTime> {
    Ok(match reader.peek_tag()? {
        Tag::UtcTime => UtcTime::decode(reader)?.to_system_time(),
        _ => GeneralizedTime::decode(reader)?.to_system_time(),
    })
}

fn time_seconds(reader: &mut SliceReader<'_>) -> der::Result<u64> {
    Ok(match reader.peek_tag()? {
        Tag::UtcTime => UtcTime::decode(reader)?.to_unix_duration().as_secs(),
        _ => GeneralizedTime::decode(reader)?.to_unix_duration().as_secs(),
    })
}
