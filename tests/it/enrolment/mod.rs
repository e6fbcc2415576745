//! Having an authority certify us: the first certificate, each later one, trust, and what is heard of changes.

mod authority;
mod certified;
mod crash;
mod est_server;
mod scripted;

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::support::pki::write_private;
use super::support::service::get;
use super::support::sidecar::Sidecar;

/// A folder for what an enrolled sidecar keeps, and the file of its secret.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn credential(&self) -> PathBuf {
        self.state().join("credential.pem")
    }

    fn anchors(&self) -> PathBuf {
        self.state().join("anchors.pem")
    }

    fn secret_file(&self) -> PathBuf {
        self.0.path().join("secret")
    }

    fn write_secret(&self, secret: &str) {
        write_private(&self.secret_file(), secret);
    }

    /// `[identity]` by a one-time secret, with more of its keys and other tables.
    fn identity(&self, authority: impl Display, more: &str) -> String {
        self.identity_of("adservice", authority, more)
    }

    fn identity_of(&self, name: &str, authority: impl Display, more: &str) -> String {
        format!(
            "[identity]\nauthority = \"{authority}\"\nbootstrap_secret_file = \"{}\"\nname = \"{name}\"\nstate_dir = \"{}\"\n{more}\n",
            self.secret_file().display(),
            self.state().display()
        )
    }
}

/// An inbound listener "ads" before a service, and the admin listener.
fn inbound(service: impl Display) -> String {
    format!(
        "[[inbound]]\nname = \"ads\"\nlisten = \"127.0.0.1:0\"\nforward_to = \"{service}\"\nallow = [\"gateway\"]\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[runtime]\nworkers = 1\n"
    )
}

/// Waits until `/readyz` holds this text, and gives all of it.
fn wait_for_readyz(sidecar: &Sidecar, text: &str) -> String {
    sidecar.wait_for_status(text, |status| status.to_string().contains(text));
    get(sidecar.address("admin"), "/readyz").1
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
