//! Clients with and without a good certificate at the inbound proxy.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, bail, ensure};
use tokio::io::BufStream;
use tokio::time::timeout;

use super::{DEADLINE, KNOWS_NO_CRLS};
use crate::bench::Bench;
use crate::chain::{Plan, Proxy};
use crate::load::message;
use crate::load::tls::Client;
use crate::pki::Credentials;

const WITHOUT_CERTIFICATE: &str = "client without certificate";
const OTHER_CA: &str = "client of another CA";
const REVOKED: &str = "revoked client";

pub(super) const REFUSED: [&str; 3] = [WITHOUT_CERTIFICATE, OTHER_CA, REVOKED];

/// How the proxy refuses each of them.
///
/// # Errors
///
/// It lets one of them in, or the good client not.
pub(super) async fn refusals(bench: &Bench, plan: &Plan<'_>) -> anyhow::Result<Vec<(&'static str, String)>> {
    let proxy = plan.start_inbound(bench).await?;
    let pki = &bench.pki;
    let bad =
        [(WITHOUT_CERTIFICATE, None), (OTHER_CA, Some(&pki.client_other_ca)), (REVOKED, Some(&pki.client_revoked))];
    let mut refusals = Vec::new();
    is_let_in(bench, &proxy).await?;
    for (who, credentials) in bad {
        if who == REVOKED && !plan.peer.product.knows_crls() {
            refusals.push((who, KNOWS_NO_CRLS.to_owned()));
            continue;
        }
        let refusal = match request(bench, &proxy, credentials).await {
            Ok(200) => bail!("the {who} was let in"),
            Ok(status) => format!("answered with {status}"),
            Err(error) => error.root_cause().to_string().replace("received fatal alert", "alert"),
        };
        refusals.push((who, refusal));
    }
    // A proxy that by now refuses everybody would prove nothing.
    is_let_in(bench, &proxy).await?;
    proxy.process.stop().await;
    Ok(refusals)
}

async fn is_let_in(bench: &Bench, proxy: &Proxy) -> anyhow::Result<()> {
    let status = request(bench, proxy, Some(&bench.pki.client)).await.context("the good client was refused")?;
    ensure!(status == 200, "the good client was answered with {status}");
    Ok(())
}

async fn request(bench: &Bench, proxy: &Proxy, credentials: Option<&Credentials>) -> anyhow::Result<u16> {
    let client = Client::new(&bench.pki, credentials)?;
    let source = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let answer = async {
        let connection = client.connect(source, proxy.address).await?;
        message::exchange(&mut BufStream::new(connection)).await
    };
    timeout(DEADLINE, answer).await.context("neither an answer nor a refusal")?
}
