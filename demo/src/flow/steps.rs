//! The eight steps, each with what was verified.

use anyhow::Context as _;
use serde_json::Value;

use super::TARGET;
use super::view::{Report, Sight, View, Witnesses};
use crate::client::Answer;
use crate::events::{Connection, same_serial};
use crate::https::{Call, Https, Token};
use crate::issuer::forge::{Fault, Forger};
use crate::market::App;
use crate::pki::spiffe_id;
use crate::report::{Fact, Step};
use crate::services::ads::Ads;
use crate::services::{CALLER_HEADER, USER_HEADER};

const MUTUAL_TLS: &str = "mutual TLS, and plain HTTP on loopback";

/// Takes all steps: a call without a token, one with a bad one, and two with a good one over one connection.
pub(super) async fn take(view: &View<'_>) -> anyhow::Result<(Vec<Step>, Ads)> {
    let token = view.sign_in(&view.user, &view.password).await?;
    let mut client = view.visit().await?;
    let first = client_step(view, &client, &token);

    let before = view.look().await?;
    let refusals = [without_token(view, &mut client).await?, with_a_bad_token(view, &mut client, &token).await?];
    let [second, mut third] = refusals;
    third.untouched(&before, &view.look().await?);

    let call = Call::get(TARGET).bearing(&token.text);
    let answer = client.send(&call).await?;
    let ads = Ads::of(&answer)?;
    let one = view.look().await?;
    let fourth = to_ads(view, &one, &ads, &call, &token).await?;
    let fifth = to_users(view, &one, &ads, &call).await?;

    let again = client.send(&Call::get(TARGET).bearing(&token.text)).await?;
    Ads::of(&again)?;
    let other = view.look().await?;
    let sixth = reused(
        "UserService answers AdService over the connection already open",
        ["adservice", "userservice"],
        [one.ad_service.as_ref(), other.ad_service.as_ref()],
    );
    let seventh = reused(
        "AdService answers the gateway over the connection already open",
        ["gateway", "adservice"],
        [one.gateway.as_ref(), other.gateway.as_ref()],
    );
    let eighth = back_to_the_client(&client, &again, &ads);
    Ok((vec![first, second, third, fourth, fifth, sixth, seventh, eighth], ads))
}

impl Ads {
    /// The ads of an answer that has some.
    fn of(answer: &Answer) -> anyhow::Result<Self> {
        if !answer.status.is_success() {
            anyhow::bail!("the gateway answered {}: {}", answer.status, answer.body.trim());
        }
        serde_json::from_str(&answer.body).context("the answer is no list of ads")
    }
}

fn client_step(view: &View<'_>, client: &Https, token: &Token) -> Step {
    let mut step = Step::new("The client calls the gateway over HTTPS, with an access token", "TLS");
    let said = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    step.fact("signed in at", format!("{} as {}", view.issuer, view.user));
    step.fact("the token says", format!("sub {}, iss {}", token.subject(), said(&token.claims["iss"])));
    step.fact("and", format!("aud {}, role {}", said(&token.claims["aud"]), said(&token.claims["role"])));
    step.fact("signed with", format!("{}, key {}", said(&token.header["alg"]), said(&token.header["kid"])));
    step.fact("the gateway proved to be", format!("{} at {}", client.tls.server, view.gateway));
    step.fact("with the certificate", format!("serial {}, issued by {}", client.tls.serial, client.tls.issuer));
    step.fact("TLS", format!("{}, {}", client.tls.version, client.tls.cipher_suite));
    step
}

async fn without_token(view: &View<'_>, client: &mut Https) -> anyhow::Result<Step> {
    let mut step = Step::new("The gateway looks for a token: without one the request ends there", "TLS");
    let call = Call::get(TARGET);
    let answer = client.send(&call).await?;
    step.fact("a call without a token", seen(&answer));
    step.expect_challenge(&answer, None);
    step.unheard(view, &call);
    Ok(step)
}

async fn with_a_bad_token(view: &View<'_>, client: &mut Https, token: &Token) -> anyhow::Result<Step> {
    let mut step = Step::new("The gateway verifies the token by itself: with a bad one the request ends there", "TLS");
    let forged = Forger::new(token.clone(), None)?.forge(Fault::Tampered)?.context("a token can be tampered with")?;
    let call = Call::get(TARGET).bearing(&forged);
    let answer = client.send(&call).await?;
    step.fact("sub changed to hugo", seen(&answer));
    step.expect_challenge(&answer, Some("invalid_token"));
    step.unheard(view, &call);
    Ok(step)
}

