//! Records the commit that this build was made from, for `mantlet --version`.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/logs/HEAD");
    println!("cargo:rerun-if-env-changed=MANTLET_COMMIT");
    let commit = std::env::var("MANTLET_COMMIT").ok().or_else(commit_of_checkout).unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=MANTLET_COMMIT={commit}");
}

fn commit_of_checkout() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| commit.trim().to_owned())
}
