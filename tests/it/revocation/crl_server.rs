//! The HTTP server of CRLs.

use std::ops::Deref;

pub(super) use crate::support::scripted_server::Answer;
use crate::support::scripted_server::ScriptedServer;

/// The server. It answers every path alike.
pub(super) struct CrlServer(ScriptedServer);

impl CrlServer {
    pub(super) fn start(answer: Answer) -> Self {
        Self(ScriptedServer::start(None, answer))
    }

    pub(super) fn of_crl(crl: &[u8]) -> Self {
        Self::start(Answer::crl(crl))
    }
}

impl Deref for CrlServer {
    type Target = ScriptedServer;

    fn deref(&self) -> &ScriptedServer {
        &self.0
    }
}

impl Answer {
    pub(super) fn crl(crl: &[u8]) -> Self {
        Self::Body(crl.to_vec(), String::new())
    }
}
