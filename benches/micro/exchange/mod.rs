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
    let client = runtime.block_on(async {
        let Callee { pki, caller, address, .. } = Callee::start().await;
        Client::over_tls(address, version, &pki, caller).await
    });
    measure(bencher, &runtime, client);
}

/// `client -> outbound -> mutual TLS over HTTP/2 -> inbound -> service`
#[divan::bench(args = [Version::Http1, Version::Http2], min_time = 2)]
fn outbound_and_inbound(bencher: Bencher, version: Version) {
    let runtime = runtime();
    let client = runtime.block_on(async {
        let Callee { pki, own, caller, address } = Callee::start().await;
        let outbound = sidecars::outbound(&pki.material(&caller), own.spiffe, address);
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
    async fn start() -> Self {
        let mut pki = Pki::new();
        let (own, caller) = (pki.issue("adservice"), pki.issue("gateway"));
        let inbound = sidecars::inbound(&pki.material(&own), &caller.spiffe, service::start().await);
        Self { pki, own, caller, address: sidecars::listen(inbound, Inbound::serve) }
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
