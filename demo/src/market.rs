//! The running flea market: two services with a sidecar beside each, the gateway, and the token issuer.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::process::Command;
use url::Url;

use crate::client;
use crate::flow::{Admins, View, Witnesses};
use crate::pki::{Credentials, Pki};
use crate::process::{Mark, Process};
use crate::sidecar::{Access, Edge, Inbound, Outbound, Plan, Route, Rule, Sidecar, free_addresses};

const START_DEADLINE: Duration = Duration::from_secs(20);
/// Those who are told to stop finish their requests first, but not for ever.
pub(crate) const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// A line of a log may come a moment after the answer.
pub(crate) const LINE_DEADLINE: Duration = Duration::from_secs(5);

/// Everything that runs. Dropping it kills what is still running.
#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) pki: Pki,
    pub(crate) gateway: Sidecar,
    pub(crate) ad_service: Guarded,
    pub(crate) user_service: Guarded,
    /// Where the gateway takes HTTPS from the public.
    pub(crate) edge: SocketAddr,
    pub(crate) issuer: App,
    pub(crate) logs: PathBuf,
    mantlet: PathBuf,
    folder: PathBuf,
}

/// A service and the sidecar beside it.
#[derive(Debug)]
pub(crate) struct Guarded {
    pub(crate) app: App,
    pub(crate) sidecar: Sidecar,
    /// Where the sidecar takes mutual TLS for the service.
    pub(crate) inbound: SocketAddr,
}

/// A part of the market that is a process of its own.
#[derive(Debug)]
pub(crate) struct App {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Market {
    /// Starts everything, the callee before its caller.
    pub(crate) async fn start(mantlet: &Path, pki: Pki, folder: &Path) -> anyhow::Result<Self> {
        let logs = folder.join("logs");
        std::fs::create_dir(&logs)?;
        let place = Place { mantlet, pki: &pki, folder, logs: &logs };
        let [edge] = free_addresses()?;
        let issuer = place.issuer(edge).await?;
        let user_service = place.user_service().await?;
        let ad_service = place.ad_service(user_service.inbound, &issuer).await?;
        let gateway = place.gateway(edge, ad_service.inbound, &issuer).await?;
        let (mantlet, folder) = (mantlet.to_owned(), folder.to_owned());
        Ok(Self { pki, gateway, ad_service, user_service, edge, issuer, logs, mantlet, folder })
    }

    /// Where everything is, for another program.
    pub(crate) fn whereabouts(&self) -> Value {
        json!({
            "gateway": origin(self.edge),
            "issuer": origin(self.issuer.address),
            "ca": self.pki.public_anchor,
            "keys": self.folder.join(KEYS),
            "gateway_admin": self.gateway.admin().to_string(),
            "adservice_admin": self.ad_service.sidecar.admin().to_string(),
            "userservice_admin": self.user_service.sidecar.admin().to_string(),
        })
    }

    /// The market as its users see it, with everybody who can be asked.
    pub(crate) fn view(&self) -> anyhow::Result<View<'_>> {
        let admin = |sidecar: &Sidecar| Some(sidecar.admin().to_string());
        Ok(View {
            tls: client::tls_trusting(&self.pki.public_anchor, None)?,
            gateway: https_url(self.edge)?,
            issuer: https_url(self.issuer.address)?,
            user: "anneke@example.org".into(),
            password: "market-anneke".into(),
            keys: Some(self.folder.join(KEYS)),
            admins: Admins {
                gateway: admin(&self.gateway),
                ad_service: admin(&self.ad_service.sidecar),
                user_service: admin(&self.user_service.sidecar),
            },
            witnesses: Some(Witnesses {
                gateway: &self.gateway.process,
                ad_service: &self.ad_service.app,
                user_service: &self.user_service.app,
            }),
        })
    }

    /// Starts one more sidecar, which the caller has to stop.
    pub(crate) async fn start_sidecar(&self, plan: Plan<'_>) -> anyhow::Result<Sidecar> {
        let Self { mantlet, pki, folder, logs, .. } = self;
        Place { mantlet, pki, folder, logs }.start(plan).await
    }

