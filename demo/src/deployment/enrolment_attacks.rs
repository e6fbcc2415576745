//! The attacks on the authority: whoever proves nothing, or what is worth nothing any more, is not certified.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use url::Url;

use super::attacks::{attack, tls};
use crate::client::Answer;
use crate::https::{Call, Https};
use crate::report::Attack;

const AUTHORITY: &str = "https://authority:8444";
/// The header in which the authority names its reason for programs.
const REASON: &str = "mantlet-reason";

/// All of them, with what was stolen in `certs`.
pub(super) async fn all(certs: &Path) -> anyhow::Result<Vec<Attack>> {
    let secret = fs::read_to_string(certs.join("used.secret")).context("there is no stolen one-time secret")?;
    let basic = |secret: &str| format!("Basic {}", STANDARD.encode(format!("gateway:{}", secret.trim())));
    Ok(vec![
        refused(
            "enrolment without a proof",
            "ask the authority for a certificate, and prove nothing",
            Request { path: "simpleenroll", tls: tls(certs, None)?, authorization: None },
            "unauthenticated",
        )
        .await?,
        refused(
            "a one-time secret for the second time",
            "ask for the gateway's certificate with the one-time secret that the gateway has used",
            Request { path: "simpleenroll", tls: tls(certs, None)?, authorization: Some(basic(&secret)) },
            "credential",
        )
        .await?,
        refused(
            "renewal of a certificate of another CA",
            "have a certificate for the gateway's name renewed that another CA issued",
            Request { path: "simplereenroll", tls: tls(certs, Some("foreign"))?, authorization: None },
            "certificate",
        )
        .await?,
    ])
}

/// A request for a certificate (RFC 7030 section 4.2), and what is to prove who asks.
struct Request {
    path: &'static str,
    tls: Arc<ClientConfig>,
    authorization: Option<String>,
}

impl Request {
    async fn send(self) -> anyhow::Result<Answer> {
        let key = KeyPair::generate()?;
        let request = STANDARD.encode(CertificateParams::default().serialize_request(&key)?.der());
        let mut call = Call::post_as(&format!("/.well-known/est/{}", self.path), "application/pkcs10", request.into());
        if let Some(authorization) = self.authorization {
            call = call.with("authorization", authorization);
        }
        Https::connect(&Url::parse(AUTHORITY)?, &self.tls).await?.send(&call).await
    }
}

async fn refused(name: &'static str, tried: &str, request: Request, reason: &str) -> anyhow::Result<Attack> {
    let answer = request.send().await?;
    let named = answer.headers.get(REASON).and_then(|value| value.to_str().ok()).unwrap_or("no reason");
    let line = answer.body.lines().next().unwrap_or_default();
    let seen = format!("{} {named}: {line}", answer.status.as_u16());
    let mut attack = attack(name, tried, &format!("401 {reason}"), &seen);
    if answer.status.as_u16() != 401 || named != reason {
        attack.problems.push(format!("the authority answered {seen}"));
    }
    Ok(attack)
}
