//! The request of the flow: client, gateway, `AdService`, `UserService`, each hop told from what the sidecars and the
//! services themselves report.

use anyhow::Context as _;
use serde_json::Value;

use crate::client::{self, Get};
use crate::events::{self, Direction, Event, OwnIdentity, PeerSeen, same_serial};
use crate::market::{App, Market};
use crate::pki::spiffe_id;
use crate::process::Mark;
use crate::report::{Fact, Step, Story, Teller};
use crate::services::CALLER_HEADER;
use crate::services::ads::Ads;
use crate::sidecar::Sidecar;

/// Ads within a few kilometres of Alexanderplatz in Berlin.
pub(crate) const TARGET: &str = "/ads?lat=52.5219&lon=13.4132&radius_km=5";

/// Sends the request, and adds the steps and the answer to the story.
pub(crate) async fn tell(market: &Market, teller: &Teller, story: &mut Story) -> anyhow::Result<()> {
    let get = Get::new(TARGET);
    let marks = [&market.gateway, &market.ad_service.sidecar, &market.user_service.sidecar]
        .map(|sidecar| sidecar.process.mark());
    let exchange = client::plain(market.gateway_to_ads, &get).await?;
    let answer = exchange.answer.map_err(anyhow::Error::msg).context("the client has no answer from the gateway")?;
    if !answer.status.is_success() {
        anyhow::bail!("the gateway answered {}: {}", answer.status, answer.body.trim());
    }
    let ads: Ads = serde_json::from_str(&answer.body).context("the answer is no list of ads")?;

    let steps = verify(market, marks, &get).await?;
    let steps: Vec<Step> = steps.into_iter().chain([return_of(&ads)]).collect();
    for (index, step) in steps.iter().enumerate() {
        teller.step(index + 1, step);
    }
    teller.answer(&ads);
    story.steps = steps;
    story.answer = Some(ads);
    Ok(())
}

/// The hops of the request, each from what both of its ends report.
async fn verify(market: &Market, marks: [Mark; 3], get: &Get) -> anyhow::Result<[Step; 6]> {
    let Market { gateway, ad_service, user_service, .. } = market;
    let gateway = End::of("gateway", "ads", gateway, marks[0]).await?;
    let ads = End::of("adservice", "users", &ad_service.sidecar, marks[1]).await?;
    let users = End::of("userservice", "", &user_service.sidecar, marks[2]).await?;
    Ok([
        entry("client -> the gateway's sidecar", &get.target, &gateway),
        hop("the gateway's sidecar -> AdService's sidecar", &gateway, &ads),
        delivery("AdService's sidecar -> AdService", &ad_service.app, &get.trace, "gateway").await,
        entry("AdService -> its sidecar", "/users/preview, for the sellers", &ads),
        hop("AdService's sidecar -> UserService's sidecar", &ads, &users),
        delivery("UserService's sidecar -> UserService", &user_service.app, &get.trace, "adservice").await,
    ])
}

/// What a sidecar reports of the request, and the certificate that it holds.
struct End {
    service: &'static str,
    own: OwnIdentity,
    inbound: Option<Event>,
    outbound: Option<Event>,
    /// Whom its outbound side is connected to.
    upstream: Option<PeerSeen>,
}

impl End {
    /// Reads what the sidecar of `service` logged after `from`, and whom its outbound listener of that name talks to.
    async fn of(service: &'static str, listener: &str, sidecar: &Sidecar, from: Mark) -> anyhow::Result<Self> {
        let inbound = match service {
            "gateway" => None,
            _ => Some(sidecar.request_event(from, Direction::Inbound).await?),
        };
        let outbound = match listener {
            "" => None,
            _ => Some(sidecar.request_event(from, Direction::Outbound).await?),
        };
        let status = sidecar.status().await?;
        let own =
            events::own_identity(&status).with_context(|| format!("the status of {service} names no identity"))?;
        // The access event tells of the caller; the sidecar at the other end is known by its connection.
        let upstream =
            outbound.as_ref().and_then(Event::peer).or_else(|| events::upstream_in_status(&status, listener));
        Ok(Self { service, own, inbound, outbound, upstream })
    }
}

/// Plain text from a service, or the client, into a sidecar.
fn entry(title: &str, asked: &str, taker: &End) -> Step {
    let told = |name: &str| told(taker.outbound.as_ref(), name);
    let listener = format!("\"{}\", outbound, from {}", told("listener"), told("peer.address"));
    let facts = vec![Fact::new("asked for", asked), Fact::new("taken by the listener", listener)];
    Step { title: title.into(), carried_by: "plain HTTP on loopback", verified: facts, problems: Vec::new() }
}

