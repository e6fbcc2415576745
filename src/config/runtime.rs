//! `[runtime]`: how much of the machine is used.

use super::reader::TableReader;

/// Threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Worker threads; default the cores this process may use.
    pub workers: usize,
}

/// The most workers: far more than the cores of any machine that a sidecar shares.
const MAX_WORKERS: usize = 1024;

impl Default for Runtime {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { workers: cores.min(MAX_WORKERS) }
    }
}

pub(super) fn read(t: &mut TableReader<'_, '_, '_>) -> Runtime {
    let default = Runtime::default();
    Runtime { workers: t.integer("workers", 1..=MAX_WORKERS).unwrap_or(default.workers) }
}