    /// Stops everything, the caller before its callee, and tells who did not end as it should.
    pub(crate) async fn stop(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        for process in self.processes_mut() {
            problems.extend(process.stop(STOP_DEADLINE).await.err());
        }
        problems
    }

    /// Every process, the caller before its callee.
    pub(crate) fn processes(&self) -> [&Process; 6] {
        [
            &self.gateway.process,
            &self.ad_service.sidecar.process,
            &self.ad_service.app.process,
            &self.user_service.sidecar.process,
            &self.user_service.app.process,
            &self.issuer.process,
        ]
    }

    fn processes_mut(&mut self) -> [&mut Process; 6] {
        [
            &mut self.gateway.process,
            &mut self.ad_service.sidecar.process,
            &mut self.ad_service.app.process,
            &mut self.user_service.sidecar.process,
            &mut self.user_service.app.process,
            &mut self.issuer.process,
        ]
    }
}

/// Where and with what everything is started.
struct Place<'a> {
    mantlet: &'a Path,
    pki: &'a Pki,
    folder: &'a Path,
    logs: &'a Path,
}

/// The folder of the issuer's keys, within that of the market.
const KEYS: &str = "issuer-keys";
/// Who the issuer says that it is.
const ISSUER: &str = "https://issuer.fleamarket.example";
/// Who may place an ad.
const SELLERS: &str = "{ email_verified = true, role = [\"seller\", \"admin\"] }";

/// The routes of the public.
const ROUTES: [Route<'_>; 3] = [
    Route { name: "page", methods: &["GET"], paths: &["/", "/page/*"], access: Access::Anybody },
    Route { name: "read", methods: &["GET"], paths: &["/ads", "/ads/{id}"], access: Access::Users },
    Route { name: "place", methods: &["POST"], paths: &["/ads"], access: Access::Claiming(SELLERS) },
];

/// What `AdService`'s sidecar lets pass: it decides once more, and does not take the gateway's word for everything.
const ADS_RULES: [Rule<'_>; 3] = [
    Rule { name: "the page", from: &["gateway"], methods: &["GET"], paths: &["/", "/page/*"], claims: None },
    Rule {
        name: "read ads",
        from: &["gateway", "backoffice"],
        methods: &["GET"],
        paths: &["/ads", "/ads/{id}"],
        claims: None,
    },
    Rule { name: "place ads", from: &["gateway"], methods: &["POST"], paths: &["/ads"], claims: Some(SELLERS) },
];

