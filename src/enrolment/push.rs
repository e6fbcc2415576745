//! Hearing of changes at once: one request that the authority answers when something has changed, again and again.

use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use serde::Deserialize;
use tokio::sync::mpsc;
use url::form_urlencoded;

use crate::x509::TrustMaterial;

use super::failure::{Failure, printable};
use super::session::{Clock, Place, Session};
use super::{Brought, Finished};

const EVENTS: &str = "/.well-known/mantlet/events";
/// How long the authority may wait for something to happen.
const WAIT: Duration = Duration::from_secs(45);
/// How much longer its answer may take.
const MARGIN: Duration = Duration::from_secs(15);
/// An answer that came sooner than this is followed by a pause, so that nobody makes us ask all the time.
const BRISK: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);
/// Longest tag.
const MAX_TAG: usize = 256;

/// What an authority says of what it serves. A tag is another when what it stands for is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct News {
    pub(super) tag: String,
    #[serde(default)]
    pub(super) crls: Tagged,
    #[serde(default)]
    pub(super) anchors: Tagged,
    #[serde(default)]
    pub(super) registration: Registration,
    #[serde(default)]
    pub(super) certificate: Standing,
    /// A new certificate should be asked for now.
    #[serde(default)]
    pub(super) renew: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Tagged {
    #[serde(default)]
    pub(super) tag: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Registration {
    /// `active`, `suspended` or `removed`.
    #[serde(default)]
    pub(super) state: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Standing {
    /// `valid` or `revoked`.
    #[serde(default)]
    pub(super) state: String,
}

/// Hears of changes until that fails.
pub(super) struct Subscription {
    pub(super) place: Place,
    pub(super) material: Arc<TrustMaterial>,
    pub(super) credential: Arc<CertifiedKey>,
    pub(super) name: String,
    pub(super) since: Option<String>,
    pub(super) clock: Clock,
    pub(super) generation: u64,
    pub(super) tell: mpsc::Sender<Finished>,
}

impl Subscription {
    pub(super) async fn run(mut self) {
        let failure = match self.hear().await {
            Ok(()) => return,
            Err(failure) => failure,
        };
        let brought = Brought::Deaf(failure);
        // Nobody listens any more where the process ends.
        let _ = self.tell.send(Finished { generation: self.generation, brought, skew: None }).await;
    }

    async fn hear(&mut self) -> Result<(), Failure> {
        let mut session = self.open().await?;
        let mut is_fresh = true;
        loop {
            let begun = std::time::Instant::now();
            let news = match self.ask(&mut session).await {
                // The authority may have closed a connection on which nothing came for a while.
                Err(_) if !is_fresh => {
                    (session, is_fresh) = (self.open().await?, true);
                    continue;
                }
                answered => answered?,
            };
            is_fresh = false;
            self.since = Some(news.tag.clone());
            let finished =
                Finished { generation: self.generation, brought: Brought::News(Box::new(news)), skew: session.skew };
            if self.tell.send(finished).await.is_err() {
                return Ok(());
            }
            if begun.elapsed() < BRISK {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn open(&self) -> Result<Session, Failure> {
        Session::open(&self.place, &self.material, Some(Arc::clone(&self.credential)), self.clock).await
    }

    async fn ask(&self, session: &mut Session) -> Result<News, Failure> {
        let answer = session.get(&self.path(), WAIT + MARGIN).await?;
        News::read(&answer.body_of("a request for what changes", &self.name)?)
    }

    fn path(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(since) = &self.since {
            query.append_pair("since", since);
        }
        query.append_pair("wait", &WAIT.as_secs().to_string());
        format!("{EVENTS}?{}", query.finish())
    }
}

impl News {
    fn read(body: &[u8]) -> Result<Self, Failure> {
        let unusable = |detail: &str| {
            Failure::unusable(
                format!("what the authority says of changes cannot be used: {detail}"),
                "compare its version with ours",
            )
        };
        let news: Self = serde_json::from_slice(body).map_err(|error| unusable(&printable(&error.to_string())))?;
        if [&news.tag, &news.crls.tag, &news.anchors.tag].iter().any(|tag| tag.len() > MAX_TAG) {
            return Err(unusable("a tag is longer than 256 octets"));
        }
        Ok(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_read_whatever_else_they_hold() {
        let text = r#"{"tag":"7.1.3","crls":{"tag":"7","url":"/x"},"anchors":{"tag":"1"},"registration":{"name":"ads","state":"active","tag":"3"},
            "certificate":{"serial":"4f","state":"valid"},"renew":true,"time":"2026-11-27T09:00:00Z","later":[1]}"#;
        let news = News::read(text.as_bytes()).expect("read");
        assert_eq!((news.tag.as_str(), news.crls.tag.as_str(), news.anchors.tag.as_str()), ("7.1.3", "7", "1"));
        assert_eq!(
            (news.registration.state.as_str(), news.certificate.state.as_str(), news.renew),
            ("active", "valid", true)
        );
        assert!(News::read(br#"{"tag":"1"}"#).is_ok_and(|news| !news.renew));
        for bad in ["", "[]", "{}", r#"{"tag":3}"#, &format!(r#"{{"tag":"{}"}}"#, "x".repeat(257))] {
            assert!(News::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
