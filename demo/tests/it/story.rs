//! The whole story, with real sidecars.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn every_hop_is_verified_and_every_attack_is_refused_with_its_reason() {
    let flea_market = Path::new(env!("CARGO_BIN_EXE_flea-market"));
    let mut command = Command::new(flea_market);
    command.arg("--json");
    // The tests of the whole workspace have built it a moment ago; building it by itself would build its libraries again.
    let mantlet = flea_market.with_file_name("mantlet");
    if mantlet.is_file() {
        command.arg("--mantlet").arg(mantlet);
    }
    let output = command.output().unwrap();

    let told = String::from_utf8_lossy(&output.stderr);
    let story: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {told}"));
    assert_eq!(story["passed"], true, "{story:#}\n{told}");
    assert!(output.status.success(), "{told}");
    assert_eq!(story["steps"].as_array().unwrap().len(), 7);
    assert_eq!(story["attacks"].as_array().unwrap().len(), 15);
    assert_eq!(story["answer"]["authenticated_caller"], "spiffe://fleamarket.internal/gateway");
    assert_eq!(story["answer"]["known_to_users_as"], "spiffe://fleamarket.internal/adservice");
    assert_eq!(story["answer"]["ads"][0]["seller"]["name"], "Anneke Brandt");
}

#[test]
fn a_mantlet_that_is_not_there_is_named() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_flea-market")).args(["--mantlet", "/nowhere/mantlet"]).output().unwrap();

    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("--mantlet /nowhere/mantlet cannot be used: No such file"), "{told}");
}
