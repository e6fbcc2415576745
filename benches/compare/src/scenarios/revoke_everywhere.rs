//! How long it takes from the command that revokes a peer to the end of its connections to many sidecars.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::future::{join_all, try_join_all};
use tokio::io::{AsyncReadExt as _, BufStream};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::figures;
use crate::authority::{Authority, id};
use crate::backend::Application;
use crate::bench::Bench;
use crate::figures::Figures;
use crate::load::message::exchange;
use crate::process::Process;
use crate::statistics::percentile;
use crate::wait::until_connected;

const SIDECARS: usize = 100;
/// Peers that are revoked one after the other.
const ROUNDS: usize = 5;
const DEADLINE: Duration = Duration::from_secs(60);
/// Until every sidecar waits for word of the authority.
const REST: Duration = Duration::from_secs(2);

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Figures> {
    let authority = Authority::start(bench).await?;
    let callers: Vec<String> = (1..=ROUNDS).map(|number| format!("caller-{number}")).collect();
    let (mut sidecars, addresses) = services(bench, &authority, &callers).await?;
    let (mut cuts, mut lasts, mut commands) = (Vec::new(), Vec::new(), Vec::new());
    for caller in &callers {
        let (process, mut connections) = connect(bench, &authority, caller, &addresses).await?;
        sleep(REST).await;
        let begin = Instant::now();
        let revoke = async {
            authority.run(&["revoke", "--name", caller, "--reason", "keyCompromise"]).await?;
            anyhow::Ok(begin.elapsed())
        };
        let ends = join_all(connections.iter_mut().map(async |connection| {
            timeout(DEADLINE, until_closed(connection))
                .await
                .context("a connection outlived its revocation by a minute")?;
            anyhow::Ok(begin.elapsed())
        }));
        let (command, ends) = tokio::join!(revoke, ends);
        commands.push(command?);
        let mut ends: Vec<Duration> = ends.into_iter().collect::<anyhow::Result<_>>()?;
        ends.sort_unstable();
        lasts.extend(ends.last().copied());
        cuts.extend(ends);
        process.stop().await;
    }
    for sidecar in &mut sidecars {
        sidecar.check_running()?;
    }
    for list in [&mut cuts, &mut lasts, &mut commands] {
        list.sort_unstable();
    }
    let milliseconds = |list: &[Duration], share| percentile(list, share).as_secs_f64() * 1e3;
    Ok(figures([
        ("last_ms", milliseconds(&lasts, 0.5)),
        ("p50_ms", milliseconds(&cuts, 0.5)),
        ("p99_ms", milliseconds(&cuts, 0.99)),
        ("command_ms", milliseconds(&commands, 0.5)),
    ]))
}

/// Sidecars that admit these callers, enrolled and listening.
async fn services(
    bench: &Bench,
    authority: &Authority,
    callers: &[String],
) -> anyhow::Result<(Vec<Process>, Vec<SocketAddr>)> {
    let allow: Vec<String> = callers.iter().map(|caller| id(caller)).collect();
    let application = bench.backend.address(Application::Answers);
    let (mut sidecars, mut addresses) = (Vec::new(), Vec::new());
    for number in 0..SIDECARS {
        let listen = bench.ports.address()?;
        let listener = format!(
            "[[inbound]]\nname = \"l\"\nprotocol = \"tcp\"\nlisten = \"{listen}\"\nforward_to = \"{application}\"\nallow = {allow:?}\n"
        );
        let mut sidecar = authority.sidecar(bench, &format!("service-{number}"), &listener).await?;
        until_connected(listen, &mut sidecar).await?;
        sidecars.push(sidecar);
        addresses.push(listen);
    }
    Ok((sidecars, addresses))
}

/// A sidecar of the caller, and a connection through it to each of the services, over which a request has gone.
async fn connect(
    bench: &Bench,
    authority: &Authority,
    caller: &str,
    services: &[SocketAddr],
) -> anyhow::Result<(Process, Vec<BufStream<TcpStream>>)> {
    let mut listeners = String::new();
    let mut entries = Vec::new();
    for (number, service) in services.iter().enumerate() {
        let listen = bench.ports.address()?;
        let expect = id(&format!("service-{number}"));
        writeln!(
            listeners,
            "[[outbound]]\nname = \"s{number}\"\nprotocol = \"tcp\"\nlisten = \"{listen}\"\nconnect_to = \"{service}\"\nexpect = [{expect:?}]"
        )?;
        entries.push(listen);
    }
    let mut process = authority.sidecar(bench, caller, &listeners).await?;
    for entry in &entries {
        until_connected(*entry, &mut process).await?;
    }
    let opening = entries.iter().map(|entry| async move {
        let mut connection = BufStream::new(TcpStream::connect(entry).await?);
        let status = timeout(DEADLINE, exchange(&mut connection)).await.context("a request took a minute")??;
        ensure!(status == 200, "a request was answered with {status}");
        anyhow::Ok(connection)
    });
    let connections = try_join_all(opening).await?;
    Ok((process, connections))
}

/// Reads until the other side ends the connection, however it does so.
async fn until_closed(connection: &mut BufStream<TcpStream>) {
    while connection.read(&mut [0; 64]).await.is_ok_and(|length| length > 0) {}
}