const USERS_RULES: [Rule<'_>; 1] =
    [Rule { name: "previews", from: &["adservice"], methods: &["GET"], paths: &["/users/preview"], claims: None }];

impl Place<'_> {
    async fn issuer(&self, edge: SocketAddr) -> anyhow::Result<App> {
        let Credentials { certificate, private_key } = &self.pki.issuer;
        let (certificate, private_key) = (certificate.display().to_string(), private_key.display().to_string());
        let keys = self.folder.join(KEYS).display().to_string();
        let origin = origin(edge);
        let environment = [
            ("CONTROL", "127.0.0.1:0"),
            ("CERTIFICATE", &certificate),
            ("PRIVATE_KEY", &private_key),
            ("KEYS", &keys),
            ("ISSUER", ISSUER),
            ("ALLOW_ORIGIN", &origin),
        ];
        App::start("issuer", "issuer", &environment, self).await
    }

    async fn user_service(&self) -> anyhow::Result<Guarded> {
        let [inbound, admin] = free_addresses()?;
        let database = self.database("userservice");
        let app = App::start("userservice", "user-service", &[("DATABASE_URL", &database)], self).await?;
        let plan = Plan {
            name: "userservice",
            credentials: &self.pki.user_service,
            admin,
            inbound: Some(Inbound {
                name: "users",
                listen: inbound,
                forward_to: app.address,
                allow: &["adservice"],
                user_from: &[],
                rules: &USERS_RULES,
            }),
            outbound: None,
            edge: None,
        };
        Ok(Guarded { app, sidecar: self.start(plan).await?, inbound })
    }

    async fn ad_service(&self, users: SocketAddr, issuer: &App) -> anyhow::Result<Guarded> {
        let [inbound, outbound, admin] = free_addresses()?;
        let (database, users_url) = (self.database("adservice"), format!("http://{outbound}"));
        let token_url = origin(issuer.address) + "/token";
        let environment = [("DATABASE_URL", &*database), ("USERS_URL", &users_url), ("TOKEN_URL", &token_url)];
        let app = App::start("adservice", "ad-service", &environment, self).await?;
        let plan = Plan {
            name: "adservice",
            credentials: &self.pki.ad_service,
            admin,
            inbound: Some(Inbound {
                name: "ads",
                listen: inbound,
                forward_to: app.address,
                allow: &["gateway", "backoffice"],
                user_from: &["gateway"],
                rules: &ADS_RULES,
            }),
            outbound: Some(Outbound { name: "users", listen: outbound, connect_to: users, expect: "userservice" }),
            edge: None,
        };
        Ok(Guarded { app, sidecar: self.start(plan).await?, inbound })
    }

    async fn gateway(&self, edge: SocketAddr, ads: SocketAddr, issuer: &App) -> anyhow::Result<Sidecar> {
        let [admin] = free_addresses()?;
        let plan = Plan {
            name: "gateway",
            credentials: &self.pki.gateway,
            admin,
            inbound: None,
            outbound: None,
            edge: Some(Edge {
                listen: edge,
                credentials: &self.pki.public,
                issuer: ISSUER,
                jwks_url: origin(issuer.address) + "/.well-known/jwks.json",
                ads,
                routes: &ROUTES,
            }),
        };
        self.start(plan).await
    }

    fn database(&self, service: &str) -> String {
        format!("sqlite:{}?mode=rwc", self.folder.join(format!("{service}.db")).display())
    }

    async fn start(&self, plan: Plan<'_>) -> anyhow::Result<Sidecar> {
        plan.start(self.mantlet, self.pki, self.folder, self.logs).await
    }
}

impl App {
    /// Starts this program again as one of its parts, and waits until it says where it listens.
    async fn start(
        name: &str,
        subcommand: &str,
        environment: &[(&str, &str)],
        place: &Place<'_>,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(subcommand).env("LISTEN", "127.0.0.1:0").envs(environment.iter().copied());
        let process = Process::start(name, command, place.logs)?;
        let address = process
            .wait_for(Mark::START, START_DEADLINE, |line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["message"] == "listening").then(|| line["address"].as_str()?.parse().ok()).flatten()
            })
            .await
            .with_context(|| format!("{name} did not start{}", process.last_words()))?;
        Ok(Self { process, address })
    }

    /// The log line of the request with that trace, after waiting for it.
    pub(crate) async fn request(&self, trace: &str) -> Option<Value> {
        self.process.wait_for(Mark::START, LINE_DEADLINE, |line| request_line(line, trace)).await
    }

    /// The values of a header about the caller or the user that reached the service with that request.
    pub(crate) async fn identity_header(&self, trace: &str, name: &str) -> Vec<String> {
        let line = self.request(trace).await.unwrap_or_default();
        let values = line["identity_headers"][name].as_array();
        values.into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
    }

    /// Whether a request with that trace came through.
    pub(crate) fn saw(&self, trace: &str) -> bool {
        self.process.find(Mark::START, |line| request_line(line, trace)).is_some()
    }
}

/// The origin of something that listens on loopback with a certificate for this machine's name.
fn origin(address: SocketAddr) -> String {
    format!("https://localhost:{}", address.port())
}

fn https_url(address: SocketAddr) -> anyhow::Result<Url> {
    Ok(origin(address).parse()?)
}

fn request_line(line: &str, trace: &str) -> Option<Value> {
    let line: Value = serde_json::from_str(line).ok()?;
    line["traceparent"].as_str()?.contains(trace).then_some(line)
}
