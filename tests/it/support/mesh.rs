//! Two sidecars around one hop: `client -> outbound -> mutual TLS -> inbound -> service`.

use std::fmt::Display;
use std::net::SocketAddr;

use super::pki::{Issued, Pki};
use super::service::Service;
use super::sidecar::{Sidecar, identity};

/// A caller's sidecar, a callee's sidecar and a service behind it.
pub(crate) struct Mesh<S = Service> {
    pub(crate) pki: Pki,
    pub(crate) caller: Issued,
    pub(crate) callee: Issued,
    pub(crate) service: S,
    pub(crate) inbound: Sidecar,
    pub(crate) outbound: Sidecar,
}

impl Mesh {
    /// One for HTTP with the defaults.
    pub(crate) fn start() -> Self {
        Self::with("", "", "")
    }

    /// One with more keys in `[[inbound]]` and in `[[outbound]]`, and more tables in both files.
    pub(crate) fn with(inbound_keys: &str, outbound_keys: &str, tables: &str) -> Self {
        let service = Service::start();
        let address = service.address;
        Self::around(service, address, inbound_keys, outbound_keys, tables)
    }
}

impl<S> Mesh<S> {
    /// One around any service at this address.
    pub(crate) fn around(
        service: S,
        address: impl Display,
        inbound_keys: &str,
        outbound_keys: &str,
        tables: &str,
    ) -> Self {
        let pki = Pki::new();
        let caller = pki.issue("gateway");
        let callee = pki.issue("adservice");
        let inbound = Sidecar::start(&inbound(&pki, &callee, address, &[&caller.spiffe], inbound_keys, tables));
        let outbound =
            Sidecar::start(&outbound(&pki, &caller, inbound.address("ads"), &callee.spiffe, outbound_keys, tables));
        Self { pki, caller, callee, service, inbound, outbound }
    }

    /// Where the client connects in plaintext.
    pub(crate) fn entry(&self) -> SocketAddr {
        self.outbound.address("ads")
    }

    /// Where peers connect with TLS.
    pub(crate) fn tls(&self) -> SocketAddr {
        self.inbound.address("ads")
    }
}

/// The configuration of an inbound sidecar whose listener is named "ads".
pub(crate) fn inbound(
    pki: &Pki,
    own: &Issued,
    service: impl Display,
    allow: &[&str],
    keys: &str,
    tables: &str,
) -> String {
    let identity = identity(pki, own);
    format!(
        "{identity}[[inbound]]\nname = \"ads\"\nlisten = \"127.0.0.1:0\"\nforward_to = \"{service}\"\nallow = {allow:?}\n{keys}\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[runtime]\nworkers = 2\n{tables}\n"
    )
}

/// The configuration of an outbound sidecar whose listener is named "ads".
pub(crate) fn outbound(pki: &Pki, own: &Issued, peer: impl Display, expect: &str, keys: &str, tables: &str) -> String {
    let identity = identity(pki, own);
    format!(
        "{identity}[[outbound]]\nname = \"ads\"\nlisten = \"127.0.0.1:0\"\nconnect_to = \"{peer}\"\nexpect = [{expect:?}]\n{keys}\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[runtime]\nworkers = 2\n{tables}\n"
    )
}
