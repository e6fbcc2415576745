//! Distribution points: where a certificate says that its CRL is (RFC 5280 section 4.2.1.13), and the part of an issuer's
//! certificates that a CRL says it covers (section 5.2.5).

use std::collections::BTreeSet;

use der::{Reader, SliceReader, Tag, TagNumber};

use crate::x509::distinguished_name::printable;
use crate::x509::signature::content_of;

/// Most distribution points of one certificate, and most names of one point, that are looked at.
const MAX_POINTS: usize = 16;

/// Reasons for revocation as bits (RFC 5280 section 4.2.1.13). A certificate is good once CRLs for all of them do not list it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::x509) struct Reasons(u16);

/// Which of its certificates an issuer's CRL covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::x509) enum Covered {
    All,
    EndEntities,
    Authorities,
}

/// The part of an issuer's certificates that a CRL covers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::x509) struct Scope {
    /// The names of the distribution point in DER; empty where the CRL covers certificates of every distribution point.
    names: BTreeSet<Box<[u8]>>,
    covered: Covered,
    reasons: Reasons,
}

/// One distribution point of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::x509) struct DistributionPoint {
    /// Its names in DER.
    names: Vec<Box<[u8]>>,
    reasons: Reasons,
    /// Another than the certificate's issuer signs the CRL, which makes it an indirect one.
    is_indirect: bool,
}

/// Why an issuing distribution point cannot be used.
#[derive(Debug)]
pub(in crate::x509) enum ScopeError {
    Malformed(der::Error),
    Indirect,
    AttributeCertificates,
    RelativeName,
    Contradictory,
    Unknown(u32),
}

impl From<der::Error> for ScopeError {
    fn from(error: der::Error) -> Self {
        Self::Malformed(error)
    }
}

impl Reasons {
    /// The nine bits of `ReasonFlags`, of which the first, `unused`, stands for no reason.
    pub(in crate::x509) const ALL: Self = Self(0b1_1111_1110);
    pub(in crate::x509) const NONE: Self = Self(0);

    fn read(bits: &[u8]) -> der::Result<Self> {
        let Some((unused, octets)) = bits.split_first() else {
            return Err(Tag::BitString.value_error());
        };
        if *unused > 7 || octets.len() > 2 {
            return Err(Tag::BitString.value_error());
        }
        let flag = |number: usize| {
            let octet = octets.get(number / 8).copied().unwrap_or(0);
            u16::from(octet >> (7 - number % 8) & 1) << number
        };
        Ok(Self((0..9).map(flag).fold(0, |all, bit| all | bit) & Self::ALL.0))
    }

    pub(in crate::x509) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(in crate::x509) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Default for Scope {
    /// Everything that the issuer issued.
    fn default() -> Self {
        Self { names: BTreeSet::new(), covered: Covered::All, reasons: Reasons::ALL }
    }
}

impl Scope {
    /// Reads the value of the issuing distribution point extension.
    pub(super) fn read(value: &[u8]) -> Result<Self, ScopeError> {
        let mut scope = Self::default();
        let mut outer = SliceReader::new(value)?;
        let mut reader = SliceReader::new(content_of(&mut outer, Tag::Sequence)?)?;
        outer.finish(())?;
        while !reader.is_finished() {
            let tag = reader.peek_tag()?;
            let field = content_of(&mut reader, tag)?;
            let is_true = || matches!(field, [octet] if *octet != 0);
            match u32::from(tag.number().value()) {
                0 => {
                    scope.names = point_names(field)?.ok_or(ScopeError::RelativeName)?.into_iter().collect();
                    // Without a name it would cover everything.
                    if scope.names.is_empty() {
                        return Err(ScopeError::Malformed(tag.value_error()));
                    }
                }
                1 | 2 if is_true() && scope.covered != Covered::All => return Err(ScopeError::Contradictory),
                1 if is_true() => scope.covered = Covered::EndEntities,
                2 if is_true() => scope.covered = Covered::Authorities,
                3 => scope.reasons = Reasons::read(field)?,
                4 if is_true() => return Err(ScopeError::Indirect),
                5 if is_true() => return Err(ScopeError::AttributeCertificates),
                1 | 2 | 4 | 5 if matches!(field, [0]) => {}
                number => return Err(ScopeError::Unknown(number)),
            }
        }
        Ok(scope)
    }

