//! From files to [`TrustMaterial`], with every problem of one run.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use rustls_pki_types::CertificateDer;
use webpki::anchor_from_trusted_cert;
use zeroize::Zeroizing;

use crate::identity::TrustDomain;
use crate::kept::Kept;

use super::anchor_view::AnchorViews;
use super::candidate::ca_rules;
use super::diagnosis;
use super::facts::Facts;
use super::instant::Instant;
use super::material::Known;
use super::path::RevocationCheck;
use super::pem::{self, Block, MAX_PEM_BYTES, PemError};
use super::private_key::{is_key, signing_key};
use super::public::{PublicCertificate, PublicSources};
use super::revocation::RevocationLists;
use super::{
    Bundle, GivenMaterial, MaterialPart, MaterialProblem, MaterialSources, RefusalReason, TrustMaterial,
    UnusableMaterial, Usage,
};

/// The parts of our own pair.
const OWN: (MaterialPart, MaterialPart) = (MaterialPart::Certificate, MaterialPart::PrivateKey);

/// What to do about what was given to us.
const GIVER: &str = "look at the log of the agent that gave it, and compare the clocks";

/// Collects problems, so that one run reports all of them.
struct Loader<'a> {
    now: SystemTime,
    /// The folder of what we keep ourselves.
    kept_in: Option<&'a Path>,
    problems: Vec<MaterialProblem>,
}

/// Our own chain, and its key where that is usable.
struct Own {
    part: MaterialPart,
    /// Where it is from, for messages.
    place: String,
    chain: Vec<Known>,
    credential: Option<Arc<CertifiedKey>>,
}

/// An anchor, and the trust domain whose members alone it vouches for.
type Anchor = (Known, Option<TrustDomain>);

pub(super) fn load(
    sources: &MaterialSources,
    given: Option<&Arc<GivenMaterial>>,
    lists: &Arc<RevocationLists>,
    now: SystemTime,
) -> Result<(TrustMaterial, Vec<MaterialProblem>), UnusableMaterial> {
    let mut loader = Loader { now, kept_in: sources.kept_in.as_deref(), problems: Vec::new() };
    let anchors = loader.anchors(&sources.anchors, given.map(Arc::as_ref));
    let intermediates = loader.intermediates(&sources.intermediates);
    let own = match given {
        Some(given) => loader.given_pair(given),
        None => sources.certificate.as_deref().and_then(|path| loader.pair(OWN, path, sources.private_key.as_deref())),
    };
    let points = anchors.iter().map(|(anchor, _)| anchor_from_trusted_cert(&anchor.der).map(|point| point.to_owned()));
    let anchor_points = points.collect::<Result<Vec<_>, _>>().unwrap_or_else(|error| {
        let message = format!("a trust anchor cannot be read: {error}");
        loader.fatal(MaterialPart::Anchor(0), message, "reissue the CA certificate as X.509 version 3");
        Vec::new()
    });
    let anchor_domains: Vec<Option<TrustDomain>> = anchors.iter().map(|(_, domain)| domain.clone()).collect();
    let material = TrustMaterial {
        credential: own.as_ref().and_then(|own| own.credential.clone()),
        own: own.as_ref().and_then(|own| own.chain.first()).map(|first| first.facts.info.clone()),
        anchors: anchors.iter().map(|(anchor, _)| anchor.facts.info.clone()).collect(),
        // Where one cannot be read there are none, and the material is not used.
        anchor_views: if anchor_points.len() == anchors.len() {
            AnchorViews::new(&anchor_points, &anchor_domains)
        } else {
            AnchorViews::default()
        },
        anchor_facts: anchors.iter().map(|(anchor, _)| anchor.facts.clone()).collect(),
        anchor_ders: anchors.iter().map(|(anchor, _)| anchor.der.clone()).collect(),
        anchor_domains,
        intermediates,
        own_chain: own.as_ref().map(|own| own.chain.clone()).unwrap_or_default(),
        max_depth: sources.max_depth,
        revocation: sources.revocation.clone(),
        lists: Arc::clone(lists),
        given: given.cloned(),
    };
    if let Some(own) = own.filter(|_| !material.anchors.is_empty()) {
        loader.own_chain(&material, &own);
    }
    if loader.problems.iter().any(|problem| problem.fatal) {
        return Err(UnusableMaterial { problems: loader.problems, crl_issuers: material.crl_issuers() });
    }
    Ok((material, loader.problems))
}

