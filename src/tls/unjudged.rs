//! Handshakes that take any client certificate whose key the client has. Who it is, is judged for each request, by the record of
//! what was issued: a client may have to be told why its certificate does not do.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::config::TlsVersion;
use crate::net::Stream;

use super::accept::{PUBLIC_PLAINTEXT_ANSWER, TlsServerStream, refuse_plaintext};
use super::error::HandshakeError;
use super::settings::{provider, versions};
use super::signatures;
use super::stream::TlsStream;

/// Makes such handshakes with one certificate of our own.
#[derive(Debug)]
pub struct UnjudgedAcceptor(Arc<ServerConfig>);

impl UnjudgedAcceptor {
    /// Takes our chain and key in PEM. HTTP/1.1 alone is spoken.
    ///
    /// # Errors
    /// Where the TLS library cannot use them.
    pub fn new(chain_pem: &str, key_pem: &str) -> Result<Self, Error> {
        let unreadable = |what: &str| Error::General(format!("our own {what} cannot be read"));
        let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| unreadable("key"))?;
        let key = provider().key_provider.load_private_key(key)?;
        let credential = CertifiedKey::new(chain.map_err(|_| unreadable("chain"))?, key);
        credential.keys_match()?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(TlsVersion::V1_2))?
            .with_client_cert_verifier(Arc::new(Unjudged))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(credential)));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.require_ems = true;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// Makes one handshake; the caller bounds its time. Gives the certificate that the client presented, whose key it has.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn accept(
        &self,
        mut socket: Stream,
    ) -> Result<(TlsServerStream, Option<CertificateDer<'static>>), HandshakeError> {
        if let Err(error) = refuse_plaintext(&mut socket, PUBLIC_PLAINTEXT_ANSWER).await {
            // The peer may still have our answer to read.
            socket.linger().await;
            return Err(error);
        }
        let session = UnbufferedServerConnection::new(Arc::clone(&self.0)).map_err(HandshakeError::of_library)?;
        let mut stream = TlsStream::new(socket, session);
        if let Err(error) = stream.handshake().await {
            stream.into_socket().linger().await;
            return Err(error);
        }
        let presented = stream.peer_certificates().first().cloned();
        Ok((stream, presented))
    }
}

#[derive(Debug)]
struct Unjudged;

impl ClientCertVerifier for Unjudged {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
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
