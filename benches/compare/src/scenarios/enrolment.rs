//! What a certificate costs the authority that issues it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rcgen::{CertificateParams, KeyPair};
use tokio::io::BufStream;
use tokio::time::timeout;

use super::{figures, float};
use crate::authority::{Authority, id};
use crate::bench::Bench;
use crate::figures::Figures;
use crate::load::message;
use crate::load::repeat::repeat;
use crate::load::tls::Client;
use crate::statistics::percentile;
use crate::wait::until_connected;

const DEADLINE: Duration = Duration::from_secs(20);

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Figures> {
    let authority = Authority::start(bench).await?;
    let listen = bench.ports.address()?;
    let listener = format!(
        "[[inbound]]\nname = \"l\"\nlisten = \"{listen}\"\nforward_to = \"127.0.0.1:9\"\nallow = [\"{}\"]\n",
        id("nobody")
    );
    // A real sidecar fetches the certificate which the clients renew.
    let mut sidecar = authority.sidecar(bench, "renewing", &listener).await?;
    until_connected(listen, &mut sidecar).await?;
    sidecar.stop().await;
    let host = authority.address.ip().to_string();
    let client = Client::of(&authority.anchors, &host, Some(&authority.credentials("renewing")))?;
    if let Some(time) = bench.effort.warm_up() {
        renewals(&client, authority.address, time).await?;
    }
    let (before, begin) = (authority.process.cpu_seconds(), Instant::now());
    let durations = renewals(&client, authority.address, bench.effort.time()).await?;
    let (cpu, elapsed) = (authority.process.cpu_seconds() - before, begin.elapsed());
    let resident = authority.process.memory().resident / 1024.0;
    authority.process.stop().await;
    let count = float(durations.len() as u64);
    let milliseconds = |share| percentile(&durations, share).as_secs_f64() * 1e3;
    Ok(figures([
        ("cpu_ms", cpu * 1e3 / count),
        ("per_second", count / elapsed.as_secs_f64()),
        ("p50_ms", milliseconds(0.5)),
        ("p99_ms", milliseconds(0.99)),
        ("resident_mib", resident),
    ]))
}

/// Renewals for `time`, and how long each took, in order of length.
async fn renewals(client: &Client, server: SocketAddr, time: Duration) -> anyhow::Result<Vec<Duration>> {
    let client = client.clone();
    repeat(time, move |source| {
        let client = client.clone();
        async move {
            let request = request(server)?;
            let begin = Instant::now();
            let status = timeout(DEADLINE, renew(&client, source, server, &request)).await;
            let status = status.context("a renewal took 20 s")??;
            ensure!(status == 200, "a renewal was answered with {status}");
            Ok(begin.elapsed())
        }
    })
    .await
}

async fn renew(client: &Client, source: SocketAddr, server: SocketAddr, request: &str) -> anyhow::Result<u16> {
    let mut connection = BufStream::new(client.connect(source, server).await?);
    message::send(&mut connection, request).await
}

/// A request for a certificate of a new key (RFC 7030 section 4.2.2).
fn request(server: SocketAddr) -> anyhow::Result<String> {
    let key = KeyPair::generate()?;
    let pem = CertificateParams::default().serialize_request(&key)?.pem()?;
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    Ok(format!(
        "POST /.well-known/est/simplereenroll HTTP/1.1\r\nHost: {server}\r\nContent-Type: application/pkcs10\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}
