//! Requests that claim to come from somebody else than the certificate says: the answer may come, the lie may not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::seen;
use crate::client::{self, Exchange, Get};
use crate::flow;
use crate::market::{App, Market};
use crate::pki::spiffe_id;
use crate::report::Attack;
use crate::services::CALLER_HEADER;

/// Tries every way.
pub(super) async fn all(market: &Market) -> anyhow::Result<Vec<Attack>> {
    let mut attacks = Vec::new();
    for (name, headers) in spoofs() {
        attacks.push(spoofed(market, name, headers).await?);
    }
    attacks.push(spoofed_through_the_gateway(market).await?);
    Ok(attacks)
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
}
