//! What an agent gives is used, for as long as it is good.

use std::time::Instant;

use super::{callee, caller, lasting, serial, serving, wait_for_serial};
use crate::support::load::{Load, Version};
use crate::support::pki::Pki;
use crate::support::service::{Service, get};
use crate::support::sidecar::{PATIENCE, Sidecar};
use crate::support::spiffe_agent::{SpiffeAgent, X509Svid, X509SvidResponse};

const GATEWAY: &str = "spiffe://fleamarket.internal/gateway";
const ADS: &str = "spiffe://fleamarket.internal/adservice";

/// Two sidecars, a caller's and a callee's, around a service, with an agent each.
struct Pair {
    agents: [SpiffeAgent; 2],
    inbound: Sidecar,
    outbound: Sidecar,
    _service: Service,
}

impl Pair {
    fn start(pki: &Pki) -> Self {
        Self::lasting(pki, 3600)
    }

    /// With certificates that end so many seconds from now.
    fn lasting(pki: &Pki, seconds: u64) -> Self {
        let service = Service::start();
        let agents = ["adservice", "gateway"]
            .map(|name| SpiffeAgent::giving(&X509SvidResponse::of(&lasting(pki, name, seconds), pki)));
        let inbound = serving(&agents[0], service.address, &[GATEWAY], "");
        let outbound = Sidecar::start(&(agents[1].identity("") + &caller(inbound.address("ads"), ADS)));
        outbound.wait_for_status("readiness", |status| status["ready"] == true);
        Self { agents, inbound, outbound, _service: service }
    }

    fn sidecars(&self) -> [&Sidecar; 2] {
        [&self.inbound, &self.outbound]
    }
}

#[test]
fn two_sidecars_that_know_a_socket_alone_speak_with_each_other() {
    let pki = Pki::new();
    let pair = Pair::start(&pki);
    assert_eq!(get(pair.outbound.address("ads"), "/status/204").0, 204);
    let status = pair.inbound.status();
    assert_eq!(status["identity"]["name"], ADS);
    let enrolment = &status["enrolment"];
    assert_eq!(
        (&enrolment["giver"], &enrolment["state"]),
        (&"workload_api".into(), &"certified".into()),
        "{enrolment}"
    );
    assert_eq!((&enrolment["name"], &enrolment["push_connected"]), (&ADS.into(), &true.into()), "{enrolment}");
    assert!((pair.inbound.metric("mantlet_workload_api_connected", &[].into()) - 1.0).abs() < f64::EPSILON);
    assert!(
        (pair.inbound.metric("mantlet_identity_renewals_total", &[("outcome", "success")].into()) - 1.0).abs()
            < f64::EPSILON
    );
    assert_eq!(pair.agents[0].asked(), 1, "one request, with the security header");
}

/// How long certificates of a root last that goes soon after.
const SOON: u64 = 15;

/// Waits until each side has connections alone whose peers are certified by this root.
fn wait_for_issuer(pair: &Pair, issuer: &str) {
    let deadline = Instant::now() + 2 * PATIENCE;
    let is_so = |sidecar: &Sidecar| {
        let status = sidecar.status();
        let live = status["connections"].as_array().unwrap();
        !live.is_empty() && live.iter().all(|connection| connection["issuer"] == issuer)
    };
    while !pair.sidecars().into_iter().all(is_so) {
        assert!(Instant::now() < deadline, "{}", pair.inbound.status());
    }
}

#[test]
fn what_is_pushed_is_taken_up_under_load_without_a_failed_request_a_change_of_roots_included() {
    let (pki, next) = (Pki::new(), Pki::named("the next root"));
    let pair = Pair::lasting(&pki, SOON);
    let load = Load::plain(pair.outbound.address("ads"), Version::Http1, 4);
    let push = |issuer: &Pki, anchors: &[&Pki], seconds: u64| {
        for ((agent, sidecar), name) in pair.agents.iter().zip(pair.sidecars()).zip(["adservice", "gateway"]) {
            let issued = lasting(issuer, name, seconds);
            let svids = vec![X509Svid::of(&issued, anchors)];
            agent.push(&X509SvidResponse { svids, ..X509SvidResponse::default() });
            wait_for_serial(sidecar, &issued);
            sidecar.wait_for_status("anchors", |status| status["anchors"].as_array().unwrap().len() == anchors.len());
            load.wait_for_more(10);
        }
    };
    push(&pki, &[&pki], SOON);
    push(&pki, &[&pki, &next], SOON);
    push(&next, &[&pki, &next], 3600);
    // The old root goes once its certificates have ended, and with them the connections that they made.
    wait_for_issuer(&pair, "CN=the next root");
    push(&next, &[&next], 3600);
    let tally = load.finish();
    assert_eq!(tally.failures, [] as [String; 0]);
}

