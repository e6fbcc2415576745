//! The issuers that are known, and the one way from a token to a user.

use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;

use crate::config::Issuer;
use crate::identity::User;

use super::answer;
use super::claims::{self, Validity};
use super::compact::Compact;
use super::error::{Invalid, TokenError, Unavailable, shown};
use super::key::{Key, Keys, NotFound};
use super::metrics::TokenMetrics;
use super::source::{Asked, Held, InUse, KeySource};
use super::verified::{TokenDigest, Verified, VerifiedTokens, sha256};

/// The issuers of one configuration, with their keys as they come and go. Cheap to clone; every clone sees the same keys.
#[derive(Debug, Clone, Default)]
pub struct Issuers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    known: Vec<Arc<KnownIssuer>>,
    /// Most octets of a token of any of them.
    max_token_size: usize,
    verified: VerifiedTokens,
    metrics: TokenMetrics,
}

/// An issuer and its keys.
#[derive(Debug)]
pub(super) struct KnownIssuer {
    pub(super) settings: Issuer,
    pub(super) source: Arc<KeySource>,
    accepted: Counter,
}

/// Whose tokens are accepted somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// Those of every issuer that is known.
    All,
    /// Those of the issuers of these names.
    Named(Vec<String>),
}

impl Accepted {
    fn includes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|named| named == name),
        }
    }
}

impl Issuers {
    pub(super) fn new(known: impl IntoIterator<Item = (Issuer, Arc<KeySource>)>, metrics: TokenMetrics) -> Self {
        let known = known.into_iter().map(|(settings, source)| {
            let accepted = metrics.accepted(&settings.name.value);
            Arc::new(KnownIssuer { settings, source, accepted })
        });
        let known: Vec<Arc<KnownIssuer>> = known.collect();
        let max_token_size = known.iter().map(|issuer| issuer.settings.max_token_size).max().unwrap_or_default();
        Self(Arc::new(Shared { known, max_token_size, verified: VerifiedTokens::default(), metrics }))
    }

    /// One issuer with the keys of one answer. It is never asked for others: for tools, and for measuring.
    ///
    /// # Errors
    /// Why the answer holds no key.
    pub fn of_answer(settings: Issuer, answer: &[u8], now: SystemTime) -> Result<Self, String> {
        let answered = answer::read(answer, settings.keys_format)?;
        let keys = Arc::new(answered.keys);
        let in_use = InUse {
            keys,
            digest: sha256(answer),
            fetched_at: now,
            fresh_until: now + settings.max_age,
            left_out: answered.left_out.map(Arc::from),
        };
        let source = KeySource::new(0, mpsc::unbounded_channel().0);
        let failure = Some(Arc::from("it is not asked"));
        source.end_round(Held { in_use: Some(in_use), failure, asked_at: Some(now), round: 1 });
        Ok(Self::new([(settings, Arc::new(source))], TokenMetrics::default()))
    }

    /// The user that a token tells of, once everything about the token is found good at this time. It waits only where the token's key is
    /// not known and its issuer may be asked for it, and then for five seconds at the most.
    ///
    /// # Errors
    /// What is wrong with the token, or why that cannot be told.
    pub async fn verify(&self, token: &str, accepted: &Accepted, now: SystemTime) -> Result<Arc<User>, TokenError> {
        let digest = sha256(token.as_bytes());
        if let Some(verified) = self.recall(&digest, accepted, now) {
            verified.issuer.accepted.inc();
            return Ok(verified.user);
        }
        let (name, judged) = match self.read(token) {
            Ok((compact, issuer)) => (&*issuer.settings.name.value, issuer.judge(token, compact, accepted, now).await),
            Err(invalid) => ("", Err(invalid.into())),
        };
        match judged {
            Ok(verified) => {
                verified.issuer.accepted.inc();
                let user = Arc::clone(&verified.user);
                self.0.verified.add(digest, verified);
                Ok(user)
            }
            Err(error) => {
                self.0.metrics.count(name, &error);
                Err(error)
            }
        }
    }

    /// A token that was verified by the keys that are in use, and still is good.
    fn recall(&self, token: &TokenDigest, accepted: &Accepted, now: SystemTime) -> Option<Verified> {
        let verified = self.0.verified.find(token)?;
        if !verified.is_good(now) {
            self.0.verified.remove(token);
            return None;
        }
        accepted.includes(verified.issuer.name()).then_some(verified)
    }

    /// Takes a token apart and finds the issuer that it says it is of. It is believed when the signature is found good.
    fn read<'t>(&self, token: &'t str) -> Result<(Compact<'t>, &Arc<KnownIssuer>), Invalid> {
        let compact = Compact::parse(token, self.0.max_token_size)?;
        let iss = claims::issuer(&compact.claims)?;
        let known = self.0.known.iter().find(|known| known.settings.issuer.value == iss);
        let issuer = known.ok_or_else(|| Invalid::UnknownIssuer { issuer: shown(iss) })?;
        Ok((compact, issuer))
    }
}

