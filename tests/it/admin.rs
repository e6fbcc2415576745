//! The admin listener over real sockets, and the commands that ask it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mantlet::admin::{AdminState, ListenerStatus, Running, serve};
use mantlet::identity::PeerIdentity;
use mantlet::net::{Address, Listener};
use mantlet::proxy::Direction;
use mantlet::proxy::connections::{Connections, EndReason, Phase, Registration};
use mantlet::proxy::refusals::Refusals;
use mantlet::revocation::{CrlStatus, RevocationStatus};
use mantlet::tls::Peer;
use mantlet::x509::{CertificateInfo, CrlInfo, VerifiedPath};
use prometheus_client::registry::Registry;
use rcgen::{CertificateParams, DnType, KeyPair, SanType, SerialNumber};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

const DAY: Duration = Duration::from_secs(86_400);
/// Longer than anything here takes; a wait that reaches it has failed.
const LONG: Duration = Duration::from_secs(30);

/// An admin listener that serves in a thread of this process.
struct Admin {
    address: Address,
    state: Arc<AdminState>,
    connections: Arc<Connections>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    fn start() -> Self {
        Self::start_at(&Address::Tcp((Ipv4Addr::LOCALHOST, 0).into()))
    }

    fn start_at(address: &Address) -> Self {
        let listener = Listener::bind(address).expect("binds");
        let (address, stop) = (listener.address().clone(), CancellationToken::new());
        let connections = Arc::new(Connections::new(2));
        let state = AdminState::new(Registry::default(), Arc::clone(&connections), Arc::new(Refusals::default()));
        let state = Arc::new(state);
        let served = serve(listener, Arc::clone(&state), stop.clone());
        let thread = thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(served).expect("serves");
        });
        Self { address, state, connections, stop, thread: Some(thread) }
    }

    /// Started, and as a process that works.
    fn ready() -> Self {
        let admin = Self::start();
        admin.run(running());
        admin
    }

    fn run(&self, running: Running) {
        self.state.running.store(Arc::new(running));
    }

    fn tcp(&self) -> SocketAddr {
        match self.address {
            Address::Tcp(address) => address,
            Address::Unix(_) => panic!("a Unix socket"),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.tcp()).expect("connects");
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        stream
    }

    fn send(&self, request: &str) -> Response {
        Response::read_after(self.connect(), request)
    }

    fn get(&self, path: &str) -> Response {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.tcp()))
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status").body).expect("JSON")
    }

    /// The value of one series of the metrics.
    fn metric(&self, series: &str) -> Option<String> {
        let metrics = self.get("/metrics").body;
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(str::to_owned)
    }

    fn mantlet(&self, args: &[&str]) -> Output {
        mantlet(args, &self.address.to_string())
    }

    fn connection(&self, direction: Direction, peer: Option<Peer>) -> Registration {
        let peer = peer.map(Arc::new);
        self.connections.register(
            &"ads".into(),
            direction,
            mantlet::net::PeerAddress::Tcp("10.0.0.7:4711".parse().unwrap()),
            peer,
            LONG,
            None,
        )
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the admin listener panicked");
        }
    }
}

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn read_after(mut stream: impl std::io::Read + std::io::Write, request: &str) -> Self {
        // A server that refuses early may close before all is sent.
        let _ = stream.write_all(request.as_bytes());
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer and its end");
        let (head, body) = text.split_once("\r\n\r\n").expect("a header section");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

fn mantlet(args: &[&str], admin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mantlet"));
    command.args(args).env("MANTLET_ADMIN", admin).output().expect("runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn certificate(name: &str, serial: u8, not_before: SystemTime, not_after: SystemTime) -> CertificateInfo {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let id = format!("spiffe://test.internal/{name}");
    params.subject_alt_names.push(SanType::URI(id.try_into().expect("an ASCII name")));
    params.serial_number = Some(SerialNumber::from_slice(&[serial]));
    (params.not_before, params.not_after) = (not_before.into(), not_after.into());
    let key = KeyPair::generate().expect("a key");
    CertificateInfo::from_der(params.self_signed(&key).expect("a certificate").der()).expect("a certificate")
}

fn valid(name: &str, serial: u8) -> CertificateInfo {
    certificate(name, serial, SystemTime::now() - DAY, SystemTime::now() + DAY)
}

fn crl(issuer: &str, next_update: SystemTime) -> CrlStatus {
    let info = CrlInfo {
        issuer: issuer.into(),
        number: "07".parse().expect("a number"),
        base_number: None,
        scope: "all certificates".into(),
        this_update: UNIX_EPOCH,
        next_update,
        entries: 3,
        source: "certs/ca.crl".into(),
    };
    CrlStatus { info, serves_until: next_update, refresh_at: None, grace: Duration::MAX }
}

fn revocation(crls: Vec<CrlStatus>) -> RevocationStatus {
    RevocationStatus { crls, ..RevocationStatus::default() }
}

fn running() -> Running {
    Running {
        enrolment: None,
        config_file: "/etc/mantlet/ads.toml".into(),
        own: Some(valid("ads", 7)),
        anchors: vec![valid("ca", 1)],
        public: vec![("public".into(), valid("public", 9))],
        revocation: revocation(vec![crl("CN=ca", SystemTime::now() + DAY)]),
        revocation_checked: true,
        issuers: Vec::new(),
        is_nobody_let_in: false,
        listeners: vec![ListenerStatus {
            name: "ads".into(),
            direction: "inbound",
            protocol: "http",
            address: "0.0.0.0:8443".into(),
            target: "127.0.0.1:8080".into(),
            peers: vec!["spiffe://test.internal/gateway".into()],
            rules: Vec::new(),
        }],
        upstreams: Vec::new(),
        draining: false,
    }
}

fn peer(name: &str, serial: u8) -> Peer {
    let path = VerifiedPath::known(valid(name, serial), Vec::new(), valid("ca", 1));
    let identity = PeerIdentity::Authenticated(path.end_entity.names.clone());
    Peer { identity, path: Some(path), chain: Vec::new() }
}

fn anonymous() -> Peer {
    Peer { identity: PeerIdentity::Anonymous, path: None, chain: Vec::new() }
}

#[test]
fn a_process_that_just_started_is_alive_and_says_why_it_is_not_ready() {
    let admin = Admin::start();
    let alive = admin.get("/healthz");
    assert_eq!((alive.status, alive.body.as_str()), (200, "ok\n"));
    let ready = admin.get("/readyz");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.body, "no listener is bound yet\nno certificate of our own is loaded yet\n");
}

#[test]
fn a_process_with_listeners_and_a_valid_certificate_is_ready() {
    let admin = Admin::ready();
    let ready = admin.get("/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    assert_eq!(admin.status()["ready"], true);
}

#[test]
fn a_certificate_outside_its_validity_makes_unready_with_the_date() {
    let admin = Admin::start();
    let day = |day: u64| UNIX_EPOCH + Duration::from_secs(day * 86_400);
    admin.run(Running { own: Some(certificate("ads", 7, day(1), day(2))), ..running() });
    let ready = admin.get("/readyz");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.body, "our certificate CN=ads expired 1970-01-03T00:00:00Z; issue a new one\n");
    assert!(admin.status()["identity"]["expires_in_seconds"].as_i64().expect("seconds") < 0);

    let (begins, ends) = (day(29_000), day(29_001));
    admin.run(Running { own: Some(certificate("ads", 7, begins, ends)), ..running() });
    let ready = admin.get("/readyz");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.body, "our certificate CN=ads is not valid before 2049-05-26T00:00:00Z; compare the clocks\n");
}

