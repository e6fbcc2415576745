//! The whole story, with real sidecars; and the flow by itself, on a market that runs already.

use std::process::Command;

use serde_json::Value;

use crate::support::market::{Market, flea_market, mantlet};

#[test]
fn every_step_is_verified_and_every_attack_is_refused_with_its_reason() {
    let output = Command::new(env!("CARGO_BIN_EXE_flea-market")).arg("--json").args(mantlet()).output().unwrap();

    let told = String::from_utf8_lossy(&output.stderr);
    let story: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {told}"));
    assert_eq!(story["passed"], true, "{story:#}\n{told}");
    assert!(output.status.success(), "{told}");
    assert_eq!(story["steps"].as_array().unwrap().len(), 8);
    assert_eq!(story["attacks"].as_array().unwrap().len(), 37);
    assert_eq!(story["answer"]["authenticated_caller"], "spiffe://fleamarket.internal/gateway");
    assert_eq!(story["answer"]["known_to_users_as"], "spiffe://fleamarket.internal/adservice");
    assert_eq!(story["answer"]["ads"][0]["seller"]["name"], "Anneke Brandt");
}

#[test]
fn the_flow_goes_through_a_market_that_runs_already() {
    let market = Market::up();
    let own = ["--gateway", market.text("gateway"), "--issuer", market.text("issuer"), "--ca", market.text("ca")];
    let admins = [
        "--gateway-admin",
        market.text("gateway_admin"),
        "--adservice-admin",
        market.text("adservice_admin"),
        "--userservice-admin",
        market.text("userservice_admin"),
    ];
    let more = ["--attacks", "--keys", market.text("keys")];
    for (options, attacks) in [(&[][..], 0), (&admins, 0), (&more, 20), (&more[..1], 15)] {
        let output = flea_market(&[&["flow", "--json"], &own[..], options].concat());
        let story: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(story["passed"], true, "{story:#}");
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(story["steps"].as_array().unwrap().len(), 8);
        assert_eq!(story["attacks"].as_array().unwrap().len(), attacks);
    }
}

#[test]
fn a_flow_that_does_not_go_as_it_should_says_so_with_its_exit_code() {
    let market = Market::up();
    let own =
        ["flow", "--gateway", market.text("gateway"), "--issuer", market.text("issuer"), "--ca", market.text("ca")];
    let output = flea_market(&[&own[..], &["--password", "wrong"]].concat());

    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("the issuer gives anneke@example.org no token: 400 Bad Request"), "{told}");
}

#[test]
fn a_mantlet_that_is_not_there_is_named() {
    let output = flea_market(&["--mantlet", "/nowhere/mantlet"]);

    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("--mantlet /nowhere/mantlet cannot be used: No such file"), "{told}");
}
