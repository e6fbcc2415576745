//! Attacks on the gateway by one who reaches nothing else: bad tokens, tokens in the wrong place, somebody else's name, and
//! too many requests. They work on every running flea market; where services' logs can be read, those are witnesses too.

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::first_line;
use crate::client::Answer;
use crate::flow::{self, View};
use crate::https::{Call, Https, Token};
use crate::issuer::forge::{Fault, Forger};
use crate::report::Attack;

/// More than any gateway lets one user send at once.
const FLOOD_CONNECTIONS: usize = 4;
const FLOOD_REQUESTS_EACH: usize = 500;

/// Tries everything.
pub(super) async fn all(view: &View<'_>) -> anyhow::Result<Vec<Attack>> {
    let honest = view.sign_in(&view.user, &view.password).await?;
    let mut attacks = Vec::new();
    let forger = Forger::new(honest.clone(), view.keys.as_deref())?;
    for fault in Fault::all() {
        if let Some(token) = forger.forge(fault)? {
            attacks.push(bad_token(view, fault, &token).await?);
        }
    }
    attacks.push(token_in_url(view, &honest).await?);
    attacks.push(another_users_name(view, &honest).await?);
    attacks.push(seller_in_body(view, &honest).await?);
    for (name, user, password, why) in [
        ("a buyer places an ad", "ida@example.org", "market-ida", "whose role is not to sell"),
        ("an unverified seller places an ad", "dmitri@example.org", "market-dmitri", "whose address is not verified"),
    ] {
        attacks.push(not_a_seller(view, name, &view.sign_in(user, password).await?, why).await?);
    }
    for (name, target) in [
        ("a path behind the routes", "/healthz"),
        ("a path out of a route", "/ads/../healthz"),
        ("a path out of a route, encoded", "/ads/%2e%2e%2fhealthz"),
    ] {
        attacks.push(off_the_routes(view, name, target, &honest).await?);
    }
    attacks.push(flood(view).await?);
    Ok(attacks)
}

/// A token with one thing wrong.
async fn bad_token(view: &View<'_>, fault: Fault, token: &str) -> anyhow::Result<Attack> {
    let call = Call::get(flow::TARGET).bearing(token);
    let answer = view.visit().await?.send(&call).await?;
    let mut attack = Attack::tried(name_of(fault), format!("send a token with one thing wrong: {}", fault.meaning()));
    attack.expected = "401 that calls the token invalid; nothing behind the gateway hears of it".into();
    attack.answered(&answer);
    attack.expect_answer(&answer, 401);
    if !challenge(&answer).contains("error=\"invalid_token\"") {
        attack.problems.push("no WWW-Authenticate with error=\"invalid_token\"".into());
    }
    attack.unheard(view, &call);
    Ok(attack)
}

fn name_of(fault: Fault) -> &'static str {
    match fault {
        Fault::None => "good token",
        Fault::Expired => "expired token",
        Fault::NotYet => "token of the future",
        Fault::OtherAudience => "token for another audience",
        Fault::OtherIssuer => "token of another issuer",
        Fault::OtherKey => "token signed with another key",
        Fault::UnknownKey => "token signed with an unknown key",
        Fault::KeyInHeader => "token that brings its key along",
        Fault::KeyAddressInHeader => "token that says where its key is",
        Fault::Unsigned => "token without a signature (alg none)",
        Fault::PublicKeyAsSecret => "token signed with the public key (HS256)",
        Fault::Tampered => "token with changed claims",
    }
}