    /// For which reasons a CRL of this scope answers for a certificate (RFC 5280 section 6.3.3, steps (b) and (d)).
    pub(in crate::x509) fn answers_for(&self, is_ca: bool, points: Option<&[u8]>) -> Reasons {
        match self.covered {
            Covered::EndEntities if is_ca => return Reasons::NONE,
            Covered::Authorities if !is_ca => return Reasons::NONE,
            _ => {}
        }
        if self.names.is_empty() {
            return self.reasons;
        }
        let points = points.and_then(|value| DistributionPoint::read_all(value).ok()).unwrap_or_default();
        let matching = points.iter().filter(|point| !point.is_indirect && point.is_named_in(self));
        matching.fold(Reasons::NONE, |all, point| all.or(point.reasons.and(self.reasons)))
    }

    /// Octets that differ where the scope does, for the name of a file.
    pub(in crate::x509) fn to_octets(&self) -> Vec<u8> {
        let mut octets = vec![self.covered as u8];
        octets.extend(self.reasons.0.to_be_bytes());
        for name in &self.names {
            octets.extend((name.len() as u64).to_be_bytes());
            octets.extend_from_slice(name);
        }
        octets
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.covered {
            Covered::All => "all certificates",
            Covered::EndEntities => "end-entity certificates",
            Covered::Authorities => "CA certificates",
        })?;
        if let Some(name) = self.names.first() {
            write!(f, " of {}", name_text(name))?;
        }
        if self.reasons == Reasons::ALL { Ok(()) } else { f.write_str(", some reasons") }
    }
}

impl DistributionPoint {
    /// Reads the value of a CRL distribution points or freshest CRL extension (RFC 5280 sections 4.2.1.13, 4.2.1.15).
    pub(in crate::x509) fn read_all(value: &[u8]) -> der::Result<Vec<Self>> {
        let mut outer = SliceReader::new(value)?;
        let mut reader = SliceReader::new(content_of(&mut outer, Tag::Sequence)?)?;
        let mut points = Vec::new();
        while !reader.is_finished() && points.len() < MAX_POINTS {
            points.push(Self::read(content_of(&mut reader, Tag::Sequence)?)?);
        }
        Ok(points)
    }

    fn read(point: &[u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(point)?;
        let mut read = Self { names: Vec::new(), reasons: Reasons::ALL, is_indirect: false };
        while !reader.is_finished() {
            let tag = reader.peek_tag()?;
            let field = content_of(&mut reader, tag)?;
            match u32::from(tag.number().value()) {
                0 => read.names = point_names(field)?.unwrap_or_default(),
                1 => read.reasons = Reasons::read(field)?,
                2 => read.is_indirect = true,
                _ => return Err(tag.value_error()),
            }
        }
        Ok(read)
    }

    fn is_named_in(&self, scope: &Scope) -> bool {
        self.names.iter().any(|name| scope.names.contains(name))
    }

    /// The addresses at which the issuer's own CRL can be had, in the order of the certificate.
    pub(in crate::x509) fn urls(&self) -> impl Iterator<Item = &str> {
        let names = self.names.iter().filter(|_| !self.is_indirect);
        names.filter_map(|name| uri(name)).filter(|uri| has_http_scheme(uri))
    }
}

/// The names of a `DistributionPointName`; nothing where it is relative to the CRL issuer.
fn point_names(field: &[u8]) -> der::Result<Option<Vec<Box<[u8]>>>> {
    const FULL_NAME: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };
    let mut outer = SliceReader::new(field)?;
    if outer.peek_tag()? != FULL_NAME {
        return Ok(None);
    }
    let mut reader = SliceReader::new(content_of(&mut outer, FULL_NAME)?)?;
    let mut names = Vec::new();
    while !reader.is_finished() && names.len() < MAX_POINTS {
        names.push(reader.tlv_bytes()?.into());
    }
    Ok(Some(names))
}

/// The text of a `uniformResourceIdentifier` in DER.
fn uri(name: &[u8]) -> Option<&str> {
    const URI: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber::N6 };
    let content = content_of(&mut SliceReader::new(name).ok()?, URI).ok()?;
    std::str::from_utf8(content).ok().filter(|text| text.is_ascii())
}

