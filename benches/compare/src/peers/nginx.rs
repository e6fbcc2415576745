//! nginx: `proxy_pass` for HTTP/1.1, `grpc_pass` for HTTP/2, which carries one stream on each upstream connection.
//!
//! It decides by the subject who may call, since it has no variable for URI names, and by the DNS name which server is right.
//! A caller's certificate is judged in HTTP, after the handshake: a bad one is answered with 400.

use std::fmt::Write as _;

use tokio::process::Command;

use super::{CIPHER_SUITE, Direction, HttpVersion, Setup};
use crate::pki::{CLIENT_COMMON_NAME, SERVER_NAME};

pub(super) fn configure(setup: &Setup<'_>, command: &mut Command) -> anyhow::Result<()> {
    let folder = setup.folder.display();
    let direction = setup.direction.as_str();
    let server = match setup.direction {
        Direction::Inbound => inbound(setup),
        Direction::Outbound => outbound(setup),
    };
    let text = format!(
        "{user}worker_processes {workers}; daemon off; pid {folder}/{direction}.pid; worker_rlimit_nofile {files};\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n  access_log off; tcp_nodelay on; keepalive_requests 100000000; keepalive_timeout 3600s;\n  \
         client_header_timeout 3600s; client_max_body_size 0; proxy_http_version 1.1; proxy_request_buffering off;\n  \
         proxy_buffer_size 16k; proxy_buffers 16 16k; proxy_max_temp_file_size 0;\n\
         {temporary}  upstream target {{ server {target}; keepalive 512; keepalive_requests 100000000; \
         keepalive_timeout 3600s; }}\n{server}}}\n",
        user = user(),
        workers = setup.workers,
        files = crate::limits::open_files(),
        temporary = temporary_folders(setup.folder, direction)?,
        target = setup.target,
    );
    command.arg("-e").arg(setup.folder.join(format!("{direction}.error"))).arg("-c").arg(setup.write("conf", &text)?);
    Ok(())
}

/// Workers stay the user who started nginx, who alone may read the temporary folder; only root has to say so.
pub(crate) fn user() -> &'static str {
    if rustix::process::geteuid().is_root() { "user root;\n" } else { "" }
}

/// The directives that keep nginx's temporary files in `folder`.
pub(crate) fn temporary_folders(folder: &std::path::Path, prefix: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(text, "  {kind}_temp_path {}/{prefix}-{kind};", folder.display())?;
    }
    Ok(text)
}

fn inbound(setup: &Setup<'_>) -> String {
    let (pass, set_header) = match setup.to_target() {
        HttpVersion::Http1 => ("proxy_pass http://target;", "proxy_set_header Connection \"\"; proxy_set_header"),
        HttpVersion::Http2 => ("grpc_pass grpc://target;", "grpc_set_header"),
    };
    let credentials = setup.credentials();
    format!(
        "  server {{\n    listen {listen} ssl http2 reuseport backlog=4096;\n    \
         ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites {CIPHER_SUITE};\n    \
         ssl_certificate {certificate}; ssl_certificate_key {key};\n    \
         ssl_verify_client on; ssl_client_certificate {anchor}; ssl_crl {crl}; ssl_verify_depth 2;\n    \
         ssl_session_cache shared:sessions:50m; ssl_session_timeout 1h; ssl_session_tickets on;\n    \
         location / {{\n      if ($ssl_client_s_dn !~ \"CN={CLIENT_COMMON_NAME}(,|$)\") {{ return 403; }}\n      \
         {set_header} x-peer $ssl_client_s_dn; {pass}\n    }}\n  }}\n",
        listen = setup.listen,
        certificate = credentials.certificate.display(),
        key = credentials.private_key.display(),
        anchor = setup.pki.anchor.display(),
        crl = setup.crl.display(),
    )
}

fn outbound(setup: &Setup<'_>) -> String {
    let (kind, pass, accept) = match setup.to_target() {
        HttpVersion::Http1 => ("proxy", "proxy_pass https://target; proxy_set_header Connection \"\";", ""),
        HttpVersion::Http2 => ("grpc", "grpc_pass grpcs://target;", "http2"),
    };
    let credentials = setup.credentials();
    format!(
        "  server {{\n    listen {listen} {accept} reuseport backlog=4096;\n    location / {{\n      {pass}\n      \
         {kind}_ssl_protocols TLSv1.3; {kind}_ssl_conf_command Ciphersuites {CIPHER_SUITE};\n      \
         {kind}_ssl_verify on; {kind}_ssl_verify_depth 2; {kind}_ssl_trusted_certificate {anchor};\n      \
         {kind}_ssl_crl {crl}; {kind}_ssl_name {SERVER_NAME}; {kind}_ssl_server_name on; {kind}_ssl_session_reuse on;\n      \
         {kind}_ssl_certificate {certificate}; {kind}_ssl_certificate_key {key};\n    }}\n  }}\n",
        listen = setup.listen,
        anchor = setup.pki.anchor.display(),
        crl = setup.crl.display(),
        certificate = credentials.certificate.display(),
        key = credentials.private_key.display(),
    )
}
