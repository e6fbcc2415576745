//! Attacks on the running flea market, each one held against three witnesses: what the attacker saw, what the sidecar
//! says, and whether the service noticed anything.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{self, Exchange, Get};
use crate::events::Refusal;
use crate::flow;
use crate::market::{App, Guarded, Market};
use crate::pki::{Credentials, spiffe_id};
use crate::process::Mark;
use crate::report::{Attack, Story, Teller};
use crate::services::CALLER_HEADER;

const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// Runs every attack, and adds it to the story.
pub(crate) async fn tell(market: &Market, teller: &Teller, story: &mut Story) -> anyhow::Result<()> {
    control(market).await?;
    teller.note("The attacker's client works: with the gateway's own certificate AdService answers it.");
    let pki = &market.pki;
    let mut attacks = vec![
        handshake(market, "no certificate", "show no certificate to AdService's sidecar", None, &["certificate"])
            .await?,
        handshake(
            market,
            "certificate of another CA",
            "show a certificate for the gateway's name, issued by another CA",
            Some(&pki.foreign),
            &["issuer", "unknown", "anchor", "signature"],
        )
        .await?,
        handshake(
            market,
            "expired certificate",
            "show a certificate for the gateway's name of our own CA, which ended an hour ago",
            Some(&pki.expired),
            &["expired"],
        )
        .await?,
        handshake(
            market,
            "revoked certificate",
            "show a certificate for the gateway's name of our own CA, revoked since its key was stolen",
            Some(&pki.revoked),
            &["revoked"],
        )
        .await?,
        wrong_identity(market).await?,
    ];
    for (name, headers) in spoofs() {
        attacks.push(spoofed(market, name, headers).await?);
    }
    attacks.push(spoofed_through_the_gateway(market).await?);
    attacks.push(plain_text(market).await?);
    attacks.push(around_the_sidecar(market).await);
    for (index, attack) in attacks.iter().enumerate() {
        teller.attack(index + 1, attack);
    }
    story.attacks = attacks;
    Ok(())
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
    reasons: &[&str],
) -> anyhow::Result<Attack> {
    let tls = client::tls(&market.pki, credentials)?;
    let attempt = Attempt::over_tls(&market.ad_service, tls).await?;
    let expected = "the handshake fails; the service hears nothing";
    let mut attack = attempt.attack(name, tried, expected, reasons).await;
    if let Ok(answer) = &attempt.exchange.answer {
        attack.problems.push(format!("the handshake came through and was answered {}", answer.status));
    }
    Ok(attack)
}

/// A good certificate of somebody who is not on the allow list.
async fn wrong_identity(market: &Market) -> anyhow::Result<Attack> {
    let tls = client::tls(&market.pki, Some(&market.pki.gateway))?;
    let attempt = Attempt::over_tls(&market.user_service, tls).await?;
    let tried = "the gateway calls UserService, which only AdService may";
    let expected = "403; the service hears nothing";
    let mut attack = attempt.attack("wrong identity", tried, expected, &["allow", "polic", "authoriz", "denied"]).await;
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
    let mut attack = attempt.attack("plain text to the TLS port", tried, expected, &["plain", "http", "tls"]).await;
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
        reason: Some(format!("none is asked: the service listens on {app} only")),
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
        Err(reason) => reason,
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

/// Ways to tell the service another name than the certificate's.
fn spoofs() -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let boss = || spiffe_id("administrator");
    let certificate = || format!(":{}:", STANDARD.encode(b"a certificate of somebody else"));
    vec![
        ("spoofed x-mantlet-peer", vec![("x-mantlet-peer", boss())]),
        ("spoofed x-mantlet-peer, twice", vec![("x-mantlet-peer", boss()), ("x-mantlet-peer", spiffe_id("gateway"))]),
        (
            "spoofed certificate headers",
            vec![
                ("client-cert", certificate()),
                ("client-cert-chain", certificate()),
                ("x-forwarded-client-cert", format!("URI={}", boss())),
            ],
        ),
        (
            "identity removed through Connection",
            vec![("connection", "x-mantlet-peer, client-cert".into()), ("x-mantlet-peer", boss())],
        ),
        (
            "look-alikes with underscores",
            vec![
                ("x_mantlet_peer", boss()),
                ("x_mantlet-peer", boss()),
                ("client_cert", certificate()),
                ("x_forwarded_client_cert", format!("URI={}", boss())),
            ],
        ),
    ]
}

/// The gateway's own certificate, with headers that name somebody else: the answer may come, the lie may not.
async fn spoofed(market: &Market, name: &'static str, headers: Vec<(&'static str, String)>) -> anyhow::Result<Attack> {
    let tls = client::tls(&market.pki, Some(&market.pki.gateway))?;
    let get = headers.into_iter().fold(Get::new(flow::TARGET), |get, (name, value)| get.with(name, value));
    let tried = format!("with the gateway's certificate, send {}", header_names(&get));
    let exchange = client::over_tls(market.ad_service.inbound, tls, &get).await?;
    judge_spoof(market, name, tried, &get, &exchange).await
}

/// The same from the client before the gateway, whose sidecar takes plain text.
async fn spoofed_through_the_gateway(market: &Market) -> anyhow::Result<Attack> {
    let name = "spoofed identity from the client";
    let get = Get::new(flow::TARGET).with("x-mantlet-peer", spiffe_id("administrator"));
    let tried = format!("through the gateway's sidecar, send {}", header_names(&get));
    let exchange = client::plain(market.gateway_to_ads, &get).await?;
    judge_spoof(market, name, tried, &get, &exchange).await
}

fn header_names(get: &Get) -> String {
    let headers: Vec<_> = get.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    headers.join("; ")
}

