//! The `mantlet` program that the flea market runs: one that was named, or the one built beside this program.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tokio::process::Command;

/// The program to run, built first where that is needed.
///
/// Under `cargo run` Cargo is asked every time, since only it knows whether the program is up to date.
pub(crate) async fn find_or_build(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        return named.canonicalize().with_context(|| format!("--mantlet {} cannot be used", named.display()));
    }
    let own = env::current_exe().context("this program does not know where it is")?;
    let folder = own.parent().context("this program is in no folder")?;
    let mantlet = folder.join(format!("mantlet{}", env::consts::EXE_SUFFIX));
    let cargo = env::var_os("CARGO");
    if cargo.is_some() || !mantlet.is_file() {
        build(&cargo.unwrap_or_else(|| OsString::from("cargo")), folder).await?;
    }
    if !mantlet.is_file() {
        bail!("{} was not built; name the program with --mantlet PATH", mantlet.display());
    }
    Ok(mantlet)
}

async fn build(cargo: &OsString, folder: &Path) -> anyhow::Result<()> {
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("Cargo.toml");
    eprintln!("building mantlet (profile {profile}) where it is not up to date ...");
    let mut command = Command::new(cargo);
    command.args(["build", "--package", "mantlet", "--bin", "mantlet", "--locked", "--profile", profile]);
    command.arg("--manifest-path").arg(&manifest).kill_on_drop(true);
    let status = command
        .status()
        .await
        .with_context(|| format!("cannot start {}; name the mantlet program with --mantlet PATH", cargo.display()))?;
    if !status.success() {
        bail!("cargo build --package mantlet: {status}");
    }
    Ok(())
}
