//! One inbound sidecar before a service, for clients that speak TLS themselves.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::ClientConnection;
use rustls_pki_types::ServerName;

use super::mesh::inbound;
use super::pki::{Issued, Pki};
use super::service::Service;
use super::sidecar::{PATIENCE, Sidecar};
use super::tls_client::{HTTP1, TlsClient, client_config, connect};

/// The name in the certificate of the sidecar.
pub(crate) const NAME: &str = "adservice";

/// An inbound sidecar, the service behind it, and a caller that it allows.
pub(crate) struct Gate {
    pub(crate) pki: Pki,
    pub(crate) caller: Issued,
    pub(crate) own: Issued,
    pub(crate) service: Service,
    pub(crate) sidecar: Sidecar,
    address: SocketAddr,
}

impl Gate {
    /// One that allows `gateway`, with more keys in `[[inbound]]` and more tables.
    pub(crate) fn with(keys: &str, tables: &str) -> Self {
        let pki = Pki::new();
        let tables = tables.replace("CRL", &format!("\"{}\"", pki.folder.path().join("ca.crl").display()));
        if tables.contains("[revocation]") {
            pki.revoke(&[]);
        }
        let (caller, own) = (pki.issue("gateway"), pki.issue(NAME));
        let service = Service::start();
        let sidecar = Sidecar::start(&inbound(&pki, &own, service.address, &[&caller.spiffe], keys, &tables));
        let address = sidecar.address("ads");
        Self { pki, caller, own, service, sidecar, address }
    }

    /// A handshake that lacks but the end of the client's last flight, which holds its certificate.
    pub(crate) fn handshake_but_the_last_bytes(&self) -> (TcpStream, ClientConnection, Vec<u8>) {
        let config = Arc::new(client_config(&self.pki, Some(&self.caller), HTTP1));
        let name = ServerName::try_from(NAME).unwrap();
        let mut connection = ClientConnection::new(config, name).unwrap();
        let mut socket = TcpStream::connect(self.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        connection.write_tls(&mut socket).unwrap();
        while connection.is_handshaking() {
            connection.read_tls(&mut socket).unwrap();
            connection.process_new_packets().unwrap();
        }
        let mut flight = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut flight).unwrap();
        }
        let last = flight.split_off(flight.len() - 8);
        socket.write_all(&flight).unwrap();
        (socket, connection, last)
    }

    /// Where peers connect with TLS.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection of this caller that speaks HTTP/1.1.
    pub(crate) fn http1(&self, caller: &Issued) -> TlsClient {
        connect(self.address, NAME, client_config(&self.pki, Some(caller), HTTP1)).unwrap()
    }

    /// A finished connection of this caller that agrees on one of these protocols.
    pub(crate) fn open(&self, caller: &Issued, alpn: &[&[u8]]) -> TlsClient {
        connect(self.address, NAME, client_config(&self.pki, Some(caller), alpn)).unwrap()
    }
}
