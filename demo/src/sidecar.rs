//! A real `mantlet run` beside a service: its TOML file, its start, and what it says of itself.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::events::{self, Event, Refusal};
use crate::pki::{Credentials, Pki, spiffe_id};
use crate::process::{Mark, Process};

const START_DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
/// An event is written at the end of an exchange, which may be a moment after the client saw the answer.
const EVENT_DEADLINE: Duration = Duration::from_secs(5);

/// What a sidecar is to do.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) name: &'a str,
    pub(crate) credentials: &'a Credentials,
    pub(crate) admin: SocketAddr,
    pub(crate) inbound: Option<Inbound<'a>>,
    pub(crate) outbound: Option<Outbound<'a>>,
    pub(crate) edge: Option<Edge<'a>>,
}

/// The side that takes mutual TLS from others.
#[derive(Debug)]
pub(crate) struct Inbound<'a> {
    pub(crate) name: &'a str,
    pub(crate) listen: SocketAddr,
    pub(crate) forward_to: SocketAddr,
    /// The services that may call.
    pub(crate) allow: &'a [&'a str],
    /// Which of them may say who the user is.
    pub(crate) user_from: &'a [&'a str],
    /// What they may ask for: the first that fits decides.
    pub(crate) rules: &'a [Rule<'a>],
}

/// A rule about requests that come in.
#[derive(Debug)]
pub(crate) struct Rule<'a> {
    pub(crate) name: &'a str,
    pub(crate) from: &'a [&'a str],
    pub(crate) methods: &'a [&'a str],
    pub(crate) paths: &'a [&'a str],
    /// What the token of the user has to say, as an inline table of TOML.
    pub(crate) claims: Option<&'a str>,
}

/// The side that the public calls.
#[derive(Debug)]
pub(crate) struct Edge<'a> {
    pub(crate) listen: SocketAddr,
    pub(crate) credentials: &'a Credentials,
    /// The `iss` of the tokens, and where their keys are.
    pub(crate) issuer: &'a str,
    pub(crate) jwks_url: String,
    /// Where `AdService`'s sidecar is.
    pub(crate) ads: SocketAddr,
    pub(crate) routes: &'a [Route<'a>],
}

/// A route of the public to `AdService`.
#[derive(Debug)]
pub(crate) struct Route<'a> {
    pub(crate) name: &'a str,
    pub(crate) methods: &'a [&'a str],
    pub(crate) paths: &'a [&'a str],
    pub(crate) access: Access<'a>,
}

/// Who may take a route.
#[derive(Debug)]
pub(crate) enum Access<'a> {
    Anybody,
    /// Everybody who is signed in.
    Users,
    /// Users whose tokens say this, as an inline table of TOML.
    Claiming(&'a str),
}

/// The side that takes plain text from the service.
#[derive(Debug)]
pub(crate) struct Outbound<'a> {
    pub(crate) name: &'a str,
    pub(crate) listen: SocketAddr,
    pub(crate) connect_to: SocketAddr,
    /// The service that must prove itself at the other end.
    pub(crate) expect: &'a str,
}

/// A running sidecar.
#[derive(Debug)]
pub(crate) struct Sidecar {
    pub(crate) process: Process,
    mantlet: PathBuf,
    admin: SocketAddr,
}

/// Loopback addresses with free ports, below those that the kernel gives to whoever asks for any: these are taken now and used later.
pub(crate) fn free_addresses<const COUNT: usize>() -> anyhow::Result<[SocketAddr; COUNT]> {
    const PORTS: std::ops::Range<u16> = 20_000..32_000;
    const TRIES: usize = 1000;
    // All are held until all are known, so that no two are the same.
    let mut held = Vec::with_capacity(COUNT);
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); COUNT];
    for address in &mut addresses {
        let mut free = (0..TRIES).filter_map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, fastrand::u16(PORTS))).ok());
        let listener = free.next().context("no port between 20000 and 32000 is free")?;
        *address = listener.local_addr()?;
        held.push(listener);
    }
    Ok(addresses)
}

impl Plan<'_> {
    /// The TOML file of the sidecar.
    pub(crate) fn to_toml(&self, pki: &Pki) -> String {
        let mut toml = format!(
            "# The sidecar of {name}.\n\n\
             [identity]\ncertificate = {certificate}\nprivate_key = {private_key}\n\n\
             [trust]\nanchors = [{anchor}]\n\n\
             [revocation]\nsources = [{crl}]\n",
            name = self.name,
            certificate = quoted(&self.credentials.certificate),
            private_key = quoted(&self.credentials.private_key),
            anchor = quoted(&pki.anchor),
            crl = quoted(&pki.crl),
        );
        for part in [
            self.inbound.as_ref().map(Inbound::to_toml),
            self.outbound.as_ref().map(Outbound::to_toml),
            self.edge.as_ref().map(|edge| edge.to_toml(pki)),
        ] {
            toml.push_str(&part.unwrap_or_default());
        }
        write!(
            toml,
            "\n[admin]\nlisten = \"{}\"\n\n[runtime]\nworkers = 1\n\n[timeouts]\ndrain = \"2s\"\n\n\
             [log]\nformat = \"json\"\naccess = true\n",
            self.admin
        )
        .ok();
        toml
    }

    /// Writes the file into `folder`, starts the sidecar, and waits until it is ready.
    pub(crate) async fn start(self, mantlet: &Path, pki: &Pki, folder: &Path, logs: &Path) -> anyhow::Result<Sidecar> {
        let file = folder.join(format!("{}.toml", self.name));
        fs::write(&file, self.to_toml(pki)).with_context(|| format!("cannot write {}", file.display()))?;
        let mut command = Command::new(mantlet);
        command.arg("run").arg(&file);
        let process = Process::start(&format!("{}-sidecar", self.name), command, logs)?;
        let mut sidecar = Sidecar { process, mantlet: mantlet.to_owned(), admin: self.admin };
        sidecar.ready().await?;
        Ok(sidecar)
    }
}

