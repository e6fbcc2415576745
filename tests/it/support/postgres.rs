//! A `PostgreSQL` server on a Unix socket in a temporary folder.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::programs::program;

const SERVER: &str = "apt-get install postgresql";
const CLIENT: &str = "apt-get install postgresql-client";
/// The server refuses to run as root, so that root lends it the user "nobody".
const NOBODY: u32 = 65_534;

/// A running server; killed when dropped.
pub(crate) struct Postgres {
    folder: tempfile::TempDir,
    server: Child,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let is_root = folder.path().metadata().unwrap().uid() == 0;
        if is_root {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = folder.path().join("data");
        let initdb = command("initdb", is_root)
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--pgdata"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(initdb.status.success(), "{}", String::from_utf8_lossy(&initdb.stderr));
        let mut server = command("postgres", is_root)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-D"])
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(log.any(|line| line.contains("ready to accept connections")), "the server did not start");
        // Its log has to be read for as long as it writes.
        std::thread::spawn(move || log.for_each(drop));
        Self { folder, server }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
    }

    /// What a script prints, over TCP at this address.
    pub(crate) fn psql(address: SocketAddr, script: &str) -> String {
        Self::run(&format!("host={} port={} user=postgres connect_timeout=10", address.ip(), address.port()), script)
    }

    /// The same over the socket.
    pub(crate) fn script(&self, script: &str) -> String {
        Self::run(&format!("host={} user=postgres connect_timeout=10", self.folder.path().display()), script)
    }

    fn run(connection: &str, script: &str) -> String {
        let output = Command::new(program("psql", CLIENT))
            .args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--set=ON_ERROR_STOP=1",
                "--command",
                script,
            ])
            .arg(connection)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT ends its children with it, where SIGKILL would leave them behind.
        let _ = Command::new("kill").arg("-QUIT").arg(self.server.id().to_string()).status();
        let _ = self.server.wait();
    }
}

fn command(name: &str, is_root: bool) -> Command {
    let file = program(name, SERVER);
    let mut command = if is_root {
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".into()]).arg(file);
        command
    } else {
        Command::new(file)
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).current_dir(Path::new("/"));
    command
}
