//! One inbound sidecar before a service, for clients that speak TLS themselves.

use std::net::SocketAddr;

use super::mesh::inbound;
use super::pki::{Issued, Pki};
use super::service::Service;
use super::sidecar::Sidecar;
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
