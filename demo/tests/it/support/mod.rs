//! A service of the flea market as a process of its own.

pub(crate) mod browser;
pub(crate) mod market;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A running service; it is killed when it is dropped.
pub(crate) struct Service {
    child: Child,
    output: BufReader<ChildStdout>,
    pub(crate) url: String,
}

impl Service {
    /// Starts the service on a free port with a database of its own in `folder`.
    pub(crate) fn start(subcommand: &str, folder: &tempfile::TempDir, more: &[&str]) -> Self {
        let database = format!("sqlite:{}?mode=rwc", folder.path().join(format!("{subcommand}.db")).display());
        let (mut service, listening) = Self::spawn(subcommand, &[&["--database", &database], more].concat());
        service.url = format!("http://{}", listening["address"].as_str().unwrap());
        service
    }

    /// Starts the program on a free port, and waits for the first line of its log, which says where it listens.
    pub(crate) fn spawn(subcommand: &str, arguments: &[&str]) -> (Self, Value) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_flea-market"))
            .arg(subcommand)
            .args(arguments)
            .env("LISTEN", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut service = Self { child, output, url: String::new() };
        let listening = service.next_line();
        (service, listening)
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// The next line of the log, waiting for it.
    pub(crate) fn next_line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A client that no proxy of the environment gets in the way of.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}
