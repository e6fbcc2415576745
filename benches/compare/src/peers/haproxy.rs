//! HAProxy in HTTP mode. It reads neither URI names nor SPIFFE IDs: who may call is decided by the common name, and which server
//! is right by its DNS name. Its counters are always on.

use tokio::process::Command;

use super::{CIPHER_SUITE, Direction, HttpVersion, Setup};
use crate::pki::{CLIENT_COMMON_NAME, SERVER_NAME};

pub(super) fn configure(setup: &Setup<'_>, command: &mut Command) -> anyhow::Result<()> {
    let tls = format!(
        "ssl crt {crt} ca-file {ca} crl-file {crl} verify required alpn {alpn}",
        crt = setup.credentials().bundle.display(),
        ca = setup.pki.anchor.display(),
        crl = setup.crl.display(),
        alpn = setup.alpn().join(","),
    );
    let (bind, caller, server) = match setup.direction {
        Direction::Inbound => {
            let caller = format!(
                "  http-request deny unless {{ ssl_c_s_dn(cn) -m str {CLIENT_COMMON_NAME} }}\n  \
                 http-request set-header x-peer %[ssl_c_s_dn(cn)]\n"
            );
            let version = if setup.to_target() == HttpVersion::Http2 { "proto h2" } else { "" };
            (tls, caller, version.to_owned())
        }
        Direction::Outbound => {
            (String::new(), String::new(), format!("{tls} verifyhost {SERVER_NAME} sni str({SERVER_NAME})"))
        }
    };
    let text = format!(
        "global\n  nbthread {workers}\n  maxconn 9000\n  tune.ssl.cachesize 20000\n  \
         ssl-default-bind-ciphersuites {CIPHER_SUITE}\n  ssl-default-server-ciphersuites {CIPHER_SUITE}\n  \
         ssl-default-bind-options ssl-min-ver TLSv1.3\n  ssl-default-server-options ssl-min-ver TLSv1.3\n\
         defaults\n  mode http\n  http-reuse always\n  option http-keep-alive\n  timeout connect 5s\n  \
         timeout client 1h\n  timeout server 1h\n  timeout http-request 1h\n  timeout http-keep-alive 1h\n\
         frontend here\n  bind {listen} {bind}\n{caller}  default_backend there\n\
         backend there\n  server target {target} {server}\n",
        workers = setup.workers,
        listen = setup.listen,
        target = setup.target,
    );
    command.args(["-db", "-q", "-f"]).arg(setup.write("cfg", &text)?);
    Ok(())
}