pub(super) fn load_public(
    sources: &PublicSources,
    edge: usize,
    now: SystemTime,
) -> Result<(PublicCertificate, Vec<MaterialProblem>), Vec<MaterialProblem>> {
    let mut loader = Loader { now, kept_in: None, problems: Vec::new() };
    let parts = (MaterialPart::EdgeCertificate(edge), MaterialPart::EdgePrivateKey(edge));
    let pair = loader.pair(parts, &sources.certificate, sources.private_key.as_deref());
    if let Some(first) = pair.as_ref().and_then(|pair| pair.chain.first()) {
        loader.public_end_entity(parts.0, &sources.certificate, &first.facts);
    }
    let certificate = pair.and_then(|pair| {
        let info = pair.chain.first()?.facts.info.clone();
        Some(PublicCertificate { credential: pair.credential?, info })
    });
    match certificate {
        Some(certificate) if !loader.problems.iter().any(|problem| problem.fatal) => Ok((certificate, loader.problems)),
        _ => Err(loader.problems),
    }
}

impl Loader<'_> {
    fn fatal(&mut self, part: MaterialPart, message: String, remedy: impl Into<String>) {
        self.problems.push(MaterialProblem { part, fatal: true, message, remedy: remedy.into() });
    }

    fn note(&mut self, part: MaterialPart, message: String, remedy: impl Into<String>) {
        self.problems.push(MaterialProblem { part, fatal: false, message, remedy: remedy.into() });
    }

    fn blocks(&mut self, part: MaterialPart, path: &Path) -> Option<Vec<Block>> {
        let blocks = self.octets(part, path).and_then(|bytes| pem::blocks(&bytes));
        blocks
            .map_err(|error| {
                let message = format!("{}: {error}", path.display());
                match error {
                    PemError::Reached(reached) => self.fatal(MaterialPart::State, message, reached.remedy),
                    _ => self.fatal(part, message, "check that the file exists, is readable by this user and is whole"),
                }
            })
            .ok()
    }

    /// What a file holds. What we keep ourselves has to be ours.
    fn octets(&self, part: MaterialPart, path: &Path) -> Result<Zeroizing<Vec<u8>>, PemError> {
        if self.kept_in.is_none() || path.parent() != self.kept_in {
            return pem::read(path, MAX_PEM_BYTES);
        }
        let kept = if part == MaterialPart::Certificate { Kept::Key } else { Kept::File };
        pem::read_kept(path, kept, MAX_PEM_BYTES)
    }

    /// The certificates among the blocks; none, or one that is malformed, is fatal.
    fn certificates(&mut self, part: MaterialPart, path: &Path, blocks: &[Block]) -> Vec<Known> {
        let ders = blocks.iter().filter(|block| block.is_certificate()).map(|block| block.der.to_vec().into());
        let known = self.read(part, &path.display(), ders);
        if !blocks.iter().any(Block::is_certificate) {
            let found = pem::contents(blocks);
            let message = format!("{}: holds no certificate: found {found}, expected CERTIFICATE", path.display());
            self.fatal(part, message, "name a PEM file of certificates");
        }
        known
    }

    /// Those that can be read; one that cannot is fatal.
    fn read(
        &mut self,
        part: MaterialPart,
        place: &dyn Display,
        ders: impl Iterator<Item = CertificateDer<'static>>,
    ) -> Vec<Known> {
        let mut known = Vec::new();
        for (der, position) in ders.zip(1..) {
            match read_certificate(&der) {
                Ok(facts) => known.push(Known { der, facts }),
                Err(reason) => self.fatal(part, format!("{place}: certificate {position}: {reason}"), reason.hint()),
            }
        }
        known
    }

    /// The anchors of the files, and those that were given.
    fn anchors(&mut self, paths: &[PathBuf], given: Option<&GivenMaterial>) -> Vec<Anchor> {
        let mut anchors: Vec<Anchor> = Vec::new();
        for (path, index) in paths.iter().zip(0..) {
            let part = MaterialPart::Anchor(index);
            for known in self.ca_certificates(part, path) {
                if anchors.iter().any(|(other, _)| other.der == known.der) {
                    let message = format!("{}: {:?} is listed twice", path.display(), known.facts.info.title());
                    self.note(part, message, "remove one of the two");
                    continue;
                }
                // Not fatal, so that expired material can be looked into; where none is valid our own chain leads to none.
                if self.is_outside_validity(&known.facts) {
                    let message = outside_validity(path, &known.facts);
                    self.note(part, message, "remove it, or replace it with its successor");
                }
                anchors.push((known, None));
            }
        }
        for (given, bundle) in given.iter().flat_map(|given| given.bundles.iter().map(move |bundle| (given, bundle))) {
            for known in self.bundle(given, bundle) {
                // What the operator believes for anyone needs no word for some.
                let is_there = |(other, domain): &Anchor| {
                    other.der == known.der && domain.as_ref().is_none_or(|domain| *domain == bundle.trust_domain)
                };
                if !anchors.iter().any(is_there) {
                    anchors.push((known, Some(bundle.trust_domain.clone())));
                }
            }
        }
        if anchors.is_empty() && !self.problems.iter().any(|problem| problem.fatal) {
            let message = "there is no trust anchor, so nobody can be trusted".to_owned();
            self.fatal(MaterialPart::Anchor(0), message, "list the certificate of your CA in trust.anchors");
        }
        anchors
    }

    /// The anchors of a trust domain. In the bundle of another domain than ours one that is no good is left out: what that domain
    /// publishes must not keep our own certificate from us.
    fn bundle(&mut self, given: &GivenMaterial, bundle: &Bundle) -> Vec<Known> {
        let (part, domain, before) = (MaterialPart::Given, bundle.trust_domain.as_str(), self.problems.len());
        let place = format!("{}: the bundle of {domain:?}", given.giver);
        if let Some(fault) = &bundle.fault {
            self.fatal(part, format!("{place} {fault}"), GIVER);
        }
        let known = self.read(part, &place, bundle.anchors.iter().cloned());
        let mut known = self.cas(part, &place, known);
        if domain == given.spiffe_id.trust_domain() {
            return known;
        }
        known.retain(|known| match anchor_from_trusted_cert(&known.der) {
            Ok(_) => true,
            Err(error) => {
                self.note(part, format!("{place}: {:?}: {error}", known.facts.info.title()), "");
                false
            }
        });
        let left =
            if known.is_empty() { "no anchor of it is left, and its members are refused" } else { "it is left out" };
        for problem in &mut self.problems[before..] {
            problem.fatal = false;
            problem.message = format!("{}: {left}", problem.message);
            problem.remedy = format!("have {domain} publish anchors that can be used");
        }
        known
    }

    fn intermediates(&mut self, paths: &[PathBuf]) -> Vec<Known> {
        let mut intermediates: Vec<Known> = Vec::new();
        for (path, index) in paths.iter().zip(0..) {
            let part = MaterialPart::Intermediate(index);
            for known in self.ca_certificates(part, path) {
                if known.facts.self_issued {
                    let message = format!(
                        "{}: {:?} is self-issued: a root is not trusted for being listed here",
                        path.display(),
                        known.facts.info.title()
                    );
                    self.note(part, message, "list it in trust.anchors if it is to be trusted");
                }
                if self.is_outside_validity(&known.facts) {
                    let message = outside_validity(path, &known.facts);
                    self.note(part, message, "remove it, or replace it with its successor");
                }
                if !intermediates.iter().any(|other| other.der == known.der) {
                    intermediates.push(known);
                }
            }
        }
        intermediates
    }

    /// The certificates of a file in which each must be a CA's.
    fn ca_certificates(&mut self, part: MaterialPart, path: &Path) -> Vec<Known> {
        let Some(blocks) = self.blocks(part, path) else {
            return Vec::new();
        };
        if blocks.iter().any(is_key) {
            let message = format!("{}: holds a private key besides certificates", path.display());
            self.note(part, message, "keep the key of a CA away from its relying parties");
        }
        let known = self.certificates(part, path, &blocks);
        self.cas(part, &path.display(), known)
    }

    /// Those that are a CA's; another one is fatal.
    fn cas(&mut self, part: MaterialPart, place: &dyn Display, certificates: Vec<Known>) -> Vec<Known> {
        let mut usable = Vec::new();
        for known in certificates {
            match ca_rules(&known.facts) {
                Ok(()) => usable.push(known),
                Err(RefusalReason::NotACa { subject }) => {
                    let message = format!("{place}: {subject:?} is not a CA (basic constraints)");
                    self.fatal(part, message, "list the certificate of the CA that issues the peers' certificates");
                }
                Err(reason) => self.fatal(part, format!("{place}: {reason}"), reason.hint()),
            }
        }
        usable
    }

    fn is_outside_validity(&self, facts: &Facts) -> bool {
        self.now < facts.info.not_before || self.now > facts.info.not_after
    }

    /// A chain and its key, judged as a pair.
    fn pair(
        &mut self,
        (certificate, private_key): (MaterialPart, MaterialPart),
        path: &Path,
        key_path: Option<&Path>,
    ) -> Option<Own> {
        let before = self.problems.len();
        let blocks = self.blocks(certificate, path);
        let chain = blocks.as_ref().map(|blocks| self.certificates(certificate, path, blocks));
        let is_whole = self.problems.len() == before;
        let key = match (key_path, &blocks) {
            (Some(key_path), _) => {
                let blocks = self.blocks(private_key, key_path);
                blocks.and_then(|blocks| self.key(private_key, key_path, &blocks))
            }
            (None, Some(blocks)) => self.key(certificate, path, blocks),
            (None, None) => None,
        };
        let chain = chain.filter(|_| is_whole)?;
        let part = if key_path.is_some() { private_key } else { certificate };
        let (key_place, place) = (key_path.unwrap_or(path).display().to_string(), path.display().to_string());
        let credential = key.and_then(|key| self.joined(part, (&key_place, &place), key, &chain));
        Some(Own { part: certificate, place, chain, credential })
    }

    /// A chain and its key that were given to us, judged as a pair, and as that of whom we are said to be.
    fn given_pair(&mut self, given: &GivenMaterial) -> Option<Own> {
        let (part, place) = (MaterialPart::Given, given.giver.clone());
        let before = self.problems.len();
        let chain = self.read(part, &format!("{place}: our chain"), given.chain.iter().cloned());
        let block = Block { label: "PRIVATE KEY".to_owned(), der: given.key.clone(), is_encrypted: false };
        let key = signing_key(&[block]).map_err(|error| self.fatal(part, format!("{place}: {error}"), GIVER)).ok();
        let first = chain.first().filter(|_| self.problems.len() == before)?;
        if first.facts.info.names.spiffe_id.as_ref() != Some(&given.spiffe_id) {
            let names = &first.facts.info.names;
            let found = if names.is_empty() { "no name".to_owned() } else { names.to_string() };
            let message = format!("{place}: we are said to be {}, and the certificate proves {found}", given.spiffe_id);
            self.fatal(part, message, GIVER);
        }
        let credential = key.and_then(|key| self.joined(part, (&place, &place), key, &chain));
        Some(Own { part, place, chain, credential })
    }

    fn joined(
        &mut self,
        part: MaterialPart,
        (key_place, place): (&str, &str),
        key: Arc<dyn rustls::sign::SigningKey>,
        chain: &[Known],
    ) -> Option<Arc<CertifiedKey>> {
        let credential = CertifiedKey::new(chain.iter().map(|known| known.der.clone()).collect(), key);
        match credential.keys_match() {
            Ok(()) => Some(Arc::new(credential)),
            Err(error) => {
                let message = mismatch(&error, key_place, place, chain);
                self.fatal(part, message, "name the key and the certificate that were issued together");
                None
            }
        }
    }

    fn key(&mut self, part: MaterialPart, path: &Path, blocks: &[Block]) -> Option<Arc<dyn rustls::sign::SigningKey>> {
        match signing_key(blocks) {
            Ok(key) => {
                self.key_mode(part, path);
                Some(key)
            }
            Err(error) => {
                self.fatal(part, format!("{}: {error}", path.display()), error.remedy());
                None
            }
        }
    }

    #[cfg(unix)]
    fn key_mode(&mut self, part: MaterialPart, path: &Path) {
        use std::os::unix::fs::PermissionsExt;
        let Ok(metadata) = path.metadata() else {
            return;
        };
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            let message =
                format!("{}: the private key is open to group or others: its mode is {mode:04o}", path.display());
            self.note(part, message, format!("chmod 600 {}", path.display()));
        }
    }

    #[cfg(not(unix))]
    fn key_mode(&mut self, _part: MaterialPart, _path: &Path) {}

    /// Whether a client may take the certificate, its issuer and its name apart, which only the client knows.
    fn public_end_entity(&mut self, part: MaterialPart, path: &Path, facts: &Facts) {
        let (info, place) = (&facts.info, path.display());
        if facts.is_ca {
            let message = format!("{place}: the first certificate, {:?}, is a CA", info.title());
            self.fatal(part, message, "put the end-entity certificate first, then its issuers in order");
        }
        if self.is_outside_validity(facts) {
            let remedy = "get a new one from its CA, and check the clock of this machine";
            self.fatal(part, outside_validity(path, facts), remedy);
        }
    }

    /// Whether peers with these anchors would accept us, revocation apart: our own revocation must not keep a newer CRL,
    /// which lists others besides us, from being loaded.
    fn own_chain(&mut self, material: &TrustMaterial, own: &Own) {
        let Some((first, rest)) = own.chain.split_first() else {
            return;
        };
        let (part, path) = (own.part, &own.place);
        if first.facts.is_ca {
            let message = format!("{path}: the first certificate, {:?}, is a CA", first.facts.info.title());
            self.fatal(part, message, "put the end-entity certificate first, then its issuers in order");
            return;
        }
        let presented: Vec<CertificateDer<'_>> = rest.iter().map(|known| known.der.clone()).collect();
        let verify = |usage| {
            let verdict = material.verify_with(&first.der, &presented, usage, self.now, RevocationCheck::Skip);
            verdict.map_err(|refusal| refusal.reason)
        };
        match (verify(Usage::Client), verify(Usage::Server)) {
            (Err(reason), Err(_)) if part == MaterialPart::Given => {
                self.fatal(part, format!("{path}: {reason}"), GIVER);
            }
            (Err(reason), Err(_)) => self.fatal(part, format!("{path}: {reason}"), own_remedy(&reason)),
            (Err(reason), Ok(_)) => {
                self.note(
                    part,
                    format!("{path}: peers will refuse it on outbound connections: {reason}"),
                    reason.hint(),
                );
            }
            (Ok(_), Err(reason)) => {
                self.note(
                    part,
                    format!("{path}: peers will refuse it on inbound connections: {reason}"),
                    reason.hint(),
                );
            }
            (Ok(_), Ok(_)) => {}
        }
        if self.problems.iter().any(|problem| problem.fatal && problem.part == part) {
            return;
        }
        if first.facts.info.names.is_empty() {
            let message =
                format!("{path}: has no SPIFFE ID, DNS name or IP address, so that peers can allow it by no name");
            self.note(part, message, "issue a certificate with a name, for example with \"mantlet ca issue\"");
        }
    }
}

