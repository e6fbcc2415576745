//! ghostunnel: a byte tunnel with a TLS connection for each connection of a client. It knows SPIFFE IDs and no CRLs.

use tokio::process::Command;

use super::{Direction, Setup};
use crate::pki::{CLIENT_ID, SERVER_ID, SERVER_NAME};

pub(super) fn configure(setup: &Setup<'_>, command: &mut Command) {
    let credentials = setup.credentials();
    let (mode, names): (_, &[&str]) = match setup.direction {
        Direction::Inbound => ("server", &["--unsafe-target", "--allow-uri", CLIENT_ID]),
        Direction::Outbound => ("client", &["--override-server-name", SERVER_NAME, "--verify-uri", SERVER_ID]),
    };
    command.args([mode, "--quiet=all"]).args(names);
    command.arg("--cert").arg(&credentials.certificate).arg("--key").arg(&credentials.private_key);
    command.arg("--cacert").arg(&setup.pki.anchor);
    command.args(["--listen", &setup.listen.to_string(), "--target", &setup.target.to_string()]);
    command.env("GOMAXPROCS", setup.workers.to_string());
}
