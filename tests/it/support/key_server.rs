//! The HTTPS server of an issuer's keys, which does what it is told, right or wrong.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rcgen::SanType;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::pki::{Issued, Pki};

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
}

/// The server. It answers every path alike.
pub(crate) struct KeyServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    answer: Answer,
    connections: usize,
    /// The header section of each request, in lower case.
    requests: Vec<String>,
}

impl KeyServer {
    /// One that proves to be 127.0.0.1 with a certificate of this authority.
    pub(crate) fn start(pki: &Pki, answer: Answer) -> Self {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let own =
            pki.issue_with("issuer", "issuer", |params| params.subject_alt_names.push(SanType::IpAddress(address)));
        Self::with(&own, answer)
    }

    /// One of these keys, as a JWK set.
    pub(crate) fn of(pki: &Pki, keys: &[&super::tokens::TokenKey]) -> Self {
        Self::start(pki, Answer::keys(keys))
    }

    /// One that proves what it is with this certificate.
    pub(crate) fn with(own: &Issued, answer: Answer) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.der.clone()], own.private_key())
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { answer, connections: 0, requests: Vec::new() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                shared.lock().unwrap().connections += 1;
                let (shared, config) = (Arc::clone(&shared), Arc::clone(&config));
                // The client may go away at any time.
                std::thread::spawn(move || serve(stream, config, &shared));
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
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

    /// These keys, as a JWK set.
    pub(crate) fn keys(keys: &[&super::tokens::TokenKey]) -> Self {
        Self::text(super::tokens::jwks(keys))
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

fn serve(stream: TcpStream, config: Arc<ServerConfig>, state: &Mutex<State>) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
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
    stream.conn.send_close_notify();
    stream.flush()
}

fn write_answer(
    stream: &mut StreamOwned<ServerConnection, TcpStream>,
    head: &str,
    answer: Answer,
) -> std::io::Result<()> {
    match answer {
        Answer::Body(_, lines)
            if lines.split("\r\n").any(|line| {
                line.starts_with("etag:") && head.contains(&line.to_lowercase().replacen("etag:", "if-none-match:", 1))
            }) =>
        {
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
            let chunk = [b"1000\r\n", &vec![b' '; 0x1000][..], b"\r\n"].concat();
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
    }
}

fn wait_for_the_end(stream: &mut StreamOwned<ServerConnection, TcpStream>) -> std::io::Result<()> {
    let mut octets = [0; 64];
    while stream.read(&mut octets)? > 0 {}
    Ok(())
}
