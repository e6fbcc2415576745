//! The TLS client: it offers X25519 and one cipher suite alone, so that every peer does the same key exchange.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::client::{ClientConfig, ResolvesClientCert, Resumption};
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, version};
use tokio::io::BufStream;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::pki::{Credentials, Pki, SERVER_NAME};

/// A connection whose handshake is done as far as the client knows.
pub(crate) type Connection = BufStream<TlsStream<TcpStream>>;

/// Opens connections with one certificate, or none.
#[derive(Clone)]
pub(crate) struct Client {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Client {
    /// A client that trusts our CA and shows `credentials` to whoever asks.
    pub(crate) fn new(pki: &Pki, credentials: Option<&Credentials>) -> anyhow::Result<Self> {
        Self::of(&pki.anchor, SERVER_NAME, credentials)
    }

    /// A client that trusts the anchors of a file, asks for a server of this name, and shows `credentials` to whoever asks.
    pub(crate) fn of(anchors: &Path, name: &str, credentials: Option<&Credentials>) -> anyhow::Result<Self> {
        let provider = rustls::crypto::CryptoProvider {
            cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&version::TLS13])?
            .with_root_certificates(roots(anchors)?);
        let mut config = match credentials {
            // Shown even where the server names other CAs, which is when it must be refused.
            Some(credentials) => builder.with_client_cert_resolver(resolver(credentials)?),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(name.to_owned())?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// Connects to `server` from the address `source`.
    pub(crate) async fn connect(&self, source: SocketAddr, server: SocketAddr) -> anyhow::Result<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(source)?;
        let stream = socket.connect(server).await.with_context(|| format!("cannot connect to {server}"))?;
        stream.set_nodelay(true)?;
        Ok(self.connector.connect(self.name.clone(), stream).await?)
    }
}

/// The trust anchors in a file.
pub(crate) fn roots(file: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    Ok(roots)
}

/// A certificate chain and its key, from their files.
pub(crate) fn load(
    credentials: &Credentials,
) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = CertificateDer::pem_file_iter(&credentials.certificate)?.collect::<Result<_, _>>()?;
    Ok((chain, PrivateKeyDer::from_pem_file(&credentials.private_key)?))
}

fn resolver(credentials: &Credentials) -> anyhow::Result<Arc<dyn ResolvesClientCert>> {
    let (chain, key) = load(credentials)?;
    let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?;
    Ok(Arc::new(SingleCertAndKey::from(certified)))
}
