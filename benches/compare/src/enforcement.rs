//! Whether a peer does the job at all: inbound it lets in who shows a good certificate and nobody else, outbound it sends nothing
//! to a server that is not the right one.

mod impostor;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::BufStream;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bench::Bench;
use crate::chain::{Plan, Proxy};
use crate::load::message;
use crate::load::tls::Client;
use crate::peers::{Direction, Peer};
use crate::pki::Credentials;
use crate::wait::until_connected;
use impostor::Impostor;

const DEADLINE: Duration = Duration::from_secs(15);
const NOT_CHECKED: &str = "not checked: it knows no CRLs";

const GOOD_CLIENT: &str = "good client";
const RIGHT_SERVER: &str = "right server";
const REVOKED_CLIENT: &str = "revoked client";
const REVOKED_SERVER: &str = "revoked server";

/// Those who must be refused.
pub(crate) const REFUSED: [&str; 6] = [
    "client without certificate",
    "client of another CA",
    REVOKED_CLIENT,
    "server of another CA",
    "server of another name",
    REVOKED_SERVER,
];

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// What happened to each that tried.
    Enforces(BTreeMap<String, String>),
    /// What it let through, or why it could not be seen.
    Broken(String),
}

/// Tries everything on `peer`.
pub(crate) async fn judge(bench: &Bench, peer: &Peer) -> Verdict {
    let plan = Plan::new(bench, peer);
    match async { anyhow::Ok((inbound(bench, &plan).await?, outbound(bench, &plan).await?)) }.await {
        Ok((mut tried, more)) => {
            tried.extend(more);
            Verdict::Enforces(tried)
        }
        Err(error) => Verdict::Broken(format!("{error:#}")),
    }
}

async fn inbound(bench: &Bench, plan: &Plan<'_>) -> anyhow::Result<BTreeMap<String, String>> {
    let proxy = plan.start_inbound(bench).await?;
    let pki = &bench.pki;
    let mut tried = BTreeMap::new();
    // The good client comes last again: a proxy that refuses everybody by then proves nothing.
    let cases: [(&str, Option<&Credentials>); 5] = [
        (GOOD_CLIENT, Some(&pki.client)),
        (REFUSED[0], None),
        (REFUSED[1], Some(&pki.client_other_ca)),
        (REVOKED_CLIENT, Some(&pki.client_revoked)),
        (GOOD_CLIENT, Some(&pki.client)),
    ];
    for (name, credentials) in cases {
        if [REVOKED_CLIENT, REVOKED_SERVER].contains(&name) && !plan.peer.product.knows_crls() {
            tried.insert(name.to_owned(), NOT_CHECKED.to_owned());
            continue;
        }
        let client = Client::new(pki, credentials)?;
        let answer = timeout(DEADLINE, request(&client, &proxy)).await.context("no answer")?;
        let wanted = name == GOOD_CLIENT;
        let said = match answer {
            Ok(200) if wanted => "let in".to_owned(),
            Ok(200) => bail!("the {name} was let in"),
            Ok(status) if !wanted => format!("answered with {status}"),
            Err(error) if !wanted => error.root_cause().to_string().replace("received fatal alert", "alert"),
            Ok(status) => bail!("the {name} was answered with {status}"),
            Err(error) => return Err(error.context(format!("the {name} was refused"))),
        };
        tried.insert(name.to_owned(), said);
    }
    proxy.process.stop().await;
    Ok(tried)
}

async fn request(client: &Client, proxy: &Proxy) -> anyhow::Result<u16> {
    let source = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    message::exchange(&mut BufStream::new(client.connect(source, proxy.address).await?)).await
}

async fn outbound(bench: &Bench, plan: &Plan<'_>) -> anyhow::Result<BTreeMap<String, String>> {
    let pki = &bench.pki;
    let mut tried = BTreeMap::new();
    let cases = [
        (RIGHT_SERVER, &pki.server),
        (REFUSED[3], &pki.server_other_ca),
        (REFUSED[4], &pki.server_wrong_name),
        (REVOKED_SERVER, &pki.server_revoked),
    ];
    for (name, credentials) in cases {
        if [REVOKED_CLIENT, REVOKED_SERVER].contains(&name) && !plan.peer.product.knows_crls() {
            tried.insert(name.to_owned(), NOT_CHECKED.to_owned());
            continue;
        }
        let impostor = Impostor::start(pki, credentials).await?;
        // A new one each time: what it remembers of the last server must not decide about this one.
        let folder = bench.new_folder(plan.peer.name)?;
        let mut proxy = plan.start(bench, Direction::Outbound, impostor.address(), &folder)?;
        until_connected(proxy.address, &mut proxy.process).await?;
        let answer = timeout(DEADLINE, plain_request(proxy.address)).await.context("no answer")?;
        let wanted = name == RIGHT_SERVER;
        ensure!(impostor.was_met(), "the {name} was not even connected to:{}", proxy.process.last_lines());
        ensure!(
            impostor.was_trusted() == wanted,
            "the {name} was {}sent the request",
            if wanted { "not " } else { "" }
        );
        let said = match answer {
            _ if wanted => "sent the request".to_owned(),
            Ok(status) => format!("the caller gets {status}"),
            Err(_) => "the caller is cut off".to_owned(),
        };
        tried.insert(name.to_owned(), said);
        proxy.process.stop().await;
    }
    Ok(tried)
}

async fn plain_request(address: SocketAddr) -> anyhow::Result<u16> {
    message::exchange(&mut BufStream::new(TcpStream::connect(address).await?)).await
}