/// Gateway to `AdService`: who proved what to whom, and what the service was told.
async fn to_ads(view: &View<'_>, sight: &Sight, ads: &Ads, call: &Call, token: &Token) -> anyhow::Result<Step> {
    let mut step = Step::new("The gateway asks AdService, each proving who it is", MUTUAL_TLS);
    step.hop("gateway", sight.gateway.as_ref(), "adservice", sight.ad_service.as_ref())?;
    step.told("AdService was asked by", ads.authenticated_caller.as_deref(), &spiffe_id("gateway"));
    if let Some(Witnesses { ad_service: app, .. }) = view.witnesses {
        step.header(app, call, CALLER_HEADER, &spiffe_id("gateway")).await;
        step.header(app, call, USER_HEADER, token.subject()).await;
        step.no_header(app, call, "authorization").await;
    }
    Ok(step)
}

/// `AdService` to `UserService`.
async fn to_users(view: &View<'_>, sight: &Sight, ads: &Ads, call: &Call) -> anyhow::Result<Step> {
    let mut step =
        Step::new("AdService asks UserService for the sellers; its sidecar adds the certificate", MUTUAL_TLS);
    step.hop("adservice", sight.ad_service.as_ref(), "userservice", sight.user_service.as_ref())?;
    step.told("UserService was asked by", ads.known_to_users_as.as_deref(), &spiffe_id("adservice"));
    if let Some(Witnesses { user_service: app, .. }) = view.witnesses {
        step.header(app, call, CALLER_HEADER, &spiffe_id("adservice")).await;
        step.no_header(app, call, USER_HEADER).await;
    }
    if let Some(reason) = &ads.sellers_unavailable {
        step.problems.push(format!("there are no sellers: {reason}"));
    }
    let nameless = ads.ads.iter().filter(|ad| ad.seller.is_none()).count();
    step.fact("sellers", format!("of {} ads, {} without a seller", ads.ads.len(), nameless));
    if ads.ads.is_empty() || nameless > 0 {
        step.problems.push("not every ad came with its seller".into());
    }
    Ok(step)
}

/// Whether the second request went over a connection that the first one had opened, as the client's sidecar counts.
fn reused(title: &str, [client, server]: [&str; 2], [one, other]: [Option<&Report>; 2]) -> Step {
    let mut step = Step::new(title, "the same connection, back");
    let (Some(one), Some(other)) = (one, other) else {
        step.fact("not seen from here", format!("the sidecar of {client} cannot be asked"));
        return step;
    };
    let server = spiffe_id(server);
    let (one, other) = (one.to(&server), other.to(&server));
    let carried = other.iter().find_map(|later| {
        let earlier = one.iter().find(|earlier| earlier.id == later.id)?;
        (later.requests > earlier.requests).then_some((earlier, later))
    });
    match carried {
        Some((earlier, later)) => {
            step.fact("connection", format!("number {} of {client}'s sidecar, to {server}", later.id));
            step.fact(
                "requests on it",
                format!("{} after the first answer, {} after the second", earlier.requests, later.requests),
            );
        }
        None => {
            step.problems.push(format!("the second request opened a connection of its own: {one:?}, then {other:?}"));
        }
    }
    let opened = other.len().saturating_sub(one.len());
    step.fact("connections opened", format!("{opened} for the second request"));
    step
}

fn back_to_the_client(client: &Https, answer: &Answer, ads: &Ads) -> Step {
    let mut step = Step::new("The gateway answers the client over TLS", "TLS");
    step.fact("answer", format!("{} with {} ads", answer.status, ads.ads.len()));
    step.fact("TLS", format!("{}, {}", client.tls.version, client.tls.cipher_suite));
    let leaked: Vec<_> = answer.headers.keys().filter(|name| is_internal(name.as_str())).collect();
    step.fact("headers of the mesh", if leaked.is_empty() { "none came out".into() } else { format!("{leaked:?}") });
    if !leaked.is_empty() {
        step.problems.push(format!("the client was told {leaked:?}"));
    }
    let open = if client.is_open() { "all calls of this client, and still open" } else { "closed by the gateway" };
    step.fact("its connection", open);
    step
}

fn is_internal(header: &str) -> bool {
    header.starts_with("x-mantlet-")
        || ["client-cert", "client-cert-chain", "x-forwarded-client-cert"].contains(&header)
}

/// The status of an answer with the challenge that came with it.
fn seen(answer: &Answer) -> String {
    match challenge(answer) {
        Some(challenge) => format!("{}, WWW-Authenticate: {challenge}", answer.status),
        None => answer.status.to_string(),
    }
}

