//! Tokens that a verifier must not take, for the attacks and for tests: each is as good as it can be but for one thing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::SigningKey as _;
use serde_json::{Value, json};

use super::keys::{self, Key, Keys};
use super::{Account, TokenArgs, token};

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
    /// Its claims were changed after it was signed
    Tampered,
}

/// Prints a forged token.
pub(crate) fn run(args: &ForgeArgs) -> anyhow::Result<()> {
    println!("{}", forge(&args.tokens, &args.user, args.fault)?);
    Ok(())
}

/// A token for the user with that subject, which is wrong in one way.
pub(crate) fn forge(args: &TokenArgs, user: &str, fault: Fault) -> anyhow::Result<String> {
    let account = Account::of(user).with_context(|| format!("there is no user {user}"))?;
    let keys = Keys::read(&args.keys)?;
    let now = SystemTime::now();
    let forger = Forger { key: keys.signing(now)?, claims: token::claims(args, account, now, LIFE) };
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match fault {
        Fault::None => forger.claiming(json!({})),
        Fault::Expired => forger.claiming(json!({ "iat": seconds - 3900, "exp": seconds - 300 })),
        Fault::NotYet => forger.claiming(json!({ "iat": seconds + 3600, "nbf": seconds + 3600, "exp": seconds + 7200 })),
        Fault::OtherAudience => forger.claiming(json!({ "aud": "another-market" })),
        Fault::OtherIssuer => forger.claiming(json!({ "iss": "https://issuer.example.net" })),
        Fault::OtherKey => forger.with_own_key(|_| json!({ "kid": forger.key.kid })),
        Fault::UnknownKey => forger.with_own_key(|own| json!({ "kid": own.kid })),
        Fault::KeyInHeader => forger.with_own_key(|own| json!({ "kid": own.kid, "jwk": own.jwk() })),
        Fault::KeyAddressInHeader => forger.with_own_key(
            |own| json!({ "kid": own.kid, "jku": "https://127.0.0.1:9/jwks.json", "x5u": "https://127.0.0.1:9/key.pem" }),
        ),
        Fault::Unsigned => {
            token::with_header(&json!({ "alg": "none", "typ": "JWT" }), &forger.claims, |_| Ok(Vec::new()))
        }
        Fault::PublicKeyAsSecret => {
            let secret = hmac::Key::new(hmac::HMAC_SHA256, forger.key.pair.public_key_pem().as_bytes());
            let header = json!({ "alg": "HS256", "typ": "JWT", "kid": forger.key.kid });
            token::with_header(&header, &forger.claims, |input| Ok(hmac::sign(&secret, input).as_ref().to_vec()))
        }
        Fault::Tampered => {
            let honest = forger.claiming(json!({}))?;
            let mut parts = honest.split('.');
            let (Some(header), Some(_), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
                anyhow::bail!("a token has three parts");
            };
            let claims = URL_SAFE_NO_PAD.encode(forger.with(json!({ "role": "admin", "sub": "hugo" })).to_string());
            Ok(format!("{header}.{claims}.{signature}"))
        }
    }
}

/// One who has the issuer's key, or makes do without.
struct Forger<'a> {
    key: &'a Key,
    claims: Value,
}

impl Forger<'_> {
    fn with(&self, changes: Value) -> Value {
        let mut claims = self.claims.clone();
        if let (Some(claims), Value::Object(changes)) = (claims.as_object_mut(), changes) {
            claims.extend(changes);
        }
        claims
    }

    /// With the issuer's own signature.
    fn claiming(&self, changes: Value) -> anyhow::Result<String> {
        token::signed(self.key, &self.with(changes))
    }

    /// With the signature of a key that the issuer does not know.
    fn with_own_key(&self, header: impl FnOnce(&Key) -> Value) -> anyhow::Result<String> {
        let own = Key::unpublished(keys::generate()?)?;
        let mut fields = json!({ "alg": "RS256", "typ": "JWT" });
        if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), header(&own)) {
            fields.extend(more);
        }
        token::with_header(&fields, &self.claims, |input| Ok(own.pair.sign(input)?))
    }
}
