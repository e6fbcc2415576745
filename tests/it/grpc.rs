//! gRPC through two sidecars, with a real client and a real service.

use std::process::Command;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::support::block_on;
use crate::support::grpc::{FAILURE, GrpcService, Raw};
use crate::support::mesh::Mesh;
use crate::support::sidecar::{PATIENCE, Sidecar};

fn mesh(hop: &str) -> Mesh<GrpcService> {
    let service = GrpcService::start();
    let address = service.address;
    Mesh::around(service, address, "", &format!("hop = \"{hop}\""), "")
}

async fn client(address: std::net::SocketAddr) -> Grpc<Channel> {
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    client
}

fn path(method: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(method)
}

#[test]
fn all_four_kinds_of_call_pass_over_every_hop() {
    for hop in ["auto", "http1", "http2"] {
        let mesh = mesh(hop);
        block_on(async {
            let mut client = client(mesh.entry()).await;
            let mut request = Request::new(Bytes::from_static(b"hello"));
            request.metadata_mut().insert("x-asked", "why".parse().unwrap());
            let answer = client.unary(request, path("/test.Echo/Echo"), Raw).await.unwrap();
            assert_eq!(
                (answer.metadata().get("x-told").unwrap().to_str().ok(), &answer.get_ref()[..]),
                (Some("why"), &b"hello"[..]),
                "{hop}"
            );

            client.ready().await.unwrap();
            let sent = Request::new(stream::iter(std::iter::repeat_n(Bytes::from_static(b"x"), 1000)));
            let answer = client.client_streaming(sent, path("/test.Echo/Count"), Raw).await.unwrap();
            assert_eq!(&answer.get_ref()[..], b"1000", "{hop}");

            client.ready().await.unwrap();
            let asked = Request::new(Bytes::from_static(b"again"));
            let answers = client.server_streaming(asked, path("/test.Echo/Repeat"), Raw).await.unwrap().into_inner();
            let answers: Vec<Result<Bytes, Status>> = answers.collect().await;
            assert_eq!(answers.len(), 1000, "{hop}");
            assert!(answers.iter().all(|answer| answer.as_ref().unwrap() == "again"), "{hop}");
        });
    }
}

#[test]
fn both_directions_of_a_stream_are_open_at_once() {
    for hop in ["auto", "http1", "http2"] {
        let mesh = mesh(hop);
        block_on(async {
            let mut client = client(mesh.entry()).await;
            let (send, queue) = tokio::sync::mpsc::unbounded_channel();
            let queue =
                stream::unfold(queue, |mut queue| async move { queue.recv().await.map(|message| (message, queue)) });
            send.send(Bytes::from_static(b"0")).unwrap();
            let mut answers =
                client.streaming(Request::new(queue), path("/test.Echo/Echo"), Raw).await.unwrap().into_inner();
            for turn in 1..50 {
                let answer = answers.message().await.unwrap().unwrap();
                assert_eq!(answer, format!("{}", turn - 1), "{hop}");
                send.send(Bytes::from(format!("{turn}"))).unwrap();
            }
            drop(send);
            assert_eq!(answers.message().await.unwrap().unwrap(), "49");
            assert!(answers.message().await.unwrap().is_none(), "{hop}");
        });
    }
}

#[test]
fn a_failure_after_messages_keeps_its_code_message_and_metadata() {
    for hop in ["auto", "http1", "http2"] {
        let mesh = mesh(hop);
        block_on(async {
            let mut client = client(mesh.entry()).await;
            let asked = Request::new(Bytes::new());
            let mut answers = client.server_streaming(asked, path("/test.Echo/Fail"), Raw).await.unwrap().into_inner();
            assert_eq!(answers.message().await.unwrap().unwrap(), "one", "{hop}");
            let failure = answers.message().await.unwrap_err();
            assert_eq!((failure.code(), failure.message()), (Code::DataLoss, FAILURE), "{hop}");
            assert!(failure.metadata().get("x-mantlet-peer").is_none(), "{hop}");
            // HTTP/1.1 carries the trailers that were announced, which nobody does for metadata.
            if hop != "http1" {
                assert_eq!(failure.metadata().get("x-trailing").unwrap(), "told", "{hop}");
            }
            client.ready().await.unwrap();
            let missing = client.unary(Request::new(Bytes::new()), path("/test.Echo/None"), Raw).await.unwrap_err();
            assert_eq!((missing.code(), missing.message()), (Code::Unimplemented, "/test.Echo/None"), "{hop}");
        });
    }
}

