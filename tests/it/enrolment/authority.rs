//! A real authority: `mantlet ca` and `mantlet ca serve`.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use mantlet::x509::CertificateInfo;
use serde_json::Value;

use crate::support::balancer::balance_from;
use crate::support::pki::TRUST_DOMAIN;
use crate::support::sidecar::Sidecar;

/// An authority in a folder, and its server as long as that runs.
pub(super) struct Authority {
    folder: tempfile::TempDir,
    process: Option<Sidecar>,
    address: SocketAddr,
    crls: SocketAddr,
}

impl Authority {
    /// One whose certificates live for so long.
    pub(super) fn start(lifetime: Duration) -> Self {
        Self::start_with(lifetime, "")
    }

    /// One that tells revocations by delta CRLs.
    pub(super) fn start_with_deltas(lifetime: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let point = format!("http://{}/ca.crl", listener.local_addr().unwrap());
        let keys = format!("distribution_point = \"{point}\"\ndelta_next_update = \"1h\"\n");
        let authority = Self::start_with(lifetime, &keys);
        balance_from(listener, vec![authority.crls]);
        authority
    }

    fn start_with(lifetime: Duration, keys: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("ca");
        run(&["ca", "init", "--dir", dir.to_str().unwrap(), "--trust-domain", TRUST_DOMAIN]);
        let config = |listen: &str, crl_listen: &str| {
            let (dir, ttl) = (dir.display(), humantime::format_duration(lifetime));
            format!(
                "[authority]\ndir = \"{dir}\"\nlisten = \"{listen}\"\ncrl_listen = \"{crl_listen}\"\nttl = \"{ttl}\"\n{keys}[limits]\nname_per_minute = 600\n"
            )
        };
        let process = Sidecar::start_authority(&config("127.0.0.1:0", "127.0.0.1:0"));
        let (address, crls) = (process.address("est"), process.address("crl"));
        std::fs::write(folder.path().join("authority.toml"), config(&address.to_string(), &crls.to_string())).unwrap();
        Self { folder, process: Some(process), address, crls }
    }

    pub(super) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// `[revocation]` by the CRLs that it serves.
    pub(super) fn revocation(&self) -> String {
        format!("[revocation]\nsources = [\"http://{}/crls.pem\"]\n", self.crls)
    }

    /// The same by the complete CRL alone, from which the sidecar learns where the delta CRL is.
    pub(super) fn revocation_with_deltas(&self) -> String {
        format!("[revocation]\nsources = [\"http://{}/ca.crl\"]\ndistribution_points = true\n", self.crls)
    }

    /// The CRLs that its server signed since it started: the number of each, and that of its base.
    pub(super) fn signed(&self) -> Vec<(u64, Option<u64>)> {
        let events = self.process.as_ref().unwrap().events();
        let signed = events.iter().filter(|event| event["message"] == "CRL signed");
        signed.map(|event| (event["number"].as_u64().unwrap(), event["delta_since"].as_u64())).collect()
    }

    /// The key of `[identity]` by which it is believed at first.
    pub(super) fn pin(&self) -> String {
        let anchors = mantlet::x509::read_certificates(&self.anchors()).unwrap();
        format!(
            "authority_fingerprint = \"sha256:{}\"",
            CertificateInfo::from_der(&anchors[0]).unwrap().fingerprint_hex()
        )
    }

    pub(super) fn anchors(&self) -> PathBuf {
        self.folder.path().join("ca/ca.pem")
    }

    /// `mantlet ca COMMAND... --dir DIR`.
    pub(super) fn ca(&self, command: &[&str]) -> String {
        let dir = self.folder.path().join("ca");
        run(&[&["ca"], command, &["--dir", dir.to_str().unwrap()]].concat())
    }

    /// Whether `mantlet ca COMMAND... --dir DIR` does what it says.
    pub(super) fn tries(&self, command: &[&str]) -> bool {
        let dir = self.folder.path().join("ca");
        let output = Command::new(env!("CARGO_BIN_EXE_mantlet")).arg("ca").args(command).arg("--dir").arg(dir).output();
        output.unwrap().status.success()
    }

    /// Registers a name, which is also its DNS name, and gives its one-time secret.
    pub(super) fn register(&self, name: &str) -> String {
        secret_of(&self.ca(&["register", name, "--dns", name, "--json"]))
    }

    /// Another one-time secret.
    pub(super) fn secret(&self, name: &str) -> String {
        secret_of(&self.ca(&["secret", name, "--json"]))
    }

    pub(super) fn stop(&mut self) {
        self.process = None;
    }

    /// Serves again, where it served before.
    pub(super) fn start_again(&mut self) {
        let config = std::fs::read_to_string(self.folder.path().join("authority.toml")).unwrap();
        self.process = Some(Sidecar::start_authority(&config));
    }
}

fn secret_of(json: &str) -> String {
    let printed: Value = serde_json::from_str(json).unwrap();
    printed["secret"].as_str().unwrap().to_owned()
}

fn run(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mantlet")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