impl Inbound<'_> {
    fn to_toml(&self) -> String {
        let Self { name, listen, forward_to, allow, user_from, rules } = self;
        let (allow, user_from) = (identities(allow), identities(user_from));
        let mut toml = format!(
            "\n# From other sidecars, over mutual TLS, to the service beside this one.\n\
             [[inbound]]\nname = {name:?}\nlisten = \"{listen}\"\nforward_to = \"{forward_to}\"\nprotocol = \"http\"\n\
             client_auth = \"required\"\nallow = {allow:?}\nuser_from = {user_from:?}\n"
        );
        for Rule { name, from, methods, paths, claims } in *rules {
            let from = identities(from);
            write!(
                toml,
                "\n[[inbound.rule]]\nname = {name:?}\nfrom = {from:?}\nmethods = {methods:?}\npaths = {paths:?}\n"
            )
            .ok();
            if let Some(claims) = claims {
                writeln!(toml, "claims = {claims}").ok();
            }
        }
        toml
    }
}

impl Outbound<'_> {
    fn to_toml(&self) -> String {
        let Self { name, listen, connect_to, expect } = self;
        let expect = identities(&[expect]);
        format!(
            "\n# From the service beside this one, in plain text, to another sidecar.\n\
             [[outbound]]\nname = {name:?}\nlisten = \"{listen}\"\nconnect_to = \"{connect_to}\"\nprotocol = \"http\"\n\
             expect = {expect:?}\n"
        )
    }
}

impl Edge<'_> {
    fn to_toml(&self, pki: &Pki) -> String {
        let Self { listen, credentials, issuer, jwks_url, ads, routes } = self;
        let expect = identities(&["adservice"]);
        let mut toml = format!(
            "\n# Who issues the tokens of users.\n\
             [[issuer]]\nname = \"market\"\nissuer = {issuer:?}\naudiences = [\"flea-market\"]\nalgorithms = [\"RS256\"]\n\
             jwks_url = {jwks_url:?}\njwks_anchors = [{anchor}]\n\
             \n[[upstream]]\nname = \"ads\"\nconnect_to = \"{ads}\"\nexpect = {expect:?}\n\
             \n# From the public, with tokens, to other sidecars. No HSTS: browsers would keep it for all of localhost.\n\
             [[edge]]\nname = \"public\"\nlisten = \"{listen}\"\ncertificate = {certificate}\nprivate_key = {private_key}\n\
             rate_per_user = \"20/s burst 60\"\n",
            anchor = quoted(&pki.public_anchor),
            certificate = quoted(&credentials.certificate),
            private_key = quoted(&credentials.private_key),
        );
        for Route { name, methods, paths, access } in *routes {
            write!(
                toml,
                "\n[[edge.route]]\nname = {name:?}\nmethods = {methods:?}\npaths = {paths:?}\nupstream = \"ads\"\n"
            )
            .ok();
            match access {
                Access::Anybody => toml.push_str("public = true\n"),
                Access::Users => (),
                Access::Claiming(claims) => {
                    writeln!(toml, "claims = {claims}").ok();
                }
            }
        }
        toml
    }
}

fn identities(services: &[&str]) -> Vec<String> {
    services.iter().map(|service| spiffe_id(service)).collect()
}

impl Sidecar {
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// What the sidecar reports of itself.
    pub(crate) async fn status(&self) -> anyhow::Result<Value> {
        let output = self.ask(&["status", "--json"]).await?;
        if !output.status.success() {
            bail!("mantlet status: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("mantlet status --json printed no JSON")
    }

    /// Why the peer at that address was turned away after `from`: from the log, else from the status.
    pub(crate) async fn refusal(&self, from: Mark, peer: SocketAddr) -> Option<Refusal> {
        let peer = peer.to_string();
        let logged = self.process.wait_for(from, EVENT_DEADLINE, |line| Event::parse(line)?.refusal_of(&peer)).await;
        match logged {
            Some(refusal) => Some(refusal),
            None => events::refusal_in_status(&self.status().await.ok()?, &peer),
        }
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if let Some(status) = self.process.exited() {
                bail!("{} ended at its start: {status}{}", self.process.name(), self.process.last_words());
            }
            let health = self.ask(&["health"]).await?;
            if health.status.success() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let reason = String::from_utf8_lossy(&health.stderr).trim().to_owned();
                bail!("{} is not ready: {reason}{}", self.process.name(), self.process.last_words());
            }
            sleep(POLL).await;
        }
    }

    async fn ask(&self, arguments: &[&str]) -> anyhow::Result<std::process::Output> {
        let mut command = Command::new(&self.mantlet);
        command.args(arguments).arg("--admin").arg(self.admin.to_string()).kill_on_drop(true);
        command.output().await.with_context(|| format!("cannot start {}", self.mantlet.display()))
    }
}

/// A path as a string of TOML, which is written as one of JSON is.
fn quoted(path: &Path) -> Value {
    Value::from(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_addresses_are_all_different() {
        let mut addresses = free_addresses::<8>().unwrap();
        addresses.sort_unstable();
        assert!(addresses.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
