//! The HTTPS server of an issuer's keys.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;
use std::sync::Arc;

use rcgen::SanType;
use rustls::ServerConfig;

use super::pki::{Issued, Pki};
pub(crate) use super::scripted_server::Answer;
use super::scripted_server::ScriptedServer;
use super::tokens::{TokenKey, jwks};

/// The server. It answers every path alike.
pub(crate) struct KeyServer(ScriptedServer);

impl KeyServer {
    /// One that proves to be 127.0.0.1 with a certificate of this authority.
    pub(crate) fn start(pki: &Pki, answer: Answer) -> Self {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let own =
            pki.issue_with("issuer", "issuer", |params| params.subject_alt_names.push(SanType::IpAddress(address)));
        Self::with(&own, answer)
    }

    /// One of these keys, as a JWK set.
    pub(crate) fn of(pki: &Pki, keys: &[&TokenKey]) -> Self {
        Self::start(pki, Answer::keys(keys))
    }

    /// One that proves what it is with this certificate.
    pub(crate) fn with(own: &Issued, answer: Answer) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.der.clone()], own.private_key())
            .unwrap();
        Self(ScriptedServer::start(Some(Arc::new(config)), answer))
    }
}

impl Deref for KeyServer {
    type Target = ScriptedServer;

    fn deref(&self) -> &ScriptedServer {
        &self.0
    }
}

impl Answer {
    /// These keys, as a JWK set.
    pub(crate) fn keys(keys: &[&TokenKey]) -> Self {
        Self::text(jwks(keys))
    }
}
