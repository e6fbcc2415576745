//! Real programs of others, which the tests need as the other end of a hop.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use super::sidecar::PATIENCE;

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

/// What a program that has ended wrote.
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a program to its end, with this on its standard input.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Said {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    // A program that has ended before it has read everything is judged by what it said.
    std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    Said {
        status: output.status,
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// An address that no other test takes: on a loopback address of its own, since these programs choose no port themselves.
pub(crate) fn own_address() -> SocketAddr {
    let ip = Ipv4Addr::new(127, fastrand::u8(1..=254), fastrand::u8(1..=254), fastrand::u8(2..=254));
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// A program that runs beside the test; killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// Starts one and listens to what it writes.
    pub(crate) fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let (said, lines) = channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let said = said.clone();
            // Lines are read for as long as it writes, whoever still wants them.
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = said.send(line);
                }
            });
        }
        Self { child, lines }
    }

    /// Waits until it listens there.
    pub(crate) fn wait_for_listener(&self, address: SocketAddr) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            let said: Vec<String> = self.lines.try_iter().collect();
            assert!(Instant::now() < deadline, "nobody listens on {address}:\n{}", said.join("\n"));
            std::thread::yield_now();
        }
    }

    /// Waits for a line that contains this.
    pub(crate) fn wait_for(&self, what: &str) -> String {
        let (deadline, mut seen) = (Instant::now() + PATIENCE, String::new());
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(what) => return line,
                Ok(line) => seen = format!("{seen}{line}\n"),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => panic!("no {what:?} in:\n{seen}"),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
