//! How many files this process and its children may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit as far as it goes; every child inherits it.
pub(crate) fn raise_open_files() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// The present limit.
pub(crate) fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(1 << 20)
}
