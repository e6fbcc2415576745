//! A gateway and a service behind a sidecar: `client -> edge -> mutual TLS -> inbound -> service`.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::SystemTime;

use serde_json::Value;

use super::exchange::{Answer, KeptAlive};
use super::key_server::KeyServer;
use super::mesh::inbound;
use super::pki::{Issued, Pki};
use super::service::Service;
use super::sidecar::{Sidecar, identity};
use super::tls_client::{HTTP1, TlsClient, client_config, connect};
use super::tokens::{AUDIENCE, ISS, TokenKey, claims};

/// The public name of every gateway.
pub(crate) const HOST: &str = "market.example";

/// A gateway, and what is behind it.
pub(crate) struct Gateway<S = Service> {
    pub(crate) pki: Pki,
    pub(crate) own: Issued,
    /// The authority that the public trusts. It has nothing to do with the mesh.
    pub(crate) public: Pki,
    pub(crate) certificate: Issued,
    pub(crate) service: S,
    pub(crate) inbound: Sidecar,
    pub(crate) edge: Sidecar,
}

/// `[[issuer]]` for what the tokens of [`super::tokens`] are issued by.
pub(crate) fn issuer(keys: &KeyServer, key: &TokenKey) -> String {
    format!(
        "[[issuer]]\nname = \"market\"\nissuer = {ISS:?}\naudiences = [{AUDIENCE:?}]\nalgorithms = [{:?}]\njwks_url = {:?}\n",
        key.alg(),
        keys.url("/jwks")
    )
}

/// A gateway for users whose tokens this key signs.
pub(crate) struct ForUsers {
    pub(crate) gateway: Gateway,
    pub(crate) key: TokenKey,
    pub(crate) keys: KeyServer,
}

impl ForUsers {
    /// One before the usual service.
    pub(crate) fn with(keys: &str, routes: &str) -> Self {
        let key = TokenKey::p256("k1");
        let service = Service::start();
        let address = service.address;
        let pki = Pki::new();
        let server = KeyServer::of(&pki, &[&key]);
        let gateway = Gateway::within(pki, service, address, keys, routes, &issuer(&server, &key));
        gateway.wait_for_keys();
        Self { gateway, key, keys: server }
    }

    /// The header line of a good token whose claims were changed.
    pub(crate) fn bearer(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = claims(SystemTime::now());
        change(&mut claims);
        format!("Authorization: Bearer {}", self.key.token(&claims))
    }
}

impl Gateway {
    /// One before the usual service. `keys` stand in `[[edge]]`, `routes` below it.
    pub(crate) fn with(keys: &str, routes: &str) -> Self {
        let service = Service::start();
        let address = service.address;
        Self::around(service, address, keys, routes, "")
    }

    /// One whose only route is public and for everything.
    pub(crate) fn open(keys: &str) -> Self {
        Self::with(keys, OPEN)
    }
}

/// A route for everybody and everything.
pub(crate) const OPEN: &str = "[[edge.route]]\nname = \"all\"\nupstream = \"ads\"\npublic = true\n";

impl<S> Gateway<S> {
    /// One before any service at this address, with more tables.
    pub(crate) fn around(service: S, address: impl Display, keys: &str, routes: &str, tables: &str) -> Self {
        Self::within(Pki::new(), service, address, keys, routes, tables)
    }

    /// The same in the mesh of this authority.
    pub(crate) fn within(pki: Pki, service: S, address: impl Display, keys: &str, routes: &str, tables: &str) -> Self {
        let public = Pki::named("public root");
        let own = pki.issue("gateway");
        let callee = pki.issue("adservice");
        let certificate = public.issue_with(HOST, "public", |_| {});
        let inbound = Sidecar::start(&inbound(&pki, &callee, address, &[&own.spiffe], "", "[log]\naccess = true"));
        let config = config(&pki, &own, &certificate, inbound.address("ads"), keys, routes, tables);
        let edge = Sidecar::start(&config);
        Self { pki, own, public, certificate, service, inbound, edge }
    }

    /// The configuration of the gateway with other keys and routes.
    pub(crate) fn config(&self, keys: &str, routes: &str, tables: &str) -> String {
        config(&self.pki, &self.own, &self.certificate, self.inbound.address("ads"), keys, routes, tables)
    }

    /// Waits until the keys of the issuer are there.
    pub(crate) fn wait_for_keys(&self) {
        let is_there = |status: &Value| status["issuers"][0]["keys"].as_array().is_some_and(|keys| !keys.is_empty());
        self.edge.wait_for_status("keys of the issuer", is_there);
    }

    /// Where the public connects.
    pub(crate) fn address(&self) -> SocketAddr {
        self.edge.address("public")
    }

    /// A connection of the public over HTTP/1.1.
    pub(crate) fn connect(&self) -> KeptAlive<TlsClient> {
        self.connect_offering(None, HTTP1)
    }

    /// A connection of the public that presents this certificate and offers these protocols.
    pub(crate) fn connect_offering(&self, own: Option<&Issued>, alpn: &[&[u8]]) -> KeptAlive<TlsClient> {
        KeptAlive::new(connect(self.address(), HOST, client_config(&self.public, own, alpn)).unwrap())
    }

    /// A request on a connection of its own: its first line without the version, and its header lines but for `Host`.
    pub(crate) fn ask(&self, line: &str, fields: &[&str]) -> Answer {
        let mut connection = self.connect();
        connection.send(&request(line, fields)).unwrap();
        connection.answer().unwrap()
    }
}

/// A request over HTTP/1.1 without a body.
pub(crate) fn request(line: &str, fields: &[&str]) -> String {
    let host = format!("Host: {HOST}");
    let lines = [&[&*host], fields, &["", ""]].concat();
    format!("{line} HTTP/1.1\r\n{}", lines.join("\r\n"))
}

fn config(
    pki: &Pki,
    own: &Issued,
    certificate: &Issued,
    peer: impl Display,
    keys: &str,
    routes: &str,
    tables: &str,
) -> String {
    let identity = identity(pki, own);
    let (chain, key) = (certificate.certificate.display(), certificate.key.display());
    format!(
        "{identity}[[upstream]]\nname = \"ads\"\nconnect_to = \"{peer}\"\nexpect = [\"spiffe://fleamarket.internal/adservice\"]\n\
         [[edge]]\nname = \"public\"\nlisten = \"127.0.0.1:0\"\ncertificate = \"{chain}\"\nprivate_key = \"{key}\"\n{keys}\n{routes}\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[runtime]\nworkers = 2\n[log]\naccess = true\n{tables}\n"
    )
}

impl Answer {
    /// The values of a header.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// What the service says that it received: the values of a request header.
    pub(crate) fn received(&self, name: &str) -> Vec<String> {
        let described: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"));
        let fields = described["headers"].as_array().unwrap().iter();
        let fields = fields.filter(|field| field[0].as_str().unwrap().eq_ignore_ascii_case(name));
        fields.map(|field| field[1].as_str().unwrap().to_owned()).collect()
    }
}