fn challenge(answer: &Answer) -> Option<&str> {
    answer.headers.get("www-authenticate").and_then(|value| value.to_str().ok())
}

impl Step {
    fn new(title: &str, carried_by: &'static str) -> Self {
        Self { title: title.into(), carried_by, verified: Vec::new(), problems: Vec::new() }
    }

    fn fact(&mut self, what: &str, value: impl Into<String>) {
        self.verified.push(Fact::new(what, value));
    }

    /// 401 with a challenge (RFC 6750, section 3), which names the error where there was a token.
    fn expect_challenge(&mut self, answer: &Answer, error: Option<&str>) {
        let wanted = error.map_or_else(|| "Bearer".to_owned(), |error| format!("error=\"{error}\""));
        if answer.status.as_u16() != 401 {
            self.problems.push(format!("the status is {} instead of 401", answer.status));
        }
        if !challenge(answer).is_some_and(|challenge| challenge.contains(&wanted)) {
            self.problems.push(format!("no WWW-Authenticate with {wanted}"));
        }
    }

    /// What the logs of the services say of a request that must not have reached them.
    fn unheard(&mut self, view: &View<'_>, call: &Call) {
        let Some(witnesses) = view.witnesses else { return };
        if witnesses.heard(&call.trace) {
            self.problems.push("the request reached a service".into());
        } else {
            self.fact("the services", "have heard of no such request");
        }
    }

    /// What `AdService`'s sidecar counted meanwhile.
    fn untouched(&mut self, before: &Sight, after: &Sight) {
        let (Some(before), Some(after)) = (before.requests_to_ads(), after.requests_to_ads()) else { return };
        self.fact("requests to AdService", format!("{before} before both refusals, {after} after them"));
        if before != after {
            self.problems.push("something behind the gateway was touched".into());
        }
    }

    /// What each end of a hop saw of the other must be what the other holds.
    fn hop(
        &mut self,
        client: &str,
        client_report: Option<&Report>,
        server: &str,
        server_report: Option<&Report>,
    ) -> anyhow::Result<()> {
        let by_server = server_report.map(|report| report.from(&spiffe_id(client)));
        let by_client = client_report.map(|report| report.to(&spiffe_id(server)));
        self.proof("the caller proved to be", client, client_report, by_server)?;
        self.proof("the called proved to be", server, server_report, by_client)
    }

    /// What was seen of `holder`, held against the certificate that it says is its own.
    fn proof(
        &mut self,
        what: &str,
        holder: &str,
        report: Option<&Report>,
        seen: Option<Vec<Connection>>,
    ) -> anyhow::Result<()> {
        let Some(seen) = seen else { return Ok(()) };
        let name = spiffe_id(holder);
        let own = report.map(Report::own).transpose()?;
        // After a rotation there may be connections with the certificate before.
        let is_own = |seen: &&Connection| own.as_ref().is_some_and(|own| same_serial(&seen.serial, &own.serial));
        let Some(Connection { serial, issuer, .. }) = seen.iter().find(is_own).or(seen.first()) else {
            self.problems.push(format!("the other end has no connection with {name}"));
            return Ok(());
        };
        self.fact(what, &name);
        let Some(own) = own else {
            self.fact("with the certificate", format!("serial {serial}"));
            return Ok(());
        };
        self.fact("with the certificate", format!("serial {serial}, not after {}", own.not_after));
        self.fact("issued by", issuer.as_deref().unwrap_or("not told"));
        if own.name != name {
            self.problems.push(format!("{holder} holds a certificate for {}, not for {name}", own.name));
        }
        if !same_serial(serial, &own.serial) {
            self.problems.push(format!("serial {serial} was seen, but {holder} holds serial {}", own.serial));
        }
        Ok(())
    }

    /// What a service says in its answer.
    fn told(&mut self, what: &str, value: Option<&str>, expected: &str) {
        self.fact(what, value.unwrap_or("nobody"));
        if value != Some(expected) {
            self.problems.push(format!("{what} {value:?}, not {expected}"));
        }
    }

    /// A header that reached the service, as its log has it.
    async fn header(&mut self, app: &App, call: &Call, name: &str, expected: &str) {
        let values = app.identity_header(&call.trace, name).await;
        self.fact("the service was told", format!("{name}: {}", values.join(", ")));
        if values != [expected] {
            self.problems.push(format!("{name} is {values:?}, not just {expected}"));
        }
    }

    async fn no_header(&mut self, app: &App, call: &Call, name: &str) {
        let values = app.identity_header(&call.trace, name).await;
        if !values.is_empty() {
            self.problems.push(format!("the service was told {name}: {values:?}"));
        }
    }
}
