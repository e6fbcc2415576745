//! mantlet as it is shipped: only what has no default is set, and the admin listener, so that metrics are on.

use std::fmt::Write as _;
use std::net::SocketAddr;

use tokio::process::Command;

use super::{Direction, Layer, Setup};
use crate::pki::{CLIENT_ID, SERVER_ID, SERVER_NAME};

/// How much is configured of what one request needs only one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Entries of `allow`, of which the last one matches.
    Rules(usize),
    /// `[[outbound]]` tables, of which the last one is used.
    Upstreams(usize),
    /// `[[inbound]]` tables, of which the last one is used.
    Listeners(usize),
}

impl Scale {
    /// One of each.
    pub(crate) const ONE: Self = Self::Rules(1);

    /// How many listeners a proxy has beside the one that is used.
    pub(crate) fn spare_listeners(self, direction: Direction) -> usize {
        match (self, direction) {
            (Self::Upstreams(count), Direction::Outbound) | (Self::Listeners(count), Direction::Inbound) => count - 1,
            _ => 0,
        }
    }

    fn rules(self) -> usize {
        if let Self::Rules(count) = self { count } else { 1 }
    }
}

pub(super) fn configure(setup: &Setup<'_>, command: &mut Command) -> anyhow::Result<()> {
    let credentials = setup.credentials();
    let mut toml = format!(
        "[identity]\ncertificate = \"{certificate}\"\nprivate_key = \"{key}\"\n[trust]\nanchors = [\"{anchor}\"]\n\
         [revocation]\nsources = [\"{crl}\"]\n[runtime]\nworkers = {workers}\n[admin]\nlisten = \"{admin}\"\n",
        certificate = credentials.certificate.display(),
        key = credentials.private_key.display(),
        anchor = setup.pki.anchor.display(),
        crl = setup.crl.display(),
        workers = setup.workers,
        admin = setup.admin,
    );
    for (number, listen) in setup.spare.iter().chain([&setup.listen]).enumerate() {
        toml += &listener(setup, number, *listen)?;
    }
    command.arg("run").arg(setup.write("toml", &toml)?);
    Ok(())
}

fn listener(setup: &Setup<'_>, number: usize, listen: SocketAddr) -> anyhow::Result<String> {
    let protocol = if setup.peer.layer == Layer::Http { "http" } else { "tcp" };
    let direction = setup.direction.as_str();
    let mut toml = format!("[[{direction}]]\nname = \"l{number}\"\nlisten = \"{listen}\"\nprotocol = \"{protocol}\"\n");
    match setup.direction {
        Direction::Inbound => {
            write!(toml, "forward_to = \"{}\"\nallow = [", setup.target)?;
            for other in 1..setup.scale.rules() {
                write!(toml, "\"spiffe://mesh.local/ns/shop/sa/other-{other}\", ")?;
            }
            writeln!(toml, "{CLIENT_ID:?}]")?;
        }
        Direction::Outbound => {
            let target = setup.target;
            writeln!(toml, "connect_to = \"{target}\"\nexpect = [{SERVER_ID:?}]\nserver_name = {SERVER_NAME:?}")?;
        }
    }
    Ok(toml)
}
