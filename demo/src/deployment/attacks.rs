//! The attacks from a container on the networks of the services.
//!
//! The attacker sees what a client sees; why a sidecar refused stands in its log, and that no service heard anything in theirs:
//! every attack has a trace that begins with [`TRACE`], and none of them may be in the log of a service.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::ClientConfig;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

use super::enrolment_attacks;
use crate::client::{self, Answer, Get};
use crate::pki::{Credentials, spiffe_id};
use crate::report::{Attack, Story, Teller};

/// What the trace of each request begins with that must not reach a service.
const TRACE: &str = "badbadbad";
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
const ADS: &str = "/ads?lat=52.5219&lon=13.4132&radius_km=5";
/// Where the sidecars take mutual TLS.
const MESH_PORT: u16 = 8443;
const DATABASE_SIDECAR_PORT: u16 = 5433;
/// Where the authority takes requests for certificates.
const AUTHORITY_PORT: u16 = 8444;

/// Attack the services from a container on their networks
///
/// Each attack tells what was tried, expected and seen. Exits with 0 when all of them were in vain.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder with what the attacker would like to come through with
    #[arg(long, default_value = "/certs")]
    certs: PathBuf,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<bool> {
    let teller = Teller::new(false, false);
    teller.heading("Attacks from a container on the networks of the services");
    let attacker = Attacker { certs: &args.certs };
    let attacks = attacker.all().await?;
    for (index, attack) in attacks.iter().enumerate() {
        teller.attack(index + 1, attack);
    }
    let problems = Story { attacks, ..Story::default() }.problems();
    teller.heading(&match problems.len() {
        0 => "Every attack was in vain.".to_owned(),
        count => format!("{count} things are not as they should be:"),
    });
    for problem in &problems {
        teller.problem(problem);
    }
    Ok(problems.is_empty())
}

/// Somebody who stole the gateway's key, and has a place on every network.
struct Attacker<'a> {
    certs: &'a Path,
}

/// Who is called, and as whom.
struct Call {
    host: &'static str,
    port: u16,
    tls: Arc<ClientConfig>,
    get: Get,
}

impl Attacker<'_> {
    async fn all(&self) -> anyhow::Result<Vec<Attack>> {
        let mut attacks = vec![
            self.refused("no certificate", "show no certificate to AdService's sidecar", None).await?,
            self.refused(
                "certificate of another CA",
                "show a certificate for the gateway's name, issued by another CA",
                Some("foreign"),
            )
            .await?,
            self.refused(
                "expired certificate",
                "show a certificate for the gateway's name of the right CA, which ended an hour ago",
                Some("expired"),
            )
            .await?,
            self.wrong_identity().await?,
            self.forged_caller().await?,
            self.plain_text().await?,
            self.database().await?,
        ];
        attacks.extend(enrolment_attacks::all(self.certs).await?);
        for (host, open, ports) in [
            ("adservice", MESH_PORT, &[8080, 9001, 9900, 5432][..]),
            ("userservice", MESH_PORT, &[8080, 9900, 5432]),
            ("ads-db", DATABASE_SIDECAR_PORT, &[5432, 9900]),
            ("users-db", DATABASE_SIDECAR_PORT, &[5432, 9900]),
            ("authority", AUTHORITY_PORT, &[9900]),
        ] {
            attacks.push(inner_ports(host, open, ports).await?);
        }
        Ok(attacks)
    }

    /// A handshake with a certificate that must not be enough, or with none.
    async fn refused(&self, name: &'static str, tried: &str, credentials: Option<&str>) -> anyhow::Result<Attack> {
        let call = Call { host: "adservice", port: MESH_PORT, tls: self.tls(credentials)?, get: unheard(ADS) };
        let answer = call.send().await?;
        let mut attack = attack(name, tried, "the handshake fails", &seen(&answer));
        if let Ok(answer) = answer {
            attack.problems.push(format!("the handshake came through and was answered {}", answer.status));
        }
        Ok(attack)
    }

    /// The gateway's identity where only `AdService` may call.
    async fn wrong_identity(&self) -> anyhow::Result<Attack> {
        let (tls, get) = (self.tls(Some("stolen"))?, unheard("/users/preview?id=anneke"));
        let answer = Call { host: "userservice", port: MESH_PORT, tls, get }.send().await?;
        let tried = "call UserService with the gateway's identity, which only AdService's may";
        let mut attack = attack("wrong identity", tried, "403", &seen(&answer));
        attack.expect(&answer, 403);
        Ok(attack)
    }

    /// Headers that say that somebody else calls.
    async fn forged_caller(&self) -> anyhow::Result<Attack> {
        let forged = spiffe_id("userservice");
        let get = Get::new(ADS)
            .with("x-mantlet-peer", &forged)
            .with("X_Mantlet_Peer", &forged)
            .with("client-cert", ":Zm9yZ2Vk:")
            .with("connection", "x-mantlet-peer");
        let (host, port, tls) = ("adservice", MESH_PORT, self.tls(Some("stolen"))?);
        let answer = Call { host, port, tls, get }.send().await?;
        let told = answer.as_ref().ok().and_then(|answer| {
            let body: Value = serde_json::from_str(&answer.body).ok()?;
            Some(body["authenticated_caller"].as_str()?.to_owned())
        });
        let tried = format!("call AdService with a stolen key that is not revoked yet, and headers that say {forged}");
        let expected = format!("AdService is told whose key it is, {}", spiffe_id("gateway"));
        let mut attack =
            attack("forged identity headers", &tried, &expected, told.as_deref().unwrap_or(&seen(&answer)));
        if told.as_deref() != Some(&spiffe_id("gateway")) {
            attack.problems.push("the service was not told the truth".into());
        }
        Ok(attack)
    }

    async fn plain_text(&self) -> anyhow::Result<Attack> {
        let to = client::resolve("adservice", MESH_PORT).await?;
        let answer = client::plain(to, &unheard(ADS)).await?.answer;
        let tried = "speak plain HTTP to the TLS port of AdService's sidecar";
        let mut attack = attack("plain text to the TLS port", tried, "400 that says so", &seen(&answer));
        attack.expect(&answer, 400);
        Ok(attack)
    }

    /// The gateway's identity in front of a database that belongs to `UserService`.
    async fn database(&self) -> anyhow::Result<Attack> {
        let (tls, get) = (self.tls(Some("stolen"))?, unheard("/"));
        let answer = Call { host: "users-db", port: DATABASE_SIDECAR_PORT, tls, get }.send().await?;
        let tried = "connect to UserService's database through its sidecar, with the gateway's identity";
        let mut attack = attack("somebody else's database", tried, "the connection is closed", &seen(&answer));
        if let Ok(answer) = answer {
            attack.problems.push(format!("something answered {}", answer.status));
        }
        Ok(attack)
    }

    fn tls(&self, credentials: Option<&str>) -> anyhow::Result<Arc<ClientConfig>> {
        tls(self.certs, credentials)
    }
}

