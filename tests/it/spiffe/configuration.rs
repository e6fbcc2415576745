//! What the keys of an agent may be, and what changes while the process runs.

use std::process::Command;

use super::{agent_of, callee, serving, wait_for_serial};
use crate::support::mesh::inbound;
use crate::support::pki::{Pki, replace};
use crate::support::service::Service;
use crate::support::sidecar::Sidecar;

fn check(identity: &str, rest: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mantlet.toml");
    let text = format!("[identity]\n{identity}\n{rest}\n{}", callee("127.0.0.1:1", &["gateway"], ""));
    std::fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mantlet"))
        .args(["check", file.to_str().unwrap()])
        .env("SPIFFE_ENDPOINT_SOCKET", "unix:///run/spire/agent.sock")
        .output()
        .unwrap();
    // The report breaks long lines.
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = text.split_whitespace().filter(|word| !matches!(*word, "│" | "|")).collect();
    (output.status.success(), words.join(" "))
}

#[test]
fn a_socket_is_named_as_the_specification_has_it_also_by_the_environment() {
    for socket in ["unix:///run/spire/agent.sock", "unix:/run/spire/agent.sock", "${SPIFFE_ENDPOINT_SOCKET}"] {
        let (is_good, text) = check(&format!("workload_api = \"{socket}\""), "");
        assert!(
            is_good && text.contains("ours, which unix:///run/spire/agent.sock has to give before anything is served"),
            "{text}"
        );
        assert!(text.contains("/run/spire/agent.sock: there is no socket that this user can see"), "{text}");
        assert!(!text.contains("no certificate is checked for revocation"), "{text}");
    }
}

#[test]
fn each_key_of_an_agent_that_cannot_be_is_named_with_what_to_do() {
    for (identity, rest, wanted) in [
        ("workload_api = \"tcp://127.0.0.1:8081\"", "", "is no Unix socket: expected unix:///PATH"),
        ("workload_api = \"unix://host/run/agent.sock\"", "", "holds no absolute path alone: expected unix:///PATH"),
        (
            "workload_api = \"unix:///a.sock\"\ncertificate = \"a.pem\"",
            "",
            "identity.certificate is there beside identity.workload_api: expected one of the two",
        ),
        (
            "workload_api = \"unix:///a.sock\"\nauthority = \"https://ca\"",
            "",
            "identity.authority is there beside identity.workload_api: expected one of the two",
        ),
        ("workload_api = \"unix:///a.sock\"\nspiffe_id = \"ads\"", "", "does not begin with \"spiffe://\""),
        (
            "certificate = \"a.pem\"\nspiffe_id = \"spiffe://a/b\"",
            "[trust]\nanchors = [\"a.pem\"]",
            "identity.spiffe_id is there without identity.workload_api",
        ),
        (
            "workload_api = \"unix:///a.sock\"",
            "[trust]\nanchors_from_authority = true",
            "trust.anchors_from_authority is true without identity.authority",
        ),
    ] {
        let (is_good, text) = check(identity, rest);
        assert!(!is_good && text.contains(wanted), "{identity}: {text}");
    }
}

#[test]
fn a_running_sidecar_moves_from_files_to_an_agent_and_back() {
    let (pki, service) = (Pki::new(), Service::start());
    let files = pki.issue("adservice");
    let by_files = inbound(&pki, &files, service.address, &["gateway"], "", "");
    let sidecar = Sidecar::start(&by_files);
    wait_for_serial(&sidecar, &files);
    let (agent, given) = agent_of(&pki, "backup");
    replace(&sidecar.config, &(agent.identity("") + &callee(service.address, &["gateway"], "")));
    wait_for_serial(&sidecar, &given);
    sidecar.wait_for_status("readiness", |status| status["ready"] == true);
    sidecar.reconfigure(&by_files);
    wait_for_serial(&sidecar, &files);
    assert!(sidecar.status()["enrolment"].is_null());
    // The agent is heard no more.
    agent.push(&crate::support::spiffe_agent::X509SvidResponse::of(&pki.issue("backup"), &pki));
    sidecar.signal("HUP");
    sidecar.wait_for_status("files", |status| status["identity"]["serial"] == files.serial_hex().as_str());
}

#[test]
fn a_reload_keeps_the_stream_and_what_was_given() {
    let (pki, service) = (Pki::new(), Service::start());
    let (agent, given) = agent_of(&pki, "adservice");
    let sidecar = serving(&agent, service.address, &["gateway"], "");
    sidecar.reconfigure(&(agent.identity("") + &callee(service.address, &["gateway", "backup"], "")));
    wait_for_serial(&sidecar, &given);
    assert_eq!(agent.asked(), 1);
    let next = pki.issue("adservice");
    agent.push(&crate::support::spiffe_agent::X509SvidResponse::of(&next, &pki));
    wait_for_serial(&sidecar, &next);
}
