//! Enrolment over Secure Transport (RFC 7030, with RFC 8951): a public key comes in, a certificate goes out.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tracing::info;
use zeroize::Zeroizing;

use crate::ca::{CertificateFault, CertificateKind, EnrolmentCredential, SigningRequest};
use crate::x509::MAX_SIGNING_REQUEST_BYTES;

use super::answer::{Answer, Refusal, respond};
use super::connection::Caller;
use super::metrics::By;
use super::rates::Proof;
use super::{Server, cms, now};

const CERTIFICATES: &str = "application/pkcs7-mime; smime-type=certs-only";
const REQUEST: &str = "application/pkcs10";
/// Base64 and its line breaks take a half more than the request itself.
const MAX_BODY_BYTES: usize = MAX_SIGNING_REQUEST_BYTES * 3 / 2;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Enroll,
    Reenroll,
}

/// A name and its one-time secret.
struct Basic {
    name: String,
    secret: Zeroizing<String>,
}

/// Who asks, as far as it is known before anything is decided.
pub(super) struct Claim {
    basic: Option<Basic>,
    certificate: Option<CertificateClaim>,
}

struct CertificateClaim {
    der: Vec<u8>,
    name: String,
    kind: CertificateKind,
}

pub(super) fn ca_certificates(server: &Server) -> Answer {
    let mut answer = respond(StatusCode::OK, CERTIFICATES, server.published.borrow().ca_certificates.clone());
    mark_base64(&mut answer);
    answer
}

pub(super) fn request_attributes() -> Answer {
    let mut answer = respond(StatusCode::OK, "application/csrattrs", cms::in_lines(&cms::request_attributes()));
    mark_base64(&mut answer);
    answer
}

/// Enrols or renews.
pub(super) async fn enrol(
    server: &Server,
    caller: &Caller,
    operation: Operation,
    request: Request<Incoming>,
) -> Result<Answer, (Refusal, String)> {
    let unknown = |refusal| (refusal, String::new());
    server.rates.enrolment_of_address(caller.key()).map_err(|wait| unknown(Refusal::rate_limited(wait)))?;
    let (parts, body) = request.into_parts();
    let claim = claim(server, caller, operation, &parts.headers).await.map_err(unknown)?;
    let name = claim.name().to_owned();
    issue(server, caller, operation, &parts.headers, body, &claim).await.map_err(|refusal| (refusal, name))
}

async fn issue(
    server: &Server,
    caller: &Caller,
    operation: Operation,
    headers: &HeaderMap,
    body: Incoming,
    claim: &Claim,
) -> Result<Answer, Refusal> {
    let credential = claim.credential(operation)?;
    // A secret has so many bits that guessing needs no bound; the bound keeps the cost of trying away from others. Whoever only
    // says a name takes nothing from another address, nor from who proves it by a certificate.
    let is_secret = matches!(credential, EnrolmentCredential::Secret { .. });
    let proof = if is_secret { Proof::Secret } else { Proof::Certificate };
    server.rates.enrolment_of_name(claim.name(), proof, caller.key()).map_err(Refusal::rate_limited)?;
    check_media_type(headers)?;
    let request = SigningRequest::from_der(&read(body).await?)?;
    let actor = format!("{} from {}", claim.name(), caller.address);
    let ttl = server.config.authority.ttl;
    let enrolled = server.authority.enrol(credential, &request, ttl, &actor, now()).await?;
    let certificate = &enrolled.certificate;
    let by = match (credential, operation) {
        (EnrolmentCredential::Secret { .. }, _) => "secret",
        (_, Operation::Enroll) => "bootstrap",
        (_, Operation::Reenroll) => "certificate",
    };
    server.metrics.issued.get_or_create(&By { by }).inc();
    info!(
        peer.address = %caller.address,
        name = %certificate.name,
        by,
        serial = %certificate.serial,
        not_after = %certificate.not_after,
        "issued"
    );
    let body = cms::in_lines(&cms::certificates_alone([enrolled.der.as_slice()].into_iter()));
    let mut answer = respond(StatusCode::OK, CERTIFICATES, body);
    mark_base64(&mut answer);
    Ok(answer)
}

