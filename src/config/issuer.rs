//! `[[issuer]]`: who issues the tokens of end users, and where the keys that verify them are.

use std::path::PathBuf;
use std::time::Duration;

use super::listeners::read_short_name;
use super::reader::TableReader;
use super::{HttpsUrl, Located};

/// One issuer of end-user tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Its name in logs, metrics and routes, unique among issuers.
    pub name: Located<String>,
    /// The `iss` of its tokens, compared octet by octet; unique among issuers.
    pub issuer: Located<String>,
    /// The `aud` of tokens that are meant for us: one of these has to be there. Never empty.
    pub audiences: Vec<Located<String>>,
    /// The signature algorithms of its tokens. Never empty; nothing else is ever verified.
    pub algorithms: Vec<TokenAlgorithm>,
    /// Where its public keys are.
    pub jwks_url: Located<HttpsUrl>,
    /// The form that they are in; default a JWK set.
    pub keys_format: KeysFormat,
    /// PEM files of trust anchors for `jwks_url`; absent: those of `[trust]`.
    pub jwks_anchors: Option<Vec<Located<PathBuf>>>,
    /// How far clocks may differ where `exp`, `nbf` and `iat` are judged; up to 5 minutes, default 30 seconds.
    pub leeway: Duration,
    /// The longest time between two fetches of the keys; 5 seconds to 7 days, default 1 hour.
    pub max_age: Duration,
    /// How long keys still serve after that while none can be fetched; up to 30 days, default 1 day.
    pub max_stale: Duration,
    /// The shortest time between two fetches that unknown keys lead to; 1 second to 1 hour, default 10 seconds.
    pub refetch_interval: Duration,
    /// How long a fetch may take in all; 1 second to 1 minute, default 10 seconds.
    pub fetch_timeout: Duration,
    /// Most octets of an answer with keys; 1 KiB to 16 MiB, default 256 KiB.
    pub max_size: u64,
    /// Most octets of a token; 256 to 65,536, default 8,192.
    pub max_token_size: usize,
}

/// A signature algorithm of tokens (RFC 7518 section 3.1, RFC 8037). There is no other here: none without a key pair, and not `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, by a key of 2048 bits or more.
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// The form that an issuer's keys are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeysFormat {
    /// A JWK set (RFC 7517 section 5).
    #[default]
    Jwks,
    /// A JSON object of PEM certificates by `kid`, as Firebase serves them.
    X509,
}

const ALGORITHMS: [(&str, TokenAlgorithm); 3] =
    [("RS256", TokenAlgorithm::Rs256), ("ES256", TokenAlgorithm::Es256), ("EdDSA", TokenAlgorithm::EdDsa)];
const FORMATS: [(&str, KeysFormat); 2] = [("jwks", KeysFormat::Jwks), ("x509", KeysFormat::X509)];
/// Most octets of `issuer` and of an audience.
const MAX_NAME: usize = 1024;
const DAY: Duration = Duration::from_secs(24 * 3600);
const LEEWAY: Duration = Duration::from_secs(30);
const MAX_LEEWAY: Duration = Duration::from_secs(300);
const MAX_AGE: Duration = Duration::from_secs(3600);
const MAX_AGES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(7 * 24 * 3600));
const MAX_MAX_STALE: Duration = Duration::from_secs(30 * 24 * 3600);
const REFETCH_INTERVAL: Duration = Duration::from_secs(10);
const REFETCH_INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
const FETCH_TIMEOUTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
const MAX_SIZE: u64 = 256 * 1024;
const MAX_SIZES: (u64, u64) = (1024, 16 * 1024 * 1024);
const MAX_TOKEN_SIZE: usize = 8192;
const MAX_TOKEN_SIZES: (usize, usize) = (256, 65_536);

impl Issuer {
    /// One with this name, `iss`, audience, algorithm and address, and the default of everything else.
    pub fn of(name: &str, issuer: &str, audience: &str, algorithm: TokenAlgorithm, jwks_url: HttpsUrl) -> Self {
        Self {
            name: located(name.to_owned()),
            issuer: located(issuer.to_owned()),
            audiences: vec![located(audience.to_owned())],
            algorithms: vec![algorithm],
            jwks_url: located(jwks_url),
            keys_format: KeysFormat::Jwks,
            jwks_anchors: None,
            leeway: LEEWAY,
            max_age: MAX_AGE,
            max_stale: DAY,
            refetch_interval: REFETCH_INTERVAL,
            fetch_timeout: FETCH_TIMEOUT,
            max_size: MAX_SIZE,
            max_token_size: MAX_TOKEN_SIZE,
        }
    }
}

