//! Clients as people have them: curl, h2load, WebSocket, and connections over HTTP/2 that outlive what they were made for.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls_pki_types::ServerName;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::block_on;
use crate::support::gateway::{ForUsers, Gateway, HOST, issuer};
use crate::support::h2_frames::{DATA, begin_with_get, read_to_the_farewell, read_until};
use crate::support::key_server::{Answer, KeyServer};
use crate::support::pki::Pki;
use crate::support::programs::{CURL, Said, program, run};
use crate::support::tls_client::{HTTP1, HTTP2, client_config, connect};
use crate::support::tokens::{TokenKey, claims};

const ROUTES: &str = "[[edge.route]]\nname = \"read\"\nupstream = \"ads\"\n";

fn curl(gateway: &Gateway, version: &str, fields: &[&str]) -> Said {
    let address = gateway.address();
    let mut command = Command::new(program("curl", CURL));
    command.args(["-sS", "-i", version, "--max-time", "20", "--cacert"]).arg(gateway.public.anchors());
    command.args(["--resolve", &format!("{HOST}:{}:127.0.0.1", address.port())]);
    for field in fields {
        command.args(["-H", field]);
    }
    run(command.arg(format!("https://{HOST}:{}/ads", address.port())), b"")
}

#[test]
fn curl_is_served_with_a_token_and_told_what_is_missing_without_over_both_versions() {
    let market = ForUsers::with("hsts = \"365d\"", ROUTES);
    for (version, line) in [("--http1.1", "HTTP/1.1 "), ("--http2", "HTTP/2 ")] {
        let served = curl(&market.gateway, version, &[&market.bearer(|_| {})]);
        assert!(served.out.starts_with(&format!("{line}200")), "{version} {}{}", served.out, served.err);
        assert!(served.out.contains("strict-transport-security: max-age=31536000"), "{version} {}", served.out);
        let refused = curl(&market.gateway, version, &[]);
        assert!(refused.out.starts_with(&format!("{line}401")), "{version} {}{}", refused.out, refused.err);
        assert!(refused.out.to_lowercase().contains("www-authenticate: bearer realm"), "{version} {}", refused.out);
    }
}

#[test]
fn thousands_of_requests_with_a_token_all_succeed_over_both_versions() {
    let market = ForUsers::with("", ROUTES);
    let url = format!("https://{}/bytes/128", market.gateway.address());
    let bearer = market.bearer(|_| {});
    for options in [&["-c", "8", "-m", "16"][..], &["--h1", "-c", "16"]] {
        let mut command = Command::new(program("h2load", "apt-get install nghttp2-client"));
        command.args(["-n", "2000", "-H", &bearer]).args(options).arg(&url);
        let said = run(&mut command, b"");
        let whole = "2000 succeeded, 0 failed, 0 errored, 0 timeout";
        assert!(said.out.contains(whole) && said.out.contains("status codes: 2000 2xx"), "{options:?} {}", said.out);
    }
}

#[test]
fn a_websocket_is_opened_for_a_user_and_for_nobody_else() {
    let key = TokenKey::p256("k1");
    block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let opened = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&opened);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { continue };
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    while let Some(Ok(message)) = socket.next().await {
                        if !message.is_close() {
                            socket.send(message).await.unwrap();
                        }
                    }
                });
            }
        });
        let pki = Pki::new();
        let keys = KeyServer::of(&pki, &[&key]);
        let gateway = Gateway::within(pki, (), address, "", ROUTES, &issuer(&keys, &key));
        gateway.wait_for_keys();
        let tls = tokio_rustls::TlsConnector::from(Arc::new(client_config(&gateway.public, None, HTTP1)));
        let open = async |fields: &str| {
            let stream = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
            let stream = tls.connect(ServerName::try_from(HOST).unwrap(), stream).await.unwrap();
            let mut request = http::Request::get(format!("wss://{HOST}/live"))
                .header("host", HOST)
                .header("connection", "Upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
            if !fields.is_empty() {
                request = request.header("authorization", fields);
            }
            tokio_tungstenite::client_async(request.body(()).unwrap(), stream).await
        };
        match open("").await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), 401),
            other => panic!("{:?}", other.map(|(_, answer)| answer)),
        }
        assert_eq!(opened.load(Ordering::Relaxed), 0, "what is refused does not reach the service");
        let (mut socket, answer) = open(&format!("Bearer {}", key.token(&claims(SystemTime::now())))).await.unwrap();
        assert_eq!(answer.status(), 101);
        for message in [Message::text("hello"), Message::binary(vec![7; 200_000])] {
            socket.send(message.clone()).await.unwrap();
            assert!(socket.next().await.unwrap().unwrap() == message);
        }
        socket.close(None).await.unwrap();
    });
}

/// Ends the clients when it is dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn no_user_is_turned_away_while_the_issuer_goes_over_to_another_key() {
    let market = ForUsers::with("", ROUTES);
    let next = TokenKey::p256("k2");
    let header = |key: &TokenKey| format!("Authorization: Bearer {}", key.token(&claims(SystemTime::now())));
    let in_use = Mutex::new(header(&market.key));
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut connection = market.gateway.connect();
                while !stop.load(Ordering::Relaxed) {
                    let bearer = in_use.lock().unwrap().clone();
                    connection.send(&crate::support::gateway::request("GET /ads", &[&bearer])).unwrap();
                    match connection.answer().unwrap() {
                        answer if answer.status == 200 => drop(served.fetch_add(1, Ordering::Relaxed)),
                        answer => failed.lock().unwrap().push(answer),
                    }
                }
            });
        }
        let wait_for_more = || {
            let goal = served.load(Ordering::Relaxed) + 20;
            while served.load(Ordering::Relaxed) < goal && failed.lock().unwrap().is_empty() {
                std::thread::yield_now();
            }
        };
        // As issuers do: the next key is published beside the old one, then signs, and then is the only one.
        let publish = |keys: &[&TokenKey], kids: &[&str]| {
            market.keys.answer(Answer::keys(keys));
            market.gateway.edge.signal("HUP");
            market.gateway.edge.wait_for_status("the published keys", |status| {
                let known = status["issuers"][0]["keys"].as_array().unwrap();
                known.len() == kids.len()
                    && kids.iter().all(|kid| known.iter().any(|key| key.to_string().contains(kid)))
            });
            wait_for_more();
        };
        // The clients end with this closure, however it ends.
        let _stop = Stop(&stop);
        wait_for_more();
        publish(&[&market.key, &next], &["k1", "k2"]);
        *in_use.lock().unwrap() = header(&next);
        wait_for_more();
        publish(&[&next], &["k2"]);
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} {:?}", failed.len(), failed.first());
}

#[test]
fn a_client_of_http2_is_told_to_go_and_has_its_answer_whole_where_its_listener_is_removed() {
    let gateway = Gateway::open("");
    let mut stream = connect(gateway.address(), HOST, client_config(&gateway.public, None, HTTP2)).unwrap();
    begin_with_get(&mut stream, "/bytes/200000");
    read_until(&mut stream, DATA).unwrap();
    let text = std::fs::read_to_string(&gateway.edge.config).unwrap();
    gateway.edge.reconfigure(&text.replace("name = \"public\"", "name = \"another\""));
    let (goaways, ended) = read_to_the_farewell(&mut stream);
    assert!(goaways >= 1 && ended, "{goaways} GOAWAY, stream ended: {ended}");
}
