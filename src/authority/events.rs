//! Word of changes, by long poll: who holds a certificate learns at once of new CRLs, new anchors, and what became of its own
//! registration.

use std::time::Duration;

use http::{Request, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use crate::ca::{CertificateFault, CertificateKind, CertificateRecord, EntityState, ServiceName};

use super::answer::{Answer, Refusal, respond};
use super::connection::Caller;
use super::published::Published;
use super::{Server, now};

/// The longest that a request waits; below what proxies and clients take for a dead connection.
const MAX_WAIT: Duration = Duration::from_secs(50);

pub(super) const CRLS_PATH: &str = "/.well-known/mantlet/crls";
pub(super) const ANCHORS_PATH: &str = "/.well-known/mantlet/anchors";

/// What the caller already knows, and how long it wants to wait for more.
struct Question<'a> {
    since: Option<&'a str>,
    wait: Duration,
}

/// Answers once the state is another than the caller knows, or the time is over.
pub(super) async fn answer(server: &Server, caller: &Caller, request: &Request<impl Sized>) -> Result<Answer, Refusal> {
    let question = Question::of(request.uri().query().unwrap_or_default())?;
    let Some(der) = &caller.certificate else {
        let message = "word of changes is for holders of certificates; present yours in the TLS handshake";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "unauthenticated", message));
    };
    server.rates.events_of_address(caller.key()).map_err(Refusal::rate_limited)?;
    server.rates.events_of_certificate(der, caller.key()).map_err(Refusal::rate_limited)?;
    let deadline = Instant::now() + question.wait;
    let mut published = server.published.clone();
    let _waiting = Waiting::new(server);
    loop {
        let current = published.borrow_and_update().clone();
        let document = document(server, der, &current).await?;
        let known = question.since.is_some() && document["tag"].as_str() == question.since;
        let expired = Instant::now() >= deadline || server.stop.is_cancelled();
        if !known || expired {
            return Ok(respond(StatusCode::OK, "application/json", format!("{document}\n")));
        }
        tokio::select! {
            // The one who publishes is gone only when the process ends.
            _ = published.changed() => {}
            () = tokio::time::sleep_until(deadline) => {}
            () = server.stop.cancelled() => {}
        }
    }
}

async fn document(server: &Server, der: &[u8], published: &Published) -> Result<serde_json::Value, Refusal> {
    let record = judge(server, der).await?;
    let certificate = &record.certificate;
    let (state, version) = match certificate.name.parse::<ServiceName>() {
        Ok(name) => match server.authority.registered(&name).await {
            Ok(entity) => (entity.state, entity.version),
            Err(crate::ca::CaError::NotRegistered { .. }) => (EntityState::Removed, 0),
            Err(error) => return Err(Refusal::unavailable(&error)),
        },
        Err(_) => (EntityState::Removed, 0),
    };
    let renew = server.authority.should_renew(&record).await.map_err(|error| Refusal::unavailable(&error))?;
    let (revoked, tags) = (record.revocation.is_some(), &published.tags);
    let tag = format!("{}.{}.{version}.{}{}", tags.crls, tags.anchors, u8::from(revoked), u8::from(renew));
    Ok(json!({
        "tag": tag,
        "crls": { "tag": tags.crls, "url": CRLS_PATH },
        "anchors": { "tag": tags.anchors, "url": "/.well-known/est/cacerts" },
        "registration": { "name": certificate.name, "state": state.as_str(), "tag": version.to_string() },
        "certificate": {
            "serial": certificate.serial.to_string(),
            "state": if revoked { "revoked" } else { "valid" },
            "not_after": certificate.not_after.to_string(),
        },
        "renew": renew,
        "time": now().to_string(),
    }))
}

/// A certificate of a service, valid in its time. A revoked one may learn that it is.
async fn judge(server: &Server, der: &[u8]) -> Result<CertificateRecord, Refusal> {
    let judged = server.authority.judge(der, now()).await.map_err(|error| Refusal::unavailable(&error))?;
    match judged {
        Ok(record) if record.certificate.kind == CertificateKind::EndEntity => Ok(record),
        Ok(_) => Err(CertificateFault::WrongKind.into()),
        Err(fault) => Err(fault.into()),
    }
}

impl<'a> Question<'a> {
    fn of(query: &'a str) -> Result<Self, Refusal> {
        let mut question = Self { since: None, wait: MAX_WAIT };
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match key {
                "since" => question.since = Some(value),
                "wait" => {
                    let seconds: u64 = value.parse().map_err(|_| {
                        let message = format!("wait is {value:?}: expected seconds, 0 to {}", MAX_WAIT.as_secs());
                        Refusal::new(StatusCode::BAD_REQUEST, "malformed", message)
                    })?;
                    question.wait = Duration::from_secs(seconds).min(MAX_WAIT);
                }
                _ => {}
            }
        }
        Ok(question)
    }
}

/// Counts a request for as long as it waits.
struct Waiting<'a>(&'a Server);

impl<'a> Waiting<'a> {
    fn new(server: &'a Server) -> Self {
        server.metrics.subscribers.inc();
        Self(server)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.metrics.subscribers.dec();
    }
}
