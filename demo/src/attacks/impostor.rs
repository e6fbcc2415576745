//! Somebody who answers in the place of `AdService`, as after a poisoned name or a stolen address: the outbound side must
//! find out before it has said a word.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::seen;
use crate::client::{self, Get};
use crate::flow;
use crate::market::{Market, STOP_DEADLINE};
use crate::pki::Credentials;
use crate::report::Attack;
use crate::sidecar::{Outbound, Plan, free_addresses};

/// What an exchange that failed by the upstream's certificate is called; its detail says what was wrong with it.
const UPSTREAM_REFUSED: &str = "tls_certificate_error";
const HEARING_DEADLINE: Duration = Duration::from_secs(5);

/// Tries both kinds of impostor.
pub(super) async fn all(market: &Market) -> anyhow::Result<[Attack; 2]> {
    let colleague = Claim {
        name: "impostor with another service's certificate",
        tried: "UserService answers in AdService's place, with its own good certificate",
        credentials: &market.pki.user_service,
        reason: "name_mismatch",
        detail: "the peer is spiffe://fleamarket.internal/userservice",
    };
    let stranger = Claim {
        name: "impostor with a certificate of another CA",
        tried: "a stranger answers in AdService's place, with a certificate for its name by another CA",
        credentials: &market.pki.foreign_ad_service,
        reason: "unknown_issuer",
        detail: "neither a trust anchor nor leads to one",
    };
    Ok([misled(market, colleague).await?, misled(market, stranger).await?])
}

/// A certificate that the gateway's sidecar must not take for `AdService`'s, and why.
struct Claim<'a> {
    name: &'static str,
    tried: &'static str,
    credentials: &'a Credentials,
    reason: &'static str,
    detail: &'static str,
}

/// A sidecar with the gateway's certificate, which is led to the impostor.
async fn misled(market: &Market, claim: Claim<'_>) -> anyhow::Result<Attack> {
    let (address, heard) = impostor(claim.credentials).await?;
    let [outbound, admin] = free_addresses()?;
    let plan = Plan {
        name: "misled",
        credentials: &market.pki.gateway,
        admin,
        inbound: None,
        outbound: Some(Outbound { name: "ads", listen: outbound, connect_to: address, expect: "adservice" }),
        edge: None,
    };
    let mut sidecar = market.start_sidecar(plan).await?;
    let mark = sidecar.process.mark();
    let exchange = client::plain(outbound, &Get::new(flow::TARGET)).await?;
    let refusal = sidecar.refusal(mark, address).await;
    let mut attack = Attack {
        name: claim.name,
        tried: claim.tried.into(),
        expected: "502 from the caller's own sidecar; the impostor hears nothing".into(),
        seen: seen(&exchange),
        reason: refusal.as_ref().map(ToString::to_string),
        hint: refusal.as_ref().and_then(|refusal| refusal.hint.clone()),
        problems: Vec::new(),
    };
    attack.expect_status(&exchange, 502);
    attack.expect_reason(refusal.as_ref(), &[claim.reason, UPSTREAM_REFUSED]);
    if !attack.reason.as_ref().is_some_and(|reason| reason.contains(claim.detail)) {
        attack.problems.push(format!("the sidecar does not say that {}", claim.detail));
    }
    attack.problems.extend(sidecar.process.stop(STOP_DEADLINE).await.err());
    match timeout(HEARING_DEADLINE, heard).await {
        Ok(Ok(Ok(0))) => (),
        Ok(Ok(Ok(bytes))) => attack.problems.push(format!("the impostor heard {bytes} bytes")),
        Ok(Ok(Err(error))) => attack.problems.push(format!("the impostor failed by itself: {error:#}")),
        Ok(Err(error)) => attack.problems.push(format!("the impostor failed by itself: {error}")),
        Err(_) => attack.problems.push("nobody connected to the impostor, so that nothing is shown".into()),
    }
    Ok(attack)
}

/// A TLS server with these credentials, and how many bytes it heard of the first caller.
async fn impostor(credentials: &Credentials) -> anyhow::Result<(SocketAddr, JoinHandle<anyhow::Result<usize>>)> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            client::certificates(&credentials.certificate)?,
            client::private_key(&credentials.private_key)?,
        )?;
    // Whatever the caller would speak is welcome.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let heard = tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        // A caller that finds out ends the handshake, after which there is nothing to hear.
        let Ok(mut stream) = acceptor.accept(stream).await else { return Ok(0) };
        let mut request = [0; 1024];
        Ok(stream.read(&mut request).await.unwrap_or(0))
    });
    Ok((address, heard))
}