impl TokenAlgorithm {
    /// The algorithm of a JOSE header's `alg`, which is compared exactly.
    pub fn named(alg: &str) -> Option<Self> {
        ALGORITHMS.iter().find(|(name, _)| *name == alg).map(|(_, algorithm)| *algorithm)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

fn located<T>(value: T) -> Located<T> {
    Located { value, span: 0..0 }
}

pub(super) fn read(t: &mut TableReader<'_, '_, '_>) -> Option<Issuer> {
    let name = read_short_name(t, "name it for logs, metrics and routes, such as name = \"market\"");
    let issuer = t.string("issuer");
    t.require("issuer", "write the \"iss\" of its tokens, such as issuer = \"https://issuer.example\"");
    let issuer = issuer.filter(|issuer| is_short(t, "issuer", issuer));
    let audiences = read_audiences(t);
    let algorithms = read_algorithms(t);
    let jwks_url = t.parsed::<HttpsUrl>("jwks_url", "write an address such as \"https://issuer.example/jwks.json\"");
    t.require("jwks_url", "say where its public keys are, such as jwks_url = \"https://issuer.example/jwks.json\"");
    let keys_format = t.choice("keys_format", &FORMATS).map_or_else(KeysFormat::default, |choice| choice.value);
    let jwks_anchors = t.paths("jwks_anchors");
    if t.is_empty_list("jwks_anchors") {
        let message = format!("{} is empty: expected one file or more", t.thing("jwks_anchors"));
        t.error(t.span("jwks_anchors"), message, "name the PEM files, or remove the key to use those of [trust]");
    }
    let leeway = t.duration("leeway", Duration::ZERO..=MAX_LEEWAY).unwrap_or(LEEWAY);
    let max_age = t.duration("max_age", MAX_AGES.0..=MAX_AGES.1).unwrap_or(MAX_AGE);
    let max_stale = t.duration("max_stale", Duration::ZERO..=MAX_MAX_STALE).unwrap_or(DAY);
    let refetch_interval =
        t.duration("refetch_interval", REFETCH_INTERVALS.0..=REFETCH_INTERVALS.1).unwrap_or(REFETCH_INTERVAL);
    let fetch_timeout = t.duration("fetch_timeout", FETCH_TIMEOUTS.0..=FETCH_TIMEOUTS.1).unwrap_or(FETCH_TIMEOUT);
    let max_size = t.integer("max_size", MAX_SIZES.0..=MAX_SIZES.1).unwrap_or(MAX_SIZE);
    let max_token_size = t.integer("max_token_size", MAX_TOKEN_SIZES.0..=MAX_TOKEN_SIZES.1).unwrap_or(MAX_TOKEN_SIZE);
    Some(Issuer {
        name: name?,
        issuer: issuer?,
        audiences: audiences?,
        algorithms: algorithms?,
        jwks_url: jwks_url?,
        keys_format,
        jwks_anchors,
        leeway,
        max_age,
        max_stale,
        refetch_interval,
        fetch_timeout,
        max_size,
        max_token_size,
    })
}

/// Reports what two issuers may not share.
pub(super) fn check(t: &mut TableReader<'_, '_, '_>, issuers: &[Option<Issuer>]) {
    let issuers: Vec<&Issuer> = issuers.iter().flatten().collect();
    for (index, issuer) in issuers.iter().enumerate() {
        let earlier = &issuers[..index];
        if earlier.iter().any(|earlier| earlier.name == issuer.name) {
            let message = format!("the name {:?} is taken by an earlier issuer", issuer.name.value);
            t.rule(Some(issuer.name.span.clone()), message, "give each [[issuer]] a name of its own");
        }
        if let Some(earlier) = earlier.iter().find(|earlier| earlier.issuer == issuer.issuer) {
            let message = format!(
                "issuer {:?}: issuer is {:?}, as that of {:?}: a token tells its issuer by nothing else",
                issuer.name.value, issuer.issuer.value, earlier.name.value
            );
            t.rule(Some(issuer.issuer.span.clone()), message, "merge the two, or correct one of them");
        }
    }
}

fn read_audiences(t: &mut TableReader<'_, '_, '_>) -> Option<Vec<Located<String>>> {
    let remedy = "write the \"aud\" of tokens that are meant for this service, such as audiences = [\"flea-market\"]";
    let audiences = t.list("audiences", |_, _, text| Some(text.value.clone()));
    t.require("audiences", remedy);
    if t.is_empty_list("audiences") {
        let message = format!("{} is empty: no token could be meant for us", t.thing("audiences"));
        t.error(t.span("audiences"), message, remedy);
    }
    let audiences = audiences?;
    audiences.iter().all(|audience| is_short(t, "audiences", audience)).then_some(audiences)
}

fn read_algorithms(t: &mut TableReader<'_, '_, '_>) -> Option<Vec<TokenAlgorithm>> {
    let remedy = "write the algorithm that the issuer signs with, such as algorithms = [\"RS256\"]";
    let algorithms = t.choices("algorithms", &ALGORITHMS);
    t.require("algorithms", remedy);
    if t.is_empty_list("algorithms") {
        let message = format!("{} is empty: no token could be verified", t.thing("algorithms"));
        t.error(t.span("algorithms"), message, remedy);
    }
    algorithms
}

fn is_short(t: &mut TableReader<'_, '_, '_>, key: &'static str, text: &Located<String>) -> bool {
    let is_short = text.value.len() <= MAX_NAME;
    if !is_short {
        let message = format!("{} is of {} octets: expected {MAX_NAME} at most", t.thing(key), text.value.len());
        t.error(Some(text.span.clone()), message, "write what the issuer puts into its tokens");
    }
    is_short
}
