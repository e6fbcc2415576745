//! Attacks on the running flea market, each one held against three witnesses: what the attacker saw, what the sidecar
//! says, and whether the service noticed anything.

mod impostor;
mod outside;
mod spoof;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{self, Exchange, Get};
use crate::events::Refusal;
use crate::flow::{self, View};
use crate::market::{App, Guarded, Market};
use crate::pki::{Credentials, Pki};
use crate::process::Mark;
use crate::report::{Attack, Story, Teller};

const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// Runs every attack, and adds it to the story.
pub(crate) async fn tell(market: &Market, teller: &Teller, story: &mut Story) -> anyhow::Result<()> {
    control(market).await?;
    teller.note("The attacker's client works: with the gateway's own certificate AdService answers it.");
    let mut attacks = outside::all(&market.view()?).await?;
    for Claim { name, tried, credentials, reason } in claims(&market.pki) {
        attacks.push(handshake(market, name, tried, credentials, reason).await?);
    }
    attacks.push(wrong_identity(market).await?);
    attacks.extend(spoof::all(market).await?);
    attacks.extend(impostor::all(market).await?);
    attacks.push(plain_text(market).await?);
    attacks.push(around_the_sidecar(market).await);
    tell_of(attacks, teller, story);
    Ok(())
}

/// Runs the attacks that need no more than the gateway's address, and adds them to the story.
pub(crate) async fn tell_from_outside(view: &View<'_>, teller: &Teller, story: &mut Story) -> anyhow::Result<()> {
    tell_of(outside::all(view).await?, teller, story);
    Ok(())
}

fn tell_of(attacks: Vec<Attack>, teller: &Teller, story: &mut Story) {
    for (index, attack) in attacks.iter().enumerate() {
        teller.attack(index + 1, attack);
    }
    story.attacks = attacks;
}

/// A certificate that must not be enough, and why it is not.
struct Claim<'a> {
    name: &'static str,
    tried: &'static str,
    credentials: Option<&'a Credentials>,
    reason: &'static str,
}

fn claims(pki: &Pki) -> [Claim<'_>; 4] {
    [
        Claim {
            name: "no certificate",
            tried: "show no certificate to AdService's sidecar",
            credentials: None,
            reason: "no_certificate",
        },
        Claim {
            name: "certificate of another CA",
            tried: "show a certificate for the gateway's name, issued by another CA",
            credentials: Some(&pki.foreign),
            reason: "unknown_issuer",
        },
        Claim {
            name: "expired certificate",
            tried: "show a certificate for the gateway's name of our own CA, which ended an hour ago",
            credentials: Some(&pki.expired),
            reason: "expired",
        },
        Claim {
            name: "revoked certificate",
            tried: "show a certificate for the gateway's name of our own CA, revoked since its key was stolen",
            credentials: Some(&pki.revoked),
            reason: "revoked",
        },
    ]
}

/// The attacker's client with the gateway's own certificate gets an answer, or no refusal below would mean anything.
async fn control(market: &Market) -> anyhow::Result<()> {
    let tls = client::tls(&market.pki, Some(&market.pki.gateway))?;
    match client::over_tls(market.ad_service.inbound, tls, &Get::new(flow::TARGET)).await?.answer {
        Ok(answer) if answer.status.is_success() => Ok(()),
        Ok(answer) => bail!("the gateway's certificate was answered {}: {}", answer.status, answer.body.trim()),
        Err(reason) => bail!("the gateway's certificate was refused: {reason}"),
    }
}

/// A handshake with a certificate that must not be enough.
async fn handshake(
    market: &Market,
    name: &'static str,
    tried: &str,
    credentials: Option<&Credentials>,
    reason: &str,
) -> anyhow::Result<Attack> {
    let tls = client::tls(&market.pki, credentials)?;
    let attempt = Attempt::over_tls(&market.ad_service, flow::TARGET, tls).await?;
    let expected = "the handshake fails; the service hears nothing";
    let mut attack = attempt.attack(name, tried, expected, reason).await;
    if let Ok(answer) = &attempt.exchange.answer {
        attack.problems.push(format!("the handshake came through and was answered {}", answer.status));
    }
    Ok(attack)
}

/// A good certificate of somebody who is not on the allow list.
async fn wrong_identity(market: &Market) -> anyhow::Result<Attack> {
    let tls = client::tls(&market.pki, Some(&market.pki.gateway))?;
    let attempt = Attempt::over_tls(&market.user_service, "/users/preview?ids=1", tls).await?;
    let tried = "the gateway calls UserService, which only AdService may";
    let expected = "403; the service hears nothing";
    let mut attack = attempt.attack("wrong identity", tried, expected, "not_on_allow_list").await;
    attack.expect_status(&attempt.exchange, 403);
    Ok(attack)
}