#[test]
fn a_process_that_shuts_down_is_alive_but_not_ready() {
    let admin = Admin::ready();
    admin.state.begin_draining();
    assert_eq!(admin.get("/healthz").status, 200);
    let ready = admin.get("/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (503, "the process is shutting down\n"));
    assert_eq!(admin.status()["not_ready"][0], "the process is shutting down");
}

#[test]
fn a_refused_reload_warns_without_making_unready_until_a_later_one_is_taken_over() {
    let admin = Admin::ready();
    admin.state.reload.failed("ads.toml: line 3:\n  unknown key \"alow\"");
    let ready = admin.get("/readyz");
    assert_eq!(ready.status, 200);
    let lines: Vec<_> = ready.body.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "ready"));
    assert!(lines[1].starts_with("warning: the reload at 2"), "{}", lines[1]);
    assert!(lines[1].ends_with("was refused, what ran before stays in use: ads.toml: line 3: unknown key \"alow\""));
    let reload = &admin.status()["reload"];
    assert_eq!((&reload["attempts"], &reload["failures"]), (&1.into(), &1.into()));
    assert_eq!(reload["last_error"]["message"], "ads.toml: line 3:\n  unknown key \"alow\"");
    assert_eq!(admin.metric("mantlet_reloads_total{outcome=\"failure\"}").as_deref(), Some("1"));
    assert_eq!(admin.metric("mantlet_reload_failing").as_deref(), Some("1.0"));

    admin.state.reload.succeeded();
    assert_eq!(admin.get("/readyz").body, "ready\n");
    let reload = &admin.status()["reload"];
    assert_eq!((&reload["attempts"], &reload["successes"], &reload["failures"]), (&2.into(), &1.into(), &1.into()));
    assert!(reload["last_error"].is_null());
    assert_eq!(admin.metric("mantlet_reloads_total{outcome=\"success\"}").as_deref(), Some("1"));
    assert_eq!(admin.metric("mantlet_reload_failing").as_deref(), Some("0.0"));
}

