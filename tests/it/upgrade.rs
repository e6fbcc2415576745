//! Upgrades: WebSocket with a real client and service, and protocols that are not carried.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;

use crate::support::block_on;
use crate::support::mesh::Mesh;
use crate::support::raw_service::RawService;
use crate::support::service::raw;
use crate::support::tcp_service::{TcpService, carries, dial, rest, rest_before_reset};

const LARGE: usize = 32 << 20;

/// A WebSocket service that gives every message back.
async fn echo(listener: tokio::net::TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                if !message.is_close() {
                    socket.send(message).await.unwrap();
                }
            }
        });
    }
}

#[test]
fn websocket_messages_pass_both_ways_until_one_side_closes() {
    for hop in ["auto", "http1"] {
        block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(echo(listener));
            let mesh = Mesh::around((), address, "", &format!("hop = \"{hop}\""), "");
            let stream = tokio::net::TcpStream::connect(mesh.entry()).await.unwrap();
            let (mut socket, answer) = tokio_tungstenite::client_async("ws://ads/live", stream).await.unwrap();
            assert_eq!(answer.status(), 101, "{hop}");
            let large = Message::binary(vec![7; 1_000_000]);
            for message in [Message::text("hello"), large, Message::text("bye")] {
                socket.send(message.clone()).await.unwrap();
                assert!(socket.next().await.unwrap().unwrap() == message, "{hop}");
            }
            socket.close(None).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                assert!(message.is_close(), "{hop} {message:?}");
            }
        });
    }
}

#[test]
fn an_upgrade_over_a_hop_of_http2_is_refused_with_the_reason() {
    let mesh = Mesh::with("", "hop = \"http2\"", "");
    let answer = raw(
        mesh.entry(),
        b"GET /upgrade HTTP/1.1\r\nHost: ads\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("error=http_upgrade_failed") && answer.contains("the hop speaks HTTP/2"), "{answer}");
}

#[test]
fn an_upgrade_to_h2c_is_answered_as_an_ordinary_request() {
    let service = RawService::start();
    let address = service.address;
    let mesh = Mesh::around(service, address, "", "", "");
    let answer = raw(
        mesh.entry(),
        b"GET /h2c HTTP/1.1\r\nHost: ads\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
          HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let request = mesh.service.wait_for("/h2c");
    for name in ["upgrade", "connection", "http2-settings"] {
        assert_eq!(request.header(name), Vec::<&str>::new(), "{}", request.head);
    }
}

#[test]
fn an_upgrade_that_the_service_declines_is_an_ordinary_answer() {
    let mesh = Mesh::start();
    let answer = raw(
        mesh.entry(),
        b"GET /status/200 HTTP/1.1\r\nHost: ads\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\
          GET /after HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"/after\""), "{answer}");
}

/// An upgraded connection from a caller in plaintext to the service.
fn upgraded(mesh: &Mesh<TcpService>) -> (TcpStream, TcpStream) {
    let mut caller = dial(mesh.entry());
    caller.write_all(b"GET / HTTP/1.1\r\nHost: ads\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\n").unwrap();
    let mut service = mesh.service.accept();
    read_head(&mut service);
    service.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\n").unwrap();
    read_head(&mut caller);
    (caller, service)
}

fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
}

#[test]
fn an_upgraded_connection_that_breaks_off_ends_with_a_reset_at_the_other_end() {
    let service = TcpService::start();
    let address = service.address;
    let mesh = Mesh::around(service, address, "", "", "");
    for service_breaks_off in [true, false] {
        let (mut caller, mut service) = upgraded(&mesh);
        carries(&mut caller, &mut service, b"a part");
        carries(&mut service, &mut caller, b"a part");
        let (broken, mut other) = if service_breaks_off { (service, caller) } else { (caller, service) };
        socket2::SockRef::from(&broken).set_linger(Some(Duration::ZERO)).unwrap();
        drop(broken);
        assert_eq!(rest_before_reset(&mut other), b"", "{service_breaks_off}");
    }
}

#[test]
fn either_end_of_an_upgraded_connection_is_heard_to_its_end_after_the_other_has_ended() {
    let service = TcpService::start();
    let address = service.address;
    let mesh = Mesh::around(service, address, "", "", "");
    for service_ends_first in [true, false] {
        let (caller, service) = upgraded(&mesh);
        let (mut first, mut last) = if service_ends_first { (service, caller) } else { (caller, service) };
        first.write_all(b"all I have to say").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut last), b"all I have to say");
        // More than anything on the way holds, for a reader that takes its time.
        let sender = std::thread::spawn(move || {
            last.write_all(&vec![7; LARGE]).unwrap();
            last.shutdown(Shutdown::Write).unwrap();
        });
        std::thread::sleep(Duration::from_millis(300));
        let heard = rest(&mut first);
        sender.join().unwrap();
        assert!(heard.len() == LARGE && heard.iter().all(|byte| *byte == 7), "{service_ends_first}: {}", heard.len());
    }
}
