//! `[runtime]`: how much of the machine is used.

/// Threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Worker threads; default the cores this process may use.
    pub workers: usize,
}
