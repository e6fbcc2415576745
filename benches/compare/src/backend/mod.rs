//! The application behind the proxies, in plaintext: nginx for HTTP/1.1, nghttpd for HTTP/2, our own sink for uploads.

mod sink;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use tokio::process::Command;

use crate::peers::HttpVersion;
use crate::peers::nginx::{temporary_folders, user};
use crate::ports::Ports;
use crate::process::Process;
use crate::programs::Programs;
use crate::wait::until_connected;
use sink::Sink;

/// Bytes of an answer.
const ANSWER: usize = 128;
/// Bytes of the large file and of one upload.
pub(crate) const BULK_BYTES: u64 = 128 << 20;
/// The path of the large file.
pub(crate) const BULK_PATH: &str = "/bulk";
/// The path that a gRPC client calls.
pub(crate) const GRPC_PATH: &str = "/service/Method";

/// What there is behind the proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Application {
    /// Answers every request over HTTP/1.1 with 128 bytes, and `BULK_PATH` with the large file.
    Answers,
    /// Answers calls over HTTP/2 in plaintext.
    Calls,
    /// Reads request bodies over HTTP/1.1 and forgets them.
    Uploads,
}

/// The running applications; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Backend {
    answers: SocketAddr,
    calls: SocketAddr,
    sink: Sink,
    _processes: [Process; 2],
}

impl Application {
    pub(crate) fn speaks(self) -> HttpVersion {
        match self {
            Self::Answers | Self::Uploads => HttpVersion::Http1,
            Self::Calls => HttpVersion::Http2,
        }
    }
}

impl Backend {
    /// Starts them, with their files in `folder`.
    pub(crate) async fn start(programs: &Programs, ports: &Ports, folder: &Path) -> anyhow::Result<Self> {
        let (answers, calls) = (ports.address()?, ports.address()?);
        let nginx = nginx(programs, answers, folder)?;
        let mut nginx = Process::start("the application (nginx)", nginx, &folder.join("nginx.log"))?;
        let nghttpd = nghttpd(programs, calls, folder)?;
        let mut nghttpd = Process::start("the application (nghttpd)", nghttpd, &folder.join("nghttpd.log"))?;
        until_connected(answers, &mut nginx).await?;
        until_connected(calls, &mut nghttpd).await?;
        Ok(Self { answers, calls, sink: Sink::start().await?, _processes: [nginx, nghttpd] })
    }

    /// Where `application` listens.
    pub(crate) fn address(&self, application: Application) -> SocketAddr {
        match application {
            Application::Answers => self.answers,
            Application::Calls => self.calls,
            Application::Uploads => self.sink.address(),
        }
    }
}

fn nginx(programs: &Programs, listen: SocketAddr, folder: &Path) -> anyhow::Result<Command> {
    // A file of nothing but a length: its pages are zeros, which are as much work to encrypt as others.
    fs::File::create(folder.join(BULK_PATH.trim_start_matches('/')))?.set_len(BULK_BYTES)?;
    let text = format!(
        "{user}worker_processes 1; daemon off; pid {at}/nginx.pid; worker_rlimit_nofile {files};\n\
         events {{ worker_connections 16384; }}\n\
         http {{\n  access_log off; sendfile on; tcp_nodelay on; default_type text/plain;\n  \
         keepalive_requests 100000000; keepalive_timeout 3600s; client_header_timeout 3600s;\n{temporary}  \
         server {{ listen {listen} backlog=8192;\n    location = {BULK_PATH} {{ root {at}; }}\n    \
         location / {{ return 200 \"{answer}\"; }}\n  }}\n}}\n",
        user = user(),
        at = folder.display(),
        files = crate::limits::open_files(),
        temporary = temporary_folders(folder, "application")?,
        answer = "x".repeat(ANSWER),
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, text)?;
    let mut command = Command::new(&programs.nginx);
    command.arg("-e").arg(folder.join("nginx.error")).arg("-c").arg(file);
    Ok(command)
}

fn nghttpd(programs: &Programs, listen: SocketAddr, folder: &Path) -> anyhow::Result<Command> {
    let answer = folder.join(GRPC_PATH.trim_start_matches('/'));
    fs::create_dir_all(answer.parent().unwrap_or(folder))?;
    fs::write(answer, "x".repeat(ANSWER))?;
    let mut command = Command::new(&programs.nghttpd);
    command.args(["--no-tls", "-n", "1", "--trailer", "grpc-status: 0", "-a", &listen.ip().to_string()]);
    command.arg("-d").arg(folder).arg(listen.port().to_string());
    Ok(command)
}
