//! What is asked of the authority (RFC 7030 section 4). It changes nothing here: what came is told, and the engine judges it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::config::Fingerprint;
use crate::x509::{CertificateInfo, TrustMaterial, is_self_signed};

use super::certs_only;
use super::failure::Failure;
use super::session::{ANSWER, Clock, Place, Session};

const CACERTS: &str = "/.well-known/est/cacerts";
const SIMPLE_ENROLL: &str = "/.well-known/est/simpleenroll";
const SIMPLE_REENROLL: &str = "/.well-known/est/simplereenroll";

/// What proves who we are.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// The certificate in use.
    Current(Arc<CertifiedKey>),
    /// A certificate that is good for enrolment alone.
    Bootstrap(Arc<CertifiedKey>),
    /// A secret that is good once.
    Secret(Secret),
}

/// A one-time secret, which `Debug` does not show.
#[derive(Clone)]
pub(super) struct Secret(pub(super) Zeroizing<String>);

/// The certificates that an authority serves.
#[derive(Debug, Clone)]
pub(super) struct Served {
    pub(super) anchors: Vec<CertificateDer<'static>>,
    pub(super) intermediates: Vec<CertificateDer<'static>>,
    /// What its server presented on the connection that they came over, end entity first.
    pub(super) presented: Vec<CertificateDer<'static>>,
}

/// A new key with its certificate.
#[derive(Debug)]
pub(super) struct Certified {
    pub(super) key_pem: Zeroizing<String>,
    /// End entity first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) served: Served,
    pub(super) proof: Proof,
}

/// An outcome, and the authority's clock less ours in seconds where an answer had it.
pub(super) type Told<T> = (Result<T, Failure>, Option<i64>);

impl Proof {
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Current(_) => "current certificate",
            Self::Bootstrap(_) => "bootstrap certificate",
            Self::Secret(_) => "one-time secret",
        }
    }

    fn certificate(&self) -> Option<Arc<CertifiedKey>> {
        match self {
            Self::Current(key) | Self::Bootstrap(key) => Some(Arc::clone(key)),
            Self::Secret(_) => None,
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Looks for the anchor of this fingerprint among those that whoever answers serves. The connection proves nothing, and need not:
/// another certificate does not have this fingerprint.
pub(super) async fn first_anchor(
    place: &Place,
    pin: Fingerprint,
    name: &str,
    clock: Clock,
) -> Told<CertificateDer<'static>> {
    let mut session = match Session::unsafe_open_to_anyone(place, clock).await {
        Ok(session) => session,
        Err(failure) => return (Err(failure), None),
    };
    let served = served(&mut session, name).await;
    (served.and_then(|served| pinned(&served, pin)), session.skew)
}

fn pinned(served: &Served, pin: Fingerprint) -> Result<CertificateDer<'static>, Failure> {
    let of =
        |anchor: &CertificateDer<'_>| CertificateInfo::from_der(anchor).ok().map(|info| Fingerprint(info.fingerprint));
    if let Some(anchor) = served.anchors.iter().find(|anchor| of(anchor) == Some(pin)) {
        return Ok(anchor.clone());
    }
    let found: Vec<String> = served.anchors.iter().filter_map(of).map(|found| found.to_string()).collect();
    let found = if found.is_empty() { "no anchor".to_owned() } else { found.join(", ") };
    let message = format!("whoever answers serves no anchor of the fingerprint {pin}, but {found}");
    Err(Failure::distrusted(
        message,
        "compare identity.authority_fingerprint with what \"mantlet cert show\" prints of the authority's anchor",
    ))
}

/// Fetches the certificates that the authority serves, over a connection on which it proves who it is.
pub(super) async fn anchors(place: &Place, material: &Arc<TrustMaterial>, name: &str, clock: Clock) -> Told<Served> {
    match Session::open(place, material, None, clock).await {
        Ok(mut session) => (served(&mut session, name).await, session.skew),
        Err(failure) => (Err(failure), None),
    }
}

