//! The client role: handshakes with the peers that we connect to.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::ServerName;

use crate::config::TlsVersion;
use crate::identity::PeerPattern;
use crate::net::Stream;
use crate::x509::TrustMaterial;

use super::error::HandshakeError;
use super::peer::Peer;
use super::settings::{provider, versions};
use super::stream::TlsStream;
use super::verifier::{ServerVerifier, VERDICT, VerdictCell};

/// A TLS connection that we made.
pub type TlsClientStream = TlsStream<UnbufferedClientConnection>;

/// Which application protocols are offered (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// `h2`, then `http/1.1`.
    Http2OrHttp1,
    /// `h2` alone.
    Http2,
    /// `http/1.1` alone.
    Http1,
    /// None.
    None,
}

/// Makes the handshakes with one upstream. New material takes effect for the next handshake.
#[derive(Debug)]
pub struct Connector {
    config: ArcSwap<ClientConfig>,
    expect: Vec<PeerPattern>,
    server_name: Option<ServerName<'static>>,
    min_version: TlsVersion,
}

/// Material made ready for a [`Connector`].
#[derive(Debug)]
pub struct PreparedClient(Arc<ClientConfig>);

impl Connector {
    /// `server_name` is sent to the peer (SNI); what it must prove is `expect` alone.
    ///
    /// # Errors
    /// Where the material has no credential, or one that the TLS library cannot use.
    pub fn new(
        material: &Arc<TrustMaterial>,
        expect: Vec<PeerPattern>,
        server_name: Option<&str>,
        min_version: TlsVersion,
    ) -> Result<Self, rustls::Error> {
        let config = ArcSwap::from_pointee(client_config(material, &expect, min_version)?);
        // A name that no DNS label rule allows, such as one with an underscore, is not sent; `expect` holds all the same.
        let server_name = server_name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
        Ok(Self { config, expect, server_name, min_version })
    }

    /// Makes ready for other material without using it yet.
    ///
    /// # Errors
    /// As [`Connector::new`].
    pub fn prepare(&self, material: &Arc<TrustMaterial>) -> Result<PreparedClient, rustls::Error> {
        client_config(material, &self.expect, self.min_version).map(Arc::new).map(PreparedClient)
    }

    /// Makes later handshakes with what was prepared.
    pub fn install(&self, prepared: PreparedClient) {
        self.config.store(prepared.0);
    }

    /// The names of which the peer must prove one.
    pub fn expect(&self) -> &[PeerPattern] {
        &self.expect
    }

    /// Makes one handshake; the caller bounds its time. `address` stands in where no name is sent.
    ///
    /// # Errors
    /// Why it failed; the peer has been sent the fitting alert.
    pub async fn connect(
        &self,
        stream: Stream,
        address: IpAddr,
        alpn: Alpn,
    ) -> Result<(TlsClientStream, Peer), HandshakeError> {
        let mut config = ClientConfig::clone(&self.config.load());
        config.alpn_protocols = match alpn {
            Alpn::Http2OrHttp1 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Alpn::Http2 => vec![b"h2".to_vec()],
            Alpn::Http1 => vec![b"http/1.1".to_vec()],
            Alpn::None => Vec::new(),
        };
        let name = self.server_name.clone().unwrap_or(ServerName::IpAddress(address.into()));
        let verdict = VerdictCell::default();
        let session = UnbufferedClientConnection::new(Arc::new(config), name).map_err(HandshakeError::of_library)?;
        let mut stream = TlsStream::new(stream, session);
        let outcome = VERDICT.scope(verdict.clone(), stream.handshake()).await;
        match (outcome, verdict.take()) {
            (Err(_), Some(Err(refusal))) => Err(HandshakeError::Refused(refusal)),
            (Err(error), _) => Err(error),
            (Ok(()), Some(Ok(path))) => {
                let peer = Peer::authenticated(path, stream.peer_certificates());
                Ok((stream, peer))
            }
            // A finished handshake whose verdict is missing would be a defect of ours, and is no reason to trust anyone.
            (Ok(()), _) => Err(HandshakeError::Protocol(rustls::Error::General("no verdict on the peer".into()))),
        }
    }
}

fn client_config(
    material: &Arc<TrustMaterial>,
    expect: &[PeerPattern],
    min_version: TlsVersion,
) -> Result<ClientConfig, rustls::Error> {
    let credential = material.credential.clone().ok_or_else(|| rustls::Error::General("no own certificate".into()))?;
    let verifier = ServerVerifier { material: Arc::clone(material), expect: expect.to_vec() };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(min_version))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(credential)));
    config.resumption = Resumption::disabled();
    config.require_ems = true;
    Ok(config)
}
