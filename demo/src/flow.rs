//! The request of the flow: client, gateway, `AdService`, `UserService`, each hop told from what the sidecars and the
//! services themselves report.

use anyhow::Context as _;
use serde_json::Value;

use crate::client::{self, Get};
use crate::events::{Direction, Event, OwnIdentity, same_serial};
use crate::market::{App, Market};
use crate::pki::spiffe_id;
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

    let [gateway, ad_service, user_service] =
        [&market.gateway, &market.ad_service.sidecar, &market.user_service.sidecar];
    let gateway_out = gateway.request_event(marks[0], Direction::Outbound).await?;
    let ads_in = ad_service.request_event(marks[1], Direction::Inbound).await?;
    let ads_out = ad_service.request_event(marks[1], Direction::Outbound).await?;
    let users_in = user_service.request_event(marks[2], Direction::Inbound).await?;
    let [gateway, ad_service, user_service] = [
        holder("gateway", gateway).await?,
        holder("adservice", ad_service).await?,
        holder("userservice", user_service).await?,
    ];

    let mut steps = Vec::new();
    steps.push(entry("client -> the gateway's sidecar", &get.target, &gateway_out));
    steps.push(hop("the gateway's sidecar -> AdService's sidecar", (&gateway, &gateway_out), (&ad_service, &ads_in)));
    steps.push(delivery("AdService's sidecar -> AdService", &market.ad_service.app, &get.trace, "gateway").await);
    steps.push(entry("AdService -> its sidecar", "/users/preview, for the sellers", &ads_out));
    steps.push(hop(
        "AdService's sidecar -> UserService's sidecar",
        (&ad_service, &ads_out),
        (&user_service, &users_in),
    ));
    steps.push(
        delivery("UserService's sidecar -> UserService", &market.user_service.app, &get.trace, "adservice").await,
    );
    steps.push(return_of(&ads));
    for (index, step) in steps.iter().enumerate() {
        teller.step(index + 1, step);
    }
    teller.answer(&ads);
    story.steps = steps;
    story.answer = Some(ads);
    Ok(())
}

/// A sidecar's service and the certificate that it holds.
struct Holder {
    service: &'static str,
    own: OwnIdentity,
}

async fn holder(service: &'static str, sidecar: &Sidecar) -> anyhow::Result<Holder> {
    Ok(Holder { service, own: sidecar.own_identity().await? })
}

/// Plain text from a service, or the client, into a sidecar.
fn entry(title: &str, asked: &str, event: &Event) -> Step {
    let told = |name: &str| event.text(name).unwrap_or_else(|| "not told".into());
    let listener = format!("\"{}\", from {}", told("listener"), told("peer.address"));
    let facts = vec![Fact::new("asked for", asked), Fact::new("taken by the listener", listener)];
    Step { title: title.into(), carried_by: "plain HTTP on loopback", verified: facts, problems: Vec::new() }
}

/// From sidecar to sidecar: what each end saw of the other must be what the other holds.
fn hop(title: &str, client: (&Holder, &Event), server: (&Holder, &Event)) -> Step {
    let mut step = Step { title: title.into(), carried_by: "mutual TLS", verified: Vec::new(), problems: Vec::new() };
    let ((client, client_saw), (server, server_saw)) = (client, server);
    proof(&mut step, server_saw, client, "the caller proved to be");
    proof(&mut step, client_saw, server, "the called proved to be");
    let status = server_saw.text("status").unwrap_or_else(|| "not told".into());
    let duration = server_saw.text("duration_ms").map_or_else(String::new, |time| format!(" in {time} ms"));
    step.verified.push(Fact::new("allowed and answered", format!("{status}{duration}")));
    step
}

/// What one end saw of `holder`, held against the certificate that `holder` says is its own.
fn proof(step: &mut Step, seen: &Event, holder: &Holder, what: &str) {
    let told = |name: &str| seen.text(name).unwrap_or_else(|| "not told".into());
    let (peer, serial) = (told("peer"), told("peer.serial"));
    step.verified.push(Fact::new(what, &peer));
    step.verified
        .push(Fact::new("  with the certificate", format!("serial {serial}, not after {}", holder.own.not_after)));
    step.verified.push(Fact::new("  issued by", told("peer.issuer")));
    let expected = spiffe_id(holder.service);
    for name in [&peer, &holder.own.name].into_iter().filter(|name| **name != expected) {
        step.problems.push(format!("the peer is {name}, not {expected}"));
    }
    if !same_serial(&serial, &holder.own.serial) {
        step.problems
            .push(format!("serial {serial} was seen, but {} holds serial {}", holder.service, holder.own.serial));
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
