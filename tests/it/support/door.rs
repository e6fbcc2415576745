//! A sidecar before a service of the test's own, and the one caller it allows.

use std::net::SocketAddr;

use super::exchange::KeptAlive;
use super::gate::NAME;
use super::mesh::inbound;
use super::pki::{Issued, Pki};
use super::raw_service::RawService;
use super::sidecar::Sidecar;
use super::tcp_service::TcpService;
use super::tls_client::{HTTP1, TlsClient, client_config, connect};

/// An inbound sidecar with one worker, so that there is one pool and what one caller leaves behind is what the next one finds.
pub(crate) struct Door<S = RawService> {
    pub(crate) pki: Pki,
    pub(crate) caller: Issued,
    pub(crate) sidecar: Sidecar,
    pub(crate) service: S,
}

impl Door {
    pub(crate) fn before(service: RawService) -> Self {
        let address = service.address;
        Self::around(service, address)
    }
}

impl Door<TcpService> {
    /// Before a service that the test plays itself.
    pub(crate) fn before_the_test() -> Self {
        let service = TcpService::start();
        let address = service.address;
        Self::around(service, address)
    }
}

impl<S> Door<S> {
    fn around(service: S, address: SocketAddr) -> Self {
        let pki = Pki::new();
        let (own, caller) = (pki.issue(NAME), pki.issue("gateway"));
        let text = inbound(&pki, &own, address, &[&caller.spiffe], "", "").replace("workers = 2", "workers = 1");
        let sidecar = Sidecar::start(&text);
        Self { pki, caller, sidecar, service }
    }

    pub(crate) fn open(&self, alpn: &[&[u8]]) -> TlsClient {
        connect(self.sidecar.address("ads"), NAME, client_config(&self.pki, Some(&self.caller), alpn)).unwrap()
    }

    /// A connection for requests one by one.
    pub(crate) fn http1(&self) -> KeptAlive<TlsClient> {
        KeptAlive::new(self.open(HTTP1))
    }
}