/// Plain HTTP where TLS is spoken.
async fn plain_text(market: &Market) -> anyhow::Result<Attack> {
    let target = &market.ad_service;
    let get = Get::new(flow::TARGET);
    let mark = target.sidecar.process.mark();
    let exchange = client::plain(target.inbound, &get).await?;
    let attempt = Attempt { target, mark, trace: get.trace, exchange };
    let tried = "speak plain HTTP to the TLS port of AdService's sidecar";
    let expected = "400 that says so, or the end of the connection; the service hears nothing";
    let mut attack = attempt.attack("plain text to the TLS port", tried, expected, "plaintext_http").await;
    if attempt.exchange.answer.is_ok() {
        attack.expect_status(&attempt.exchange, 400);
    }
    Ok(attack)
}

/// The service's own port, from an address that is not its loopback address.
async fn around_the_sidecar(market: &Market) -> Attack {
    let app = market.ad_service.app.address;
    let mut attack = Attack {
        name: "around the sidecar to the service",
        tried: String::new(),
        expected: "nobody listens there".into(),
        seen: String::new(),
        reason: None,
        hint: None,
        problems: Vec::new(),
    };
    if !matches!(connects(app).await, Ok(())) {
        attack.problems.push(format!("the service does not answer at {app} either, so that nothing is shown"));
    }
    let other = SocketAddr::new(other_address().into(), app.port());
    attack.tried = format!("connect to AdService's port from outside, at {other}");
    attack.seen = match connects(other).await {
        Ok(()) => {
            attack.problems.push(format!("{other} accepts connections"));
            "a connection".into()
        }
        Err(reason) => format!("{reason}; the service listens on {app} only"),
    };
    attack
}

async fn connects(to: SocketAddr) -> Result<(), String> {
    match timeout(CONNECT_DEADLINE, TcpStream::connect(to)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".into()),
    }
}

/// The address by which other machines know this one; without a network, another of its loopback addresses.
fn other_address() -> Ipv4Addr {
    // Connecting a UDP socket sends nothing: it only asks the routing table. The address is set aside for documentation.
    let outward = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    match outward {
        Ok(SocketAddr::V4(address)) if !address.ip().is_loopback() => *address.ip(),
        _ => Ipv4Addr::new(127, 0, 0, 2),
    }
}

/// An attempt on a sidecar, with its witnesses.
struct Attempt<'a> {
    target: &'a Guarded,
    mark: Mark,
    trace: String,
    exchange: Exchange,
}

impl<'a> Attempt<'a> {
    async fn over_tls(target: &'a Guarded, path: &str, tls: Arc<ClientConfig>) -> anyhow::Result<Self> {
        let get = Get::new(path);
        let mark = target.sidecar.process.mark();
        let exchange = client::over_tls(target.inbound, tls, &get).await?;
        Ok(Self { target, mark, trace: get.trace, exchange })
    }

    /// The attack as the three witnesses saw it: the sidecar must give `reason`, the service must have heard nothing.
    async fn attack(&self, name: &'static str, tried: &str, expected: &str, reason: &str) -> Attack {
        let refusal = self.target.sidecar.refusal(self.mark, self.exchange.local).await;
        let mut attack = Attack {
            name,
            tried: tried.to_owned(),
            expected: expected.to_owned(),
            seen: seen(&self.exchange),
            reason: refusal.as_ref().map(ToString::to_string),
            hint: refusal.as_ref().and_then(|refusal| refusal.hint.clone()),
            problems: Vec::new(),
        };
        attack.expect_reason(refusal.as_ref(), &[reason]);
        attack.expect_unheard(&self.target.app, &self.trace);
        attack
    }
}

fn seen(exchange: &Exchange) -> String {
    match &exchange.answer {
        Err(reason) => reason.clone(),
        Ok(answer) => {
            let proxy_status = answer.headers.get("proxy-status").and_then(|value| value.to_str().ok());
            let said = proxy_status.map_or_else(|| first_line(&answer.body), ToOwned::to_owned);
            format!("{} {said}", answer.status).trim_end().to_owned()
        }
    }
}

fn first_line(body: &str) -> String {
    body.lines().next().unwrap_or_default().chars().take(200).collect()
}

impl Attack {
    fn expect_status(&mut self, exchange: &Exchange, wanted: u16) {
        match &exchange.answer {
            Ok(answer) if answer.status.as_u16() == wanted => (),
            Ok(answer) => self.problems.push(format!("the status is {} instead of {wanted}", answer.status)),
            Err(reason) => self.problems.push(format!("there is no answer {wanted}: {reason}")),
        }
    }

    fn expect_reason(&mut self, refusal: Option<&Refusal>, wanted: &[&str]) {
        match refusal {
            None => self.problems.push("the sidecar does not say why".into()),
            Some(refusal) if wanted.contains(&refusal.reason.as_str()) => (),
            Some(refusal) => {
                self.problems.push(format!("the reason is {} instead of {}", refusal.reason, wanted.join(" or ")));
            }
        }
    }

    fn expect_unheard(&mut self, app: &App, trace: &str) {
        if app.saw(trace) {
            self.problems.push("the request reached the service".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_address_is_not_where_the_services_listen() {
        assert_ne!(other_address(), Ipv4Addr::LOCALHOST);
    }
}
