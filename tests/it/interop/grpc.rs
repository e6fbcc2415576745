//! A gRPC client that holds a certificate itself, against an inbound sidecar.

use std::fs::read;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error, Identity};
use tonic::{Code, Request};

use crate::support::block_on;
use crate::support::grpc::{GrpcService, Raw};
use crate::support::mesh::inbound;
use crate::support::pki::{Issued, Pki};
use crate::support::sidecar::Sidecar;

struct Scene {
    pki: Pki,
    sidecar: Sidecar,
    _service: GrpcService,
}

fn scene() -> Scene {
    let (pki, service) = (Pki::new(), GrpcService::start());
    let allow = ["spiffe://fleamarket.internal/gateway"];
    let sidecar = Sidecar::start(&inbound(&pki, &pki.issue("adservice"), service.address, &allow, "", ""));
    Scene { pki, sidecar, _service: service }
}

async fn client(scene: &Scene, own: Option<&Issued>) -> Result<Grpc<Channel>, Error> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read(scene.pki.anchors()).unwrap()))
        .domain_name("adservice");
    if let Some(own) = own {
        tls = tls.identity(Identity::from_pem(read(&own.certificate).unwrap(), read(&own.key).unwrap()));
    }
    let endpoint = Endpoint::from_shared(format!("https://{}", scene.sidecar.address("ads"))).unwrap();
    endpoint.tls_config(tls)?.connect().await.map(Grpc::new)
}

fn path(method: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(method)
}

#[test]
fn a_grpc_client_with_a_certificate_calls_and_streams() {
    let scene = scene();
    let own = scene.pki.issue("gateway");
    block_on(async {
        let mut client = client(&scene, Some(&own)).await.unwrap();
        client.ready().await.unwrap();
        let answer = client.unary(Request::new(Bytes::from_static(b"hello")), path("/test.Echo/Echo"), Raw).await;
        assert_eq!(&answer.unwrap().get_ref()[..], b"hello");
        client.ready().await.unwrap();
        let sent = Request::new(stream::iter((0..100_u8).map(|number| Bytes::from(vec![number; 1000]))));
        let answers = client.streaming(sent, path("/test.Echo/Echo"), Raw).await.unwrap().into_inner();
        let answers: Vec<Bytes> = answers.map(Result::unwrap).collect().await;
        assert!(answers.iter().map(|answer| (answer[0], answer.len())).eq((0..100).map(|number| (number, 1000))));
    });
}

#[test]
fn a_grpc_client_that_is_not_allowed_reads_permission_denied() {
    let scene = scene();
    let stranger = scene.pki.issue("stranger");
    block_on(async {
        let mut client = client(&scene, Some(&stranger)).await.unwrap();
        client.ready().await.unwrap();
        let call = client.unary::<Bytes, Bytes, _>(Request::new(Bytes::new()), path("/test.Echo/Echo"), Raw).await;
        assert_eq!(call.unwrap_err().code(), Code::PermissionDenied);
    });
}

#[test]
fn a_grpc_client_without_a_certificate_gets_no_answer() {
    let scene = scene();
    block_on(async {
        // With TLS 1.3 the refusal may reach the client only with its first call.
        let Ok(mut client) = client(&scene, None).await else { return };
        if client.ready().await.is_ok() {
            let call = client.unary::<Bytes, Bytes, _>(Request::new(Bytes::new()), path("/test.Echo/Echo"), Raw).await;
            assert!(matches!(call.unwrap_err().code(), Code::Unavailable | Code::Unknown));
        }
    });
    scene
        .sidecar
        .wait_for("refusal", |event| event["message"] == "peer refused" && event["reason"] == "no_certificate");
}
