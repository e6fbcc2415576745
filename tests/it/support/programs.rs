//! Real programs of others, which the tests need as the other end of a hop.

use std::path::PathBuf;

/// How to install curl.
pub(crate) const CURL: &str = "apt-get install curl";

/// Where a program is. A test that needs one which is absent fails and says how to install it.
pub(crate) fn program(name: &str, install: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    // Debian keeps the server's programs of PostgreSQL off the path, in a folder for each version.
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().map_while(Result::ok);
    folders.extend(versions.map(|version| version.path().join("bin")));
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed, and this test needs it: {install}"))
}
