//! Which authority a command is about.

use std::path::{Path, PathBuf};

use crate::ca::Authority;

/// Where an authority is, and what opens its keys.
#[derive(clap::Args)]
pub(super) struct Place {
    /// Directory of the authority
    #[arg(long)]
    dir: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseFile,
}

/// What opens the keys of an authority, where they are encrypted.
#[derive(clap::Args)]
pub(super) struct PassphraseFile {
    /// File with the passphrase of the authority's keys
    #[arg(long, value_name = "FILE", env = "MANTLET_CA_PASSPHRASE_FILE")]
    pub(super) passphrase_file: Option<PathBuf>,
}

impl Place {
    /// The directory, as it was given.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Opens the authority, and prints what the operator should know of it.
    pub(super) async fn open(&self) -> anyhow::Result<Authority> {
        let authority = Authority::open(&self.dir).await?;
        let authority = authority.with_passphrase_file(self.passphrase.passphrase_file.clone());
        print_warnings(&authority);
        Ok(authority)
    }
}

/// Prints what the operator should know although it stopped nothing.
pub(super) fn print_warnings(authority: &Authority) {
    for warning in authority.warnings() {
        eprintln!("mantlet: warning: {warning}");
    }
}
