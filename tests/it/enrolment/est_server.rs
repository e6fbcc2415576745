//! An EST server that does what it is told, right or wrong, for what the authority itself never does.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::SanType;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::CertificateDer;

use crate::support::pki::Pki;

/// What is answered.
pub(super) struct Script {
    /// Who issues, and whose certificate the server presents.
    pub(super) pki: Pki,
    /// What `/cacerts` serves.
    pub(super) anchors: Vec<CertificateDer<'static>>,
    /// How long a certificate lasts.
    pub(super) lifetime: Duration,
    /// Status, label and text of a refusal to certify.
    pub(super) refusal: Option<(&'static str, &'static str, &'static str)>,
    /// How far its clock is ahead of ours.
    pub(super) ahead: Duration,
    /// A certificate for a key of its own instead of the one asked for.
    pub(super) swaps_keys: bool,
    /// The body of every answer, instead of a right one.
    pub(super) body: Option<Vec<u8>>,
}

/// The server.
pub(super) struct EstServer {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    script: Script,
    tls: Arc<ServerConfig>,
    /// The header section of each request.
    requests: Vec<String>,
}

impl EstServer {
    pub(super) fn start(pki: Pki) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tls, anchors) = (tls(&pki), vec![pki.der()]);
        let script = Script {
            pki,
            anchors,
            lifetime: Duration::from_secs(3600),
            refusal: None,
            ahead: Duration::ZERO,
            swaps_keys: false,
            body: None,
        };
        let state = Arc::new(Mutex::new(State { script, tls, requests: Vec::new() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, state }
    }

    pub(super) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.state.lock().unwrap().script);
    }

    /// Somebody else answers from now on.
    pub(super) fn replace(&self, pki: Pki) {
        let mut state = self.state.lock().unwrap();
        state.tls = tls(&pki);
        state.script.anchors = vec![pki.der()];
        state.script.pki = pki;
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }
}

fn tls(pki: &Pki) -> Arc<ServerConfig> {
    let issued = pki.issue_with("ca", "est-server", |params| {
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
    });
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![issued.der.clone()], issued.private_key());
    Arc::new(config.unwrap())
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let tls = Arc::clone(&state.lock().unwrap().tls);
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(tls).unwrap(), stream));
    // The client may go away at any time.
    while let Some((head, body)) = request(&mut stream) {
        let answer = answer(&head, &body, state);
        if stream.get_mut().write_all(&answer).is_err() {
            return;
        }
    }
}

fn request(stream: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while stream.read_line(&mut head).ok()? > 2 {}
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    (!head.is_empty()).then_some((head, body))
}

fn answer(head: &str, body: &[u8], state: &Mutex<State>) -> Vec<u8> {
    let mut state = state.lock().unwrap();
    state.requests.push(head.to_owned());
    let script = &state.script;
    let path = head.split(' ').nth(1).unwrap_or_default();
    let certificates = match path {
        "/.well-known/est/cacerts" => script.anchors.clone(),
        "/.well-known/est/simpleenroll" | "/.well-known/est/simplereenroll" => {
            if let Some((status, label, text)) = script.refusal {
                return written(script, status, &format!("mantlet-reason: {label}\r\n"), text.as_bytes());
            }
            let request = STANDARD.decode(body.trim_ascii()).unwrap();
            vec![if script.swaps_keys {
                script.pki.issue("adservice").der
            } else {
                script.pki.certify(&request, "adservice", script.lifetime)
            }]
        }
        _ => return written(script, "404 Not Found", "", b"there is nothing here"),
    };
    let right = STANDARD.encode(certs_only(&certificates)).into_bytes();
    written(script, "200 OK", "", script.body.as_ref().unwrap_or(&right))
}

fn written(script: &Script, status: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let date = httpdate::fmt_http_date(SystemTime::now() + script.ahead);
    let head = format!("HTTP/1.1 {status}\r\ndate: {date}\r\n{lines}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A certs-only `SignedData` (RFC 5652 section 5.1).
fn certs_only(certificates: &[CertificateDer<'static>]) -> Vec<u8> {
    let oid = |last| tlv(0x06, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, last]);
    let certificates = tlv(0xa0, &certificates.iter().flat_map(|der| der.to_vec()).collect::<Vec<_>>());
    let signed = [vec![2, 1, 1, 0x31, 0], tlv(0x30, &oid(1)), certificates, vec![0x31, 0]].concat();
    tlv(0x30, &[oid(2), tlv(0xa0, &tlv(0x30, &signed))].concat())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    // DER wants the shortest form.
    match content.len() {
        0..128 => [&[tag, length[3]], content].concat(),
        128..256 => [&[tag, 0x81, length[3]], content].concat(),
        _ => [&[tag, 0x82, length[2], length[3]], content].concat(),
    }
}
