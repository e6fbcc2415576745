//! The server role: handshakes with callers.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::AsyncWriteExt;

use crate::config::{ClientAuth, Protocol, TlsVersion};
use crate::net::Stream;
use crate::x509::TrustMaterial;

use super::error::HandshakeError;
use super::peer::Peer;
use super::settings::{provider, versions};
use super::stream::TlsStream;
use super::verifier::{ClientVerifier, VERDICT, VerdictCell};

/// An accepted TLS connection.
pub type TlsServerStream = TlsStream<UnbufferedServerConnection>;

/// First byte of a TLS record that carries a handshake message (RFC 8446 section 5.1).
const HANDSHAKE_RECORD: u8 = 0x16;

/// What a plaintext caller reads. It names no peer, rule or version.
const PLAINTEXT_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 83\r\n\
connection: close\r\n\r\nThis port speaks mutual TLS. Use https:// with a client certificate or a sidecar.\r\n";
/// The same on a public listener.
pub(super) const PUBLIC_PLAINTEXT_ANSWER: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 43\r\n\
connection: close\r\n\r\nThis port speaks TLS alone. Use https://.\r\n";

/// Makes the handshakes of one listener. New material takes effect for the next handshake.
#[derive(Debug)]
pub struct Acceptor {
    config: ArcSwap<ServerConfig>,
    presents: Presents,
    client_auth: ClientAuth,
    protocol: Protocol,
    min_version: TlsVersion,
}

/// Which certificate a listener presents.
#[derive(Debug, Clone)]
pub enum Presents {
    /// Our own, to peers.
    OwnIdentity,
    /// Another, to the public.
    Public(Arc<CertifiedKey>),
}

/// Why a handshake failed, and the connection where the peer may still have our last words to read.
pub type FailedHandshake = (HandshakeError, Option<Stream>);

/// Material made ready for an [`Acceptor`].
#[derive(Debug)]
pub struct PreparedServer(Arc<ServerConfig>);

impl Acceptor {
    /// # Errors
    /// Where the material has no credential, or one that the TLS library cannot use.
    pub fn new(
        material: &Arc<TrustMaterial>,
        presents: Presents,
        client_auth: ClientAuth,
        protocol: Protocol,
        min_version: TlsVersion,
    ) -> Result<Self, rustls::Error> {
        let config = server_config(material, &presents, client_auth, protocol, min_version)?;
        Ok(Self { config: ArcSwap::from_pointee(config), presents, client_auth, protocol, min_version })
    }

    /// Makes ready for other material without using it yet.
    ///
    /// # Errors
    /// As [`Acceptor::new`].
    pub fn prepare(&self, material: &Arc<TrustMaterial>) -> Result<PreparedServer, rustls::Error> {
        self.prepare_presenting(material, &self.presents)
    }

    /// The same, with another certificate to present.
    ///
    /// # Errors
    /// As [`Acceptor::new`].
    pub fn prepare_presenting(
        &self,
        material: &Arc<TrustMaterial>,
        presents: &Presents,
    ) -> Result<PreparedServer, rustls::Error> {
        let config = server_config(material, presents, self.client_auth, self.protocol, self.min_version)?;
        Ok(PreparedServer(Arc::new(config)))
    }

    /// Makes later handshakes with what was prepared.
    pub fn install(&self, prepared: PreparedServer) {
        self.config.store(prepared.0);
    }

    /// Makes one handshake; the caller bounds its time. A peer that speaks HTTP without TLS gets an answer that says so.
    ///
    /// # Errors
    /// Why it failed. The peer has been sent the fitting alert, which it may still have to read where the stream comes back.
    pub async fn accept(&self, stream: Stream) -> Result<(TlsServerStream, Peer), FailedHandshake> {
        let verdict = VerdictCell::default();
        let outcome = VERDICT.scope(verdict.clone(), self.handshake(stream)).await;
        match (outcome, verdict.take()) {
            (Err((_, stream)), Some(Err(refusal))) => Err((HandshakeError::Refused(refusal), stream)),
            (Err((error, stream)), _) => Err((error, stream)),
            (Ok(stream), verdict) => {
                let chain = stream.peer_certificates();
                let peer = match verdict {
                    Some(Ok(path)) if !chain.is_empty() => Peer::authenticated(path, chain),
                    None if chain.is_empty() && self.client_auth != ClientAuth::Required => Peer::anonymous(),
                    // A finished handshake whose verdict is missing would be a defect of ours, and is no reason to let anyone in.
                    _ => {
                        let error = rustls::Error::General("no verdict on the peer".into());
                        return Err((HandshakeError::Protocol(error), None));
                    }
                };
                Ok((stream, peer))
            }
        }
    }

    async fn handshake(&self, mut socket: Stream) -> Result<TlsServerStream, FailedHandshake> {
        if let Err(error) = refuse_plaintext(&mut socket, self.plaintext_answer()).await {
            return Err((error, Some(socket)));
        }
        let session = match UnbufferedServerConnection::new(self.config.load_full()) {
            Ok(session) => session,
            Err(error) => return Err((HandshakeError::of_library(error), Some(socket))),
        };
        let mut stream = TlsStream::new(socket, session);
        match stream.handshake().await {
            Ok(()) => Ok(stream),
            Err(error) => Err((error, Some(stream.into_socket()))),
        }
    }

    fn plaintext_answer(&self) -> &'static [u8] {
        match self.presents {
            Presents::OwnIdentity => PLAINTEXT_ANSWER,
            Presents::Public(_) => PUBLIC_PLAINTEXT_ANSWER,
        }
    }
}

/// A peer that speaks HTTP without TLS gets an answer that says so.
pub(super) async fn refuse_plaintext(stream: &mut Stream, answer: &[u8]) -> Result<(), HandshakeError> {
    let mut first = [0; 8];
    let length = stream.peek(&mut first).await.map_err(HandshakeError::Io)?;
    match &first[..length] {
        [] => Err(HandshakeError::Closed),
        [HANDSHAKE_RECORD, ..] => Ok(()),
        [b'A'..=b'Z', rest @ ..] if rest.iter().copied().all(is_text) => {
            // The answer is a courtesy; a caller that does not take it has been refused all the same.
            let _ = stream.write_all(answer).await;
            Err(HandshakeError::PlaintextHttp)
        }
        _ => Err(HandshakeError::NotTls),
    }
}

fn is_text(byte: u8) -> bool {
    byte.is_ascii_graphic() || matches!(byte, b' ' | b'\r' | b'\n')
}

fn server_config(
    material: &Arc<TrustMaterial>,
    presents: &Presents,
    client_auth: ClientAuth,
    protocol: Protocol,
    min_version: TlsVersion,
) -> Result<ServerConfig, rustls::Error> {
    let credential = match presents {
        Presents::OwnIdentity => material.credential.clone(),
        Presents::Public(credential) => Some(Arc::clone(credential)),
    };
    let credential = credential.ok_or_else(|| rustls::Error::General("no own certificate".into()))?;
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions(min_version))?;
    let mandatory = client_auth == ClientAuth::Required;
    let builder = match client_auth {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Required | ClientAuth::Optional => {
            let verifier = ClientVerifier { material: Arc::clone(material), mandatory };
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(credential)));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.require_ems = true;
    if protocol == Protocol::Http {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    Ok(config)
}
