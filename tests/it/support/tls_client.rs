//! A raw TLS client, for talking to an inbound listener without a sidecar in between.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::{AlertDescription, ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::ServerName;

use super::pki::{Issued, Pki};
use super::sidecar::PATIENCE;

/// A blocking TLS connection.
pub(crate) type TlsClient = StreamOwned<ClientConnection, TcpStream>;

/// ALPN offers.
pub(crate) const HTTP1: &[&[u8]] = &[b"http/1.1"];
pub(crate) const HTTP2: &[&[u8]] = &[b"h2"];

/// The configuration of a client that trusts `pki`, presents `own` if there is one, and offers `alpn`.
pub(crate) fn client_config(pki: &Pki, own: Option<&Issued>, alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(pki.der()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        Some(own) => builder.with_client_auth_cert(vec![own.der.clone()], own.private_key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// Connects and finishes the handshake as far as the client can see it. `name` is a DNS name of the server's certificate.
pub(crate) fn connect(address: SocketAddr, name: &str, config: ClientConfig) -> std::io::Result<TlsClient> {
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    handshake(socket, name, config)
}

/// The same on a socket that is connected already.
pub(crate) fn handshake<S: Read + Write>(
    mut socket: S,
    name: &str,
    config: ClientConfig,
) -> std::io::Result<StreamOwned<ClientConnection, S>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(connection, socket))
}

/// Sends raw bytes and reads until the other end closes, however it does so.
pub(crate) fn talk(mut stream: impl Read + Write, request: &[u8]) -> String {
    stream.write_all(request).unwrap();
    stream.flush().unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The alert that the other end sent, at the latest in answer to a request.
pub(crate) fn alert(address: SocketAddr, name: &str, config: ClientConfig) -> AlertDescription {
    let refused = match connect(address, name, config) {
        Err(error) => error,
        // With TLS 1.3 a client learns only afterwards what the server thinks of its certificate.
        Ok(mut stream) => loop {
            match stream.read(&mut [0; 64]) {
                Ok(0) => panic!("closed without an alert"),
                Ok(_) => {}
                Err(error) => break error,
            }
        },
    };
    match refused.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert but {refused:?}"),
    }
}
