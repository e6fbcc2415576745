//! A sidecar that dies at any moment of enrolment and renewal.

use std::time::Duration;

use mantlet::x509::{Credential, read_certificates};

use super::authority::Authority;
use super::{Home, inbound};
use crate::support::service::Service;
use crate::support::sidecar::Sidecar;

/// How often it is killed.
const ROUNDS: u64 = 36;
/// A certificate is renewed after some two of these seconds.
const LIFETIME: Duration = Duration::from_secs(3);
/// The latest moment of a death after a start, in milliseconds: beyond the first certificate, and beyond a renewal.
const LATEST: [u64; 2] = [900, 2000];

/// Whatever the folder holds belongs together: a key that fits its certificate, and anchors that can be read.
fn assert_whole(home: &Home, round: u64) {
    if home.credential().exists() {
        Credential::read(&home.credential()).unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    if home.anchors().exists() {
        let anchors = read_certificates(&home.anchors()).unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(!anchors.is_empty(), "round {round}");
    }
}

#[test]
fn a_sidecar_killed_at_any_moment_of_enrolment_and_renewal_comes_back_with_a_key_that_fits() {
    let (authority, home, service) = (Authority::start(LIFETIME), Home::new(), Service::start());
    authority.register("adservice");
    let bootstrap = home.0.path().join("bootstrap.pem");
    authority.ca(&["bootstrap", "adservice", "--out", bootstrap.to_str().unwrap()]);
    let identity = home.identity(authority.url(), &authority.pin()).replace(
        &format!("bootstrap_secret_file = \"{}\"", home.secret_file().display()),
        &format!("bootstrap = \"{}\"", bootstrap.display()),
    );
    let config = identity + &inbound(service.address);
    let (mut before_the_first, mut certificates) = (0, std::collections::HashSet::new());
    for round in 0..ROUNDS {
        // A folder that is as empty as before the first start, again and again.
        let is_first = round % 3 == 0;
        if is_first {
            let _ = std::fs::remove_dir_all(home.state());
        }
        let sidecar = Sidecar::start(&config);
        // The moment is the point of the test, and nothing is waited for.
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..=LATEST[usize::from(!is_first)])));
        sidecar.signal("KILL");
        drop(sidecar);
        assert_whole(&home, round);
        match Credential::read(&home.credential()) {
            Ok(credential) => drop(certificates.insert(credential.info.serial.to_string())),
            Err(_) => before_the_first += 1,
        }
    }
    assert!(certificates.len() > 5, "hardly anything was certified between the kills: {certificates:?}");
    println!("{before_the_first} of {ROUNDS} deaths before the first certificate, {} certificates", certificates.len());
    // It serves with what it holds, and what it presents is that.
    let sidecar = Sidecar::start(&config);
    let status = sidecar.wait_for_status("readiness", |status| status["ready"] == true);
    let held = Credential::read(&home.credential()).unwrap();
    let presented = status["identity"]["serial"].as_str().unwrap().to_owned();
    // A renewal may come between the two.
    if presented != held.info.serial.to_string() {
        sidecar
            .wait_for_status("renewal", |status| status["identity"]["serial"] == held.info.serial.to_string().as_str());
    }
}