/// Who asks. A certificate is judged here for its kind alone; whether it is revoked is decided where it is used.
async fn claim(server: &Server, caller: &Caller, operation: Operation, headers: &HeaderMap) -> Result<Claim, Refusal> {
    // A renewal is by certificate alone: a name that is only said names nobody, in the log least of all.
    let basic = if operation == Operation::Enroll { basic(headers)? } else { None };
    let mut certificate = None;
    if let Some(der) = &caller.certificate {
        let judged = server.authority.judge(der, now()).await.map_err(|error| Refusal::unavailable(&error))?;
        certificate = match judged {
            Ok(record) => {
                let (name, kind) = (record.certificate.name, record.certificate.kind);
                Some(CertificateClaim { der: der.to_vec(), name, kind })
            }
            // Whoever brings a secret needs no certificate.
            Err(_) if basic.is_some() && operation == Operation::Enroll => None,
            Err(fault) => return Err(fault.into()),
        };
    }
    if basic.is_none() && certificate.is_none() {
        let message = match operation {
            Operation::Enroll => "enrolment takes a name and its one-time secret, or a bootstrap certificate",
            Operation::Reenroll => "renewal takes the current certificate, presented in the TLS handshake",
        };
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "unauthenticated", message));
    }
    Ok(Claim { basic, certificate })
}

impl Claim {
    fn name(&self) -> &str {
        let of_certificate = || self.certificate.as_ref().map(|certificate| certificate.name.as_str());
        let of_basic = self.basic.as_ref().map(|basic| basic.name.as_str());
        of_basic.or_else(of_certificate).unwrap_or_default()
    }

    fn credential(&self, operation: Operation) -> Result<EnrolmentCredential<'_>, Refusal> {
        let wanted = match operation {
            Operation::Enroll => CertificateKind::Bootstrap,
            Operation::Reenroll => CertificateKind::EndEntity,
        };
        match (operation, &self.basic, &self.certificate) {
            (Operation::Enroll, Some(Basic { name, secret }), _) => Ok(EnrolmentCredential::Secret { name, secret }),
            (_, _, Some(certificate)) if certificate.kind == wanted => {
                let renewal = operation == Operation::Reenroll;
                Ok(EnrolmentCredential::Certificate { der: &certificate.der, renewal })
            }
            (_, _, Some(_)) => Err(CertificateFault::WrongKind.into()),
            (_, _, None) => Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "renewal takes the current certificate, presented in the TLS handshake",
            )),
        }
    }
}

/// The name and secret of HTTP Basic (RFC 7617).
fn basic(headers: &HeaderMap) -> Result<Option<Basic>, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let malformed =
        || Refusal::new(StatusCode::UNAUTHORIZED, "credential", "expected HTTP Basic: a name and its secret");
    if values.next().is_some() {
        return Err(malformed());
    }
    let text = value.to_str().ok().and_then(|value| value.split_once(' '));
    let Some((_, encoded)) = text.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Basic")) else {
        return Err(malformed());
    };
    let octets = Zeroizing::new(STANDARD.decode(encoded.trim()).map_err(|_| malformed())?);
    let pair = std::str::from_utf8(&octets).ok().and_then(|pair| pair.split_once(':'));
    let (name, secret) = pair.ok_or_else(malformed)?;
    // What is no name is nobody's, and is not carried into logs.
    if name.parse::<crate::ca::ServiceName>().is_err() {
        return Err(malformed());
    }
    Ok(Some(Basic { name: name.to_owned(), secret: Zeroizing::new(secret.to_owned()) }))
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get_all(CONTENT_TYPE).iter().map(|value| value.to_str().unwrap_or_default());
    let mut media_types = given.map(|value| value.split(';').next().unwrap_or_default().trim()).peekable();
    let media_type =
        match (media_types.peek().is_some(), media_types.find(|given| !given.eq_ignore_ascii_case(REQUEST))) {
            (true, None) => return Ok(()),
            (_, other) => other.unwrap_or_default(),
        };
    let message = format!("the content type is {media_type:?}: expected {REQUEST}");
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", message))
}

/// The DER in a body: base64 with line breaks anywhere, with or without the lines around it that PEM has.
async fn read(body: Incoming) -> Result<Vec<u8>, Refusal> {
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    let body: Bytes = match collected {
        Err(_) => return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long")),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("the body is larger than {MAX_BODY_BYTES} bytes");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
        }
        Ok(Err(_)) => return Err(malformed()),
        Ok(Ok(body)) => body.to_bytes(),
    };
    let text = std::str::from_utf8(&body).map_err(|_| malformed())?;
    let encoded: String =
        text.lines().filter(|line| !line.starts_with("-----")).flat_map(str::split_whitespace).collect();
    if encoded.is_empty() {
        return Err(malformed());
    }
    STANDARD.decode(encoded).map_err(|_| malformed())
}

fn malformed() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "malformed", "the body is no request in base64")
}

/// Clients from before RFC 8951 want to be told.
fn mark_base64(answer: &mut Answer) {
    answer.headers_mut().insert("content-transfer-encoding", HeaderValue::from_static("base64"));
}