/// Has a new key certified.
pub(super) async fn certify(
    place: &Place,
    material: &Arc<TrustMaterial>,
    proof: Proof,
    name: &str,
    clock: Clock,
) -> Told<Box<Certified>> {
    match Session::open(place, material, proof.certificate(), clock).await {
        Ok(mut session) => (certify_over(&mut session, proof, name).await, session.skew),
        Err(failure) => (Err(failure), None),
    }
}

async fn certify_over(session: &mut Session, proof: Proof, name: &str) -> Result<Box<Certified>, Failure> {
    let served = served(session, name).await?;
    let key = KeyPair::generate().map_err(|error| local(&error))?;
    let request = request(&key, name).map_err(|error| local(&error))?;
    let path = match proof {
        Proof::Current(_) => SIMPLE_REENROLL,
        Proof::Bootstrap(_) | Proof::Secret(_) => SIMPLE_ENROLL,
    };
    let authorization = match &proof {
        Proof::Secret(secret) => Some(basic(name, secret)?),
        _ => None,
    };
    let answer = session.post(path, "application/pkcs10", authorization.as_ref(), request).await?;
    let body = answer.body_of(&format!("a request by the {}", proof.label()), name)?;
    let given = certs_only::read(&body).map_err(|detail| unusable(path, &detail))?;
    let chain = chain_of(&given, &served.intermediates).map_err(|detail| unusable(path, &detail))?;
    Ok(Box::new(Certified { key_pem: Zeroizing::new(key.serialize_pem()), chain, served, proof }))
}

/// The authority takes the public key alone, and decides everything else by what is registered.
fn request(key: &KeyPair, name: &str) -> Result<Bytes, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let request = params.serialize_request(key)?;
    Ok(STANDARD.encode(request.der()).into())
}

fn basic(name: &str, secret: &Secret) -> Result<HeaderValue, Failure> {
    let pair = Zeroizing::new(format!("{name}:{}", *secret.0));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| Failure::unusable("the secret cannot be sent".to_owned(), "write it as it was printed"))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn served(session: &mut Session, name: &str) -> Result<Served, Failure> {
    let body = session.get(CACERTS, ANSWER).await?.body_of("a request for its certificates", name)?;
    let all = certs_only::read(&body).map_err(|detail| unusable(CACERTS, &detail))?;
    let (anchors, intermediates) = all.into_iter().partition(is_self_signed);
    Ok(Served { anchors, intermediates, presented: session.presented.clone() })
}

/// The certificate that is of no issuer among the others, and its issuers as far as they are known, in order.
fn chain_of(
    given: &[CertificateDer<'static>],
    intermediates: &[CertificateDer<'static>],
) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = |der: &CertificateDer<'_>| CertificateInfo::from_der(der).map_err(|error| error.to_string());
    let infos = given.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let is_above = |subject: &str| infos.iter().any(|other| other.issuer == subject && other.subject != subject);
    let Some(leaf) = infos.iter().position(|info| !is_above(&info.subject)) else {
        return Err("it holds no end-entity certificate".to_owned());
    };
    let mut chain = vec![given[leaf].clone()];
    let mut above = infos[leaf].issuer.clone();
    let others: Vec<&CertificateDer<'static>> =
        given.iter().chain(intermediates).filter(|der| !is_self_signed(der)).collect();
    let mut left: Vec<(&CertificateDer<'static>, CertificateInfo)> =
        others.into_iter().map(|der| Ok((der, read(der)?))).collect::<Result<_, String>>()?;
    // Several of one name, as during a change of the CA's key, are all presented: the peer finds the one that fits.
    loop {
        let (issuers, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(|(_, info)| info.subject == above);
        let Some((_, next)) = issuers.first() else { return Ok(chain) };
        above.clone_from(&next.issuer);
        for (der, _) in issuers {
            if !chain.contains(der) {
                chain.push(der.clone());
            }
        }
        left = rest;
    }
}

fn unusable(path: &str, detail: &str) -> Failure {
    Failure::unusable(
        format!("the authority's answer to {path} cannot be used: {detail}"),
        "look at the authority's log",
    )
}

fn local(error: &rcgen::Error) -> Failure {
    Failure::unusable(format!("no key and request can be made: {error}"), "look at identity.name")
}