/// TLS that trusts the closed CA, with the credentials of that name in `certs`.
pub(super) fn tls(certs: &Path, credentials: Option<&str>) -> anyhow::Result<Arc<ClientConfig>> {
    let credentials = credentials.map(|name| Credentials::named(name, certs));
    client::tls_trusting(&certs.join("ca.pem"), credentials.as_ref())
}

impl Call {
    async fn send(self) -> anyhow::Result<Result<Answer, String>> {
        Ok(client::over_tls_to(self.host, self.port, self.tls, &self.get).await?.answer)
    }
}

/// The ports of a service, of its database and of the inner side of a mantlet, from outside its namespace. The port `open` has to
/// be reached, for anything to be shown.
async fn inner_ports(host: &'static str, open: u16, ports: &[u16]) -> anyhow::Result<Attack> {
    if let Err(reason) = connects(host, open).await? {
        bail!("{host}:{open} is not reached, so that nothing is shown: {reason}");
    }
    let listed: Vec<_> = ports.iter().map(ToString::to_string).collect();
    let mut attack = attack(
        "around the sidecar",
        &format!("connect to {host}, ports {}", listed.join(", ")),
        "refused, each of them",
        "",
    );
    let mut seen = Vec::new();
    for port in ports {
        match connects(host, *port).await? {
            Ok(()) => attack.problems.push(format!("{host}:{port} accepts connections")),
            Err(reason) => seen.push(format!("{port}: {reason}")),
        }
    }
    attack.seen = seen.join("; ");
    Ok(attack)
}

async fn connects(host: &str, port: u16) -> anyhow::Result<Result<(), String>> {
    let to =
        client::resolve(host, port).await.with_context(|| format!("{host} is not on a network of this container"))?;
    Ok(match timeout(CONNECT_DEADLINE, TcpStream::connect(to)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".into()),
    })
}

/// A request that no service may hear of.
fn unheard(target: &str) -> Get {
    let mut get = Get::new(target);
    get.trace.replace_range(..TRACE.len(), TRACE);
    get
}

pub(super) fn attack(name: &'static str, tried: &str, expected: &str, seen: &str) -> Attack {
    let (tried, expected, seen) = (tried.to_owned(), expected.to_owned(), seen.to_owned());
    Attack { name, tried, expected, seen, reason: None, hint: None, problems: Vec::new() }
}

fn seen(answer: &Result<Answer, String>) -> String {
    match answer {
        Ok(answer) => format!("{} {}", answer.status, answer.body.lines().next().unwrap_or_default()),
        Err(reason) => reason.clone(),
    }
}

impl Attack {
    fn expect(&mut self, answer: &Result<Answer, String>, wanted: u16) {
        match answer {
            Ok(answer) if answer.status.as_u16() == wanted => (),
            Ok(answer) => self.problems.push(format!("the status is {} instead of {wanted}", answer.status)),
            Err(reason) => self.problems.push(format!("there is no answer {wanted}: {reason}")),
        }
    }
}
