//! A real `mantlet run` process.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::pki::{Issued, Pki, replace};

/// How long any event is waited for before a test is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running sidecar; killed when dropped.
pub(crate) struct Sidecar {
    child: Child,
    pub(crate) config: PathBuf,
    _folder: tempfile::TempDir,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Lines>,
    grown: Condvar,
}

#[derive(Default)]
struct Lines {
    events: Vec<Value>,
    other: String,
    closed: bool,
}

/// `[identity]` and `[trust]` for an issued certificate.
pub(crate) fn identity(pki: &Pki, issued: &Issued) -> String {
    format!(
        "[identity]\ncertificate = \"{}\"\nprivate_key = \"{}\"\n[trust]\nanchors = [\"{}\"]\n",
        issued.certificate.display(),
        issued.key.display(),
        pki.anchors().display()
    )
}

impl Sidecar {
    /// Starts one from the text of a configuration and waits until it serves.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// The same with variables in its environment.
    pub(crate) fn start_with(config: &str, environment: &[(&str, &str)]) -> Self {
        let sidecar = Self::spawn_with(config, environment);
        sidecar.wait_for("started", |event| event["message"] == "started");
        sidecar
    }

    /// Starts `mantlet ca serve` from the text of a configuration and waits until it serves.
    pub(crate) fn start_authority(config: &str) -> Self {
        let authority = Self::spawn_command(&["ca", "serve"], config, &[]);
        authority.wait_for("started", |event| event["message"] == "started");
        authority
    }

    /// Starts `mantlet ca serve` and waits until it has ended; gives its exit status and all that it wrote.
    pub(crate) fn start_authority_and_fail(config: &str) -> (ExitStatus, String) {
        let mut authority = Self::spawn_command(&["ca", "serve"], config, &[]);
        let status = authority.wait_for_exit();
        (status, authority.text())
    }

    /// Starts one and waits until it has ended; gives its exit status and all that it wrote.
    pub(crate) fn start_and_fail(config: &str) -> (ExitStatus, String) {
        Self::start_and_fail_with(config, &[])
    }

    /// The same with variables in its environment.
    pub(crate) fn start_and_fail_with(config: &str, environment: &[(&str, &str)]) -> (ExitStatus, String) {
        let mut sidecar = Self::spawn_with(config, environment);
        let status = sidecar.wait_for_exit();
        (status, sidecar.text())
    }

    fn spawn_with(config: &str, environment: &[(&str, &str)]) -> Self {
        Self::spawn_command(&["run"], config, environment)
    }

    fn spawn_command(subcommand: &[&str], config: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mantlet.toml");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_mantlet"))
            .args(subcommand)
            .arg(&file)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Log::default());
        let (stderr, written) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || written.read(BufReader::new(stderr)));
        Self { child, config: file, _folder: folder, log }
    }

    /// Where a listener listens, by its name; "admin" is one.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let event = self.wait_for(listener, |event| event["message"] == "listening" && event["listener"] == listener);
        event["address"].as_str().unwrap().parse().unwrap()
    }

    /// Waits for an event of the log, past ones included.
    pub(crate) fn wait_for(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.wait_from(0, what, is_it)
    }

    /// Waits for an event among those after the first `seen`.
    pub(crate) fn wait_from(&self, seen: usize, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            if let Some(event) = lines.events.iter().skip(seen).find(|event| is_it(event)) {
                return event.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !lines.closed, "no {what} in the log:\n{}", lines.text());
            lines = self.log.grown.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Events so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.log.lines.lock().unwrap().events.clone()
    }

    /// Everything written so far.
    pub(crate) fn text(&self) -> String {
        self.log.lines.lock().unwrap().text()
    }

    /// Replaces the configuration and waits until the change was taken up.
    pub(crate) fn reconfigure(&self, config: &str) {
        let seen = self.events().len();
        replace(&self.config, config);
        self.wait_from(seen, "reload", |event| event["message"] == "reloaded");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Waits until the process has ended.
    pub(crate) fn wait_for_exit(&mut self) -> ExitStatus {
        let mut lines = self.log.lines.lock().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !lines.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the process did not end:\n{}", lines.text());
            lines = self.log.grown.wait_timeout(lines, left).unwrap().0;
        }
        drop(lines);
        self.child.wait().unwrap()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// The most that resident memory ever was, in KiB.
    pub(crate) fn peak_resident_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(Path::new("/proc").join(self.pid().to_string()).join("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(figure)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// A figure of `/metrics` with this name and these labels, summed over the others.
    pub(crate) fn metric(&self, name: &str, labels: &HashMap<&str, &str>) -> f64 {
        let address = self.address("admin");
        let text = super::service::get(address, "/metrics").1;
        let wanted: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let lines = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        let lines = lines.filter(|line| wanted.iter().all(|label| line.contains(label)));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Waits until that figure is this one.
    pub(crate) fn wait_for_metric(&self, name: &str, labels: &HashMap<&str, &str>, value: f64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let figure = self.metric(name, labels);
            if (figure - value).abs() < f64::EPSILON {
                return;
            }
            assert!(Instant::now() < deadline, "{name} {labels:?} is {figure}, expected {value}");
            std::thread::yield_now();
        }
    }

    /// Waits until the status is as wanted, and gives it.
    pub(crate) fn wait_for_status(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if is_it(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "no {what} in the status: {status}");
            std::thread::yield_now();
        }
    }

    /// `/status`.
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&super::service::get(self.address("admin"), "/status").1).unwrap()
    }
}

impl Log {
    fn read(&self, mut stderr: impl BufRead) {
        let mut line = String::new();
        while stderr.read_line(&mut line).is_ok_and(|read| read > 0) {
            let mut lines = self.lines.lock().unwrap();
            match serde_json::from_str(&line) {
                Ok(event) => lines.events.push(event),
                Err(_) => lines.other.push_str(&line),
            }
            self.grown.notify_all();
            drop(lines);
            line.clear();
        }
        self.lines.lock().unwrap().closed = true;
        self.grown.notify_all();
    }
}

impl Lines {
    fn text(&self) -> String {
        let events: Vec<String> = self.events.iter().map(ToString::to_string).collect();
        format!("{}{}", self.other, events.join("\n"))
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