impl Verified {
    fn is_good(&self, now: SystemTime) -> bool {
        let held = self.issuer.source.held();
        let same_keys =
            |in_use: &InUse| Arc::ptr_eq(&in_use.keys, &self.keys) && now < in_use.serves_until(&self.issuer.settings);
        held.in_use.as_ref().is_some_and(same_keys)
            && self.key_until.is_none_or(|until| now <= until)
            && self.validity.check(now).is_ok()
    }
}

impl KnownIssuer {
    fn name(&self) -> &str {
        &self.settings.name.value
    }

    /// From the outside in: whose tokens are accepted, algorithm, key, signature, claims.
    async fn judge(
        self: &Arc<Self>,
        token: &str,
        compact: Compact<'_>,
        accepted: &Accepted,
        now: SystemTime,
    ) -> Result<Verified, TokenError> {
        let (name, limit) = (self.name(), self.settings.max_token_size);
        if token.len() > limit {
            return Err(Invalid::TooLarge { octets: token.len(), limit }.into());
        }
        if !accepted.includes(name) {
            return Err(Invalid::IssuerNotAccepted { issuer: name.to_owned() }.into());
        }
        if !self.settings.algorithms.contains(&compact.algorithm) {
            return Err(Invalid::NotPinned { issuer: name.to_owned(), algorithm: compact.algorithm }.into());
        }
        let keys = self.keys_for(&compact, now).await?;
        let key = self.key(&keys, &compact)?;
        self.check_signature(key, &compact, now)?;
        let subject = claims::subject(&compact.claims, &self.settings)?.to_owned();
        let validity = Validity::of(&compact.claims, self.settings.leeway)?;
        validity.check(now)?;
        let key_until = key.validity.as_ref().map(|validity| *validity.end());
        let user = User { issuer: self.settings.issuer.value.clone(), subject, claims: compact.claims };
        Ok(Verified { issuer: Arc::clone(self), keys, key_until, validity, user: Arc::new(user) })
    }

    /// The keys in use, after the issuer was asked where they do not hold that of the token and it may be asked.
    async fn keys_for(&self, compact: &Compact<'_>, now: SystemTime) -> Result<Arc<Keys>, TokenError> {
        let held = Held::clone(&self.source.held());
        let keys = self.serving(&held, now)?;
        let Some(kid) = compact.kid.as_deref().filter(|kid| keys.find(Some(kid), compact.algorithm).is_err()) else {
            return Ok(keys);
        };
        let unknown = |reason: &str| Unavailable::KeyNotKnown {
            issuer: self.name().to_owned(),
            kid: shown(kid),
            reason: reason.to_owned(),
        };
        match self.source.ask(&held, self.settings.refetch_interval, now).await {
            Asked::TooSoon => return Ok(keys),
            Asked::Silent => return Err(unknown(held.failure.as_deref().unwrap_or("it does not answer")).into()),
            Asked::Anew => {}
        }
        let held = Held::clone(&self.source.held());
        match &held.failure {
            Some(reason) => Err(unknown(reason).into()),
            None => Ok(self.serving(&held, now)?),
        }
    }

    /// The keys in use, as long as they serve.
    fn serving(&self, held: &Held, now: SystemTime) -> Result<Arc<Keys>, Unavailable> {
        let reason = || held.failure.as_deref().unwrap_or("the issuer has not answered yet").to_owned();
        match &held.in_use {
            Some(in_use) if now < in_use.serves_until(&self.settings) => Ok(Arc::clone(&in_use.keys)),
            Some(in_use) => {
                let until = in_use.serves_until(&self.settings);
                Err(Unavailable::TooOld { issuer: self.name().to_owned(), until, reason: reason() })
            }
            None => Err(Unavailable::NoKeys { issuer: self.name().to_owned(), reason: reason() }),
        }
    }

    fn key<'k>(&self, keys: &'k Keys, compact: &Compact<'_>) -> Result<&'k Key, Invalid> {
        let algorithm = compact.algorithm;
        keys.find(compact.kid.as_deref(), algorithm).map_err(|reason| match reason {
            NotFound::Unknown => {
                let kid = shown(compact.kid.as_deref().unwrap_or_default());
                Invalid::UnknownKey { issuer: self.name().to_owned(), kid, algorithm }
            }
            NotFound::Ambiguous(keys) => Invalid::NoKid { issuer: self.name().to_owned(), keys, algorithm },
        })
    }

    fn check_signature(&self, key: &Key, compact: &Compact<'_>, now: SystemTime) -> Result<(), Invalid> {
        let kid = || key.kid.as_deref().map_or_else(|| "without a \"kid\"".to_owned(), shown);
        if key.validity.as_ref().is_some_and(|validity| !validity.contains(&now)) {
            return Err(Invalid::KeyOutsideValidity { issuer: self.name().to_owned(), kid: kid() });
        }
        if key.has_signed(compact.message, &compact.signature) {
            Ok(())
        } else {
            Err(Invalid::Signature { issuer: self.name().to_owned(), kid: kid() })
        }
    }
}

impl InUse {
    /// Until when they serve though no newer ones come.
    pub(super) fn serves_until(&self, settings: &Issuer) -> SystemTime {
        self.fresh_until + settings.max_stale
    }
}
