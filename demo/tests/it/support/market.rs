//! The whole market as `flea-market up` starts it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::parse_x509_certificate;
use x509_parser::pem::Pem;

use super::Service;

/// A running market; it is stopped when it is dropped.
pub(crate) struct Market {
    service: Service,
    whereabouts: Value,
}

impl Market {
    pub(crate) fn up() -> Self {
        let mut arguments = vec!["--json".to_owned()];
        arguments.extend(mantlet());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (service, whereabouts) = Service::spawn("up", &arguments);
        Self { service, whereabouts }
    }

    pub(crate) fn gateway(&self) -> &str {
        self.text("gateway")
    }

    /// Where something of the market is, by its name.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.whereabouts[name].as_str().unwrap()
    }

    /// The hashes of the public keys of the gateway and of the issuer, as a browser wants them.
    pub(crate) fn public_keys(&self) -> Vec<String> {
        let folder = Path::new(self.text("ca")).parent().unwrap().with_file_name("issued");
        ["public.pem", "issuer.pem"].map(|file| key_hash(&folder.join(file))).into()
    }
}

impl Drop for Market {
    fn drop(&mut self) {
        // Killed, it could not stop what it has started.
        self.service.terminate();
    }
}

/// The option that names the mantlet built a moment ago by the tests of the whole workspace: to build it by itself would
/// build its libraries again.
pub(crate) fn mantlet() -> Option<String> {
    let mantlet = Path::new(env!("CARGO_BIN_EXE_flea-market")).with_file_name("mantlet");
    let named = std::env::var_os("MANTLET").map(PathBuf::from);
    let found = named.or_else(|| mantlet.is_file().then_some(mantlet))?;
    Some(format!("--mantlet={}", found.display()))
}

/// The SHA-256 of the public key of the first certificate in a file.
fn key_hash(file: &Path) -> String {
    let pem = fs::read(file).unwrap();
    let first = Pem::iter_from_buffer(&pem).next().unwrap().unwrap();
    let (_, certificate) = parse_x509_certificate(&first.contents).unwrap();
    STANDARD.encode(digest(&SHA256, certificate.public_key().raw))
}

/// Runs `flea-market` to its end.
pub(crate) fn flea_market(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_flea-market")).args(arguments).output().unwrap()
}
