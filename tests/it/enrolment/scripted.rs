//! What an authority of mantlet never does, and what must not be believed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use mantlet::x509::CertificateInfo;

use super::est_server::EstServer;
use super::{Home, inbound, mode, wait_for_readyz};
use crate::support::pki::Pki;
use crate::support::service::Service;
use crate::support::sidecar::Sidecar;

fn pin(pki: &Pki) -> String {
    let info = CertificateInfo::from_der(&pki.der()).unwrap();
    format!("authority_fingerprint = \"sha256:{}\"", info.fingerprint_hex())
}

/// A sidecar that enrols by a secret at this server, whose anchor it knows by its fingerprint.
fn enrolling(home: &Home, server: &EstServer, pin: &str) -> (Sidecar, Service) {
    home.write_secret("the-secret-of-ads\n");
    let service = Service::start();
    let config = format!("{}{}", home.identity(server.url(), pin), inbound(service.address));
    (Sidecar::start(&config), service)
}

#[test]
fn a_key_made_here_is_certified_and_kept_for_its_owner_alone() {
    let (home, pki) = (Home::new(), Pki::new());
    let pin = pin(&pki);
    let server = EstServer::start(pki);
    let (sidecar, _service) = enrolling(&home, &server, &pin);
    let told = sidecar.wait_for("certificate", |event| event["message"] == "certified by the authority");
    assert_eq!(told["proof"], "one-time secret");
    sidecar.address("ads");
    sidecar
        .wait_for_status("readiness", |status| status["ready"] == true && status["enrolment"]["state"] == "certified");
    assert_eq!((mode(&home.state()), mode(&home.credential())), (0o700, 0o600));
    let text = fs::read_to_string(home.credential()).unwrap();
    assert!(text.contains("PRIVATE KEY") && text.contains("CERTIFICATE"));
    let sent: Vec<String> = server.requests().concat().lines().map(str::to_owned).collect();
    assert!(sent.iter().any(|line| line.starts_with("authorization: Basic ")), "{sent:?}");
}

#[test]
fn a_wrong_fingerprint_is_refused_before_anything_secret_is_sent() {
    let (home, pki) = (Home::new(), Pki::new());
    let pin = pin(&Pki::new());
    let server = EstServer::start(pki);
    let (sidecar, _service) = enrolling(&home, &server, &pin);
    let why = wait_for_readyz(&sidecar, "serves no anchor of the fingerprint");
    assert!(why.contains("compare identity.authority_fingerprint with"), "{why}");
    assert!(!home.anchors().exists() && !home.credential().exists());
    let requests = server.requests();
    assert!(requests.iter().all(|request| request.starts_with("GET /.well-known/est/cacerts ")), "{requests:?}");
    assert!(!requests.concat().to_lowercase().contains("authorization"), "{requests:?}");
}

#[test]
fn whoever_takes_the_authoritys_place_later_neither_certifies_nor_changes_an_anchor() {
    let (home, pki) = (Home::new(), Pki::new());
    let pin = pin(&pki);
    let server = EstServer::start(pki);
    server.change(|script| script.lifetime = Duration::from_secs(6));
    let (sidecar, _service) = enrolling(&home, &server, &pin);
    sidecar.wait_for("certificate", |event| event["message"] == "certified by the authority");
    let believed = fs::read(home.anchors()).unwrap();
    server.replace(Pki::named("somebody else"));
    // One that waits for word of changes may be on its way still, over a connection of before.
    let asked = || server.requests().iter().filter(|request| !request.contains("/mantlet/events")).count();
    let seen = asked();
    let failed = sidecar.wait_for("failure", |event| {
        event["message"] == "our certificate is not renewed" && event["reason"] == "distrusted"
    });
    assert!(failed["error"].as_str().unwrap().contains("does not prove to be the authority"), "{failed}");
    sidecar.wait_for_metric("mantlet_identity_renewal_failing", &[].into(), 1.0);
    assert_eq!(fs::read(home.anchors()).unwrap(), believed);
    assert_eq!(asked(), seen, "nothing is asked of a server that proves nothing");
    sidecar.wait_for("stage", |event| {
        event["message"].as_str().unwrap().contains("of our certificate's lifetime is left")
    });
    sidecar.wait_for("end", |event| event["message"].as_str().unwrap().starts_with("our certificate has expired"));
}