/// Reads a certificate with both parsers, so that one that verification could not read is found when it is loaded.
fn read_certificate(der: &CertificateDer<'_>) -> Result<Facts, RefusalReason> {
    let facts = Facts::read(der).map_err(|error| RefusalReason::Malformed { detail: error.detail })?;
    match webpki::EndEntityCert::try_from(der) {
        Ok(_) => Ok(facts),
        Err(error) => Err(diagnosis::unparsed(&error, der, &facts.info.title())),
    }
}

fn outside_validity(path: &Path, facts: &Facts) -> String {
    let (title, from, to) = (facts.info.title(), Instant(facts.info.not_before), Instant(facts.info.not_after));
    format!("{}: {title:?} is valid from {from} to {to} only", path.display())
}

fn own_remedy(reason: &RefusalReason) -> &'static str {
    match reason {
        RefusalReason::Expired { .. } => {
            "issue a new one with \"mantlet ca issue\", and check the clock of this machine"
        }
        RefusalReason::UnknownIssuer { .. } | RefusalReason::BadSignature { .. } => {
            "add the CA that issued it to trust.anchors, or append the missing intermediates after the end-entity certificate"
        }
        other => other.hint(),
    }
}

fn mismatch(error: &TlsError, key: &str, certificate: &str, chain: &[Known]) -> String {
    let title = chain.first().map(|first| first.facts.info.title()).unwrap_or_default();
    match error {
        TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!("{key}: the private key is not that of the certificate {title:?} in {certificate}")
        }
        other => format!("{key}: whether the private key is that of {title:?} cannot be told: {other}"),
    }
}
