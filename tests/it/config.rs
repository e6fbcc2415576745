//! Configuration files: what is read, what is refused, and what the refusal says.

use std::ffi::OsString;
use std::path::Path;

use mantlet::config::{Config, Problem, Problems};

const GOOD: &str = r#"
[identity]
certificate = "certs/ads.pem"
private_key = "certs/ads.key"

[trust]
anchors = ["certs/ca.pem"]

[revocation]
sources = ["certs/ca.crl"]

[[inbound]]
name = "ads"
listen = "0.0.0.0:8443"
forward_to = "127.0.0.1:8080"
allow = ["spiffe://fleamarket.internal/gateway"]

[[outbound]]
name = "users"
listen = "127.0.0.1:9001"
connect_to = "userservice:8443"
"#;

fn environment(name: &str) -> Option<OsString> {
    match name {
        "PORT" => Some("8443".into()),
        "WORKERS" => Some("3".into()),
        "ACCESS" => Some("true".into()),
        "DIR" => Some("/etc/mantlet".into()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<(Config, Vec<Problem>), Problems> {
    Config::parse_with(Path::new("conf/ads.toml"), text, &environment)
}

#[test]
fn a_good_file_is_read_with_its_defaults() {
    let (config, warnings) = parse(GOOD).expect("good");
    assert_eq!(warnings, []);
    insta::assert_debug_snapshot!(config);
}
