//! Envoy: HTTP connection manager, a CRL, an RBAC rule for who may call, `x-forwarded-client-cert` with the caller's URI.
//!
//! Statistics are on, as they are by default; request ids and Envoy's own headers are off.

use serde_json::{Value, json};
use tokio::process::Command;

use super::{Direction, HttpVersion, Setup};
use crate::pki::{CLIENT_ID, SERVER_ID, SERVER_NAME};

const TYPES: &str = "type.googleapis.com/envoy.extensions";

pub(super) fn configure(setup: &Setup<'_>, command: &mut Command) -> anyhow::Result<()> {
    let bootstrap = json!({
        "admin": { "address": address(setup.admin) },
        "static_resources": { "listeners": [listener(setup)], "clusters": [cluster(setup)] },
    });
    let file = setup.write("json", &bootstrap.to_string())?;
    command.arg("-c").arg(file).args(["--concurrency", &setup.workers.to_string()]);
    command.args(["--disable-hot-restart", "-l", "error"]);
    Ok(())
}

fn listener(setup: &Setup<'_>) -> Value {
    let mut manager = json!({
        "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "codec_type": "AUTO",
        "stat_prefix": setup.direction.as_str(),
        "generate_request_id": false,
        "server_header_transformation": "PASS_THROUGH",
        "route_config": { "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "target", "timeout": "0s" } }],
        }] },
        "http_filters": [{ "name": "router", "typed_config": {
            "@type": format!("{TYPES}.filters.http.router.v3.Router"),
            "suppress_envoy_headers": true,
        } }],
    });
    let mut chain = json!({});
    if setup.direction == Direction::Inbound {
        manager["forward_client_cert_details"] = "SANITIZE_SET".into();
        manager["set_current_client_cert_details"] = json!({ "uri": true });
        if let Some(filters) = manager["http_filters"].as_array_mut() {
            filters.insert(0, authorization());
        }
        chain["transport_socket"] = json!({ "name": "tls", "typed_config": {
            "@type": format!("{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": tls(setup),
            "require_client_certificate": true,
        } });
    }
    chain["filters"] = json!([{ "name": "http", "typed_config": manager }]);
    json!({
        "name": setup.direction.as_str(),
        "address": address(setup.listen),
        "connection_balance_config": { "exact_balance": {} },
        "filter_chains": [chain],
    })
}

/// The rule that `allow` is in mantlet.
fn authorization() -> Value {
    let caller = json!({ "authenticated": { "principal_name": { "exact": CLIENT_ID } } });
    json!({ "name": "rbac", "typed_config": {
        "@type": format!("{TYPES}.filters.http.rbac.v3.RBAC"),
        "rules": { "action": "ALLOW", "policies": { "callers": {
            "permissions": [{ "any": true }],
            "principals": [caller],
        } } },
    } })
}

fn cluster(setup: &Setup<'_>) -> Value {
    let version = match setup.to_target() {
        HttpVersion::Http1 => "http_protocol_options",
        HttpVersion::Http2 => "http2_protocol_options",
    };
    let unbounded = 100_000;
    let mut cluster = json!({
        "name": "target",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": { "thresholds": [{
            "max_connections": unbounded, "max_pending_requests": unbounded, "max_requests": unbounded,
        }] },
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": format!("{TYPES}.upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": { version: {} },
        } },
        "load_assignment": { "cluster_name": "target", "endpoints": [{
            "lb_endpoints": [{ "endpoint": { "address": address(setup.target) } }],
        }] },
    });
    if setup.direction == Direction::Outbound {
        cluster["transport_socket"] = json!({ "name": "tls", "typed_config": {
            "@type": format!("{TYPES}.transport_sockets.tls.v3.UpstreamTlsContext"),
            "common_tls_context": tls(setup),
            "sni": SERVER_NAME,
        } });
    }
    cluster
}

fn tls(setup: &Setup<'_>) -> Value {
    let credentials = setup.credentials();
    let mut validation = json!({ "trusted_ca": { "filename": setup.pki.anchor }, "crl": { "filename": setup.crl } });
    if setup.direction == Direction::Outbound {
        validation["match_typed_subject_alt_names"] = json!([{ "san_type": "URI", "matcher": { "exact": SERVER_ID } }]);
    }
    json!({
        "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
        "alpn_protocols": setup.alpn(),
        "tls_certificates": [{
            "certificate_chain": { "filename": credentials.certificate },
            "private_key": { "filename": credentials.private_key },
        }],
        "validation_context": validation,
    })
}

fn address(address: std::net::SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip(), "port_value": address.port() } })
}
