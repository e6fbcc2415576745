//! Users who ask for ads without an end, and what they are answered: what a rotation must not disturb, and a revocation must.
//!
//! It writes one JSON object a line, for the script that tells the story of them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ClientConfig;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use url::Url;

use crate::client::{self, Answer};
use crate::flow::TARGET;
use crate::https::{Call, Https};
use crate::services::ads::Ads;
use crate::services::told_to_stop;

/// Ask the gateway for ads until told to stop, and say what is answered
///
/// Prints a line of JSON whenever the answers change, one a second with the numbers, and one at the end. Exits with 0 when every
/// request was answered with ads and their sellers.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The gateway
    #[arg(long, default_value = "https://gateway:8443", value_name = "URL")]
    gateway: Url,
    /// The token issuer
    #[arg(long, default_value = "https://issuer:8445", value_name = "URL")]
    issuer: Url,
    /// PEM file of the authority that both of them have their certificates from
    #[arg(long, default_value = "/certs/public-ca.pem", value_name = "FILE")]
    ca: PathBuf,
    /// How many connections ask at a time
    #[arg(long, default_value = "4", value_name = "NUMBER")]
    connections: u32,
    /// How long a connection rests between an answer and its next request
    #[arg(long, default_value = "20ms", value_name = "TIME")]
    pause: humantime::Duration,
}

/// What became of all requests.
#[derive(Debug, Default)]
struct Tally {
    answered: u64,
    failed: u64,
    /// How often which answer was given.
    answers: BTreeMap<String, u64>,
    /// The last one.
    last: String,
}

/// What one request is answered, in a few words.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// Ads, with their sellers.
    Whole,
    /// Anything else.
    Failed(String),
}

pub(super) async fn run(args: &Args) -> anyhow::Result<bool> {
    let tls = client::tls_trusting(&args.ca, None)?;
    let token = Https::connect(&args.issuer, &tls).await?.sign_in("anneke@example.org", "market-anneke").await?.text;
    let (tell, mut told) = mpsc::channel(64);
    for _ in 0..args.connections {
        let user = User { gateway: args.gateway.clone(), tls: Arc::clone(&tls), token: token.clone() };
        tokio::spawn(user.ask(*args.pause, tell.clone()));
    }
    let (mut tally, stop) = (Tally::default(), told_to_stop()?);
    tokio::pin!(stop);
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = seconds.tick() => say("progress", json!({ "answered": tally.answered, "failed": tally.failed }))?,
            // The users go on for as long as this one listens.
            Some(outcome) = told.recv() => {
                if tally.changes(outcome) {
                    say("changed", json!({ "answer": tally.last }))?;
                }
            }
        }
    }
    let Tally { answered, failed, answers, .. } = tally;
    say("ended", json!({ "answered": answered, "failed": failed, "answers": answers }))?;
    Ok(failed == 0 && answered > 0)
}

/// Writes a line: what happened, when in seconds since 1970, and more of it.
fn say(event: &str, mut more: serde_json::Value) -> anyhow::Result<()> {
    more["event"] = event.into();
    more["at"] = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64().into();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{more}")?;
    Ok(out.flush()?)
}

/// Somebody with a token and a connection.
struct User {
    gateway: Url,
    tls: Arc<ClientConfig>,
    token: String,
}

impl User {
    /// Asks again and again, on another connection where one ended, until nobody listens.
    async fn ask(self, pause: Duration, tell: mpsc::Sender<Outcome>) {
        let mut connection = None;
        loop {
            let outcome = match self.request(&mut connection).await {
                Ok(answer) => Outcome::of(&answer),
                Err(error) => Outcome::Failed(format!("no answer: {error:#}")),
            };
            if tell.send(outcome).await.is_err() {
                return;
            }
            sleep(pause).await;
        }
    }

