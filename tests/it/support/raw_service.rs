//! A service that reads HTTP/1.1 to the letter and keeps every byte: what reaches it is what the proxy wrote.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use super::sidecar::PATIENCE;

/// A plaintext service on loopback.
pub(crate) struct RawService {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
}

/// One request as it was on the wire.
#[derive(Clone, Debug)]
pub(crate) struct RawRequest {
    /// Which connection brought it, counted from 0.
    pub(crate) connection: usize,
    /// From the request line to the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The trailer section of a chunked body.
    pub(crate) trailers: String,
}

#[derive(Default)]
struct Seen {
    all: Mutex<All>,
    grown: Condvar,
}

#[derive(Clone, Default)]
struct All {
    connections: usize,
    requests: Vec<RawRequest>,
    /// Bytes in which no request could be made out.
    rubbish: Vec<String>,
}

/// What to do after a request.
pub(crate) enum Then {
    /// Write this and read on.
    Answer(Vec<u8>),
    /// Write this and close.
    AnswerAndClose(Vec<u8>),
    /// Close without a word.
    Close,
}

/// An answer with this body.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

impl RawService {
    /// One that answers everything with "ok".
    pub(crate) fn start() -> Self {
        Self::answering(|_| Then::Answer(ok("ok")))
    }

    /// One that asks what to do after each request.
    pub(crate) fn answering(then: impl Fn(&RawRequest) -> Then + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), then)
    }

    /// The same on a listener that exists.
    pub(crate) fn on(listener: TcpListener, then: impl Fn(&RawRequest) -> Then + Send + Sync + 'static) -> Self {
        let (address, seen) = (listener.local_addr().unwrap(), Arc::<Seen>::default());
        let (kept, then) = (Arc::clone(&seen), Arc::new(then));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let connection = kept.change(|all| {
                    all.connections += 1;
                    all.connections - 1
                });
                let (seen, then) = (Arc::clone(&kept), Arc::clone(&then));
                std::thread::spawn(move || serve(stream, connection, &seen, &*then));
            }
        });
        Self { address, seen }
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<RawRequest> {
        self.seen.all.lock().unwrap().requests.clone()
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.all.lock().unwrap().connections
    }

    /// What was no request.
    pub(crate) fn rubbish(&self) -> Vec<String> {
        self.seen.all.lock().unwrap().rubbish.clone()
    }

    /// Waits for a request to this path.
    pub(crate) fn wait_for(&self, path: &str) -> RawRequest {
        let deadline = Instant::now() + PATIENCE;
        let mut all = self.seen.all.lock().unwrap();
        loop {
            if let Some(request) = all.requests.iter().find(|request| request.path() == path) {
                return request.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no request to {path}: {:?}", all.requests);
            all = self.seen.grown.wait_timeout(all, left).unwrap().0;
        }
    }
}

impl RawRequest {
    pub(crate) fn method(&self) -> &str {
        self.head.split(' ').next().unwrap()
    }

    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    /// The values of a header, in order.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// Says where the head is not what a careful sender writes.
    pub(crate) fn defect(&self) -> Option<String> {
        let mut lines = self.head.strip_suffix("\r\n\r\n")?.split("\r\n");
        let request_line: Vec<&str> = lines.next()?.split(' ').collect();
        let [_, target, "HTTP/1.1"] = request_line[..] else { return Some("the request line".into()) };
        if !target.starts_with('/') && target != "*" {
            return Some(format!("the target {target}"));
        }
        for line in lines {
            let Some((name, value)) = line.split_once(": ") else { return Some(format!("the line {line:?}")) };
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.is_empty() || !name.bytes().all(token) {
                return Some(format!("the name {name:?}"));
            }
            if value.bytes().any(|byte| byte < b' ' && byte != b'\t') {
                return Some(format!("the value {value:?}"));
            }
        }
        let lengths = self.header("content-length");
        let codings = self.header("transfer-encoding");
        match (&lengths[..], &codings[..]) {
            ([], [] | ["chunked"]) => None,
            ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => None,
            _ => Some(format!("the framing {lengths:?} {codings:?}")),
        }
        .or_else(|| (self.header("host").len() != 1).then(|| "the host".into()))
    }
}

impl Seen {
    fn change<T>(&self, change: impl FnOnce(&mut All) -> T) -> T {
        let value = change(&mut self.all.lock().unwrap());
        self.grown.notify_all();
        value
    }
}

fn serve(mut stream: TcpStream, connection: usize, seen: &Seen, then: &dyn Fn(&RawRequest) -> Then) {
    let mut unread = Vec::new();
    while let Some(request) = read_request(&mut stream, connection, &mut unread) {
        let done = then(&request);
        seen.change(|all| all.requests.push(request));
        let _ = match done {
            Then::Answer(answer) => stream.write_all(&answer),
            Then::AnswerAndClose(answer) => {
                let _ = stream.write_all(&answer);
                return;
            }
            Then::Close => return,
        };
    }
    if !unread.is_empty() {
        seen.change(|all| all.rubbish.push(String::from_utf8_lossy(&unread).into_owned()));
    }
}

/// Nothing at the end of the connection, with what was no request left in `unread`.
fn read_request(stream: &mut TcpStream, connection: usize, unread: &mut Vec<u8>) -> Option<RawRequest> {
    let end = read_until(stream, unread, 0, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&unread[..end]).into_owned();
    let mut request = RawRequest { connection, head, body: Vec::new(), trailers: String::new() };
    let mut at = end;
    if !request.header("transfer-encoding").is_empty() {
        loop {
            let line = read_until(stream, unread, at, b"\r\n")?;
            let size = usize::from_str_radix(std::str::from_utf8(&unread[at..line - 2]).ok()?, 16).ok()?;
            at = line;
            if size == 0 {
                break;
            }
            read_to(stream, unread, at + size + 2)?;
            request.body.extend_from_slice(&unread[at..at + size]);
            at += size + 2;
        }
        loop {
            let line = read_until(stream, unread, at, b"\r\n")?;
            let trailer = String::from_utf8_lossy(&unread[at..line]).into_owned();
            at = line;
            if trailer == "\r\n" {
                break;
            }
            request.trailers.push_str(&trailer);
        }
    } else if let Some(length) = request.header("content-length").first() {
        let length: usize = length.parse().ok()?;
        read_to(stream, unread, at + length)?;
        request.body = unread[at..at + length].to_vec();
        at += length;
    }
    unread.drain(..at);
    Some(request)
}

fn read_until(stream: &mut TcpStream, unread: &mut Vec<u8>, from: usize, mark: &[u8]) -> Option<usize> {
    loop {
        if let Some(at) = unread[from..].windows(mark.len()).position(|window| window == mark) {
            return Some(from + at + mark.len());
        }
        read_more(stream, unread)?;
    }
}

fn read_to(stream: &mut TcpStream, unread: &mut Vec<u8>, length: usize) -> Option<()> {
    while unread.len() < length {
        read_more(stream, unread)?;
    }
    Some(())
}

fn read_more(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 16 * 1024];
    let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
    unread.extend_from_slice(&buffer[..read]);
    Some(())
}
