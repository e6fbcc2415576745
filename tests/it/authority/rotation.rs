//! The authority's own keys are replaced while services enrol.

use super::rig::{Rig, openssl, text};

fn judged(rig: &Rig, name: &str) -> String {
    let output = std::process::Command::new("openssl")
        .args([
            "verify",
            "-x509_strict",
            "-CAfile",
            &rig.text_path("ca/ca.pem"),
            "-untrusted",
            &rig.text_path("bundle.pem"),
        ])
        .arg(rig.path(&format!("{name}.pem")))
        .output()
        .unwrap();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn a_rotation_walks_from_the_old_anchor_to_the_new_one() {
    for init in [&[][..], &["--intermediate"]] {
        let rig = Rig::with(init, "distribution_point = \"http://ca:8480/ca.crl\"", "");
        let bundle = || rig.keep("bundle", &rig.curl("/.well-known/est/cacerts", &[]));
        let secret = rig.register("ads", &["--max-ttl", "1h"]);
        rig.enrolled("ads", &secret);
        let before = rig.events("ads", "wait=0");
        assert_eq!(before["renew"], false);
        let status = rig.ca(&["rotate", "status"]);
        assert!(status.contains("no rotation is on its way") && status.contains("mantlet ca rotate start"), "{status}");
        assert!(rig.refused(&["rotate", "switch"]).contains("the newest keys issue already"));

        rig.ca(&["rotate", "start"]);
        let tag = before["tag"].as_str().unwrap();
        let published = rig.events("ads", &format!("since={tag}&wait=50"));
        assert_ne!(published["anchors"], before["anchors"], "holders are told of the new anchor");
        assert_eq!(published["renew"], false, "the old keys go on issuing");
        assert!(rig.refused(&["rotate", "start"]).contains("a rotation is on its way already"));
        assert_eq!(rig.curl_plain("/ca.pem", &[]).body.matches("BEGIN CERTIFICATE").count(), 2);

        rig.ca(&["rotate", "switch"]);
        let tag = published["tag"].as_str().unwrap();
        assert_eq!(rig.events("ads", &format!("since={tag}&wait=50"))["renew"], true, "holders are told to renew");
        assert!(rig.refused(&["rotate", "retire"]).contains("certificates of the old keys that are valid still: 1"));
        let request = rig.request("ads-next", "/CN=x");
        let identity = rig.identity("ads");
        let options: Vec<&str> = identity.iter().map(String::as_str).collect();
        let answered = rig.enrol("simplereenroll", &request, &options);
        assert_eq!(answered.status, 200, "{}", answered.body);
        let renewed = rig.keep("ads-next", &answered);
        bundle();
        for name in ["ads", "ads-next"] {
            assert!(judged(&rig, name).contains("OK"), "{}", judged(&rig, name));
        }
        let shown = openssl(&["x509", "-in", renewed.to_str().unwrap(), "-noout", "-text"]);
        assert!(shown.contains("URI:http://ca:8480/ca-2.crl"), "{shown}");
        for path in ["/ca.crl", "/ca-1.crl", "/ca-2.crl"] {
            let sink = ["--output", "/dev/null", "--dump-header", "-", "--no-include"];
            assert_eq!(rig.curl_plain(path, &sink).status, 200, "{path}");
        }

        rig.ca(&["revoke", "--cert", &rig.text_path("ads.pem"), "--reason", "superseded"]);
        let retired = rig.ca(&["rotate", "retire"]);
        assert!(retired.contains("generation 2 issues, and its anchor alone is published"), "{retired}");
        let next = rig.events("ads-next", "wait=0");
        assert_eq!(next["renew"], false);
        bundle();
        assert!(judged(&rig, "ads-next").contains("OK"));
        assert!(!judged(&rig, "ads").contains("OK"));
    }
}

#[test]
fn services_enrol_all_through_a_rotation() {
    let rig = Rig::with(&[], "", "[limits]\nname_per_minute = 100000\n");
    rig.register("ads", &[]);
    rig.ca(&["bootstrap", "ads", "--out", &rig.text_path("b.pem")]);
    let request = rig.request("k", "/CN=x");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let mut statuses = Vec::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                statuses.push(rig.enrol("simpleenroll", &request, &["--cert", &rig.text_path("b.pem")]).status);
            }
            statuses
        });
        for step in ["start", "switch"] {
            rig.ca(&["rotate", step]);
        }
        // Until then it proves itself by the old key, whose anchor goes with the next step.
        rig.server.wait_for("a certificate of the new key", |event| {
            event["message"] == "the server's own certificate was renewed"
        });
        rig.ca(&["rotate", "retire", "--unsafe-cut"]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let statuses = caller.join().unwrap();
        assert!(!statuses.is_empty() && statuses.iter().all(|status| *status == 200), "{statuses:?}");
    });
}
