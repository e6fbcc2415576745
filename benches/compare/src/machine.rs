//! What the machine is and how busy it was before.

use std::fs;
use std::thread;

use serde::{Deserialize, Serialize};

/// Where figures come from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) distribution: String,
    /// Load averages over 1, 5 and 15 minutes before the run.
    pub(crate) load_before: String,
}

impl Machine {
    /// This machine, now.
    pub(crate) fn look() -> Self {
        let memory_kib: f64 = field("/proc/meminfo", "MemTotal:", " kB").parse().unwrap_or(0.0);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            processor: field("/proc/cpuinfo", "model name\t:", ""),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory_kib / f64::from(1 << 20),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            distribution: field("/etc/os-release", "PRETTY_NAME=\"", "\""),
            load_before: load.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
        }
    }

    /// Whether something else was running, which makes figures noise.
    pub(crate) fn was_busy(&self) -> bool {
        self.load_before.split(' ').next().and_then(|load| load.parse().ok()).is_some_and(|load: f64| load > 0.5)
    }
}

fn field(file: &str, before: &str, after: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(before)).unwrap_or("unknown").trim();
    value.strip_suffix(after).unwrap_or(value).to_owned()
}
