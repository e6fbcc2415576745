//! Unix sockets in every place that takes an address.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use crate::support::mesh::{Mesh, inbound, outbound};
use crate::support::pki::Pki;
use crate::support::programs::{CURL, program};
use crate::support::sidecar::{PATIENCE, Sidecar};
use crate::support::tcp_service::{UnixService, carries, rest};
use crate::support::tls_client::{HTTP1, client_config, handshake, talk};

const TCP: &str = "protocol = \"tcp\"";

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

fn dial(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A configuration whose first listener listens there.
fn listening_on(path: &Path, config: &str) -> String {
    config.replacen("127.0.0.1:0", &unix(path), 1)
}

/// Answers each request of one connection after another with the request's own header section.
fn mirror(service: UnixService) {
    std::thread::spawn(move || {
        loop {
            let mut stream = BufReader::new(service.accept());
            let mut head = String::new();
            while stream.read_line(&mut head).is_ok_and(|read| read > 0) {
                if head.ends_with("\r\n\r\n") {
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len());
                    stream.get_mut().write_all(answer.as_bytes()).unwrap();
                    head.clear();
                }
            }
        }
    });
}

#[test]
fn http_enters_and_leaves_over_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let (app, entry) = (folder.path().join("app.sock"), folder.path().join("entry.sock"));
    mirror(UnixService::on(&app));
    let mesh = Mesh::around((), unix(&app), "", "", "");
    let config = outbound(&mesh.pki, &mesh.caller, mesh.tls(), &mesh.callee.spiffe, "", "");
    let _caller = Sidecar::start(&listening_on(&entry, &config));
    let answer = talk(dial(&entry), b"GET /ads HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("GET /ads HTTP/1.1\r\n") && answer.contains(&mesh.caller.spiffe), "{answer}");
}

#[test]
fn tcp_enters_and_leaves_over_unix_sockets_with_half_close() {
    let folder = tempfile::tempdir().unwrap();
    let (app, entry) = (folder.path().join("app.sock"), folder.path().join("entry.sock"));
    let mesh = Mesh::around(UnixService::on(&app), unix(&app), TCP, TCP, "");
    let config = outbound(&mesh.pki, &mesh.caller, mesh.tls(), &mesh.callee.spiffe, TCP, "");
    let _caller = Sidecar::start(&listening_on(&entry, &config));
    let mut client = dial(&entry);
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut service = mesh.service.accept();
    assert_eq!(rest(&mut service), b"question");
    carries(&mut service, &mut client, b"answer");
    drop(service);
    assert_eq!(rest(&mut client), b"");
}

#[test]
fn an_inbound_listener_may_be_a_unix_socket_and_asks_for_a_certificate_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (app, path) = (folder.path().join("app.sock"), folder.path().join("tls.sock"));
    mirror(UnixService::on(&app));
    let pki = Pki::new();
    let (caller, callee) = (pki.issue("gateway"), pki.issue("adservice"));
    let config = inbound(&pki, &callee, unix(&app), &[&caller.spiffe], "", "");
    let sidecar = Sidecar::start(&listening_on(&path, &config));
    let request = b"GET / HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n";
    let known = handshake(dial(&path), "adservice", client_config(&pki, Some(&caller), HTTP1)).unwrap();
    assert!(talk(known, request).contains(&caller.spiffe));
    let nobody = handshake(dial(&path), "adservice", client_config(&pki, None, HTTP1));
    assert!(
        nobody
            .map(|mut stream| stream.write_all(request).and_then(|()| stream.read_exact(&mut [0])))
            .is_ok_and(|o| o.is_err())
    );
    let refusal = sidecar.wait_for("refusal", |event| event["message"] == "peer refused");
    assert_eq!((refusal["reason"].as_str(), refusal["peer.address"].as_str()), (Some("no_certificate"), Some("unix")));
}

#[test]
fn the_admin_listener_may_be_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let pki = Pki::new();
    let config = inbound(&pki, &pki.issue("adservice"), "127.0.0.1:8080", &[], "", "");
    let admin = format!("[admin]\nlisten = \"{}\"", unix(&path));
    let _sidecar = Sidecar::start(&config.replace("[admin]\nlisten = \"127.0.0.1:0\"", &admin));
    let curl = Command::new(program("curl", CURL))
        .args(["--silent", "--show-error", "--fail", "--max-time", "20", "--unix-socket"])
        .arg(&path)
        .arg("http://localhost/status")
        .output()
        .unwrap();
    let status: serde_json::Value = serde_json::from_slice(&curl.stdout).unwrap();
    assert_eq!(status["listeners"][0]["name"], "ads", "{status}");
    let mantlet = |command: &str| {
        Command::new(env!("CARGO_BIN_EXE_mantlet")).args([command, "--admin", &unix(&path)]).output().unwrap()
    };
    assert!(mantlet("health").status.success());
    assert!(String::from_utf8_lossy(&mantlet("status").stdout).contains("ads"));
}

#[test]
fn the_file_of_a_process_that_is_gone_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("entry.sock");
    let pki = Pki::new();
    let config = listening_on(&path, &outbound(&pki, &pki.issue("gateway"), "127.0.0.1:1", "adservice", TCP, ""));
    let mut killed = Sidecar::start(&config);
    killed.signal("KILL");
    killed.wait_for_exit();
    assert!(path.exists());
    let _next = Sidecar::start(&config);
    dial(&path);
}

#[test]
fn a_socket_that_another_process_serves_is_left_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("entry.sock");
    let pki = Pki::new();
    let config = listening_on(&path, &outbound(&pki, &pki.issue("gateway"), "127.0.0.1:1", "adservice", TCP, ""));
    let owner = UnixListener::bind(&path).unwrap();
    let (status, text) = Sidecar::start_and_fail(&config);
    assert!(!status.success());
    assert!(text.contains(&unix(&path)) && text.contains("stop the program that listens there"), "{text}");
    // The first connection is the question whether anyone is there.
    owner.accept().unwrap();
    dial(&path).write_all(b"still mine").unwrap();
    let mut heard = String::new();
    owner.accept().unwrap().0.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "still mine");
}

#[test]
fn a_file_that_is_no_socket_is_never_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    fs::write(&path, "precious").unwrap();
    let pki = Pki::new();
    let config = listening_on(&path, &outbound(&pki, &pki.issue("gateway"), "127.0.0.1:1", "adservice", TCP, ""));
    let (status, text) = Sidecar::start_and_fail(&config);
    assert!(!status.success() && text.contains(&unix(&path)), "{text}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn the_files_are_gone_once_the_process_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (entry, admin) = (folder.path().join("entry.sock"), folder.path().join("admin.sock"));
    let pki = Pki::new();
    let config = outbound(&pki, &pki.issue("gateway"), "127.0.0.1:1", "adservice", TCP, "");
    let config = listening_on(&admin, &listening_on(&entry, &config));
    let mut sidecar = Sidecar::start(&config);
    assert!(entry.exists() && admin.exists());
    sidecar.signal("TERM");
    assert!(sidecar.wait_for_exit().success());
    assert!(!entry.exists() && !admin.exists());
}
