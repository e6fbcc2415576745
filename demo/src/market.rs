//! The running flea market: two services, and a sidecar beside each of them and beside the gateway.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::process::Command;

use crate::pki::Pki;
use crate::process::{Mark, Process};
use crate::sidecar::{Inbound, Outbound, Plan, Sidecar, free_addresses};

const START_DEADLINE: Duration = Duration::from_secs(20);
/// Those who are told to stop finish their requests first, but not for ever.
pub(crate) const STOP_DEADLINE: Duration = Duration::from_secs(5);
const LINE_DEADLINE: Duration = Duration::from_secs(5);

/// Everything that runs. Dropping it kills what is still running.
#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) pki: Pki,
    pub(crate) gateway: Sidecar,
    pub(crate) ad_service: Guarded,
    pub(crate) user_service: Guarded,
    /// Where the gateway's outbound side takes plain text for `AdService`.
    pub(crate) gateway_to_ads: SocketAddr,
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

/// A service that knows nothing of TLS.
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
        let user_service = place.user_service().await?;
        let ad_service = place.ad_service(user_service.inbound).await?;
        let (gateway, gateway_to_ads) = place.gateway(ad_service.inbound).await?;
        let (mantlet, folder) = (mantlet.to_owned(), folder.to_owned());
        Ok(Self { pki, gateway, ad_service, user_service, gateway_to_ads, logs, mantlet, folder })
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
    pub(crate) fn processes(&self) -> [&Process; 5] {
        [
            &self.gateway.process,
            &self.ad_service.sidecar.process,
            &self.ad_service.app.process,
            &self.user_service.sidecar.process,
            &self.user_service.app.process,
        ]
    }

    fn processes_mut(&mut self) -> [&mut Process; 5] {
        [
            &mut self.gateway.process,
            &mut self.ad_service.sidecar.process,
            &mut self.ad_service.app.process,
            &mut self.user_service.sidecar.process,
            &mut self.user_service.app.process,
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

impl Place<'_> {
    async fn user_service(&self) -> anyhow::Result<Guarded> {
        let [inbound, admin] = free_addresses()?;
        let app = App::start("userservice", "user-service", &[], self).await?;
        let plan = Plan {
            name: "userservice",
            credentials: &self.pki.user_service,
            admin,
            inbound: Some(Inbound { name: "users", listen: inbound, forward_to: app.address, allow: "adservice" }),
            outbound: None,
        };
        Ok(Guarded { app, sidecar: self.start(plan).await?, inbound })
    }

    async fn ad_service(&self, users: SocketAddr) -> anyhow::Result<Guarded> {
        let [inbound, outbound, admin] = free_addresses()?;
        let users_url = format!("http://{outbound}");
        let app = App::start("adservice", "ad-service", &[("USERS_URL", &users_url)], self).await?;
        let plan = Plan {
            name: "adservice",
            credentials: &self.pki.ad_service,
            admin,
            inbound: Some(Inbound { name: "ads", listen: inbound, forward_to: app.address, allow: "gateway" }),
            outbound: Some(Outbound { name: "users", listen: outbound, connect_to: users, expect: "userservice" }),
        };
        Ok(Guarded { app, sidecar: self.start(plan).await?, inbound })
    }

    async fn gateway(&self, ads: SocketAddr) -> anyhow::Result<(Sidecar, SocketAddr)> {
        let [outbound, admin] = free_addresses()?;
        let plan = Plan {
            name: "gateway",
            credentials: &self.pki.gateway,
            admin,
            inbound: None,
            outbound: Some(Outbound { name: "ads", listen: outbound, connect_to: ads, expect: "adservice" }),
        };
        Ok((self.start(plan).await?, outbound))
    }

    async fn start(&self, plan: Plan<'_>) -> anyhow::Result<Sidecar> {
        plan.start(self.mantlet, self.pki, self.folder, self.logs).await
    }
}

impl App {
    /// Starts this program again as a service, and waits until it says where it listens.
    async fn start(
        name: &str,
        subcommand: &str,
        environment: &[(&str, &str)],
        place: &Place<'_>,
    ) -> anyhow::Result<Self> {
        let database = format!("sqlite:{}?mode=rwc", place.folder.join(format!("{name}.db")).display());
        let mut command = Command::new(env::current_exe()?);
        command.args([subcommand, "--listen", "127.0.0.1:0", "--database", &database]);
        command.envs(environment.iter().copied());
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

    /// Whether a request with that trace came through.
    pub(crate) fn saw(&self, trace: &str) -> bool {
        self.process.find(Mark::START, |line| request_line(line, trace)).is_some()
    }
}

fn request_line(line: &str, trace: &str) -> Option<Value> {
    let line: Value = serde_json::from_str(line).ok()?;
    line["traceparent"].as_str()?.contains(trace).then_some(line)
}
