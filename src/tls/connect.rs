//! The client role: handshakes with the peers that we connect to.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::ServerName;

use crate::config::TlsVersion;
use crate::identity::PeerPattern;
use crate::net::Stream;
use crate::x509::TrustMaterial;

use super::error::HandshakeError;
use super::peer::Peer;
use super::settings::{provider, versions};
use super::stream::TlsStream;
use super::verifier::{AnyServer, ServerVerifier, VERDICT, VerdictCell};

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
        let credential = own_credential(material)?;
        let config = ArcSwap::from_pointee(client_config(material, Some(credential), &expect, min_version)?);
        Ok(Self { config, expect, server_name: sent_name(server_name), min_version })
    }

    /// For calls to an authority, which must prove `expect`; we present `credential`, or nothing.
    ///
    /// # Errors
    /// Where the TLS library cannot use them.
    pub fn to_authority(
        material: &Arc<TrustMaterial>,
        credential: Option<Arc<CertifiedKey>>,
        expect: PeerPattern,
        server_name: Option<&str>,
    ) -> Result<Self, rustls::Error> {
        let (expect, min_version) = (vec![expect], TlsVersion::V1_2);
        let config = ArcSwap::from_pointee(client_config(material, credential, &expect, min_version)?);
        Ok(Self { config, expect, server_name: sent_name(server_name), min_version })
    }

    /// Makes ready for other material without using it yet.
    ///
    /// # Errors
    /// As [`Connector::new`].
    pub fn prepare(&self, material: &Arc<TrustMaterial>) -> Result<PreparedClient, rustls::Error> {
        let credential = own_credential(material)?;
        client_config(material, Some(credential), &self.expect, self.min_version).map(Arc::new).map(PreparedClient)
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

/// Makes a handshake with whoever answers and presents nothing. It proves nothing of the other end: what comes over such a
/// connection has to be held against something that is known already, and nothing secret is to be sent.
///
/// # Errors
/// Why it failed.
pub async fn unsafe_connect_to_anyone(
    stream: Stream,
    address: IpAddr,
    server_name: Option<&str>,
) -> Result<TlsClientStream, HandshakeError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(TlsVersion::V1_2))
        .map_err(HandshakeError::of_library)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    let name = sent_name(server_name).unwrap_or(ServerName::IpAddress(address.into()));
    let session = UnbufferedClientConnection::new(Arc::new(config), name).map_err(HandshakeError::of_library)?;
    let mut stream = TlsStream::new(stream, session);
    stream.handshake().await?;
    Ok(stream)
}

/// A name that no DNS label rule allows, such as one with an underscore, is not sent; what is expected holds all the same.
fn sent_name(name: Option<&str>) -> Option<ServerName<'static>> {
    name.and_then(|name| ServerName::try_from(name.to_owned()).ok())
}

fn own_credential(material: &TrustMaterial) -> Result<Arc<CertifiedKey>, rustls::Error> {
    material.credential.clone().ok_or_else(|| rustls::Error::General("no own certificate".into()))
}

fn client_config(
    material: &Arc<TrustMaterial>,
    credential: Option<Arc<CertifiedKey>>,
    expect: &[PeerPattern],
    min_version: TlsVersion,
) -> Result<ClientConfig, rustls::Error> {
    let verifier = ServerVerifier { material: Arc::clone(material), expect: expect.to_vec() };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(min_version))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match credential {
        Some(credential) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(credential))),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.require_ems = true;
    Ok(config)
}