#[test]
fn an_overdue_crl_warns_with_its_issuer_and_file() {
    let admin = Admin::start();
    admin.run(Running { revocation: revocation(vec![crl("CN=ca", UNIX_EPOCH)]), ..running() });
    let ready = admin.get("/readyz");
    assert_eq!(ready.status, 200);
    let warning = "warning: certs/ca.crl: the next CRL of CN=ca was due 1970-01-01T00:00:00Z; fetch or issue a new one";
    assert_eq!(ready.body, format!("ready\n{warning}\n"));
}

#[test]
fn readiness_comes_as_json_to_who_asks_for_it() {
    let admin = Admin::start();
    let response = admin.send("GET /readyz HTTP/1.1\r\nHost: localhost\r\nAccept: application/json;q=0.9, */*\r\n\r\n");
    assert_eq!(response.status, 503);
    assert_eq!(response.header("content-type"), Some("application/json"));
    let readiness: Value = serde_json::from_str(&response.body).expect("JSON");
    assert_eq!(readiness["ready"], false);
    assert_eq!(readiness["not_ready"][0], "no listener is bound yet");
    assert_eq!(readiness["warnings"], Value::Array(Vec::new()));
}

#[test]
fn metrics_are_openmetrics_with_expiry_crl_reload_build_and_process_figures() {
    let admin = Admin::start();
    let ends = UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let own = certificate("ads", 7, UNIX_EPOCH, ends);
    admin.run(Running { own: Some(own), revocation: revocation(vec![crl("CN=ca", ends)]), ..running() });
    let _live = [
        admin.connection(Direction::Inbound, Some(peer("gateway", 9))),
        admin.connection(Direction::Inbound, None),
        admin.connection(Direction::Outbound, Some(peer("users", 10))),
        admin.connection(Direction::Outbound, Some(peer("users", 10))),
        admin.connection(Direction::Outbound, None),
    ];

    let response = admin.get("/metrics");
    assert_eq!(
        response.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "Prometheus reads the format off the content type"
    );
    assert!(response.body.ends_with("\n# EOF\n"));
    let names: Vec<_> = response.body.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    insta::assert_snapshot!(names.join("\n"));

    let value = |series: &str| admin.metric(series).unwrap_or_else(|| panic!("no {series} in\n{}", response.body));
    let own = "mantlet_certificate_expiry_timestamp_seconds{kind=\"own\",subject=\"CN=ads\",serial=\"07\"}";
    assert_eq!(value(own), "4000000000.0");
    assert_eq!(
        value(
            "mantlet_crl_next_update_timestamp_seconds{issuer=\"CN=ca\",scope=\"all certificates\",kind=\"complete\"}"
        ),
        "4000000000.0"
    );
    assert_eq!(value("mantlet_crl_entries"), "3.0");
    assert_eq!(value("mantlet_live_connections{direction=\"inbound\"}"), "1.0");
    assert_eq!(value("mantlet_live_connections{direction=\"outbound\"}"), "2.0");
    assert!(response.body.contains(concat!(
        "mantlet_build_info{version=\"",
        env!("CARGO_PKG_VERSION"),
        "\",commit=\""
    )));
    assert!(value("process_resident_memory_bytes").parse::<f64>().expect("bytes") > 1_000_000.0);
    let started: f64 = value("process_start_time_seconds").parse().expect("seconds");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    assert!(started <= now && now - started < LONG.as_secs_f64(), "{started} {now}");
}

