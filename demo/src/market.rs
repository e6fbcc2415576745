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
const STOP_DEADLINE: Duration = Duration::from_secs(5);
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
        let [users_inbound, ads_inbound, ads_to_users, gateway_to_ads, admin_users, admin_ads, admin_gateway] =
            free_addresses()?;

        let app = App::start("userservice", "user-service", &[], folder, &logs).await?;
        let plan = Plan {
            name: "userservice",
            credentials: &pki.user_service,
            admin: admin_users,
            inbound: Some(Inbound {
                name: "users",
                listen: users_inbound,
                forward_to: app.address,
                allow: "adservice",
            }),
            outbound: None,
        };
        let sidecar = plan.start(mantlet, &pki, folder, &logs).await?;
        let user_service = Guarded { app, sidecar, inbound: users_inbound };

        let users_url = format!("http://{ads_to_users}");
        let app = App::start("adservice", "ad-service", &[("USERS_URL", &users_url)], folder, &logs).await?;
        let plan = Plan {
            name: "adservice",
            credentials: &pki.ad_service,
            admin: admin_ads,
            inbound: Some(Inbound { name: "ads", listen: ads_inbound, forward_to: app.address, allow: "gateway" }),
            outbound: Some(Outbound {
                name: "users",
                listen: ads_to_users,
                connect_to: users_inbound,
                expect: "userservice",
            }),
        };
        let sidecar = plan.start(mantlet, &pki, folder, &logs).await?;
        let ad_service = Guarded { app, sidecar, inbound: ads_inbound };

        let plan = Plan {
            name: "gateway",
            credentials: &pki.gateway,
            admin: admin_gateway,
            inbound: None,
            outbound: Some(Outbound {
                name: "ads",
                listen: gateway_to_ads,
                connect_to: ads_inbound,
                expect: "adservice",
            }),
        };
        let gateway = plan.start(mantlet, &pki, folder, &logs).await?;
        Ok(Self { pki, gateway, ad_service, user_service, gateway_to_ads, logs })
    }

    /// Stops everything, the caller before its callee.
    pub(crate) async fn stop(mut self) {
        for process in self.processes_mut() {
            process.stop(STOP_DEADLINE).await;
        }
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

impl App {
    /// Starts this program again as a service, and waits until it says where it listens.
    async fn start(
        name: &str,
        subcommand: &str,
        environment: &[(&str, &str)],
        folder: &Path,
        logs: &Path,
    ) -> anyhow::Result<Self> {
        let database = format!("sqlite:{}?mode=rwc", folder.join(format!("{name}.db")).display());
        let mut command = Command::new(env::current_exe()?);
        command.args([subcommand, "--listen", "127.0.0.1:0", "--database", &database]);
        command.envs(environment.iter().copied());
        let process = Process::start(name, command, logs)?;
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
