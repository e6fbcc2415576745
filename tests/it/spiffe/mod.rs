//! Being given an identity by a SPIFFE agent over the Workload API.

mod configuration;
mod given;
mod refused;
mod trust;

use std::fmt::Display;
use std::net::SocketAddr;

use super::support::pki::{Issued, Pki, validity};
use super::support::sidecar::Sidecar;
use super::support::spiffe_agent::{SpiffeAgent, X509SvidResponse};

/// What follows `[identity]` in the file of the callee.
fn callee(service: impl Display, allow: &[&str], keys: &str) -> String {
    format!(
        "[[inbound]]\nname = \"ads\"\nlisten = \"127.0.0.1:0\"\nforward_to = \"{service}\"\nallow = {allow:?}\n{keys}\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[runtime]\nworkers = 1\n"
    )
}

/// What follows `[identity]` in the file of the caller.
fn caller(peer: SocketAddr, expect: &str) -> String {
    format!(
        "[[outbound]]\nname = \"ads\"\nlisten = \"127.0.0.1:0\"\nconnect_to = \"{peer}\"\nexpect = [{expect:?}]\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[runtime]\nworkers = 1\n"
    )
}

/// A sidecar with the inbound listener "ads", once it is ready.
fn serving(agent: &SpiffeAgent, service: impl Display, allow: &[&str], keys: &str) -> Sidecar {
    let sidecar = Sidecar::start(&(agent.identity("") + &callee(service, allow, keys)));
    sidecar.wait_for_status("readiness", |status| status["ready"] == true);
    sidecar
}

/// A certificate that ends so many seconds from now.
fn lasting(pki: &Pki, name: &str, seconds: u64) -> Issued {
    pki.issue_with(name, name, |params| {
        (params.not_before, params.not_after) = validity(std::time::Duration::from_secs(seconds));
    })
}

fn serial(sidecar: &Sidecar) -> String {
    sidecar.status()["identity"]["serial"].as_str().unwrap().to_owned()
}

fn wait_for_serial(sidecar: &Sidecar, issued: &Issued) {
    let wanted = issued.serial_hex();
    sidecar.wait_for_status("certificate", |status| status["identity"]["serial"] == wanted.as_str());
}

/// An agent that gives one identity, and that identity.
fn agent_of(pki: &Pki, name: &str) -> (SpiffeAgent, Issued) {
    let issued = pki.issue(name);
    (SpiffeAgent::giving(&X509SvidResponse::of(&issued, pki)), issued)
}
