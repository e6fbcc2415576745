//! The token issuer: a stand-in for Firebase Authentication, which gives signed-in users RS256 tokens and publishes the
//! keys to verify them with, as a JWK Set and as X.509 certificates by key id.
//!
//! It is real where the edge meets it - HTTPS, caching, rotation - and a toy in whom it knows: a list in the source.

mod accounts;
pub(crate) mod forge;
mod keys;
mod tls;
mod token;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    CACHE_CONTROL, CONTENT_TYPE, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use self::keys::Keys;
use self::tls::TlsListener;
use crate::services::{health, told_to_stop};

pub(crate) use self::accounts::Account;

const MAX_BODY_BYTES: usize = 4 * 1024;

/// What the issuer takes from the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct IssuerArgs {
    /// Where to listen with HTTPS; port 0 takes a free one, which the first line of the log names
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8445")]
    listen: SocketAddr,
    /// Where to listen, on loopback and with plain HTTP, for /healthz and POST /rotate
    #[arg(long, env = "CONTROL", default_value = "127.0.0.1:8446")]
    control: SocketAddr,
    /// The certificate of the HTTPS listener, with its chain
    #[arg(long, env = "CERTIFICATE", value_name = "FILE")]
    certificate: PathBuf,
    /// Its private key
    #[arg(long, env = "PRIVATE_KEY", value_name = "FILE")]
    private_key: PathBuf,
    #[command(flatten)]
    tokens: TokenArgs,
    /// How long a token is good
    #[arg(long, env = "TOKEN_TTL", default_value = "1h", value_name = "TIME")]
    token_ttl: humantime::Duration,
    /// How long the published keys may be cached; a new key signs only after that
    #[arg(long, env = "MAX_AGE", default_value = "5m", value_name = "TIME")]
    max_age: humantime::Duration,
    /// The origins whose pages may ask for tokens, with commas between them
    #[arg(long, env = "ALLOW_ORIGIN", value_delimiter = ',', value_name = "ORIGIN")]
    allow_origin: Vec<HeaderValue>,
    /// Run nothing, but ask the issuer whose CONTROL that is whether it is healthy; the exit code tells
    #[arg(long)]
    health: bool,
}

/// What stands in tokens, and what they are signed with.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TokenArgs {
    /// The folder of the signing keys; a first one is made where there is none
    #[arg(long, env = "KEYS", value_name = "FOLDER")]
    keys: PathBuf,
    /// The `iss` of the tokens
    #[arg(long, env = "ISSUER", default_value = "https://issuer.fleamarket.example", value_name = "URL")]
    issuer: String,
    /// The `aud` of the tokens
    #[arg(long, env = "AUDIENCE", default_value = "flea-market")]
    audience: String,
}

/// Runs the issuer until it is told to stop.
pub(crate) async fn run(args: IssuerArgs) -> anyhow::Result<()> {
    if args.health {
        return health::ask(args.control).await;
    }
    if !args.control.ip().is_loopback() {
        return Err(anyhow!(
            "--control {}: a loopback address is wanted, since it asks nobody who they are",
            args.control
        ));
    }
    let listener = TlsListener::bind(args.listen, &args.certificate, &args.private_key).await?;
    let control = TcpListener::bind(args.control)
        .await
        .with_context(|| format!("the issuer cannot listen on {}", args.control))?;
    let issuer = Issuer::new(&args)?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let rotating = issuer.clone();
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            rotating.rotate().map_err(|error| eprintln!("no new key: {error:#}")).ok();
        }
    });
    println!(
        "{}",
        json!({
            "service": "issuer",
            "message": "listening",
            "address": listener.address().to_string(),
            "control": control.local_addr()?.to_string(),
        })
    );
    let public = axum::serve(listener, issuer.clone().public_routes()).with_graceful_shutdown(told_to_stop()?);
    let private = axum::serve(control, issuer.control_routes()).with_graceful_shutdown(told_to_stop()?);
    tokio::try_join!(public.into_future(), private.into_future())?;
    Ok(())
}

#[derive(Clone)]
struct Issuer {
    keys: Arc<Mutex<Keys>>,
    tokens: Arc<TokenArgs>,
    token_ttl: Duration,
    max_age: Duration,
    allowed_origins: Arc<[HeaderValue]>,
}

impl Issuer {
    fn new(args: &IssuerArgs) -> anyhow::Result<Self> {
        let (token_ttl, max_age) = (args.token_ttl.into(), args.max_age.into());
        let keys = Keys::open(&args.tokens.keys, SystemTime::now())?;
        Ok(Self {
            keys: Arc::new(Mutex::new(keys)),
            tokens: Arc::new(args.tokens.clone()),
            token_ttl,
            max_age,
            allowed_origins: args.allow_origin.clone().into(),
        })
    }