#[test]
fn a_one_time_secret_is_not_sent_again_once_it_has_brought_a_certificate_that_expired() {
    let (home, pki) = (Home::new(), Pki::new());
    let pin = pin(&pki);
    let server = EstServer::start(pki);
    server.change(|script| script.lifetime = Duration::from_secs(3));
    let (sidecar, _service) = enrolling(&home, &server, &pin);
    sidecar.wait_for("certificate", |event| event["message"] == "certified by the authority");
    server.change(|script| script.refusal = Some(("503 Service Unavailable", "unavailable", "the store is away")));
    let why = wait_for_readyz(&sidecar, "the one-time secret has been used already, and our certificate expired");
    assert!(
        why.contains("make another secret with \\\"mantlet ca secret adservice --dir DIR\\\"")
            || why.contains("make another secret with \"mantlet ca secret adservice --dir DIR\""),
        "{why}"
    );
    let enrolled =
        server.requests().iter().filter(|request| request.starts_with("POST /.well-known/est/simpleenroll ")).count();
    assert_eq!(enrolled, 1);
    // Another secret brings another certificate, without a restart.
    server.change(|script| (script.refusal, script.lifetime) = (None, Duration::from_secs(3600)));
    home.write_secret("another-secret");
    sidecar.wait_for_status("readiness", |status| status["ready"] == true);
}

#[test]
fn a_refusal_is_told_by_name_with_what_to_do() {
    for (label, remedy) in [
        ("suspended", "the registration of adservice is suspended"),
        ("credential", "make another secret with"),
        ("removed", "register it again"),
    ] {
        let (home, pki) = (Home::new(), Pki::new());
        let pin = pin(&pki);
        let server = EstServer::start(pki);
        server.change(|script| script.refusal = Some(("403 Forbidden", label, "no certificate for you")));
        let (sidecar, _service) = enrolling(&home, &server, &pin);
        let why = wait_for_readyz(&sidecar, remedy);
        assert!(
            why.contains(
                "the authority answers 403 Forbidden to a request by the one-time secret: no certificate for you"
            ),
            "{why}"
        );
        let status = sidecar.status();
        assert_eq!(
            (status["enrolment"]["state"].as_str(), status["enrolment"]["reason"].as_str()),
            (Some("missing"), Some(label))
        );
        assert!(!home.credential().exists());
    }
}

#[test]
fn what_was_not_certified_for_our_key_is_not_used() {
    let (home, pki) = (Home::new(), Pki::new());
    let pin = pin(&pki);
    let server = EstServer::start(pki);
    server.change(|script| script.swaps_keys = true);
    let (sidecar, _service) = enrolling(&home, &server, &pin);
    wait_for_readyz(&sidecar, "the private key is not that of the certificate");
    assert!(!home.credential().exists());
}

#[test]
fn anchors_that_do_not_certify_the_authority_itself_are_not_taken() {
    let (home, pki, other) = (Home::new(), Pki::new(), Pki::named("a root of somebody else"));
    let pin = pin(&pki);
    let server = EstServer::start(pki);
    let (sidecar, _service) = enrolling(&home, &server, &pin);
    sidecar.wait_for("certificate", |event| event["message"] == "certified by the authority");
    let believed = fs::read(home.anchors()).unwrap();
    // The certificate that comes with them leads to none of them either.
    server.change(|script| {
        script.anchors = vec![other.der()];
        script.lifetime = Duration::from_secs(3);
    });
    fs::remove_file(home.credential()).unwrap();
    home.write_secret("another-secret");
    sidecar.wait_for("refusal", |event| event["message"] == "we are not certified" && event["reason"] == "unusable");
    assert_eq!(fs::read(home.anchors()).unwrap(), believed);
    assert!(!home.credential().exists());
}

