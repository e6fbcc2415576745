//! One request and its answer of 128 bytes through sidecars that run in this process, on one thread, over TCP on loopback. The
//! client, the service and the kernel are part of what is measured.

mod client;
mod service;
mod sidecars;

use std::net::SocketAddr;

use divan::Bencher;
use mantlet::proxy::inbound::Inbound;
use mantlet::proxy::outbound::Outbound;
use tokio::runtime::{Builder, Runtime};

use crate::pki::{Issued, Pki};

use client::{Client, Version};

/// `client -> mutual TLS -> inbound -> service`
#[divan::bench(args = [Version::Http1, Version::Http2], min_time = 2)]
fn inbound(bencher: Bencher, version: Version) {
    let runtime = runtime();
    let Callee { pki, caller, address, .. } = Callee::start(&runtime);
    let client = runtime.block_on(Client::over_tls(address, version, &pki, caller));
    measure(bencher, &runtime, client);
}

/// `client -> outbound -> mutual TLS over HTTP/2 -> inbound -> service`
#[divan::bench(args = [Version::Http1, Version::Http2], min_time = 2)]
fn outbound_and_inbound(bencher: Bencher, version: Version) {
    let runtime = runtime();
    let Callee { pki, own, caller, address } = Callee::start(&runtime);
    let material = pki.material(&caller);
    let client = runtime.block_on(async {
        let outbound = sidecars::outbound(&material, own.spiffe, address);
        Client::over_plaintext(sidecars::listen(outbound, Outbound::serve), version).await
    });
    measure(bencher, &runtime, client);
}

/// A service with its sidecar, and the certificate of the one who may call it.
struct Callee {
    pki: Pki,
    own: Issued,
    caller: Issued,
    address: SocketAddr,
}

impl Callee {
    /// The PKI has a runtime of its own, so that it is made outside of ours.
    fn start(runtime: &Runtime) -> Self {
        let mut pki = Pki::new();
        let (own, caller) = (pki.issue("adservice"), pki.issue("gateway"));
        let material = pki.material(&own);
        let address = runtime.block_on(async {
            let inbound = sidecars::inbound(&material, &caller.spiffe, service::start().await);
            sidecars::listen(inbound, Inbound::serve)
        });
        Self { pki, own, caller, address }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Connections are made before the first measurement, and kept.
fn measure(bencher: Bencher, runtime: &Runtime, mut client: Client) {
    runtime.block_on(client.exchange());
    bencher.bench_local(|| runtime.block_on(client.exchange()));
}