    fn public_routes(self) -> Router {
        Router::new()
            .route("/token", post(token).options(preflight))
            .route("/.well-known/jwks.json", get(jwks))
            .route("/x509", get(x509))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(self)
    }

    fn control_routes(self) -> Router {
        Router::new().route("/healthz", get(async || "ok\n")).route("/rotate", post(rotate)).with_state(self)
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes a new key, which signs once every copy of the keys that was cached before has run out. Keys whose last
    /// tokens have run out are forgotten.
    fn rotate(&self) -> anyhow::Result<Value> {
        // Made before the lock is taken: it takes a while, and tokens are wanted meanwhile.
        let pair = keys::generate()?;
        let now = SystemTime::now();
        let mut keys = self.keys();
        keys.forget_retired(now, self.token_ttl)?;
        let key = keys.publish(pair, now + self.max_age + keys::SLACK)?;
        let told = json!({ "service": "issuer", "message": "new key", "kid": key.kid, "signs_from": key.signs_from() });
        println!("{told}");
        Ok(told)
    }

    /// Lets the page of an allowed origin read the answer.
    fn share(&self, origin: Option<&HeaderValue>, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = origin.filter(|origin| self.allowed_origins.contains(origin)) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
        response
    }
}

/// What a user signs in with, as a form or as JSON.
#[derive(Deserialize)]
struct SignIn {
    /// The e-mail address.
    user: String,
    password: String,
}

async fn token(State(issuer): State<Issuer>, headers: HeaderMap, body: Bytes) -> Response {
    let response = match issue(&issuer, &headers, &body) {
        Ok(answer) => ([(CACHE_CONTROL, "no-store")], Json(answer)).into_response(),
        Err(refusal) => refusal.into_response(),
    };
    issuer.share(headers.get(ORIGIN), response)
}

/// The token and what belongs to it (RFC 6749, section 5.1).
fn issue(issuer: &Issuer, headers: &HeaderMap, body: &[u8]) -> Result<Value, TokenRefusal> {
    let sign_in = SignIn::parse(headers, body).ok_or(TokenRefusal::Unreadable)?;
    let account = Account::signed_in(&sign_in.user, &sign_in.password).ok_or(TokenRefusal::WrongPassword)?;
    let now = SystemTime::now();
    let claims = token::claims(&issuer.tokens, account, now, issuer.token_ttl);
    let signed = issuer.keys().signing(now).and_then(|key| token::signed(key, &claims))?;
    Ok(json!({
        "access_token": signed,
        "token_type": "Bearer",
        "expires_in": issuer.token_ttl.as_secs(),
        "user": { "id": account.subject, "name": account.name, "role": account.role },
    }))
}

/// Why there is no token (RFC 6749, section 5.2).
#[derive(Debug, thiserror::Error)]
enum TokenRefusal {
    #[error("user and password are wanted, as a form or as JSON")]
    Unreadable,
    #[error("the user or the password is wrong")]
    WrongPassword,
    #[error("no token can be signed")]
    Broken(#[from] anyhow::Error),
}

impl IntoResponse for TokenRefusal {
    fn into_response(self) -> Response {
        let (status, error) = match &self {
            Self::Unreadable => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::WrongPassword => (StatusCode::BAD_REQUEST, "invalid_grant"),
            Self::Broken(cause) => {
                eprintln!("{self}: {cause:#}");
                (StatusCode::INTERNAL_SERVER_ERROR, "server_error")
            }
        };
        let told = json!({ "error": error, "error_description": self.to_string() });
        (status, [(CACHE_CONTROL, "no-store")], Json(told)).into_response()
    }
}

impl SignIn {
    fn parse(headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        match content_type.split(';').next()?.trim() {
            "application/json" => serde_json::from_slice(body).ok(),
            "application/x-www-form-urlencoded" => {
                let field = |wanted: &str| {
                    let mut fields = url::form_urlencoded::parse(body);
                    fields.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
                };
                Some(Self { user: field("user")?, password: field("password")? })
            }
            _ => None,
        }
    }
}

async fn preflight(State(issuer): State<Issuer>, headers: HeaderMap) -> Response {
    let allowed = [
        (ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    issuer.share(headers.get(ORIGIN), (StatusCode::NO_CONTENT, allowed).into_response())
}

async fn jwks(State(issuer): State<Issuer>) -> Response {
    issuer.cacheable(Keys::jwks)
}

async fn x509(State(issuer): State<Issuer>) -> Response {
    issuer.cacheable(Keys::x509)
}

impl Issuer {
    fn cacheable(&self, form: impl FnOnce(&Keys) -> Value) -> Response {
        let caching = format!("public, max-age={}", self.max_age.as_secs());
        ([(CACHE_CONTROL, caching)], Json(form(&self.keys()))).into_response()
    }
}

async fn rotate(State(issuer): State<Issuer>) -> Response {
    match issuer.rotate() {
        Ok(told) => Json(told).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
}