/// A good token where it ends up in logs and histories.
async fn token_in_url(view: &View<'_>, honest: &Token) -> anyhow::Result<Attack> {
    let call = Call::get(&format!("{}&access_token={}", flow::TARGET, honest.text));
    let answer = view.visit().await?.send(&call).await?;
    let mut attack = Attack::tried("token in the URL", "send a good token as access_token= in the URL".into());
    attack.expected = "400; the token is in no log, and nothing behind the gateway hears of it".into();
    attack.answered(&answer);
    attack.expect_answer(&answer, 400);
    attack.unheard(view, &call);
    if let Some(witnesses) = view.witnesses {
        let signature = honest.text.rsplit('.').next().unwrap_or_default().to_owned();
        let find = |line: &str| line.contains(&signature).then_some(());
        if witnesses.gateway.find(crate::process::Mark::START, find).is_some() {
            attack.problems.push("the token is in the gateway's log".into());
        }
    }
    Ok(attack)
}

/// A good token, with headers that name somebody else.
async fn another_users_name(view: &View<'_>, honest: &Token) -> anyhow::Result<Attack> {
    let call = Call::post("/ads", &nothing_for_sale())
        .bearing(&honest.text)
        .with("x-mantlet-user", "hugo")
        .with("X-Mantlet-User-Issuer", "https://issuer.example.net")
        .with("x-mantlet-user-claims", "eyJyb2xlIjoiYWRtaW4ifQ")
        .with("x_mantlet_user", "hugo");
    let answer = view.visit().await?.send(&call).await?;
    let name = "another user's name in headers";
    let tried = format!("with the token of {}, place an ad and send x-mantlet-user: hugo", honest.subject());
    let mut attack = Attack::tried(name, tried);
    attack.expected = format!("the ad is sold by {}, or 400", honest.subject());
    attack.answered(&answer);
    if answer.status.is_success() {
        let seller: Value = serde_json::from_str(&answer.body).context("the answer is no JSON")?;
        attack.seen = format!("{}, sold by {}", answer.status, seller["seller"]);
        if seller["seller"] != honest.subject() {
            attack.problems.push(format!("the ad is sold by {}", seller["seller"]));
        }
    } else {
        attack.expect_answer(&answer, 400);
    }
    Ok(attack)
}

/// A good token, with a body that names somebody else.
async fn seller_in_body(view: &View<'_>, honest: &Token) -> anyhow::Result<Attack> {
    let mut body = nothing_for_sale();
    body["seller_id"] = json!("hugo");
    let answer = view.visit().await?.send(&Call::post("/ads", &body).bearing(&honest.text)).await?;
    let tried = format!("with the token of {}, place an ad whose body says that hugo sells it", honest.subject());
    let mut attack = Attack::tried("another user's name in the body", tried);
    attack.expected = "400 from AdService, which takes the seller from its sidecar alone".into();
    attack.answered(&answer);
    attack.expect_answer(&answer, 400);
    Ok(attack)
}

/// A good token of one who may not.
async fn not_a_seller(view: &View<'_>, name: &'static str, token: &Token, why: &str) -> anyhow::Result<Attack> {
    let call = Call::post("/ads", &nothing_for_sale()).bearing(&token.text);
    let answer = view.visit().await?.send(&call).await?;
    let mut attack = Attack::tried(name, format!("place an ad with the good token of {}, {why}", token.subject()));
    attack.expected = "403 at the gateway; nothing behind it hears of it".into();
    attack.answered(&answer);
    attack.expect_answer(&answer, 403);
    attack.unheard(view, &call);
    Ok(attack)
}

/// A good token for what no route leads to.
async fn off_the_routes(view: &View<'_>, name: &'static str, target: &str, honest: &Token) -> anyhow::Result<Attack> {
    let call = Call::get(target).bearing(&honest.text);
    let answer = view.visit().await?.send(&call).await?;
    let mut attack = Attack::tried(name, format!("ask for {target} with a good token"));
    attack.expected = "400 or 404 at the gateway; nothing behind it hears of it".into();
    attack.answered(&answer);
    if ![400, 404].contains(&answer.status.as_u16()) {
        attack.problems.push(format!("the status is {} instead of 400 or 404", answer.status));
    }
    attack.unheard(view, &call);
    Ok(attack)
}

