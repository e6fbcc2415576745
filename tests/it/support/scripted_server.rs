//! An HTTP or HTTPS server that does what it is told, right or wrong.

use std::io::{BufRead as _, BufReader, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What is answered.
#[derive(Clone)]
pub(crate) enum Answer {
    /// A body, with header lines that each end in CR LF.
    Body(Vec<u8>, String),
    /// A status line and header lines, without a body.
    Status(&'static str, String),
    /// These octets, and then the connection is closed.
    Raw(Vec<u8>),
    /// A body in chunks without an end.
    Endless,
    /// Nothing, for as long as the client waits.
    Silence,
    /// A header section and the first octets of a body, and then nothing for as long as the client waits.
    Half,
    /// A header section, and then an octet a second.
    Drip,
}

/// The server. It answers every path alike.
pub(crate) struct ScriptedServer {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<Mutex<State>>,
}

struct State {
    answer: Answer,
    connections: usize,
    /// The header section of each request, in lower case.
    requests: Vec<String>,
}

impl ScriptedServer {
    /// One that speaks TLS where it is told how.
    pub(crate) fn start(tls: Option<Arc<ServerConfig>>, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let state = Arc::new(Mutex::new(State { answer, connections: 0, requests: Vec::new() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                shared.lock().unwrap().connections += 1;
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                // The client may go away at any time.
                std::thread::spawn(move || match tls {
                    Some(tls) => serve_tls(stream, tls, &shared),
                    None => serve(stream, &shared).map(drop),
                });
            }
        });
        Self { address, scheme, state }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub(crate) fn answer(&self, answer: Answer) {
        self.state.lock().unwrap().answer = answer;
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Connections that were ever made, whether or not anything came over them.
    pub(crate) fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }
}

impl Answer {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Body(text.into().into_bytes(), String::new())
    }

    /// The same with header lines that each end in CR LF.
    pub(crate) fn saying(self, lines: &str) -> Self {
        match self {
            Self::Body(body, _) => Self::Body(body, lines.to_owned()),
            Self::Status(status, _) => Self::Status(status, lines.to_owned()),
            other => other,
        }
    }
}

fn serve_tls(stream: TcpStream, config: Arc<ServerConfig>, state: &Mutex<State>) -> Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = serve(StreamOwned::new(connection, stream), state)?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn serve<S: Read + Write>(stream: S, state: &Mutex<State>) -> Result<S> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let head = head.to_lowercase();
    let answer = {
        let mut state = state.lock().unwrap();
        state.requests.push(head.clone());
        state.answer.clone()
    };
    let mut stream = reader.into_inner();
    write_answer(&mut stream, &head, answer)?;
    Ok(stream)
}

fn write_answer(stream: &mut (impl Read + Write), head: &str, answer: Answer) -> Result<()> {
    match answer {
        Answer::Body(_, lines) if is_known(head, &lines) => {
            write!(stream, "HTTP/1.1 304 Not Modified\r\n{lines}connection: close\r\n\r\n")
        }
        Answer::Body(body, lines) => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{lines}connection: close\r\n\r\n", body.len())?;
            stream.write_all(&body)
        }
        Answer::Status(status, lines) => {
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n{lines}connection: close\r\n\r\n")
        }
        Answer::Raw(octets) => stream.write_all(&octets),
        Answer::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            let chunk = [b"10000\r\n", &vec![b'0'; 0x10000][..], b"\r\n"].concat();
            loop {
                stream.write_all(&chunk)?;
            }
        }
        Answer::Silence => wait_for_the_end(stream),
        Answer::Half => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{{\"keys\":")?;
            stream.flush()?;
            wait_for_the_end(stream)
        }
        Answer::Drip => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")?;
            loop {
                stream.write_all(b"0")?;
                stream.flush()?;
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
}

/// True where the request names the entity tag that these header lines give.
fn is_known(head: &str, lines: &str) -> bool {
    let mut tags = lines.split("\r\n").filter(|line| line.starts_with("etag:"));
    tags.any(|line| head.contains(&line.to_lowercase().replacen("etag:", "if-none-match:", 1)))
}

fn wait_for_the_end(stream: &mut impl Read) -> Result<()> {
    let mut octets = [0; 64];
    while stream.read(&mut octets)? > 0 {}
    Ok(())
}
