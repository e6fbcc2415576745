//! The verifiers that the TLS library calls. Those of peers ask [`TrustMaterial::verify`] and nothing else about certificates.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::identity::PeerPattern;
use crate::x509::{Refusal, TrustMaterial, Usage, VerifiedPath};

use super::signatures;

tokio::task_local! {
    /// Where the verifier leaves the verdict of the handshake in progress. The library's error carries an alert alone, and the
    /// configuration that holds the verifier is shared by all connections.
    pub(super) static VERDICT: VerdictCell;
}

/// What was found about a presented chain.
type Verdict = Result<VerifiedPath, Box<Refusal>>;

/// The verdict of one handshake: none before a certificate was judged.
#[derive(Debug, Clone, Default)]
pub(super) struct VerdictCell(Arc<Mutex<Option<Verdict>>>);

impl VerdictCell {
    pub(super) fn take(&self) -> Option<Verdict> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, verdict: Verdict) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
    }
}

/// Leaves the verdict for the handshake and turns a refusal into the alert that fits it.
fn report(verdict: Verdict) -> Result<(), Error> {
    let outcome = match &verdict {
        Ok(_) => Ok(()),
        Err(refusal) => Err(Error::InvalidCertificate(refusal.reason.certificate_error())),
    };
    // Outside a handshake of ours nobody waits for the verdict, and the outcome alone is what counts.
    let _ = VERDICT.try_with(|cell| cell.set(verdict));
    outcome
}

fn system_time(now: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs())
}

/// Judges callers.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    pub(super) material: Arc<TrustMaterial>,
    pub(super) mandatory: bool,
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // No hints: a client then presents the one certificate it has, and the refusal says whom we trust.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        report(self.material.verify(end_entity, intermediates, Usage::Client, system_time(now)))?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signatures::verify_tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signatures::verify_tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signatures::schemes()
    }
}

/// Judges the servers that we connect to: a good path, and one of the names we expect.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    pub(super) material: Arc<TrustMaterial>,
    pub(super) expect: Vec<PeerPattern>,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self
            .material
            .verify(end_entity, intermediates, Usage::Server, system_time(now))
            .and_then(|path| path.expect_one_of(end_entity, &self.expect));
        report(verdict)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signatures::verify_tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signatures::verify_tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signatures::schemes()
    }
}

/// Judges no certificate: what comes over the connection is held against a fingerprint.
#[derive(Debug)]
pub(super) struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signatures::verify_tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        signatures::verify_tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signatures::schemes()
    }
}