/// One user who asks without end; the others must not suffer.
async fn flood(view: &View<'_>) -> anyhow::Result<Attack> {
    let token = view.sign_in("ida@example.org", "market-ida").await?;
    let mut senders = JoinSet::new();
    for _ in 0..FLOOD_CONNECTIONS {
        senders.spawn(ask_until_refused(view.visit().await?, token.text.clone()));
    }
    let mut attack = Attack::tried("flood", format!("ida asks over {FLOOD_CONNECTIONS} connections without a pause"));
    attack.expected = "429 with Retry-After for her, while another user is served".into();
    let (mut served, mut refused) = (0, Vec::new());
    while let Some(sender) = senders.join_next().await {
        let (count, refusal) = sender??;
        served += count;
        refused.extend(refusal);
    }
    let retry_after = |answer: &Answer| answer.headers.get("retry-after")?.to_str().ok().map(ToOwned::to_owned);
    match refused.first() {
        Some(answer) => {
            attack.answered(answer);
            attack.expect_answer(answer, 429);
            let pause = retry_after(answer);
            attack.seen = format!(
                "{served} answers, then {}, Retry-After: {}",
                answer.status,
                pause.as_deref().unwrap_or("none")
            );
            if pause.is_none() {
                attack.problems.push("the refusal does not say when to try again".into());
            }
        }
        None => attack.problems.push(format!("all {served} requests were answered")),
    }
    let other = view.sign_in(&view.user, &view.password).await?;
    let answer = view.visit().await?.send(&Call::get(flow::TARGET).bearing(&other.text)).await?;
    if !answer.status.is_success() {
        attack.problems.push(format!("another user was answered {} meanwhile", answer.status));
    }
    Ok(attack)
}

/// How many requests were answered, and the first answer that is a refusal.
async fn ask_until_refused(mut client: Https, token: String) -> anyhow::Result<(usize, Option<Answer>)> {
    for served in 0..FLOOD_REQUESTS_EACH {
        let answer = client.send(&Call::get("/ads/1").bearing(&token)).await?;
        if !answer.status.is_success() {
            return Ok((served, Some(answer)));
        }
    }
    Ok((FLOOD_REQUESTS_EACH, None))
}

/// An ad for the middle of the ocean.
fn nothing_for_sale() -> Value {
    json!({ "title": "Nothing", "category": "boats", "price_cents": 0, "latitude": 0.0, "longitude": 0.0 })
}

fn challenge(answer: &Answer) -> &str {
    answer.headers.get("www-authenticate").and_then(|value| value.to_str().ok()).unwrap_or_default()
}

impl Attack {
    fn tried(name: &'static str, tried: String) -> Self {
        Self {
            name,
            tried,
            expected: String::new(),
            seen: String::new(),
            reason: None,
            hint: None,
            problems: Vec::new(),
        }
    }

    /// What came back, and what it says why.
    fn answered(&mut self, answer: &Answer) {
        self.seen = answer.status.to_string();
        if answer.status.is_success() {
            return;
        }
        let problem: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let told = problem["detail"].as_str().or_else(|| problem["error"].as_str()).map(ToOwned::to_owned);
        let parameter = |name: &str| Some(challenge(answer).split_once(name)?.1.split('"').nth(1)?.to_owned());
        self.reason = match (parameter("error="), parameter("error_description=")) {
            (Some(error), Some(description)) => Some(format!("{error}: {description}")),
            _ => told.or_else(|| Some(first_line(&answer.body)).filter(|line| !line.is_empty())),
        };
    }

    fn expect_answer(&mut self, answer: &Answer, wanted: u16) {
        if answer.status.as_u16() != wanted {
            self.problems.push(format!("the status is {} instead of {wanted}", answer.status));
        }
    }

    fn unheard(&mut self, view: &View<'_>, call: &Call) {
        if view.witnesses.is_some_and(|witnesses| witnesses.heard(&call.trace)) {
            self.problems.push("the request reached a service".into());
        }
    }
}
