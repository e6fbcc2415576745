//! A TCP service whose connections a test takes and serves itself.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use super::sidecar::PATIENCE;

/// A listener on loopback, and what connected to it.
pub(crate) struct TcpService {
    pub(crate) address: SocketAddr,
    arrivals: Receiver<TcpStream>,
}

/// The same on a Unix socket.
pub(crate) struct UnixService {
    arrivals: Receiver<UnixStream>,
}

impl TcpService {
    pub(crate) fn start() -> Self {
        Self::on("127.0.0.1:0")
    }

    pub(crate) fn on(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let (address, (arrived, arrivals)) = (listener.local_addr().unwrap(), channel());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                if arrived.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { address, arrivals }
    }

    /// One that sends everything back and then closes.
    pub(crate) fn echo() -> SocketAddr {
        let service = Self::start();
        let address = service.address;
        std::thread::spawn(move || {
            for mut stream in service.arrivals {
                std::thread::spawn(move || {
                    let mut reader = stream.try_clone().unwrap();
                    let _ = std::io::copy(&mut reader, &mut stream);
                    let _ = stream.shutdown(Shutdown::Write);
                });
            }
        });
        address
    }

    /// Waits for the next connection.
    pub(crate) fn accept(&self) -> TcpStream {
        self.arrivals.recv_timeout(PATIENCE).expect("nobody connected to the service")
    }

    /// True where nobody has connected since the last [`TcpService::accept`].
    pub(crate) fn is_untouched(&self) -> bool {
        self.arrivals.try_recv().is_err()
    }
}

impl UnixService {
    pub(crate) fn on(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (arrived, arrivals) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                if arrived.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { arrivals }
    }

    /// Waits for the next connection.
    pub(crate) fn accept(&self) -> UnixStream {
        self.arrivals.recv_timeout(PATIENCE).expect("nobody connected to the service")
    }
}

/// Connects, and waits for nothing longer than [`PATIENCE`].
pub(crate) fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends this and reads as many bytes at the other end.
pub(crate) fn carries(from: &mut impl Write, to: &mut impl Read, what: &[u8]) {
    from.write_all(what).unwrap();
    from.flush().unwrap();
    let mut arrived = vec![0; what.len()];
    to.read_exact(&mut arrived).unwrap();
    assert_eq!(arrived, what);
}

/// Reads to an orderly end.
pub(crate) fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("an orderly end");
    all
}

/// Reads until the connection ends, which must be by a reset, and gives what came before.
pub(crate) fn rest_before_reset(stream: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    let error = stream.read_to_end(&mut all).expect_err("an orderly end where a reset was due");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    all
}
