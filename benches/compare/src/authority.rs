//! An authority that runs as a service (`mantlet ca serve`), and sidecars that enrol there.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Deserialize;
use tokio::process::Command;

use crate::bench::Bench;
use crate::peers::Product;
use crate::pki::{Credentials, TRUST_DOMAIN, mantlet_ca};
use crate::process::Process;
use crate::wait::until_connected;

/// Rates that no measurement reaches.
const RATES: &str = "[limits]\nname_per_minute = 1000000\naddress_per_minute = 1000000\n";

/// An authority with a folder of its own.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    pub(crate) anchors: PathBuf,
    crls: SocketAddr,
    program: PathBuf,
    folder: PathBuf,
}

#[derive(Deserialize)]
struct Registered {
    secret: String,
}

/// The SPIFFE ID of what is registered as `name`.
pub(crate) fn id(name: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/{name}")
}

impl Authority {
    /// Makes one and starts it.
    pub(crate) async fn start(bench: &Bench) -> anyhow::Result<Self> {
        let program = bench.programs.product(Product::Mantlet).context("mantlet is missing")?.to_owned();
        let folder = bench.new_folder("authority")?;
        let (address, crls) = (bench.ports.address()?, bench.ports.address()?);
        let directory = folder.join("ca");
        mantlet_ca(&program, &directory, &["init", "--trust-domain", TRUST_DOMAIN]).await?;
        let config = folder.join("authority.toml");
        fs::write(
            &config,
            format!(
                "[authority]\ndir = \"{}\"\nlisten = \"{address}\"\ncrl_listen = \"{crls}\"\n{RATES}",
                directory.display()
            ),
        )?;
        let mut command = Command::new(&program);
        command.args(["ca", "serve"]).arg(&config);
        let mut process = Process::start("the authority", command, &folder.join("authority.log"))?;
        until_connected(address, &mut process).await?;
        Ok(Self { address, process, anchors: directory.join("ca.pem"), crls, program, folder })
    }

    /// Runs `mantlet ca` on its folder, and gives what it printed.
    pub(crate) async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        mantlet_ca(&self.program, &self.folder.join("ca"), arguments).await
    }

    /// Registers `name` and starts a sidecar that enrols under it, with these listeners, without waiting for it.
    pub(crate) async fn sidecar(&self, bench: &Bench, name: &str, listeners: &str) -> anyhow::Result<Process> {
        let registered: Registered = serde_json::from_str(&self.run(&["register", name, "--json"]).await?)?;
        let folder = self.folder.join(name);
        fs::create_dir(&folder)?;
        let secret = folder.join("secret");
        fs::write(&secret, registered.secret)?;
        let config = folder.join("mantlet.toml");
        let admin = bench.ports.address()?;
        fs::write(
            &config,
            format!(
                "[identity]\nauthority = \"https://{}\"\nbootstrap_secret_file = \"{}\"\nname = {name:?}\nstate_dir = \"{}\"\n\
                 [trust]\nanchors = [\"{}\"]\n[revocation]\nsources = [\"http://{}/crls.pem\"]\n[runtime]\nworkers = 1\n\
                 [admin]\nlisten = \"{admin}\"\n{listeners}",
                self.address,
                secret.display(),
                folder.join("state").display(),
                self.anchors.display(),
                self.crls,
            ),
        )?;
        let mut command = Command::new(&self.program);
        command.arg("run").arg(&config);
        Process::start(name, command, &folder.join("mantlet.log"))
    }

    /// The certificate that a sidecar holds after it has enrolled.
    pub(crate) fn credentials(&self, name: &str) -> Credentials {
        let bundle = self.folder.join(name).join("state/credential.pem");
        Credentials { certificate: bundle.clone(), private_key: bundle.clone(), bundle }
    }
}