fn has_http_scheme(uri: &str) -> bool {
    ["http://", "https://"]
        .iter()
        .any(|scheme| uri.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

fn name_text(name: &[u8]) -> String {
    uri(name).map_or_else(|| "a name of another kind than a URI".to_owned(), printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("short");
        [&[tag, length][..], content].concat()
    }

    fn named(uri: &str) -> Vec<u8> {
        tlv(0xa0, &tlv(0xa0, &tlv(0x86, uri.as_bytes())))
    }

    fn scope(fields: &[&[u8]]) -> Result<Scope, ScopeError> {
        Scope::read(&tlv(0x30, &fields.concat()))
    }

    fn points(points: &[&[&[u8]]]) -> Vec<u8> {
        let points: Vec<Vec<u8>> = points.iter().map(|fields| tlv(0x30, &fields.concat())).collect();
        tlv(0x30, &points.concat())
    }

    #[test]
    fn a_partition_answers_for_the_certificates_that_name_it_alone() {
        let one = scope(&[&named("http://ca/1")]).expect("usable");
        let (ours, others) = (points(&[&[&named("http://ca/1")]]), points(&[&[&named("http://ca/2")]]));
        assert_eq!(one.answers_for(false, Some(&ours)), Reasons::ALL);
        assert_eq!(one.answers_for(false, Some(&others)), Reasons::NONE);
        assert_eq!(one.answers_for(false, None), Reasons::NONE);
        let both = points(&[&[&named("http://ca/2")], &[&named("http://ca/1")]]);
        assert_eq!(one.answers_for(false, Some(&both)), Reasons::ALL);
        assert_eq!(one.answers_for(false, Some(b"\x30\x05garbage")), Reasons::NONE);
        assert_eq!(one.to_string(), "all certificates of http://ca/1");
    }

    #[test]
    fn a_point_whose_crl_another_issuer_signs_is_no_point_of_ours() {
        let one = scope(&[&named("http://ca/1")]).expect("usable");
        let indirect = points(&[&[&named("http://ca/1"), &tlv(0xa2, &[])]]);
        assert_eq!(one.answers_for(false, Some(&indirect)), Reasons::NONE);
        assert_eq!(DistributionPoint::read_all(&indirect).expect("read")[0].urls().count(), 0);
    }

    #[test]
    fn user_and_ca_certificates_are_told_apart() {
        let users = scope(&[&tlv(0x81, &[0xff])]).expect("usable");
        let authorities = scope(&[&tlv(0x82, &[0xff])]).expect("usable");
        assert_eq!((users.answers_for(false, None), users.answers_for(true, None)), (Reasons::ALL, Reasons::NONE));
        assert_eq!(authorities.answers_for(false, None), Reasons::NONE);
        assert_eq!(authorities.answers_for(true, None), Reasons::ALL);
        assert!(matches!(scope(&[&tlv(0x81, &[0xff]), &tlv(0x82, &[0xff])]), Err(ScopeError::Contradictory)));
    }

    #[test]
    fn some_reasons_are_not_all() {
        // keyCompromise (1) and cACompromise (2) in one CRL, the other six in another.
        let some = scope(&[&tlv(0x83, &[5, 0b0110_0000])]).expect("usable");
        let rest = scope(&[&tlv(0x83, &[7, 0b0001_1111, 0b1000_0000])]).expect("usable");
        let (some, rest) = (some.answers_for(false, None), rest.answers_for(false, None));
        assert!(some != Reasons::ALL && rest != Reasons::ALL && some.or(rest) == Reasons::ALL);
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        assert!(matches!(scope(&[&tlv(0x84, &[0xff])]), Err(ScopeError::Indirect)));
        assert!(matches!(scope(&[&tlv(0x85, &[0xff])]), Err(ScopeError::AttributeCertificates)));
        assert!(matches!(scope(&[&tlv(0xa0, &tlv(0xa1, &[]))]), Err(ScopeError::RelativeName)));
        assert!(matches!(scope(&[&tlv(0x86, &[0xff])]), Err(ScopeError::Unknown(6))));
        assert!(matches!(scope(&[&tlv(0x81, &[])]), Err(ScopeError::Unknown(1))));
    }

    #[test]
    fn addresses_of_other_schemes_are_left_alone() {
        let value = points(&[&[&named("ldap://ca/cn")], &[&named("HTTP://ca/1")], &[&named("https://ca/2")]]);
        let read = DistributionPoint::read_all(&value).expect("read");
        assert_eq!(read.iter().flat_map(DistributionPoint::urls).collect::<Vec<_>>(), ["HTTP://ca/1", "https://ca/2"]);
    }
}