#[test]
fn a_replaced_certificate_leaves_no_stale_series() {
    let admin = Admin::ready();
    let series = |serial| {
        format!("mantlet_certificate_expiry_timestamp_seconds{{kind=\"own\",subject=\"CN=ads\",serial=\"{serial}\"}}")
    };
    assert!(admin.metric(&series("07")).is_some());
    admin.run(Running { own: Some(valid("ads", 8)), ..running() });
    assert!(admin.metric(&series("07")).is_none());
    assert!(admin.metric(&series("08")).is_some());
    assert_eq!(admin.status()["identity"]["serial"], "08");
}

#[test]
fn issuers_of_one_name_share_one_series_with_the_earlier_date() {
    let admin = Admin::start();
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    admin.run(Running {
        revocation: revocation(vec![crl("CN=ca", at(4_000_000_000)), crl("CN=ca", at(3_900_000_000))]),
        ..running()
    });
    let metrics = admin.get("/metrics").body;
    let series: Vec<_> = metrics.lines().filter(|line| line.starts_with("mantlet_crl_next_update")).collect();
    assert_eq!(
        series,
        [
            "mantlet_crl_next_update_timestamp_seconds{issuer=\"CN=ca\",scope=\"all certificates\",kind=\"complete\"} 3900000000.0"
        ]
    );
}

#[test]
fn status_shows_identity_trust_listeners_and_the_configuration_file() {
    let admin = Admin::ready();
    let own = admin.state.running.load().own.clone().expect("a certificate");
    let status = admin.status();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["config_file"], "/etc/mantlet/ads.toml");
    let identity = &status["identity"];
    assert_eq!(identity["name"], "spiffe://test.internal/ads");
    assert_eq!(identity["subject"], "CN=ads");
    assert_eq!(identity["issuer"], "CN=ads");
    assert_eq!(identity["fingerprint"], own.fingerprint_hex());
    let left = identity["expires_in_seconds"].as_i64().expect("seconds");
    assert!((86_300..=86_400).contains(&left), "{left}");
    let not_after = identity["not_after"].as_str().and_then(|text| humantime::parse_rfc3339(text).ok());
    assert_eq!(not_after, Some(own.not_after), "a certificate's dates have whole seconds, and RFC 3339 says them");
    assert_eq!(status["anchors"][0]["subject"], "CN=ca");
    assert_eq!(status["revocation"]["checked"], true);
    assert_eq!(status["revocation"]["crls"][0]["source"], "certs/ca.crl");
    assert_eq!(status["listeners"][0]["address"], "0.0.0.0:8443");
    assert_eq!(status["listeners"][0]["target"], "127.0.0.1:8080");
    assert_eq!(status["listeners"][0]["peers"][0], "spiffe://test.internal/gateway");
    assert_eq!(status["refusals"], Value::Array(Vec::new()));
}

#[test]
fn status_lists_connections_with_peers_and_adds_them_up_by_peer() {
    let admin = Admin::ready();
    let first = admin.connection(Direction::Inbound, Some(peer("gateway", 9)));
    let second = admin.connection(Direction::Inbound, Some(peer("gateway", 10)));
    let _nameless = admin.connection(Direction::Inbound, Some(anonymous()));
    let _local = admin.connection(Direction::Outbound, None);
    let in_flight = first.live().begin();
    drop(second.live().begin());
    second.live().end(Phase::Draining, EndReason::CertificateRevoked);

    let status = admin.status();
    assert_eq!(status["connections_total"], 3, "a connection of the local service has no peer");
    let connections = status["connections"].as_array().expect("a list");
    assert_eq!(connections.len(), 3);
    assert_eq!(connections[0]["peer"], "spiffe://test.internal/gateway");
    assert_eq!(connections[0]["serial"], "09");
    assert_eq!(connections[0]["peer_address"], "10.0.0.7:4711");
    assert_eq!((&connections[0]["requests"], &connections[0]["in_flight"]), (&1.into(), &1.into()));
    assert_eq!((&connections[0]["phase"], &connections[0]["ending_because"]), (&"open".into(), &Value::Null));
    assert_eq!(connections[1]["phase"], "draining");
    assert_eq!(connections[1]["ending_because"], "certificate_revoked");
    assert_eq!((&connections[2]["peer"], &connections[2]["serial"]), (&"anonymous".into(), &Value::Null));
    let peers = status["peers"].as_array().expect("a list");
    assert_eq!(peers.len(), 2);
    assert_eq!(peers[1]["peer"], "spiffe://test.internal/gateway");
    assert_eq!((&peers[1]["connections"], &peers[1]["requests"]), (&2.into(), &2.into()));

    drop(in_flight);
    drop((first, second));
    assert_eq!(admin.status()["connections_total"], 1);
}

