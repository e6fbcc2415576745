//! Tokens that a verifier must not take, for the attacks and for tests: each is as good as it can be but for one thing.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ValueEnum as _;
use rcgen::SigningKey as _;
use serde_json::{Value, json};

use super::keys::{self, Key, Keys};
use super::{Account, TokenArgs, token};
use crate::https::Token;

const LIFE: Duration = Duration::from_secs(600);

/// What `flea-market forge` takes from the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct ForgeArgs {
    #[command(flatten)]
    tokens: TokenArgs,
    /// The subject of the user
    #[arg(long, default_value = "anneke")]
    user: String,
    /// What is to be wrong with the token
    #[arg(value_enum)]
    fault: Fault,
}

/// What is wrong with a forged token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Fault {
    /// Nothing at all
    None,
    /// It ended five minutes ago
    Expired,
    /// It begins in an hour
    NotYet,
    /// It was issued for another audience
    OtherAudience,
    /// It names another issuer
    OtherIssuer,
    /// It is signed with a key of the forger, under the key id of the issuer's
    OtherKey,
    /// It is signed with a key of the forger, under its own key id
    UnknownKey,
    /// It is signed with a key of the forger, which its header brings along
    KeyInHeader,
    /// It is signed with a key of the forger, for which its header names an address
    KeyAddressInHeader,
    /// It has no signature, and says so: alg "none"
    Unsigned,
    /// It is signed with the issuer's public key as the secret of HS256
    PublicKeyAsSecret,
    /// It was changed after it was signed
    Tampered,
}

impl Fault {
    /// Every one with which a token must be refused.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied().filter(|fault| *fault != Self::None)
    }

    /// What it means, in half a sentence about the token.
    pub(crate) fn meaning(self) -> String {
        let value = self.to_possible_value();
        let help = value.and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default();
        help.replacen("It ", "it ", 1)
    }

    /// Whether the token is signed with the issuer's own key, or made from it.
    fn takes_the_issuers_key(self) -> bool {
        matches!(self, Self::Expired | Self::NotYet | Self::OtherAudience | Self::OtherIssuer | Self::PublicKeyAsSecret)
    }
}

/// Prints a forged token.
pub(crate) fn run(args: &ForgeArgs) -> anyhow::Result<()> {
    let account = Account::of(&args.user).with_context(|| format!("there is no user {}", args.user))?;
    let now = SystemTime::now();
    let keys = Keys::read(&args.tokens.keys)?;
    let honest = token::signed(keys.signing(now)?, &token::claims(&args.tokens, account, now, LIFE))?;
    let forger = Forger::new(Token::parse(&honest)?, Some(&args.tokens.keys))?;
    println!("{}", forger.forge(args.fault)?.context("the issuer's keys are wanted")?);
    Ok(())
}

/// One who has a good token, and perhaps more.
#[derive(Debug)]
pub(crate) struct Forger {
    honest: Token,
    /// The key that the issuer signs with.
    key: Option<Key>,
}

impl Forger {
    /// A forger with a good token of the issuer, and with its keys where their folder is given.
    pub(crate) fn new(honest: Token, keys: Option<&Path>) -> anyhow::Result<Self> {
        let key = keys.map(|folder| Keys::read(folder)?.into_signing(SystemTime::now())).transpose()?;
        Ok(Self { honest, key })
    }

    /// A token that is wrong in one way; `None` where that takes the issuer's key, and the forger has none.
    pub(crate) fn forge(&self, fault: Fault) -> anyhow::Result<Option<String>> {
        if fault.takes_the_issuers_key() && self.key.is_none() {
            return Ok(None);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let kid = &self.honest.header["kid"];
        let claims = &self.honest.claims;
        Ok(Some(match fault {
            Fault::None => self.honest.text.clone(),
            Fault::Expired => self.claiming(json!({ "iat": now - 3900, "exp": now - 300 }))?,
            Fault::NotYet => self.claiming(json!({ "iat": now + 3600, "nbf": now + 3600, "exp": now + 7200 }))?,
            Fault::OtherAudience => self.claiming(json!({ "aud": "another-market" }))?,
            Fault::OtherIssuer => self.claiming(json!({ "iss": "https://issuer.example.net" }))?,
            Fault::OtherKey => self.with_own_key(|_| json!({ "kid": kid }))?,
            Fault::UnknownKey => self.with_own_key(|own| json!({ "kid": own.kid }))?,
            Fault::KeyInHeader => self.with_own_key(|own| json!({ "kid": own.kid, "jwk": own.jwk() }))?,
            Fault::KeyAddressInHeader => {
                let address = "https://127.0.0.1:9/jwks.json";
                self.with_own_key(|own| json!({ "kid": own.kid, "jku": address, "x5u": address }))?
            }
            Fault::Unsigned => token::with_header(&json!({ "alg": "none", "typ": "JWT" }), claims, |_| Ok(Vec::new()))?,
            Fault::PublicKeyAsSecret => {
                let secret = self.key()?.pair.public_key_pem();
                let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                let header = json!({ "alg": "HS256", "typ": "JWT", "kid": kid });
                token::with_header(&header, claims, |input| Ok(hmac::sign(&secret, input).as_ref().to_vec()))?
            }
            Fault::Tampered => {
                let changed = changed(claims, json!({ "role": "admin", "sub": "hugo" }));
                let mut parts: Vec<String> = self.honest.text.split('.').map(ToOwned::to_owned).collect();
                *parts.get_mut(1).context("a token has three parts")? = URL_SAFE_NO_PAD.encode(changed.to_string());
                parts.join(".")
            }
        }))
    }

    fn key(&self) -> anyhow::Result<&Key> {
        self.key.as_ref().context("the issuer's keys are wanted")
    }

    /// With the issuer's own signature.
    fn claiming(&self, changes: Value) -> anyhow::Result<String> {
        token::signed(self.key()?, &changed(&self.honest.claims, changes))
    }

    /// With the signature of a key that the issuer does not know.
    fn with_own_key(&self, header: impl FnOnce(&Key) -> Value) -> anyhow::Result<String> {
        let own = Key::unpublished(keys::generate()?)?;
        let header = changed(&json!({ "alg": "RS256", "typ": "JWT" }), header(&own));
        token::with_header(&header, &self.honest.claims, |input| Ok(own.pair.sign(input)?))
    }
}

/// An object with some of its members changed, and others added.
fn changed(object: &Value, changes: Value) -> Value {
    let mut object = object.clone();
    if let (Some(members), Value::Object(changes)) = (object.as_object_mut(), changes) {
        members.extend(changes);
    }
    object
}
