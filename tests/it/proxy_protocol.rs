//! The PROXY protocol, version 2: what a TCP service reads before the first byte of its caller.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;

use crate::support::mesh::{Mesh, inbound};
use crate::support::pki::{Issued, Pki};
use crate::support::sidecar::{PATIENCE, Sidecar};
use crate::support::tcp_service::{TcpService, UnixService, carries};
use crate::support::tls_client::{client_config, connect, handshake};

const TCP: &str = "protocol = \"tcp\"";
const V2: &str = "protocol = \"tcp\"\nproxy_protocol = \"v2\"";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// One inbound sidecar in front of a service.
struct Scene {
    pki: Pki,
    caller: Issued,
    service: TcpService,
    sidecar: Sidecar,
}

impl Scene {
    fn listening_on(listen: &str, keys: &str) -> Self {
        let (pki, service) = (Pki::new(), TcpService::start());
        let (caller, callee) = (pki.issue("gateway"), pki.issue("adservice"));
        let mut allow = vec![caller.spiffe.as_str()];
        allow.extend(keys.contains("optional").then_some("anonymous"));
        let config = inbound(&pki, &callee, service.address, &allow, keys, "");
        let config = config.replacen("127.0.0.1:0", listen, 1);
        Self { sidecar: Sidecar::start(&config), pki, caller, service }
    }
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

/// The identity as text under our own type, and that a certificate was shown and verified under the type of TLS.
fn tlvs(identity: &str) -> Vec<u8> {
    let shown_and_verified = [&[0x03, 0, 0, 0, 0][..], &tlv(0x22, identity.as_bytes())].concat();
    [tlv(0xE0, identity.as_bytes()), tlv(0x20, &shown_and_verified)].concat()
}

fn header(family: u8, addresses: &[u8], tlvs: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len() + tlvs.len()).unwrap();
    [SIGNATURE, &[0x21, family], &length.to_be_bytes(), addresses, tlvs].concat()
}

fn addresses(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    [octets(source.ip()), octets(destination.ip()), ports].concat()
}

fn reads(service: &mut impl Read, expected: &[u8]) {
    let mut read = vec![0; expected.len()];
    service.read_exact(&mut read).unwrap();
    assert_eq!(read, expected, "{read:02x?}\n{expected:02x?}");
}

#[test]
fn the_service_reads_the_callers_addresses_and_identity_before_its_first_byte() {
    let scene = Scene::listening_on("127.0.0.1:0", V2);
    let address = scene.sidecar.address("ads");
    let mut peer = connect(address, "adservice", client_config(&scene.pki, Some(&scene.caller), &[])).unwrap();
    let mut service = scene.service.accept();
    let source = peer.sock.local_addr().unwrap();
    // The caller has said nothing yet.
    reads(&mut service, &header(0x11, &addresses(source, address), &tlvs(&scene.caller.spiffe)));
    carries(&mut peer, &mut service, b"startup");
    carries(&mut service, &mut peer, b"ready");
}

#[test]
fn an_ipv6_caller_has_ipv6_addresses() {
    let scene = Scene::listening_on("[::1]:0", V2);
    let address = scene.sidecar.address("ads");
    let mut peer = connect(address, "adservice", client_config(&scene.pki, Some(&scene.caller), &[])).unwrap();
    let mut service = scene.service.accept();
    let source = peer.sock.local_addr().unwrap();
    assert!(source.is_ipv6());
    reads(&mut service, &header(0x21, &addresses(source, address), &tlvs(&scene.caller.spiffe)));
    carries(&mut peer, &mut service, b"startup");
}

#[test]
fn an_ipv4_caller_of_a_listener_for_both_families_has_ipv4_addresses() {
    let scene = Scene::listening_on("[::]:0", V2);
    let address = SocketAddr::from(([127, 0, 0, 1], scene.sidecar.address("ads").port()));
    let peer = connect(address, "adservice", client_config(&scene.pki, Some(&scene.caller), &[])).unwrap();
    let source = peer.sock.local_addr().unwrap();
    reads(&mut scene.service.accept(), &header(0x11, &addresses(source, address), &tlvs(&scene.caller.spiffe)));
    let connections = scene.sidecar.status()["connections"].to_string();
    assert!(connections.contains(&format!("\"{source}\"")), "{connections}");
}

#[test]
fn a_caller_over_a_unix_socket_has_an_identity_and_no_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tls.sock");
    let scene = Scene::listening_on(&format!("unix:{}", path.display()), V2);
    let socket = UnixStream::connect(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut peer = handshake(socket, "adservice", client_config(&scene.pki, Some(&scene.caller), &[])).unwrap();
    let mut service = scene.service.accept();
    reads(&mut service, &header(0x00, &[], &tlvs(&scene.caller.spiffe)));
    carries(&mut peer, &mut service, b"startup");
}

#[test]
fn a_service_on_a_unix_socket_reads_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.sock");
    let service = UnixService::on(&path);
    let mesh = Mesh::around(service, format!("unix:{}", path.display()), V2, TCP, "");
    let peer = connect(mesh.tls(), "adservice", client_config(&mesh.pki, Some(&mesh.caller), &[])).unwrap();
    let source = peer.sock.local_addr().unwrap();
    reads(&mut mesh.service.accept(), &header(0x11, &addresses(source, mesh.tls()), &tlvs(&mesh.caller.spiffe)));
}

#[test]
fn an_anonymous_caller_is_said_to_have_shown_no_certificate() {
    let scene = Scene::listening_on("127.0.0.1:0", &format!("{V2}\nclient_auth = \"optional\""));
    let address = scene.sidecar.address("ads");
    let peer = connect(address, "adservice", client_config(&scene.pki, None, &[])).unwrap();
    let source = peer.sock.local_addr().unwrap();
    let tlvs = [tlv(0xE0, b"anonymous"), tlv(0x20, &[0x01, 0, 0, 0, 1])].concat();
    reads(&mut scene.service.accept(), &header(0x11, &addresses(source, address), &tlvs));
}

#[test]
fn a_header_that_the_caller_sends_comes_after_ours_as_bytes_like_any_other() {
    let scene = Scene::listening_on("127.0.0.1:0", V2);
    let address = scene.sidecar.address("ads");
    let mut peer = connect(address, "adservice", client_config(&scene.pki, Some(&scene.caller), &[])).unwrap();
    let source = peer.sock.local_addr().unwrap();
    let forged =
        header(0x11, &addresses("10.0.0.1:1".parse().unwrap(), address), &tlvs("spiffe://fleamarket.internal/root"));
    peer.write_all(&forged).unwrap();
    let mut service = scene.service.accept();
    reads(&mut service, &header(0x11, &addresses(source, address), &tlvs(&scene.caller.spiffe)));
    reads(&mut service, &forged);
}

#[test]
fn without_the_option_the_service_reads_its_callers_bytes_alone() {
    let scene = Scene::listening_on("127.0.0.1:0", TCP);
    let address = scene.sidecar.address("ads");
    let mut peer = connect(address, "adservice", client_config(&scene.pki, Some(&scene.caller), &[])).unwrap();
    carries(&mut peer, &mut scene.service.accept(), b"startup");
}