async fn judge_spoof(
    market: &Market,
    name: &'static str,
    tried: String,
    get: &Get,
    exchange: &Exchange,
) -> anyhow::Result<Attack> {
    let truth = spiffe_id("gateway");
    let mut attack = Attack {
        name,
        tried,
        expected: format!("the service is told {truth} and its certificate, or hears nothing"),
        seen: seen(exchange),
        reason: None,
        hint: None,
        problems: Vec::new(),
    };
    match &exchange.answer {
        Ok(answer) if answer.status.is_success() => {
            let told = identity_told(&market.ad_service.app, &get.trace).await;
            let Some(told) = told else {
                attack.problems.push("the service answered, but has logged no such request".into());
                return Ok(attack);
            };
            attack.seen = format!("the service was told {}", summary_of(&told));
            let certificate = client::certificates(&market.pki.gateway.certificate)?;
            attack.problems = lies(&told, &truth, certificate.first().map_or(&[][..], |leaf| leaf.as_ref()));
        }
        // To refuse such a request is as good, as long as the service does not hear of it.
        Ok(answer) if answer.status.is_client_error() => attack.expect_unheard(&market.ad_service.app, &get.trace),
        Ok(answer) => attack.problems.push(format!("{} is neither an answer nor a refusal", answer.status)),
        Err(reason) => attack.problems.push(format!("there is no answer: {reason}")),
    }
    Ok(attack)
}

/// Every header about the caller that reached the service.
async fn identity_told(app: &App, trace: &str) -> Option<Vec<(String, String)>> {
    let line = app.request(trace).await?;
    let headers = line["identity_headers"].as_object()?;
    let values = |values: &Value| values.as_array().cloned().unwrap_or_default();
    let told = headers.iter().flat_map(|(name, all)| {
        values(all).into_iter().map(move |value| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
    });
    Some(told.collect())
}

fn summary_of(told: &[(String, String)]) -> String {
    let headers: Vec<_> = told
        .iter()
        .map(
            |(name, value)| {
                if value.len() > 60 { format!("{name} ({} bytes)", value.len()) } else { format!("{name}: {value}") }
            },
        )
        .collect();
    headers.join("; ")
}

/// What the service was told beyond the truth, or short of it.
fn lies(told: &[(String, String)], truth: &str, certificate: &[u8]) -> Vec<String> {
    let mut problems = Vec::new();
    let peers: Vec<_> =
        told.iter().filter(|(name, _)| name == CALLER_HEADER).map(|(_, value)| value.as_str()).collect();
    if peers != [truth] {
        problems.push(format!("{CALLER_HEADER} is {peers:?} instead of {truth} alone"));
    }
    for (name, value) in told.iter().filter(|(name, _)| name != CALLER_HEADER) {
        let true_certificate = name == "client-cert" && value.trim_matches(':') == STANDARD.encode(certificate);
        if !true_certificate {
            problems.push(format!("the service was told {name}: {value}"));
        }
    }
    problems
}

/// An attempt on a sidecar, with its witnesses.
struct Attempt<'a> {
    target: &'a Guarded,
    mark: Mark,
    trace: String,
    exchange: Exchange,
}

impl<'a> Attempt<'a> {
    async fn over_tls(target: &'a Guarded, tls: Arc<ClientConfig>) -> anyhow::Result<Self> {
        let get = Get::new(flow::TARGET);
        let mark = target.sidecar.process.mark();
        let exchange = client::over_tls(target.inbound, tls, &get).await?;
        Ok(Self { target, mark, trace: get.trace, exchange })
    }

    /// The attack as the three witnesses saw it: the sidecar must name one of `reasons`, the service must have heard nothing.
    async fn attack(&self, name: &'static str, tried: &str, expected: &str, reasons: &[&str]) -> Attack {
        let refusal = self.target.sidecar.refusal(self.mark, self.exchange.local).await;
        let mut attack = Attack {
            name,
            tried: tried.to_owned(),
            expected: expected.to_owned(),
            seen: seen(&self.exchange),
            reason: refusal.as_ref().map(|refusal| refusal.reason.clone()),
            hint: refusal.as_ref().and_then(|refusal| refusal.hint.clone()),
            problems: Vec::new(),
        };
        attack.expect_reason(refusal.as_ref(), reasons);
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

    fn expect_reason(&mut self, refusal: Option<&Refusal>, reasons: &[&str]) {
        match refusal {
            None => self.problems.push("the sidecar does not say why".into()),
            Some(refusal) if reasons.iter().any(|reason| refusal.all.contains(reason)) => (),
            Some(refusal) => self.problems.push(format!("\"{}\" does not say why", refusal.reason)),
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

    fn told(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_truth_alone_is_no_lie() {
        let headers = told(&[("x-mantlet-peer", "spiffe://a/b"), ("client-cert", ":AQI=:")]);
        assert_eq!(lies(&headers, "spiffe://a/b", &[1, 2]), Vec::<String>::new());
    }

    #[test]
    fn a_second_name_a_look_alike_and_another_certificate_are_lies() {
        for lie in [
            told(&[]),
            told(&[("x-mantlet-peer", "spiffe://a/other")]),
            told(&[("x-mantlet-peer", "spiffe://a/b"), ("x-mantlet-peer", "spiffe://a/b")]),
            told(&[("x-mantlet-peer", "spiffe://a/b"), ("x_mantlet_peer", "spiffe://a/b")]),
            told(&[("x-mantlet-peer", "spiffe://a/b"), ("client-cert", ":AQM=:")]),
        ] {
            assert_eq!(lies(&lie, "spiffe://a/b", &[1, 2]).len(), 1, "{lie:?}");
        }
    }

    #[test]
    fn the_other_address_is_not_where_the_services_listen() {
        assert_ne!(other_address(), Ipv4Addr::LOCALHOST);
    }
}
