//! Bodies stream: memory stays flat, and a slow reader makes the sender wait.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::mesh::Mesh;
use crate::support::service::get;
use crate::support::sidecar::{PATIENCE, Sidecar};

const MIB: usize = 1024 * 1024;
/// A body that would show in memory if any part of it were kept.
const LARGE: usize = 128 * MIB;
/// What the sidecars, and the kernel between them, may hold of a body that nobody reads.
const HELD: usize = 64 * MIB;
/// A write that makes no progress for so long has been stopped.
const STALLED: Duration = Duration::from_millis(300);

#[test]
fn large_bodies_leave_memory_flat_in_both_directions() {
    for hop in ["http1", "http2"] {
        let mesh = Mesh::with("", &format!("hop = \"{hop}\""), "");
        assert_eq!(get(mesh.entry(), "/bytes/100000").0, 200);
        let sidecars = [&mesh.inbound, &mesh.outbound];
        let before = sidecars.map(Sidecar::resident_kib);
        let url = |path: &str| format!("http://{}{path}", mesh.entry());
        let download = Command::new("curl")
            .args(["-sS", "-o", "/dev/null", "-w", "%{size_download}", &url(&format!("/bytes/{LARGE}"))])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&download.stdout), LARGE.to_string(), "{hop} {download:?}");
        let mut upload = Command::new("curl")
            .args(["-sS", "-T", "-", "-X", "POST", &url("/sink")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let zeros = &mut File::open("/dev/zero").unwrap().take(LARGE as u64);
        std::io::copy(zeros, &mut upload.stdin.take().unwrap()).unwrap();
        let upload = upload.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&upload.stdout), LARGE.to_string(), "{hop} {upload:?}");
        for (sidecar, before) in sidecars.into_iter().zip(before) {
            let grown = sidecar.peak_resident_kib().saturating_sub(before);
            assert!(grown < 24 * 1024, "{hop}: from {before} KiB by {grown} KiB");
        }
    }
}

/// Writes until nobody takes any more, and says how much was taken.
fn write_until_stalled(stream: &mut TcpStream) -> usize {
    stream.set_write_timeout(Some(STALLED)).unwrap();
    let block = vec![b'x'; 64 * 1024];
    let mut taken = 0;
    while taken < LARGE {
        match stream.write(&block) {
            Ok(written) => taken += written,
            Err(_) => break,
        }
    }
    taken
}

#[test]
fn a_caller_that_does_not_read_makes_the_service_wait() {
    for hop in ["http1", "http2"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mesh = Mesh::around((), address, "", &format!("hop = \"{hop}\""), "");
        let mut caller = TcpStream::connect(mesh.entry()).unwrap();
        caller.write_all(b"GET / HTTP/1.1\r\nHost: ads\r\n\r\n").unwrap();
        let (mut service, _) = listener.accept().unwrap();
        let mut request = [0; 16];
        service.read_exact(&mut request).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
        service.write_all(head.as_bytes()).unwrap();
        let taken = write_until_stalled(&mut service);
        assert!(taken < HELD, "{hop}: {taken} bytes were taken");
        // It was made to wait, no more: once the caller reads, the rest is taken.
        service.set_write_timeout(Some(PATIENCE)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| service.write_all(&vec![b'x'; LARGE - taken]).unwrap());
            caller.set_read_timeout(Some(PATIENCE)).unwrap();
            let read = std::io::copy(&mut (&caller).take(LARGE as u64), &mut std::io::sink()).unwrap();
            assert_eq!(read, LARGE as u64, "{hop}");
        });
    }
}

#[test]
fn a_service_that_does_not_read_makes_the_caller_wait() {
    for hop in ["http1", "http2"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mesh = Mesh::around((), address, "", &format!("hop = \"{hop}\""), "");
        let mut caller = TcpStream::connect(mesh.entry()).unwrap();
        let head = format!("POST / HTTP/1.1\r\nHost: ads\r\nContent-Length: {LARGE}\r\n\r\n");
        caller.write_all(head.as_bytes()).unwrap();
        let _unread = listener.accept().unwrap();
        let taken = write_until_stalled(&mut caller);
        assert!(taken < HELD, "{hop}: {taken} bytes were taken");
    }
}

#[test]
fn callers_that_do_not_read_keep_nothing_from_others_on_the_same_hop() {
    let mesh = Mesh::with("", "hop = \"http2\"", "");
    let stalled: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut caller = TcpStream::connect(mesh.entry()).unwrap();
            caller.set_read_timeout(Some(PATIENCE)).unwrap();
            caller.write_all(format!("GET /bytes/{LARGE} HTTP/1.1\r\nHost: ads\r\n\r\n").as_bytes()).unwrap();
            caller.read_exact(&mut [0; 16]).unwrap();
            caller
        })
        .collect();
    // Time for what is not read to fill every window on the way.
    std::thread::sleep(STALLED * 3);
    for _ in 0..4 {
        let (status, body) = get(mesh.entry(), "/bytes/1000000");
        assert_eq!((status, body.len()), (200, 1_000_000));
    }
    drop(stalled);
}

#[test]
fn callers_that_break_off_leave_nothing_in_flight() {
    for hop in ["http1", "http2"] {
        let mesh = Mesh::with("", &format!("hop = \"{hop}\""), "");
        for _ in 0..10 {
            for path in ["/echo", "/sink"] {
                let mut upload = TcpStream::connect(mesh.entry()).unwrap();
                let head = format!("POST {path} HTTP/1.1\r\nHost: ads\r\nContent-Length: 1000\r\n\r\nsome");
                upload.write_all(head.as_bytes()).unwrap();
                if path == "/echo" {
                    upload.read_exact(&mut [0; 16]).unwrap();
                }
            }
            let mut download = TcpStream::connect(mesh.entry()).unwrap();
            download.write_all(format!("GET /bytes/{LARGE} HTTP/1.1\r\nHost: ads\r\n\r\n").as_bytes()).unwrap();
            download.read_exact(&mut [0; 16]).unwrap();
        }
        for sidecar in [&mesh.inbound, &mesh.outbound] {
            sidecar.wait_for_status("nothing in flight", |status| {
                let connections = status["connections"].as_array().unwrap();
                connections.iter().all(|connection| connection["in_flight"] == 0)
            });
        }
    }
}
