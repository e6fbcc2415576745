//! For the tests: a `PostgreSQL` server of its own on a Unix socket in a temporary folder, beside a `SQLite` file.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// The server refuses to run as root, so that root lends it the user "nobody".
const NOBODY: u32 = 65_534;

/// A server with an empty database; it ends when it is dropped.
pub(super) struct Postgres {
    folder: tempfile::TempDir,
    server: Option<Child>,
}

/// An empty database of each kind.
pub(super) struct Databases {
    folder: tempfile::TempDir,
    postgres: Postgres,
}

impl Databases {
    pub(super) fn both() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), postgres: Postgres::running() }
    }

    pub(super) fn urls(&self) -> [String; 2] {
        [format!("sqlite:{}?mode=rwc", self.folder.path().join("test.db").display()), self.postgres.url()]
    }
}

impl Postgres {
    pub(super) fn running() -> Self {
        let mut server = Self::prepare();
        server.start();
        server
    }

    /// A server that is not started.
    pub(super) fn prepare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        if folder.path().metadata().unwrap().uid() == 0 {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let server = Self { folder, server: None };
        let mut initdb = server.command("initdb");
        initdb.args(["--no-sync", "--auth=trust", "--username=market", "--pgdata"]).arg(server.data());
        let output = initdb.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // A cluster begins with a database named "postgres"; one of our name is made while nobody is served.
        let mut alone = server.command("postgres");
        alone.args(["--single", "-D"]).arg(server.data()).arg("postgres").stdin(Stdio::piped()).stderr(Stdio::null());
        let mut alone = alone.spawn().unwrap();
        alone.stdin.take().unwrap().write_all(b"CREATE DATABASE market;\n").unwrap();
        assert!(alone.wait().unwrap().success());
        server
    }

    pub(super) fn start(&mut self) {
        let mut server = self
            .command("postgres")
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-k"])
            .arg(self.folder.path())
            .arg("-D")
            .arg(self.data())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(log.any(|line| line.contains("ready to accept connections")), "the server did not start");
        // Its log has to be read for as long as it writes.
        std::thread::spawn(move || log.for_each(drop));
        self.server = Some(server);
    }

    /// Ends the server at once, and its connections with it.
    pub(super) fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        // SIGINT ends its children with it, where SIGKILL would leave them behind.
        let id = i32::try_from(server.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(id, Signal::INT).unwrap();
        server.wait().unwrap();
    }

    pub(super) fn url(&self) -> String {
        let socket = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://market@{socket}/market")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let program = installed(program);
        let is_lent = self.folder.path().metadata().unwrap().uid() == NOBODY;
        let mut command = Command::new(if is_lent { OsStr::new("setpriv") } else { program.as_os_str() });
        if is_lent {
            command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".into()]);
            command.arg(program);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).current_dir("/");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Debian keeps the server's programs off the path, in a folder for each version.
fn installed(program: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(versions.map(|version| version.path().join("bin")));
    let mut files = folders.map(|folder| folder.join(program)).filter(|file| file.is_file());
    files
        .next()
        .unwrap_or_else(|| panic!("{program} is not installed, and this test needs it: apt-get install postgresql"))
}
