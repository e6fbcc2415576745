//! What every measurement needs: programs, certificates, the application, free ports, a folder, and how much to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::pki::Pki;
use crate::ports::Ports;
use crate::programs::Programs;

/// How much is done in one measurement.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Effort {
    pub(crate) repetitions: usize,
    /// Seconds of load.
    pub(crate) seconds: u64,
    /// Threads of each proxy.
    pub(crate) workers: usize,
    /// Connections of the scenarios that hold many, and the most that any other opens.
    pub(crate) connections: usize,
    /// The largest number of rules, upstreams and listeners.
    pub(crate) scale: usize,
    /// Seconds between the end of a burst and the last look at memory.
    pub(crate) rest_seconds: u64,
    /// Whether it is only seen that everything works: several measurements run at once, and figures mean nothing.
    pub(crate) smoke: bool,
}

impl Effort {
    /// For how long load is sent.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// For how long load is sent before anything is measured.
    pub(crate) fn warm_up(&self) -> Option<Duration> {
        (!self.smoke).then_some(Duration::from_secs(1))
    }
}

/// Everything around the proxies. What it started ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) effort: Effort,
    pub(crate) programs: Programs,
    pub(crate) pki: Pki,
    pub(crate) backend: Backend,
    pub(crate) ports: Ports,
    folder: PathBuf,
    folders: AtomicUsize,
}

impl Bench {
    /// Makes certificates in `folder` and starts the application.
    pub(crate) async fn prepare(effort: Effort, programs: Programs, folder: &Path) -> anyhow::Result<Self> {
        let ports = Ports::new();
        let mantlet = programs.product(crate::peers::Product::Mantlet);
        let pki = Pki::create(mantlet.unwrap_or(Path::new("mantlet")), &folder.join("pki")).await?;
        let application = folder.join("application");
        fs::create_dir(&application)?;
        let backend = Backend::start(&programs, &ports, &application).await?;
        Ok(Self { effort, programs, pki, backend, ports, folder: folder.to_owned(), folders: AtomicUsize::new(0) })
    }

    /// A new folder, for the files of one chain or load generator.
    pub(crate) fn new_folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let number = self.folders.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.join(format!("{number:04}-{name}"));
        fs::create_dir(&folder)?;
        Ok(folder)
    }
}
