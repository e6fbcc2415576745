//! Programs of others as the other end of the hop, each with a configuration of its own and no sidecar of its own.

mod curl;
mod envoy;
mod grpc;
mod nginx;
mod openssl;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rcgen::SanType;
use serde_json::Value;

use crate::support::mesh::inbound;
use crate::support::pki::{Issued, Pki};
use crate::support::service::Service;
use crate::support::sidecar::Sidecar;

/// An inbound sidecar in front of a service, and a caller with a certificate that it lets in.
struct Callee {
    pki: Pki,
    caller: Issued,
    own: Issued,
    sidecar: Sidecar,
    _service: Service,
}

impl Callee {
    fn start(keys: &str, tables: &str) -> Self {
        let (pki, service) = (Pki::new(), Service::start());
        let (caller, own) = (pki.issue("gateway"), pki.issue("adservice"));
        let config = inbound(&pki, &own, service.address, &[&caller.spiffe, "courier"], keys, tables);
        Self { sidecar: Sidecar::start(&config), pki, caller, own, _service: service }
    }

    fn address(&self) -> SocketAddr {
        self.sidecar.address("ads")
    }

    /// The refusal that the sidecar tells of.
    fn refusal(&self, reason: &str) -> Value {
        self.sidecar.wait_for(reason, |event| event["message"] == "peer refused" && event["reason"] == reason)
    }
}

/// A certificate with a SPIFFE ID and no other name.
fn spiffe_only(pki: &Pki, name: &str) -> Issued {
    pki.issue_with(name, &format!("{name}-spiffe"), |params| {
        params.subject_alt_names.retain(|name| matches!(name, SanType::URI(_)));
    })
}

/// A certificate with a DNS name and no other.
fn dns_only(pki: &Pki, name: &str) -> Issued {
    pki.issue_with(name, &format!("{name}-dns"), |params| {
        params.subject_alt_names.retain(|name| matches!(name, SanType::DnsName(_)));
    })
}

/// What the service saw of the caller, from its description of a request.
fn peer_seen(description: &str) -> String {
    let seen: Value = serde_json::from_str(description).unwrap_or_else(|_| panic!("no description: {description}"));
    let headers = seen["headers"].as_array().unwrap().iter();
    let peers: Vec<_> =
        headers.filter(|header| header[0] == "x-mantlet-peer").map(|header| header[1].as_str()).collect();
    assert_eq!(peers.len(), 1, "{description}");
    peers[0].unwrap().to_owned()
}

/// Gives a program's certificate, key and anchors in its own three options.
fn with_identity<'a>(command: &'a mut Command, options: [&str; 3], own: &Issued, anchors: &Path) -> &'a mut Command {
    command.arg(options[0]).arg(&own.certificate).arg(options[1]).arg(&own.key).arg(options[2]).arg(anchors)
}
