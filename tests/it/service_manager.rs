//! What a service manager such as systemd hears, on a real datagram socket.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::support::mesh::inbound;
use crate::support::pki::{Pki, replace};
use crate::support::sidecar::{PATIENCE, Sidecar};

/// A service manager that listens, and the configuration of a sidecar below it.
struct Manager {
    pki: Pki,
    socket: UnixDatagram,
    /// What `NOTIFY_SOCKET` says.
    name: String,
}

impl Manager {
    fn at_path() -> Self {
        let pki = Pki::new();
        let path = pki.folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self::of(pki, socket, path.to_str().unwrap().to_owned())
    }

    fn with_abstract_name() -> Self {
        let pki = Pki::new();
        let name = format!("mantlet-{}", pki.folder.path().display());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Self::of(pki, socket, format!("@{name}"))
    }

    fn of(pki: Pki, socket: UnixDatagram, name: String) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { pki, socket, name }
    }

    fn config(&self, tables: &str) -> String {
        inbound(&self.pki, &self.pki.issue("adservice"), "127.0.0.1:9", &[], "", tables)
    }

    fn start(&self, tables: &str, environment: &[(&str, &str)]) -> Sidecar {
        let environment = [&[("NOTIFY_SOCKET", self.name.as_str())], environment].concat();
        Sidecar::start_with(&self.config(tables), &environment)
    }

    /// The next notice, line by line.
    fn hears(&self) -> Vec<String> {
        let mut notice = [0; 4096];
        let length = self.socket.recv(&mut notice).unwrap();
        String::from_utf8_lossy(&notice[..length]).lines().map(ToOwned::to_owned).collect()
    }

    fn has_heard_nothing(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        self.socket.recv(&mut [0; 4096]).is_err()
    }
}

#[test]
fn it_is_ready_when_everything_is_served_and_not_before() {
    let manager = Manager::at_path();
    let config = manager.config("").replace("127.0.0.1:0", "192.0.2.1:1");
    let (status, text) = Sidecar::start_and_fail_with(&config, &[("NOTIFY_SOCKET", &manager.name)]);
    assert!(!status.success(), "{text}");
    assert!(manager.has_heard_nothing());

    let manager = Manager::at_path();
    let sidecar = manager.start("", &[]);
    assert_eq!(manager.hears(), ["READY=1", "STATUS=serving"]);
    std::net::TcpStream::connect(sidecar.address("ads")).unwrap();
}

/// An authority that nobody listens for.
#[test]
fn a_start_that_waits_for_a_certificate_is_not_over_and_says_so() {
    let manager = Manager::at_path();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = &manager.pki.folder;
    let secret = folder.path().join("secret");
    crate::support::pki::write_private(&secret, "secret");
    let files = manager.config("");
    let (_, rest) = files.split_once("[trust]").unwrap();
    let waiting = format!(
        "[identity]\nauthority = \"https://{nobody}\"\nname = \"adservice\"\nbootstrap_secret_file = \"{}\"\nstate_dir = \"{}\"\n[trust]{rest}",
        secret.display(),
        folder.path().join("state").display()
    );
    let sidecar = Sidecar::start_with(&waiting, &[("NOTIFY_SOCKET", &manager.name)]);
    assert_eq!(manager.hears(), ["STATUS=waiting for the first certificate", "EXTEND_TIMEOUT_USEC=30000000"]);
    // A reload before the end of the start is none for the service manager.
    sidecar.signal("HUP");
    sidecar.wait_for("failure", |event| event["message"] == "we are not certified");
    replace(&sidecar.config, &files);
    assert_eq!(manager.hears(), ["READY=1", "STATUS=serving"]);
    std::net::TcpStream::connect(sidecar.address("ads")).unwrap();
}

#[test]
fn a_reload_has_a_beginning_and_an_end_whether_it_is_taken_up_or_not() {
    let manager = Manager::with_abstract_name();
    let sidecar = manager.start("", &[]);
    manager.hears();

    sidecar.signal("HUP");
    let began = manager.hears();
    assert_eq!(began[0], "RELOADING=1");
    assert!(began[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(manager.hears(), ["READY=1", "STATUS=serving"]);

    replace(&sidecar.config, "[identity]\n");
    sidecar.signal("HUP");
    assert_eq!(manager.hears()[0], "RELOADING=1");
    let ended = manager.hears();
    assert_eq!(ended[0], "READY=1");
    assert!(ended[1].starts_with("STATUS=serving what ran before; the change is not taken up: "), "{ended:?}");
    assert_eq!(ended.len(), 2, "{ended:?}");
}

#[test]
fn the_end_is_announced_with_the_time_that_the_drain_may_take() {
    let manager = Manager::at_path();
    let mut sidecar = manager.start("[timeouts]\ndrain = \"90s\"\n", &[]);
    manager.hears();
    sidecar.signal("TERM");
    assert_eq!(manager.hears(), ["STOPPING=1", "STATUS=draining", "EXTEND_TIMEOUT_USEC=95000000"]);
    assert!(sidecar.wait_for_exit().success());
}

#[test]
fn the_watchdog_gets_signs_of_life_for_as_long_as_it_waits_for_them() {
    let manager = Manager::at_path();
    let _sidecar = manager.start("", &[("WATCHDOG_USEC", "600000")]);
    manager.hears();
    for _ in 0..3 {
        assert_eq!(manager.hears(), ["WATCHDOG=1"]);
    }
}

#[test]
fn a_service_manager_that_is_not_there_holds_nothing_up() {
    let manager = Manager::at_path();
    let config = manager.config("");
    for nowhere in ["/nowhere/notify", "@nobody-listens-here"] {
        let mut sidecar = Sidecar::start_with(&config, &[("NOTIFY_SOCKET", nowhere), ("WATCHDOG_USEC", "600000")]);
        let warned = sidecar.wait_for("warning", |event| event["level"] == "WARN" && event["socket"] == nowhere);
        assert!(warned["message"].as_str().unwrap().contains("NOTIFY_SOCKET"), "{warned}");
        sidecar.signal("TERM");
        assert!(sidecar.wait_for_exit().success());
    }
}
