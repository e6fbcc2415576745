//! How long it takes from the arrival of a CRL to the end of the last connection of those whom it revokes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::figures;
use crate::bench::Bench;
use crate::chain::Plan;
use crate::figures::Figures;
use crate::load::connections::Held;
use crate::load::tls::Client;

const REVOKED: usize = 100;
const OTHERS: usize = 900;
/// How often it is done over, so that the figures are of many cuts.
const ROUNDS: usize = 5;

pub(super) async fn measure(bench: &Bench, plan: Plan<'_>) -> anyhow::Result<Figures> {
    let mut cuts = Vec::new();
    for _ in 0..ROUNDS {
        cuts.push(one_cut(bench, plan.clone()).await?.as_secs_f64() * 1e3);
    }
    cuts.sort_by(f64::total_cmp);
    Ok(figures([("cut_ms", cuts[ROUNDS / 2]), ("slowest_ms", cuts[ROUNDS - 1])]))
}

/// From the last byte of the answer that brought the CRL to the end of the last revoked connection.
async fn one_cut(bench: &Bench, mut plan: Plan<'_>) -> anyhow::Result<Duration> {
    let server = CrlServer::start(std::fs::read(bench.pki.empty_crl()?)?).await?;
    plan.crl = PathBuf::from(&server.url);
    let proxy = plan.start_inbound(bench).await?;
    let good = Client::new(&bench.pki, Some(&bench.pki.client))?;
    let bad = Client::new(&bench.pki, Some(&bench.pki.client_revoked))?;
    let mut others = Held::open(&good, proxy.address, OTHERS).await?;
    let mut revoked = Held::open(&bad, proxy.address, REVOKED).await?;
    others.request_each().await?;
    revoked.request_each().await?;
    server.state.lock().expect("no panic").crl = std::fs::read(&bench.pki.crl)?;
    proxy.process.hang_up();
    let cut = revoked.until_closed().await?;
    let answered = server.state.lock().expect("no panic").served.context("the CRL was not asked for")?;
    others.check_open().await?;
    others.request_each().await?;
    proxy.process.stop().await;
    Ok(cut.duration_since(answered))
}

/// Serves one CRL over HTTP.
struct CrlServer {
    url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    crl: Vec<u8>,
    /// When an answer was last written.
    served: Option<Instant>,
}

impl CrlServer {
    async fn start(crl: Vec<u8>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/ca.crl", listener.local_addr()?);
        let state = Arc::new(Mutex::new(State { crl, served: None }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // One segment holds the request.
                if stream.read(&mut [0; 4096]).await.is_err() {
                    continue;
                }
                let crl = shared.lock().expect("no panic").crl.clone();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", crl.len());
                if stream.write_all(&[head.as_bytes(), &crl].concat()).await.is_ok() {
                    shared.lock().expect("no panic").served = Some(Instant::now());
                }
            }
        });
        Ok(Self { url, state })
    }
}
