//! Servers that are and are not the right one behind the outbound proxy.

use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use tokio::io::BufStream;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::impostor::Impostor;
use super::{DEADLINE, KNOWS_NO_CRLS};
use crate::bench::Bench;
use crate::chain::Plan;
use crate::load::message;
use crate::peers::Direction;
use crate::pki::Credentials;
use crate::wait::until_connected;

const OTHER_CA: &str = "server of another CA";
const OTHER_NAME: &str = "server of another name";
const REVOKED: &str = "revoked server";

pub(super) const REFUSED: [&str; 3] = [OTHER_CA, OTHER_NAME, REVOKED];

/// What a caller sees while the proxy sends nothing to any of them.
///
/// # Errors
///
/// It sends one of them something, or nothing to the right server.
pub(super) async fn refusals(bench: &Bench, plan: &Plan<'_>) -> anyhow::Result<Vec<(&'static str, String)>> {
    let pki = &bench.pki;
    let right = attempt(bench, plan, &pki.server).await.context("the right server")?;
    ensure!(right.was_trusted, "the right server was sent nothing");
    let wrong =
        [(OTHER_CA, &pki.server_other_ca), (OTHER_NAME, &pki.server_wrong_name), (REVOKED, &pki.server_revoked)];
    let mut refusals = Vec::new();
    for (who, credentials) in wrong {
        if who == REVOKED && !plan.peer.product.knows_crls() {
            refusals.push((who, KNOWS_NO_CRLS.to_owned()));
            continue;
        }
        let attempt = attempt(bench, plan, credentials).await.with_context(|| format!("the {who}"))?;
        if attempt.was_trusted {
            bail!("the {who} was sent something");
        }
        let refusal = match attempt.answer {
            Some(status) => format!("the caller gets {status}"),
            None => "the caller is cut off".to_owned(),
        };
        refusals.push((who, refusal));
    }
    Ok(refusals)
}

struct Attempt {
    was_trusted: bool,
    /// The status that the caller was answered with, if it was.
    answer: Option<u16>,
}

/// A request to a new proxy, which cannot remember any other server, before a server with `credentials`.
async fn attempt(bench: &Bench, plan: &Plan<'_>, credentials: &Credentials) -> anyhow::Result<Attempt> {
    let impostor = Impostor::start(&bench.pki, credentials).await?;
    let folder = bench.new_folder(plan.peer.name)?;
    let mut proxy = plan.start(bench, Direction::Outbound, impostor.address(), &folder)?;
    until_connected(proxy.address, &mut proxy.process).await?;
    let answer = timeout(DEADLINE, request(proxy.address)).await.context("the caller is told nothing")?.ok();
    ensure!(impostor.was_met(), "was not even connected to:{}", proxy.process.last_lines());
    proxy.process.stop().await;
    Ok(Attempt { was_trusted: impostor.was_trusted(), answer })
}

async fn request(proxy: SocketAddr) -> anyhow::Result<u16> {
    message::exchange(&mut BufStream::new(TcpStream::connect(proxy).await?)).await
}
