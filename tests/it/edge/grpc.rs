//! gRPC through the edge, with a real client, and HTTP/2 for everybody else.

use bytes::Bytes;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request};

use crate::support::block_on;
use crate::support::gateway::{Gateway, HOST, issuer};
use crate::support::grpc::{GrpcService, Raw};
use crate::support::key_server::KeyServer;
use crate::support::pki::Pki;
use crate::support::tokens::{TokenKey, claims};

const ROUTES: &str = "[[edge.route]]\nname = \"echo\"\npaths = [\"/test.Echo/Echo\"]\nmethods = [\"POST\"]\nupstream = \"ads\"\nrate = \"1/h burst 2\"\n\
    [[edge.route]]\nname = \"public\"\npaths = [\"/test.Echo/Fail\"]\nupstream = \"ads\"\npublic = true\n";

async fn client(gateway: &Gateway<GrpcService>) -> Grpc<Channel> {
    let anchor = Certificate::from_pem(std::fs::read(gateway.public.anchors()).unwrap());
    let tls = ClientTlsConfig::new().ca_certificate(anchor).domain_name(HOST);
    let endpoint = Endpoint::from_shared(format!("https://{}", gateway.address())).unwrap().tls_config(tls).unwrap();
    let mut client = Grpc::new(endpoint.connect().await.unwrap());
    client.ready().await.unwrap();
    client
}

async fn call(client: &mut Grpc<Channel>, path: &'static str, token: Option<&str>) -> Result<Bytes, tonic::Status> {
    client.ready().await.unwrap();
    let mut request = Request::new(Bytes::from_static(b"hello"));
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    client.unary(request, PathAndQuery::from_static(path), Raw).await.map(tonic::Response::into_inner)
}

#[test]
fn calls_pass_with_a_token_and_fail_in_the_terms_of_grpc_without_one() {
    let (key, pki) = (TokenKey::p256("k1"), Pki::new());
    let keys = KeyServer::of(&pki, &[&key]);
    let service = GrpcService::start();
    let address = service.address;
    let gateway = Gateway::within(pki, service, address, "", ROUTES, &issuer(&keys, &key));
    gateway.wait_for_keys();
    let token = key.token(&claims(std::time::SystemTime::now()));
    block_on(async {
        let mut client = client(&gateway).await;
        assert_eq!(&call(&mut client, "/test.Echo/Echo", Some(&token)).await.unwrap()[..], b"hello");
        for (path, token, code) in [
            ("/test.Echo/Echo", None, Code::Unauthenticated),
            ("/test.Echo/Echo", Some("a.b.c"), Code::Unauthenticated),
            ("/test.Echo/Other", Some(&*token), Code::Unimplemented),
        ] {
            let status = call(&mut client, path, token).await.unwrap_err();
            assert_eq!(status.code(), code, "{path} {status:?}");
        }
        let failed = call(&mut client, "/test.Echo/Fail", None).await.unwrap_err();
        assert_eq!(failed.message(), crate::support::grpc::FAILURE, "the service's own failure passes");
        assert!(call(&mut client, "/test.Echo/Echo", Some(&token)).await.is_ok());
        let throttled = call(&mut client, "/test.Echo/Echo", Some(&token)).await.unwrap_err();
        assert_eq!(throttled.code(), Code::ResourceExhausted, "{throttled:?}");
    });
}