#[test]
fn an_agent_that_restarts_is_asked_again_and_what_it_gave_serves_meanwhile() {
    let pki = Pki::new();
    let mut pair = Pair::start(&pki);
    let reloads = |sidecar: &Sidecar| sidecar.events().iter().filter(|event| event["message"] == "reloaded").count();
    let (before, taken) = (serial(&pair.inbound), reloads(&pair.inbound));
    pair.agents[0].stop();
    let told = pair
        .inbound
        .wait_for("warning", |event| event["message"] == "the SPIFFE agent gives nothing new; what it gave serves on");
    assert_eq!(told["reason"], "away", "{told}");
    pair.inbound.wait_for_metric("mantlet_workload_api_connected", &[].into(), 0.0);
    let status = pair.inbound.status();
    assert!(
        status["ready"] == true && status["warnings"].to_string().contains("nothing new comes beside our certificate"),
        "{status}"
    );
    assert_eq!(get(pair.outbound.address("ads"), "/status/204").0, 204);
    pair.agents[0].start();
    pair.inbound.wait_for_metric("mantlet_workload_api_connected", &[].into(), 1.0);
    pair.inbound.wait_for_metric("mantlet_identity_renewal_failing", &[].into(), 0.0);
    // It gave what it had given before.
    assert_eq!((serial(&pair.inbound), reloads(&pair.inbound)), (before, taken));
    assert_eq!(pair.agents[0].asked(), 2);
}

#[test]
fn an_agent_that_is_away_at_the_start_is_waited_for_and_so_is_an_identity_that_it_has_not_issued() {
    let (pki, service) = (Pki::new(), Service::start());
    let mut agent = SpiffeAgent::denying();
    agent.stop();
    let sidecar = Sidecar::start(&(agent.identity("") + &callee(service.address, &[GATEWAY], "")));
    let readyz = |text: &str| {
        sidecar.wait_for_status(text, |status| status["not_ready"].to_string().contains(text));
        get(sidecar.address("admin"), "/readyz")
    };
    let (code, why) = readyz("cannot be connected to");
    assert!(code == 503 && why.contains("look whether the SPIFFE agent runs"), "{why}");
    agent.start();
    let (_, why) = readyz("PermissionDenied, for it has issued no identity to this process: no identity issued");
    assert!(why.contains("register this workload with the SPIFFE server"), "{why}");
    assert_eq!(sidecar.status()["enrolment"]["reason"], "permission_denied");
    agent.push(&X509SvidResponse::of(&pki.issue("adservice"), &pki));
    sidecar.wait_for_status("readiness", |status| status["ready"] == true);
    sidecar.address("ads");
}

#[test]
fn an_agent_that_gives_nothing_new_is_told_ever_louder_and_the_end_of_what_it_gave_is_no_end_of_the_process() {
    let (pki, service) = (Pki::new(), Service::start());
    let first = lasting(&pki, "adservice", 12);
    let agent = SpiffeAgent::giving(&X509SvidResponse::of(&first, &pki));
    let sidecar = serving(&agent, service.address, &[GATEWAY], "");
    // The stream is open, and nothing comes: the agent is asked anew before the end.
    let quarter = "a quarter of our certificate's lifetime is left";
    let told = sidecar.wait_for(quarter, |event| event["message"].as_str().unwrap().starts_with(quarter));
    assert_eq!((&told["level"], &told["reason"]), (&"WARN".into(), &"the agent is silent".into()), "{told}");
    // Each of the two lasts for less than a second here, and a busy machine may see one of them alone.
    let louder = ["an eighth of our certificate's lifetime is left", "our certificate is about to end"];
    let told = sidecar.wait_for("louder warning", |event| {
        louder.iter().any(|stage| event["message"].as_str().unwrap().starts_with(stage))
    });
    assert_eq!(told["level"], "ERROR", "{told}");
    assert!(agent.asked() > 1);
    sidecar.wait_for("end", |event| event["message"].as_str().unwrap().starts_with("our certificate has expired"));
    sidecar.wait_for_status("end", |status| status["not_ready"].to_string().contains("our certificate expired"));
    let next = pki.issue("adservice");
    agent.push(&X509SvidResponse::of(&next, &pki));
    wait_for_serial(&sidecar, &next);
    sidecar.wait_for_status("readiness", |status| status["ready"] == true);
}

#[test]
fn of_several_identities_the_first_is_ours_unless_another_is_asked_for() {
    let (pki, service) = (Pki::new(), Service::start());
    let (first, second) = (pki.issue("adservice"), pki.issue("backup"));
    // A message may be larger than what HTTP/2 lets through at once.
    let hint = "first".repeat(400_000);
    let svids = vec![X509Svid { hint, ..X509Svid::of(&first, &[&pki]) }, X509Svid::of(&second, &[&pki])];
    let agent = SpiffeAgent::giving(&X509SvidResponse { svids, ..X509SvidResponse::default() });
    let sidecar = serving(&agent, service.address, &[GATEWAY], "");
    wait_for_serial(&sidecar, &first);
    let asking = |id: &str| agent.identity(&format!("spiffe_id = \"{id}\"")) + &callee(service.address, &[GATEWAY], "");
    let sidecar = Sidecar::start(&asking(&second.spiffe));
    wait_for_serial(&sidecar, &second);
    let sidecar = Sidecar::start(&asking("spiffe://fleamarket.internal/other"));
    let wanted = "the agent gives spiffe://fleamarket.internal/adservice, spiffe://fleamarket.internal/backup, and not spiffe://fleamarket.internal/other; compare identity.spiffe_id";
    sidecar.wait_for_status(wanted, |status| status["not_ready"].to_string().contains(wanted));
}
