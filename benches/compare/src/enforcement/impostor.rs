//! A TLS server that stands where the inbound proxy should be, and notes whether it is trusted with anything.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::load::tls::{load, roots};
use crate::pki::{Credentials, Pki};

/// The running server; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Impostor {
    address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    /// A connection came.
    met: AtomicBool,
    /// A byte of the application came: handshakes are no proof, since a client may judge the certificate after it.
    trusted: AtomicBool,
}

impl Impostor {
    /// Listens on a free port, with `credentials` for its certificate; every client of our CA is welcome.
    pub(super) async fn start(pki: &Pki, credentials: &Credentials) -> anyhow::Result<Self> {
        let (chain, key) = load(credentials)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(&pki.anchor)?), Arc::clone(&provider))
                .build()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let task = tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(&seen)));
        Ok(Self { address, seen, task })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn was_met(&self) -> bool {
        self.seen.met.load(Ordering::SeqCst)
    }

    pub(super) fn was_trusted(&self) -> bool {
        self.seen.trusted.load(Ordering::SeqCst)
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, seen: Arc<Seen>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        seen.met.store(true, Ordering::SeqCst);
        connections.spawn(listen_to(stream, acceptor.clone(), Arc::clone(&seen)));
    }
}

async fn listen_to(stream: TcpStream, acceptor: TlsAcceptor, seen: Arc<Seen>) {
    if let Ok(mut stream) = acceptor.accept(stream).await
        && let Ok(1..) = stream.read(&mut [0; 1]).await
    {
        // Nothing is answered: the connection ends here.
        seen.trusted.store(true, Ordering::SeqCst);
    }
}