#[test]
fn status_lists_a_thousand_connections_and_counts_the_rest() {
    let admin = Admin::ready();
    let many: Vec<_> = (0..1003).map(|_| admin.connection(Direction::Inbound, Some(anonymous()))).collect();
    let status = admin.status();
    assert_eq!(status["connections"].as_array().map(Vec::len), Some(1000));
    assert_eq!(status["connections_total"], many.len());
    assert_eq!(status["peers"][0]["connections"], many.len());
}

#[test]
fn an_unknown_path_is_a_problem_that_names_the_known_ones() {
    let admin = Admin::ready();
    let response = admin.get("/stats");
    assert_eq!(response.status, 404);
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    let problem: Value = serde_json::from_str(&response.body).expect("JSON");
    assert_eq!(problem["status"], 404);
    let paths: Vec<_> = problem["paths"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(paths, ["/healthz", "/readyz", "/metrics", "/status"]);
    for path in paths {
        assert_eq!(admin.get(path).status, 200, "{path}");
    }
}

#[test]
fn only_get_and_head_are_answered() {
    let admin = Admin::ready();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
        let response =
            admin.send(&format!("{method} /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!((response.status, response.header("allow")), (405, Some("get, head")), "{method}");
    }
    let head = admin.send("HEAD /status HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(
        head.header("content-length").and_then(|length| length.parse().ok()).is_some_and(|length: u64| length > 100)
    );
}

#[test]
fn a_loopback_listener_refuses_foreign_host_names_so_that_no_web_page_reads_it() {
    let admin = Admin::ready();
    for host in ["evil.example", "evil.example:9900", "localhost.evil.example"] {
        let response = admin.send(&format!("GET /status HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\r\n"));
        assert_eq!(response.status, 421, "{host}");
        assert!(!response.body.contains("spiffe://"), "{host}");
    }
    let absolute = admin.send("GET http://evil.example/status HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(absolute.status, 421);
    let allowed = admin.send("GET /status HTTP/1.1\r\nHost: localhost:9900\r\nOrigin: http://evil.example\r\n\r\n");
    assert_eq!(allowed.status, 200);
    assert!(!allowed.head.contains("access-control-"), "{}", allowed.head);
    assert_eq!(allowed.header("cache-control"), Some("no-store"));
}

#[test]
fn a_listener_opened_to_others_answers_to_any_name() {
    let admin = Admin::start_at(&Address::Tcp((Ipv4Addr::UNSPECIFIED, 0).into()));
    assert_eq!(admin.send("GET /healthz HTTP/1.1\r\nHost: adservice:9900\r\n\r\n").status, 200);
}

#[test]
fn a_header_section_above_16_kib_is_refused() {
    let admin = Admin::ready();
    let filled =
        |size: usize| format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Fill: {}\r\n\r\n", "x".repeat(size));
    assert_eq!(admin.send(&filled(8 * 1024)).status, 200);
    let mut stream = admin.connect();
    let _ = stream.write_all(filled(20 * 1024).as_bytes());
    let mut answer = Vec::new();
    // What was sent beyond the limit may turn the close into a reset.
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", text(&answer));
    assert_eq!(admin.get("/healthz").status, 200);
}

#[test]
fn silent_connections_are_closed_and_give_their_places_back() {
    let admin = Admin::ready();
    let mut silent: Vec<_> = (0..64).map(|_| admin.connect()).collect();
    // All places are taken: this answer waits until the silent ones have had their time.
    assert_eq!(admin.get("/healthz").status, 200);
    for stream in &mut silent {
        assert_eq!(stream.read(&mut [0; 1]).expect("the end, not a timeout"), 0);
    }
}

#[test]
fn stopping_closes_silent_connections_at_once() {
    let admin = Admin::ready();
    let mut silent = admin.connect();
    // Once this later connection is answered, the silent one has been accepted.
    assert_eq!(admin.get("/healthz").status, 200);
    let (tcp, began) = (admin.tcp(), Instant::now());
    drop(admin);
    assert!(began.elapsed() < Duration::from_secs(4), "it waited for the silent connection");
    assert_eq!(silent.read(&mut [0; 1]).expect("the end"), 0);
    assert!(TcpStream::connect(tcp).is_err(), "the port is free again");
}

#[test]
fn a_unix_socket_serves_the_same_and_is_gone_afterwards() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let admin = Admin::start_at(&Address::Unix(path.clone()));
    admin.run(running());
    let stream = UnixStream::connect(&path).expect("connects");
    let response = Response::read_after(stream, "GET /readyz HTTP/1.1\r\nHost: whatever\r\n\r\n");
    assert_eq!((response.status, response.body.as_str()), (200, "ready\n"));
    assert!(admin.mantlet(&["health"]).status.success());
    let status: Value = serde_json::from_slice(&admin.mantlet(&["status"]).stdout).expect("JSON");
    assert_eq!(status["identity"]["name"], "spiffe://test.internal/ads");
    drop(admin);
    assert!(!path.exists());
}

#[test]
fn health_exits_with_0_when_ready_and_else_with_1_and_the_reasons() {
    let admin = Admin::start();
    let unready = admin.mantlet(&["health"]);
    assert_eq!(unready.status.code(), Some(1));
    assert_eq!(text(&unready.stderr), "no listener is bound yet\nno certificate of our own is loaded yet\n");
    let live = admin.mantlet(&["health", "--live"]);
    assert_eq!(live.status.code(), Some(0), "{}", text(&live.stderr));

    admin.run(running());
    let ready = admin.mantlet(&["health"]);
    assert_eq!(ready.status.code(), Some(0), "{}", text(&ready.stderr));
    assert!(ready.stdout.is_empty() && ready.stderr.is_empty());
}

#[test]
fn status_gives_a_pipe_the_json_document_and_admin_goes_before_the_environment() {
    let admin = Admin::ready();
    let output = mantlet(&["status", "--admin", &admin.address.to_string()], "127.0.0.1:1");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (mut shown, mut sent): (Value, Value) = (serde_json::from_slice(&output.stdout).expect("JSON"), admin.status());
    for document in [&mut shown, &mut sent] {
        // These run on between the two questions.
        document["uptime_seconds"] = Value::Null;
        document["identity"]["expires_in_seconds"] = Value::Null;
        document["anchors"][0]["expires_in_seconds"] = Value::Null;
        document["revocation"]["crls"][0]["next_update_in_seconds"] = Value::Null;
    }
    assert_eq!(shown, sent);
}

#[test]
fn nobody_listening_is_told_with_the_address_and_the_remedy() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("an address");
    for command in ["status", "health"] {
        let output = mantlet(&[command], &free.to_string());
        assert_eq!(output.status.code(), Some(1));
        let message = text(&output.stderr);
        assert!(message.starts_with(&format!("mantlet: cannot connect to {free}: Connection refused")), "{message}");
        assert!(message.contains("[admin]") && message.contains("--admin"), "{message}");
    }
}

/// Answers one connection with `answer`, then keeps it open where it is empty.
fn other_program(answer: &'static [u8]) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("an address");
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        let mut request = Vec::new();
        if answer.is_empty() {
            stream.read_to_end(&mut request).expect("the client gives up");
        } else {
            assert!(stream.read(&mut [0; 4096]).expect("a request") > 0);
            stream.write_all(answer).expect("takes the answer");
            stream.shutdown(Shutdown::Write).expect("closes");
            let _ = stream.read_to_end(&mut request);
        }
    });
    (address, thread)
}

#[test]
fn another_program_at_the_address_is_not_taken_for_a_healthy_mantlet() {
    let ok = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 3\r\n\r\nok\n";
    for (answer, expected) in [
        (&ok[..], "another program (\"nginx\", status 200 OK)"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not answer as mantlet's admin listener does"),
    ] {
        let (address, program) = other_program(answer);
        let output = mantlet(&["health"], &address.to_string());
        program.join().expect("the program ends");
        assert_eq!(output.status.code(), Some(1));
        let message = text(&output.stderr);
        assert!(message.contains(&address.to_string()) && message.contains(expected), "{message}");
    }
}

#[test]
fn a_program_that_never_answers_is_given_up_after_5_seconds() {
    let (address, program) = other_program(b"");
    let began = Instant::now();
    let output = mantlet(&["health"], &address.to_string());
    program.join().expect("the program ends");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), format!("mantlet: no answer from {address} within 5s\n"));
    assert!(began.elapsed() >= Duration::from_secs(5));
}

#[test]
fn a_text_that_is_no_admin_address_is_refused_with_what_is_one() {
    let output = mantlet(&["status", "--admin", "nonsense"], "");
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(message.contains("\"nonsense\" is no admin address: expected IP:PORT"), "{message}");
}
