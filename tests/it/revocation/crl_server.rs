//! An HTTP server of CRLs that does what it is told, right or wrong.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is answered.
#[derive(Clone)]
pub(super) enum Answer {
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
    /// A header section, and then an octet a second.
    Drip,
}

/// The server. It answers every path alike.
pub(super) struct CrlServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    answer: Answer,
    /// The header section of each request, in lower case.
    requests: Vec<String>,
}

impl CrlServer {
    pub(super) fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { answer, requests: Vec::new() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, state }
    }

    pub(super) fn of_crl(crl: &[u8]) -> Self {
        Self::start(Answer::crl(crl))
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn answer(&self, answer: Answer) {
        self.state.lock().unwrap().answer = answer;
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }
}

impl Answer {
    pub(super) fn crl(crl: &[u8]) -> Self {
        Self::Body(crl.to_vec(), String::new())
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
    let answer = {
        let mut state = state.lock().unwrap();
        state.requests.push(head.to_lowercase());
        state.answer.clone()
    };
    // The client may go away at any time.
    let _ = write_answer(stream, &head.to_lowercase(), answer);
}

fn write_answer(mut stream: TcpStream, head: &str, answer: Answer) -> std::io::Result<()> {
    match answer {
        Answer::Body(_, lines)
            if lines.split("\r\n").any(|line| {
                head.contains(&line.to_lowercase().replacen("etag:", "if-none-match:", 1)) && line.starts_with("etag:")
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
            let chunk = [b"10000\r\n", &vec![0x30; 0x10000][..], b"\r\n"].concat();
            loop {
                stream.write_all(&chunk)?;
            }
        }
        Answer::Silence => {
            std::thread::sleep(Duration::from_secs(3600));
            Ok(())
        }
        Answer::Drip => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")?;
            loop {
                stream.write_all(b"0")?;
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
}