#[test]
fn a_cancelled_call_ends_at_the_service() {
    for hop in ["auto", "http1", "http2"] {
        let mesh = mesh(hop);
        let hangs = &mesh.service.hangs;
        block_on(async {
            let mut client = client(mesh.entry()).await;
            let call = client.unary(Request::new(Bytes::new()), path("/test.Echo/Hang"), Raw);
            let started = async {
                while hangs.try_recv().is_err() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                answer = call => panic!("{answer:?}"),
                () = started => {}
            }
            // The runtime has to run on for the client to say so.
            let told = async {
                loop {
                    if let Ok(told) = hangs.try_recv() {
                        return told;
                    }
                    tokio::task::yield_now().await;
                }
            };
            assert_eq!(tokio::time::timeout(PATIENCE, told).await, Ok("dropped"), "{hop}");
        });
    }
}

/// The headers of a call made with curl, which does not watch deadlines of gRPC itself.
fn curl(url: &str, more: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-sS", "-D", "-", "-o", "/dev/null", "--max-time", "20", "-X", "POST", "-H", "te: trailers"])
        .args(["-H", "content-type: application/grpc", "--data-binary", ""])
        .args(more)
        .arg(url)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_deadline_that_passes_is_deadline_exceeded_and_ends_the_call_at_the_service() {
    let mesh = mesh("auto");
    // The call that makes the connections has no deadline.
    let url = |method| format!("http://{}/test.Echo/{method}", mesh.entry());
    assert!(curl(&url("Echo"), &["--http2-prior-knowledge"]).starts_with("HTTP/2 200"));
    let answer = curl(&url("Hang"), &["--http2-prior-knowledge", "-H", "grpc-timeout: 400m"]);
    assert!(answer.starts_with("HTTP/2 200"), "{answer}");
    assert!(answer.contains("grpc-status: 4\r\n"), "{answer}");
    assert_eq!(mesh.service.hangs.recv_timeout(PATIENCE), Ok("started"));
    assert_eq!(mesh.service.hangs.recv_timeout(PATIENCE), Ok("dropped"));
}

#[test]
fn a_denied_call_is_permission_denied_with_the_reason() {
    let mesh = mesh("auto");
    let stranger = mesh.pki.issue("stranger");
    let outbound = crate::support::mesh::outbound(&mesh.pki, &stranger, mesh.tls(), &mesh.callee.spiffe, "", "");
    let outbound = Sidecar::start(&outbound);
    block_on(async {
        let mut client = client(outbound.address("ads")).await;
        let refused = client.unary(Request::new(Bytes::new()), path("/test.Echo/Echo"), Raw).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
        assert!(refused.message().contains("spiffe://fleamarket.internal/stranger"), "{refused:?}");
    });
}

#[test]
fn an_anonymous_call_is_unauthenticated() {
    let pki = crate::support::pki::Pki::new();
    let gateway = pki.issue("gateway");
    let ads = pki.issue("adservice");
    let service = GrpcService::start();
    let keys = "client_auth = \"optional\"";
    let inbound =
        Sidecar::start(&crate::support::mesh::inbound(&pki, &ads, service.address, &[&gateway.spiffe], keys, ""));
    let port = inbound.address("ads").port();
    let (resolve, anchors) = (format!("adservice:{port}:127.0.0.1"), pki.anchors());
    let more = ["--http2", "--resolve", &resolve, "--cacert", anchors.to_str().unwrap()];
    let answer = curl(&format!("https://adservice:{port}/test.Echo/Echo"), &more);
    assert!(answer.starts_with("HTTP/2 200") && answer.contains("grpc-status: 16\r\n"), "{answer}");
    assert!(answer.contains("grpc-message: ") && answer.contains("proxy-status: mantlet;"), "{answer}");
}

#[test]
fn a_service_that_is_away_is_unavailable() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mesh = Mesh::around((), address, "", "", "");
    block_on(async {
        let mut client = client(mesh.entry()).await;
        let refused = client.unary(Request::new(Bytes::new()), path("/test.Echo/Echo"), Raw).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    });
}