/// From sidecar to sidecar: what each end saw of the other must be what the other holds.
fn hop(title: &str, client: &End, server: &End) -> Step {
    let mut step = Step { title: title.into(), carried_by: "mutual TLS", verified: Vec::new(), problems: Vec::new() };
    proof(&mut step, server.inbound.as_ref().and_then(Event::peer), client, "the caller proved to be");
    proof(&mut step, client.upstream.clone(), server, "the called proved to be");
    let status = told(server.inbound.as_ref(), "status");
    step.verified
        .push(Fact::new("allowed and answered", format!("{status} in {}", milliseconds(server.inbound.as_ref()))));
    step
}

fn told(event: Option<&Event>, name: &str) -> String {
    event.and_then(|event| event.text(name)).unwrap_or_else(|| "not told".into())
}

fn milliseconds(event: Option<&Event>) -> String {
    let duration: Option<f64> = told(event, "duration_ms").parse().ok();
    duration.map_or_else(|| "a time not told".into(), |duration| format!("{duration:.1} ms"))
}

/// What one end saw of `holder`, held against the certificate that `holder` says is its own.
fn proof(step: &mut Step, seen: Option<PeerSeen>, holder: &End, what: &str) {
    let (expected, own) = (spiffe_id(holder.service), &holder.own);
    let Some(seen) = seen else {
        step.problems.push(format!("the other end does not say whom it saw as {}", holder.service));
        return;
    };
    let PeerSeen { name, serial, issuer } = seen;
    step.verified.push(Fact::new(what, &name));
    step.verified.push(Fact::new("with the certificate", format!("serial {serial}, not after {}", own.not_after)));
    step.verified.push(Fact::new("issued by", issuer.unwrap_or_else(|| "not told".into())));
    for name in [&name, &own.name].into_iter().filter(|name| **name != expected) {
        step.problems.push(format!("the peer is {name}, not {expected}"));
    }
    if !same_serial(&serial, &own.serial) {
        step.problems.push(format!("serial {serial} was seen, but {} holds serial {}", holder.service, own.serial));
    }
}

/// Plain text from a sidecar to its service, which learns who called.
async fn delivery(title: &str, app: &App, trace: &str, caller: &str) -> Step {
    let mut step =
        Step { title: title.into(), carried_by: "plain HTTP on loopback", verified: Vec::new(), problems: Vec::new() };
    let Some(line) = app.request(trace).await else {
        step.problems.push("the service has logged no such request".into());
        return step;
    };
    step.verified.push(Fact::new("the service was told", format!("{CALLER_HEADER}: {}", caller_in(&line).join(", "))));
    step.verified.push(Fact::new(
        "and answered",
        format!("{} to {} {}", line["status"], text(&line["method"]), text(&line["path"])),
    ));
    let expected = spiffe_id(caller);
    if caller_in(&line) != [expected.as_str()] {
        step.problems.push(format!("{CALLER_HEADER} is not just {expected}"));
    }
    step
}

/// The values of the header that names the caller, in a log line of a service.
fn caller_in(line: &Value) -> Vec<&str> {
    let values = line["identity_headers"][CALLER_HEADER].as_array();
    values.into_iter().flatten().filter_map(Value::as_str).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What the client got, over the connections already open.
fn return_of(ads: &Ads) -> Step {
    let mut problems = Vec::new();
    if ads.ads.is_empty() {
        problems.push("there are no ads in the answer".into());
    }
    if let Some(reason) = &ads.sellers_unavailable {
        problems.push(format!("there are no sellers: {reason}"));
    }
    if let Some(ad) = ads.ads.iter().find(|ad| ad.seller.is_none()) {
        problems.push(format!("ad {} has no seller", ad.id));
    }
    let told = |caller: &Option<String>| caller.clone().unwrap_or_else(|| "nobody".into());
    let facts = vec![
        Fact::new("AdService was asked by", told(&ads.authenticated_caller)),
        Fact::new("UserService was asked by", told(&ads.known_to_users_as)),
        Fact::new("ads with their sellers", ads.ads.len().to_string()),
    ];
    Step { title: "the answer -> client".into(), carried_by: "the same connections, back", verified: facts, problems }
}
