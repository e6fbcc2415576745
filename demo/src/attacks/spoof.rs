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

/// The header in which the sidecar hands the caller's certificate on (RFC 9440).
const CERTIFICATE_HEADER: &str = "client-cert";

/// Tries every way.
pub(super) async fn all(market: &Market) -> anyhow::Result<Vec<Attack>> {
    let mut attacks = Vec::new();
    for spoof in spoofs() {
        attacks.push(with_certificate(market, spoof).await?);
    }
    attacks.push(through_the_gateway(market).await?);
    Ok(attacks)
}

/// A way to tell the service another name than the certificate's.
struct Spoof {
    name: &'static str,
    tried: &'static str,
    headers: Vec<(&'static str, String)>,
}

fn spoofs() -> [Spoof; 5] {
    let other = || spiffe_id("administrator");
    let certificate = || format!(":{}:", STANDARD.encode(b"a certificate of somebody else"));
    let forwarded = || format!("URI={}", other());
    [
        Spoof {
            name: "spoofed x-mantlet-peer",
            tried: "send x-mantlet-peer with the administrator's name",
            headers: vec![("x-mantlet-peer", other())],
        },
        Spoof {
            name: "spoofed x-mantlet-peer, twice",
            tried: "send x-mantlet-peer with the administrator's name and once more with the gateway's",
            headers: vec![("x-mantlet-peer", other()), ("x-mantlet-peer", spiffe_id("gateway"))],
        },
        Spoof {
            name: "spoofed certificate headers",
            tried: "send client-cert, client-cert-chain and x-forwarded-client-cert of somebody else",
            headers: vec![
                ("client-cert", certificate()),
                ("client-cert-chain", certificate()),
                ("x-forwarded-client-cert", forwarded()),
            ],
        },
        Spoof {
            name: "identity named in Connection",
            tried: "send Connection: x-mantlet-peer, client-cert, so that the sidecar drops what it set itself",
            headers: vec![("connection", "x-mantlet-peer, client-cert".into()), ("x-mantlet-peer", other())],
        },
        Spoof {
            name: "look-alikes with underscores",
            tried: "send x_mantlet_peer, x_mantlet-peer, client_cert and x_forwarded_client_cert",
            headers: vec![
                ("x_mantlet_peer", other()),
                ("x_mantlet-peer", other()),
                ("client_cert", certificate()),
                ("x_forwarded_client_cert", forwarded()),
            ],
        },
    ]
}

/// The gateway's own certificate, with headers that name somebody else.
async fn with_certificate(market: &Market, Spoof { name, tried, headers }: Spoof) -> anyhow::Result<Attack> {
    let tls = client::tls(&market.pki, Some(&market.pki.gateway))?;
    let get = headers.into_iter().fold(Get::new(flow::TARGET), |get, (name, value)| get.with(name, value));
    let exchange = client::over_tls(market.ad_service.inbound, tls, &get).await?;
    judge(market, name, format!("with the gateway's certificate, {tried}"), &get, &exchange).await
}

/// The same from the client before the gateway, whose sidecar takes plain text.
async fn through_the_gateway(market: &Market) -> anyhow::Result<Attack> {
    let get = Get::new(flow::TARGET).with("x-mantlet-peer", spiffe_id("administrator"));
    let tried = "through the gateway's sidecar, send x-mantlet-peer with the administrator's name".to_owned();
    let exchange = client::plain(market.gateway_to_ads, &get).await?;
    judge(market, "spoofed identity from the client", tried, &get, &exchange).await
}

async fn judge(
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
            let chain = client::certificates(&market.pki.gateway.certificate)?;
            attack.problems = lies(&told, &truth, chain.first().map_or(&[][..], |leaf| leaf.as_ref()));
            attack.seen = if attack.problems.is_empty() {
                format!("the service was told {truth} and its certificate alone")
            } else {
                format!("the service was told {}", summary_of(&told))
            };
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
    let certificate = STANDARD.encode(certificate);
    let mut problems = Vec::new();
    let values = |wanted: &str| -> Vec<&str> {
        told.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.trim_matches(':')).collect()
    };
    if values(CALLER_HEADER) != [truth] {
        problems.push(format!("{CALLER_HEADER} is {:?} instead of {truth} alone", values(CALLER_HEADER)));
    }
    if values(CERTIFICATE_HEADER) != [certificate] {
        problems.push(format!("{CERTIFICATE_HEADER} is {:?} instead of the true one", values(CERTIFICATE_HEADER)));
    }
    let others = told.iter().filter(|(name, _)| name != CALLER_HEADER && name != CERTIFICATE_HEADER);
    problems.extend(others.map(|(name, value)| format!("the service was told {name}: {value}")));
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
            told(&[("client-cert", ":AQI=:")]),
            told(&[("x-mantlet-peer", "spiffe://a/other"), ("client-cert", ":AQI=:")]),
            told(&[("x-mantlet-peer", "spiffe://a/b"), ("x-mantlet-peer", "spiffe://a/b"), ("client-cert", ":AQI=:")]),
            told(&[("x-mantlet-peer", "spiffe://a/b"), ("x_mantlet_peer", "spiffe://a/b"), ("client-cert", ":AQI=:")]),
            told(&[("x-mantlet-peer", "spiffe://a/b"), ("client-cert", ":AQM=:")]),
            told(&[("x-mantlet-peer", "spiffe://a/b")]),
        ] {
            assert_eq!(lies(&lie, "spiffe://a/b", &[1, 2]).len(), 1, "{lie:?}");
        }
    }
}
