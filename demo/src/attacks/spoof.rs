//! Requests that claim to come from somebody else than the certificate says: the answer may come, the lie may not.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::seen;
use crate::client::{self, Answer, Get};
use crate::events::Event;
use crate::flow;
use crate::https::{Call, Https, Token};
use crate::market::{App, LINE_DEADLINE, Market};
use crate::pki::{Credentials, spiffe_id};
use crate::report::Attack;
use crate::services::{CALLER_HEADER, USER_HEADER};

/// The header in which the sidecar hands the caller's certificate on (RFC 9440).
const CERTIFICATE_HEADER: &str = "client-cert";

/// Tries every way.
pub(super) async fn all(market: &Market) -> anyhow::Result<Vec<Attack>> {
    let mut attacks = Vec::new();
    for spoof in spoofs() {
        attacks.push(with_certificate(market, ("gateway", &market.pki.gateway), spoof).await?);
    }
    attacks.push(with_certificate(market, ("backoffice", &market.pki.back_office), another_user()).await?);
    attacks.push(in_another_users_name(market).await?);
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

/// Headers about a user, from a service that may not say who the user is.
fn another_user() -> Spoof {
    Spoof {
        name: "a user named by one who may not",
        tried: "send x-mantlet-user, its issuer and its claims for hugo, an administrator",
        headers: vec![
            ("x-mantlet-user", "hugo".into()),
            ("x-mantlet-user-issuer", "https://issuer.fleamarket.example".into()),
            ("x-mantlet-user-claims", URL_SAFE_NO_PAD.encode(r#"{"email_verified":true,"role":"admin"}"#)),
            ("x_mantlet_user", "hugo".into()),
        ],
    }
}

/// What a service must be told of a request, and nothing else.
struct Truth {
    caller: String,
    certificate: Vec<u8>,
    user: Option<Token>,
}

impl Truth {
    fn of(caller: &str, credentials: &Credentials, user: Option<Token>) -> anyhow::Result<Self> {
        let chain = client::certificates(&credentials.certificate)?;
        let certificate = chain.first().map(|leaf| leaf.to_vec()).unwrap_or_default();
        Ok(Self { caller: spiffe_id(caller), certificate, user })
    }

    /// The headers that say so.
    fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            (CALLER_HEADER, self.caller.clone()),
            (CERTIFICATE_HEADER, format!(":{}:", STANDARD.encode(&self.certificate))),
        ];
        if let Some(Token { text, claims, .. }) = &self.user {
            headers.push((USER_HEADER, claims["sub"].as_str().unwrap_or_default().to_owned()));
            headers.push(("x-mantlet-user-issuer", claims["iss"].as_str().unwrap_or_default().to_owned()));
            headers.push(("x-mantlet-user-claims", text.split('.').nth(1).unwrap_or_default().to_owned()));
        }
        headers
    }
}

/// A good certificate, with headers that name somebody else.
async fn with_certificate(
    market: &Market,
    (caller, credentials): (&str, &Credentials),
    Spoof { name, tried, headers }: Spoof,
) -> anyhow::Result<Attack> {
    let tls = client::tls(&market.pki, Some(credentials))?;
    let get = headers.into_iter().fold(Get::new(flow::TARGET), |get, (name, value)| get.with(name, value));
    let exchange = client::over_tls(market.ad_service.inbound, tls, &get).await?;
    let truth = Truth::of(caller, credentials, None)?;
    let attack = attack(name, format!("with the certificate of {caller}, {tried}"), seen(&exchange));
    judge(market, attack, &truth, &get.trace, &exchange.answer).await
}

/// An ad placed for a user by a service that may not say who the user is.
async fn in_another_users_name(market: &Market) -> anyhow::Result<Attack> {
    let tls = client::tls(&market.pki, Some(&market.pki.back_office))?;
    let url = format!("https://localhost:{}", market.ad_service.inbound.port()).parse()?;
    let ad = json!({ "title": "Nothing", "category": "boats", "price_cents": 0, "latitude": 0.0, "longitude": 0.0 });
    let call =
        another_user().headers.into_iter().fold(Call::post("/ads", &ad), |call, (name, value)| call.with(name, value));
    let mark = market.ad_service.sidecar.process.mark();
    let answer = Https::connect(&url, &tls).await?.send(&call).await?;
    let tried = "with the certificate of backoffice, place an ad and name hugo as its user".to_owned();
    let mut attack = attack("an ad in the name of a user, by one who may not", tried, answer.status.to_string());
    attack.expected = "403 by the rules of AdService's sidecar; the service hears nothing".into();
    let refused = |line: &str| Event::parse(line)?.refusal_of_request();
    let refusal = market.ad_service.sidecar.process.wait_for(mark, LINE_DEADLINE, refused).await;
    attack.reason = refusal.as_ref().map(ToString::to_string);
    attack.hint = refusal.as_ref().and_then(|refusal| refusal.hint.clone());
    attack.expect_reason(refusal.as_ref(), &["no_rule_matches"]);
    if answer.status.as_u16() != 403 {
        attack.problems.push(format!("the status is {} instead of 403", answer.status));
    }
    attack.expect_unheard(&market.ad_service.app, &call.trace);
    Ok(attack)
}

/// The same from a client with a good token, at the gateway.
async fn through_the_gateway(market: &Market) -> anyhow::Result<Attack> {
    let view = market.view()?;
    let token = view.sign_in(&view.user, &view.password).await?;
    let call = Call::get(flow::TARGET)
        .bearing(&token.text)
        .with("x-mantlet-peer", spiffe_id("administrator"))
        .with("client-cert", format!(":{}:", STANDARD.encode(b"a certificate of somebody else")))
        .with("x-mantlet-user", "hugo")
        .with("x_mantlet_user", "hugo");
    let answer = view.visit().await?.send(&call).await?;
    let truth = Truth::of("gateway", &market.pki.gateway, Some(token))?;
    let tried = "with a good token, send x-mantlet-peer, client-cert and x-mantlet-user of somebody else".to_owned();
    let attack = attack("spoofed identities from the client", tried, answer.status.to_string());
    judge(market, attack, &truth, &call.trace, &Ok(answer)).await
}

fn attack(name: &'static str, tried: String, seen: String) -> Attack {
    Attack { name, tried, expected: String::new(), seen, reason: None, hint: None, problems: Vec::new() }
}

async fn judge(
    market: &Market,
    mut attack: Attack,
    truth: &Truth,
    trace: &str,
    answer: &Result<Answer, String>,
) -> anyhow::Result<Attack> {
    let whom = match &truth.user {
        Some(user) => format!("{} and its certificate, and the user {}", truth.caller, user.subject()),
        None => format!("{} and its certificate", truth.caller),
    };
    attack.expected = format!("the service is told {whom}, or hears nothing");
    match answer {
        Ok(answer) if answer.status.is_success() => {
            let told = identity_told(&market.ad_service.app, trace).await;
            let Some(told) = told else {
                attack.problems.push("the service answered, but has logged no such request".into());
                return Ok(attack);
            };
            attack.problems = lies(&told, &truth.headers());
            attack.seen = if attack.problems.is_empty() {
                format!("the service was told {whom} alone")
            } else {
                format!("the service was told {}", summary_of(&told))
            };
        }
        // To refuse such a request is as good, as long as the service does not hear of it.
        Ok(answer) if answer.status.is_client_error() => attack.expect_unheard(&market.ad_service.app, trace),
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
fn lies(told: &[(String, String)], truth: &[(&str, String)]) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, value) in truth {
        let values: Vec<&str> = told.iter().filter(|(told, _)| told == name).map(|(_, value)| value.as_str()).collect();
        if values != [value] {
            problems.push(format!("{name} is {values:?} instead of {value} alone"));
        }
    }
    let others = told.iter().filter(|(name, _)| truth.iter().all(|(known, _)| known != name));
    problems.extend(others.map(|(name, value)| format!("the service was told {name}: {value}")));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth() -> Vec<(&'static str, String)> {
        vec![("x-mantlet-peer", "spiffe://a/b".into()), ("client-cert", ":AQI=:".into())]
    }

    fn told(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_truth_alone_is_no_lie() {
        let headers = told(&[("x-mantlet-peer", "spiffe://a/b"), ("client-cert", ":AQI=:")]);
        assert_eq!(lies(&headers, &truth()), Vec::<String>::new());
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
            assert_eq!(lies(&lie, &truth()).len(), 1, "{lie:?}");
        }
    }
}