#[test]
fn an_answer_that_is_none_is_refused() {
    for body in [&b"nonsense"[..], b"", b"MAMCAQE="] {
        let (home, pki) = (Home::new(), Pki::new());
        let pin = pin(&pki);
        let server = EstServer::start(pki);
        server.change(|script| script.body = Some(body.to_vec()));
        let (sidecar, _service) = enrolling(&home, &server, &pin);
        wait_for_readyz(&sidecar, "the authority's answer to /.well-known/est/cacerts cannot be used");
    }
    let (home, pki) = (Home::new(), Pki::new());
    let pin = pin(&pki);
    let server = EstServer::start(pki);
    server.change(|script| script.body = Some(vec![b'A'; 300_000]));
    let (sidecar, _service) = enrolling(&home, &server, &pin);
    wait_for_readyz(&sidecar, "the connection broke: length limit exceeded");
}

#[test]
fn a_clock_that_differs_from_the_authoritys_is_told() {
    let (home, pki) = (Home::new(), Pki::new());
    let pin = pin(&pki);
    let server = EstServer::start(pki);
    server.change(|script| script.ahead = Duration::from_secs(90));
    let (sidecar, _service) = enrolling(&home, &server, &pin);
    sidecar.wait_for("skew", |event| {
        event["message"].as_str().unwrap().contains("behind the authority's; set one of the two")
    });
    let status = sidecar.wait_for_status("certificate", |status| status["enrolment"]["state"] == "certified");
    let skew = status["enrolment"]["clock_skew_seconds"].as_i64().unwrap();
    assert!((88..=90).contains(&skew), "{skew}");
    assert!(sidecar.metric("mantlet_authority_clock_skew_seconds", &[].into()) > 80.0);
    assert!(status["warnings"].to_string().contains("set one of the two"), "{status}");
}

#[test]
fn a_folder_that_others_may_write_to_and_a_key_that_others_may_read_are_refused() {
    let home = Home::new();
    home.write_secret("secret");
    fs::create_dir(home.state()).unwrap();
    fs::write(home.credential(), "").unwrap();
    let pin = pin(&Pki::new());
    let config = format!("{}{}", home.identity("https://127.0.0.1:1", &pin), inbound("127.0.0.1:1"));
    for (folder, key, wanted) in [
        (0o777, 0o600, "anyone may write to it, and so decide whom we believe"),
        (0o770, 0o600, "its group may write to it, and so decide whom we believe"),
        (0o700, 0o640, "its group may read the key or replace it, and so stand for us"),
    ] {
        fs::set_permissions(home.state(), fs::Permissions::from_mode(folder)).unwrap();
        fs::set_permissions(home.credential(), fs::Permissions::from_mode(key)).unwrap();
        let (status, text) = Sidecar::start_and_fail(&config);
        assert!(!status.success());
        assert!(text.contains(wanted) && text.contains("chmod "), "{text}");
    }
}

