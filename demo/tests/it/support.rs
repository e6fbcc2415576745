//! A service of the flea market as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

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
        let mut child = Command::new(env!("CARGO_BIN_EXE_flea-market"))
            .args([subcommand, "--listen", "127.0.0.1:0", "--database", &database])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut service = Self { child, output, url: String::new() };
        service.url = format!("http://{}", service.next_line()["address"].as_str().unwrap());
        service
    }

    /// The next line of the log, waiting for it.
    pub(crate) fn next_line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let id = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
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