    async fn request(&self, connection: &mut Option<Https>) -> anyhow::Result<Answer> {
        let mut open = match connection.take().filter(Https::is_open) {
            Some(open) => open,
            None => Https::connect(&self.gateway, &self.tls).await?,
        };
        let answer = open.send(&Call::get(TARGET).bearing(&self.token)).await?;
        *connection = Some(open);
        Ok(answer)
    }
}

impl Outcome {
    fn of(answer: &Answer) -> Self {
        if !answer.status.is_success() {
            return Self::Failed(format!("{} {}", answer.status.as_u16(), reason(&answer.body)).trim_end().to_owned());
        }
        match serde_json::from_str::<Ads>(&answer.body) {
            Ok(Ads { sellers_unavailable: Some(why), .. }) => Self::Failed(format!("ads without their sellers: {why}")),
            Ok(Ads { ads, .. }) if ads.is_empty() => Self::Failed("no ads".to_owned()),
            Ok(_) => Self::Whole,
            Err(error) => Self::Failed(format!("no list of ads: {error}")),
        }
    }
}

/// Why a request was refused, in one line: the `detail` of a problem document (RFC 9457), or the first line of any other body.
fn reason(body: &str) -> String {
    let detail = serde_json::from_str::<serde_json::Value>(body).ok().and_then(|problem| {
        let detail = problem["detail"].as_str()?;
        Some(detail.to_owned())
    });
    detail.unwrap_or_else(|| body.lines().next().unwrap_or_default().to_owned())
}

impl Tally {
    /// Counts an answer. True where it is another one than before.
    fn changes(&mut self, outcome: Outcome) -> bool {
        self.answered += 1;
        let answer = match outcome {
            Outcome::Whole => "200 with ads and their sellers".to_owned(),
            Outcome::Failed(how) => {
                self.failed += 1;
                how
            }
        };
        *self.answers.entry(answer.clone()).or_default() += 1;
        let before = std::mem::replace(&mut self.last, answer);
        before != self.last
    }
}

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, StatusCode};

    use super::*;

    fn answered(status: StatusCode, body: &str) -> Outcome {
        Outcome::of(&Answer { status, headers: HeaderMap::new(), body: body.to_owned() })
    }

    #[test]
    fn only_ads_with_their_sellers_are_a_whole_answer() {
        let ad = r#"{"id":1,"title":"t","category":"c","price_cents":1,"latitude":0.0,"longitude":0.0,"seller":null}"#;
        let head = r#""authenticated_caller":null,"known_to_users_as":null"#;
        let failed = |how: &str| Outcome::Failed(how.to_owned());
        let ok = |body: String| answered(StatusCode::OK, &body);
        assert_eq!(ok(format!(r#"{{{head},"ads":[{ad}]}}"#)), Outcome::Whole);
        assert_eq!(
            ok(format!(r#"{{{head},"sellers_unavailable":"502","ads":[{ad}]}}"#)),
            failed("ads without their sellers: 502")
        );
        assert_eq!(ok(format!(r#"{{{head},"ads":[]}}"#)), failed("no ads"));
        assert!(matches!(ok(String::new()), Outcome::Failed(how) if how.starts_with("no list of ads")));
        assert_eq!(answered(StatusCode::BAD_GATEWAY, "nobody\nthere"), failed("502 nobody"));
        assert_eq!(answered(StatusCode::BAD_GATEWAY, r#"{"detail":"nobody there"}"#), failed("502 nobody there"));
        assert_eq!(answered(StatusCode::BAD_GATEWAY, ""), failed("502"));
    }

    #[test]
    fn another_answer_than_before_is_news_and_everything_is_counted() {
        let mut tally = Tally::default();
        let failed = || Outcome::Failed("502".to_owned());
        let news = [Outcome::Whole, Outcome::Whole, failed(), failed(), Outcome::Whole].map(|one| tally.changes(one));
        assert_eq!(news, [true, false, true, false, true]);
        assert_eq!((tally.answered, tally.failed, tally.answers["502"]), (5, 2, 2));
    }
}