#[test]
fn what_others_may_write_to_in_the_folder_is_refused_by_name_and_a_link_is_not_followed() {
    let (home, planted) = (Home::new(), Pki::named("a root of somebody else"));
    home.write_secret("secret");
    fs::create_dir(home.state()).unwrap();
    let pin = pin(&Pki::new());
    let config = format!("{}{}", home.identity("https://127.0.0.1:1", &pin), inbound("127.0.0.1:1"));
    // Nobody else may write to the folder any more, and what is in it is of the time when they could.
    fs::set_permissions(home.state(), fs::Permissions::from_mode(0o755)).unwrap();
    for (file, mode, wanted) in [
        ("anchors.pem", 0o666, "anyone may write to it, and so decide what we believe: the mode of the file is 0666"),
        (
            "anchors.pem",
            0o664,
            "its group may write to it, and so decide what we believe: the mode of the file is 0664",
        ),
        ("secret.used", 0o666, "anyone may write to it, and so decide what we believe: the mode of the file is 0666"),
    ] {
        let file = home.state().join(file);
        fs::copy(planted.anchors(), &file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let (status, text) = Sidecar::start_and_fail(&config);
        assert!(!status.success());
        assert!(text.contains(&format!("{}: {wanted}", file.display())) && text.contains("remove "), "{text}");
        fs::remove_file(&file).unwrap();
    }
    std::os::unix::fs::symlink(planted.anchors(), home.anchors()).unwrap();
    let (status, text) = Sidecar::start_and_fail(&config);
    assert!(!status.success() && text.contains("is no regular file: expected neither a symbolic link"), "{text}");
}

#[test]
fn anchors_that_others_may_write_to_are_not_taken_up_by_a_reload() {
    let (home, pki, planted) = (Home::new(), Pki::new(), Pki::named("a root of somebody else"));
    let pin = pin(&pki);
    let server = EstServer::start(pki);
    let (sidecar, _service) = enrolling(&home, &server, &pin);
    sidecar.wait_for_status("readiness", |status| status["ready"] == true);
    let both = fs::read_to_string(home.anchors()).unwrap() + &fs::read_to_string(planted.anchors()).unwrap();
    fs::write(home.anchors(), both).unwrap();
    fs::set_permissions(home.anchors(), fs::Permissions::from_mode(0o666)).unwrap();
    sidecar.signal("HUP");
    sidecar.wait_for("refusal", |event| event.to_string().contains("anchors.pem: anyone may write to it"));
    assert_eq!(sidecar.status()["anchors"].as_array().unwrap().len(), 1);
}

#[test]
fn before_the_first_certificate_anchors_in_the_folder_do_not_beat_the_fingerprint() {
    let planted = Pki::named("a root of somebody else");
    let plant = |home: &Home, anchors: &str| {
        fs::create_dir(home.state()).unwrap();
        fs::set_permissions(home.state(), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(home.anchors(), anchors).unwrap();
        fs::set_permissions(home.anchors(), fs::Permissions::from_mode(0o644)).unwrap();
    };
    let foreign = fs::read_to_string(planted.anchors()).unwrap();
    // Whether the true anchor is among them or not, it alone is believed.
    for with_ours in [false, true] {
        let (home, pki) = (Home::new(), Pki::new());
        let (pin, ours) = (pin(&pki), fs::read_to_string(pki.anchors()).unwrap());
        plant(&home, &if with_ours { ours + &foreign } else { foreign.clone() });
        let server = EstServer::start(pki);
        let (sidecar, _service) = enrolling(&home, &server, &pin);
        sidecar.wait_for_status("readiness", |status| status["ready"] == true);
        assert_eq!(sidecar.status()["anchors"].as_array().unwrap().len(), 1);
        assert!(!fs::read_to_string(home.anchors()).unwrap().contains(foreign.lines().nth(3).unwrap()));
    }
    // Nor is whoever they belong to sent the secret.
    let home = Home::new();
    let pin = pin(&Pki::new());
    plant(&home, &foreign);
    let server = EstServer::start(planted);
    let (sidecar, _service) = enrolling(&home, &server, &pin);
    wait_for_readyz(&sidecar, "serves no anchor of the fingerprint");
    assert!(!home.credential().exists());
    assert!(!server.requests().concat().to_lowercase().contains("authorization"));
}

#[test]
fn an_authority_that_is_away_is_waited_for() {
    let (home, pki) = (Home::new(), Pki::new());
    let pin = pin(&pki);
    home.write_secret("secret");
    let service = Service::start();
    // Nothing listens on a port that was bound and closed.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = |authority: String| format!("{}{}", home.identity(authority, &pin), inbound(service.address));
    let sidecar = Sidecar::start(&config(format!("https://{nobody}")));
    let why = wait_for_readyz(&sidecar, "cannot be connected to at");
    assert!(why.contains("look whether the authority runs"), "{why}");
    let server = EstServer::start(pki);
    sidecar.reconfigure(&config(server.url()));
    sidecar.wait_for_status("readiness", |status| status["ready"] == true);
    sidecar.address("ads");
}
