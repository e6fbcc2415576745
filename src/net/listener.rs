//! Listening sockets and the one accept loop.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::stream::canonical;
use super::{Address, Stream, Worker, Workers};

/// Connections that the kernel holds for us until they are accepted.
const BACKLOG: i32 = 4096;
/// Connections that a worker still accepts once its listener has stopped. More than these are a flood without an end.
const MAX_WAITING: usize = 128;
/// By how much the load of a worker may exceed that of the least loaded one before it gives the next connection away: as a part of
/// the latter, and at most. Handing over costs more than serving a short connection does, but many connections that stay must not
/// wait for one worker while another has half as many, and of two connections each may carry the requests of hundreds.
const TOLERATED_PART: usize = 2;
const TOLERATED_AT_MOST: usize = 8;
/// Turns of its event loop that a worker waits for a less loaded one to take a connection, since the kernel wakes all of them.
const TURNS_GIVEN: usize = 3;
/// How long accepting rests after the process ran out of descriptors or memory.
const REST_AFTER_EXHAUSTION: Duration = Duration::from_millis(50);

/// A bound listening socket. A Unix socket's file is removed when the listener is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
}

/// Who is at the other end, as far as the kernel knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerAddress {
    /// An IP address and port.
    Tcp(SocketAddr),
    /// Some process of this host that connected to a Unix socket of ours.
    Unix,
    /// Whoever listens on a Unix socket.
    Listener(Arc<Path>),
}

/// Why an address cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {source}; {}", remedy(source))]
pub struct BindError {
    /// The address.
    pub address: Address,
    /// What the kernel says.
    pub source: io::Error,
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "stop the program that listens there, or choose another port",
        io::ErrorKind::AddrNotAvailable => "choose an address that this host has (\"ip address\" lists them)",
        io::ErrorKind::PermissionDenied => "choose a port from 1024 up or a directory that this user can write",
        _ => "choose another address",
    }
}

/// One accepted connection.
#[derive(Debug)]
pub struct Arrival {
    /// The connection, registered with the runtime of the worker that runs it.
    pub stream: Stream,
    /// Where it comes from.
    pub address: PeerAddress,
    /// Its place under the listener's limit, given back when this is dropped.
    pub place: OwnedSemaphorePermit,
    /// The index of that worker.
    pub worker: usize,
}

impl Listener {
    /// Binds and listens. A Unix socket left behind by a process that is gone is replaced.
    ///
    /// # Errors
    /// The address and what the kernel says of it.
    pub fn bind(address: &Address) -> Result<Self, BindError> {
        let socket = match address {
            Address::Tcp(address) => bind_tcp(*address),
            Address::Unix(path) => bind_unix(path),
        };
        let failed = |source| BindError { address: address.clone(), source };
        let socket = socket.map_err(failed)?;
        let bound = match address {
            Address::Tcp(_) => {
                let local = socket.local_addr().map_err(failed)?;
                Address::Tcp(local.as_socket().ok_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into()))?)
            }
            Address::Unix(_) => address.clone(),
        };
        Ok(Self { socket, address: bound })
    }

    /// Where it listens: the port that the kernel chose where 0 was asked for.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Accepts on every worker until `stop` is cancelled, and runs `serve` for each connection on the worker that took it. One that
    /// has clearly more to do than another gives way to it, and hands over what the other was too busy to take. At the limit
    /// nothing is accepted: further connections wait in the kernel's queue.
    ///
    /// The socket is closed once the last of those who accept on it has stopped.
    pub fn accept_on<F, S>(
        self: Arc<Self>,
        workers: &Workers,
        limit: &Arc<Semaphore>,
        stop: &CancellationToken,
        serve: S,
    ) where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(Arrival) -> F + Clone + Send + 'static,
    {
        for worker in workers.handles().iter() {
            let (listener, limit, stop) = (Arc::clone(&self), Arc::clone(limit), stop.clone());
            let (own, workers, serve) = (worker.clone(), Arc::clone(workers.handles()), serve.clone());
            worker.run(async move {
                match AcceptingSocket::register(&listener) {
                    Ok(socket) => {
                        let accept = accept_loop(&socket, &limit, &own, &workers, serve.clone());
                        stop.run_until_cancelled(accept).await;
                        accept_waiting(&socket, &limit, &own, serve).await;
                    }
                    Err(error) => error!(listener.address = %listener.address, %error, "cannot accept on this worker"),
                }
            });
        }
    }

    /// Accepts on the caller's runtime, without workers, and gives `take` each connection with its place under the limit.
    /// Goes on until it is dropped.
    ///
    /// # Errors
    /// Where the socket cannot be registered with the runtime.
    pub async fn accept_here(
        &self,
        limit: &Arc<Semaphore>,
        mut take: impl FnMut(Stream, OwnedSemaphorePermit),
    ) -> io::Result<()> {
        let socket = AcceptingSocket::register(self)?;
        loop {
            let (stream, _, place) = socket.accept_within(limit, || false).await;
            take(stream, place);
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]` means both families, whatever the system's setting.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it, which saves a call for each connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn bind_unix(path: &PathBuf) -> io::Result<Socket> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket {
        match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address {
            // The file may be gone already, and then there is nothing to remove.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl From<&Address> for PeerAddress {
    fn from(address: &Address) -> Self {
        match address {
            Address::Tcp(address) => Self::Tcp(*address),
            Address::Unix(path) => Self::Listener(path.as_path().into()),
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
            Self::Listener(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

enum AcceptingSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AcceptingSocket {
    fn register(listener: &Listener) -> io::Result<Self> {
        let socket = listener.socket.try_clone()?;
        Ok(match listener.address {
            Address::Tcp(_) => Self::Tcp(TcpListener::from_std(socket.into())?),
            Address::Unix(_) => Self::Unix(UnixListener::from_std(socket.into())?),
        })
    }

    async fn accept(&self) -> io::Result<(Stream, PeerAddress)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                (Stream::Tcp(stream), PeerAddress::Tcp(canonical(address)))
            }
            Self::Unix(listener) => (Stream::Unix(listener.accept().await?.0), PeerAddress::Unix),
        })
    }

    /// The next connection, once there is a place for it. Errors are told of and survived. While `gives_way` says so, whoever else
    /// the kernel woke has a few turns to take the connection.
    async fn accept_within(
        &self,
        limit: &Arc<Semaphore>,
        gives_way: impl Fn() -> bool,
    ) -> (Stream, PeerAddress, OwnedSemaphorePermit) {
        let place = Arc::clone(limit).acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.accept_giving_way(&gives_way).await {
                Ok((stream, address)) => return (stream, address, place),
                Err(error) if is_of_one_connection(&error) => {
                    debug!(%error, "a connection was gone before it was accepted");
                }
                Err(error) => {
                    warn!(%error, "cannot accept connections for now");
                    tokio::time::sleep(REST_AFTER_EXHAUSTION).await;
                }
            }
        }
    }

    async fn accept_giving_way(&self, gives_way: impl Fn() -> bool) -> io::Result<(Stream, PeerAddress)> {
        let mut accept = pin!(self.accept());
        loop {
            for _ in 0..TURNS_GIVEN {
                if !gives_way() {
                    break;
                }
                yield_now().await;
            }
            match poll!(accept.as_mut()) {
                Poll::Ready(accepted) => return accepted,
                Poll::Pending => woken().await,
            }
        }
    }
}

/// Waits until something wakes the task.
async fn woken() {
    let mut has_slept = false;
    poll_fn(|_| if std::mem::replace(&mut has_slept, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

async fn accept_loop<F, S>(socket: &AcceptingSocket, limit: &Arc<Semaphore>, own: &Worker, workers: &[Worker], serve: S)
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(Arrival) -> F + Clone + Send + 'static,
{
    loop {
        let gives_way = || less_loaded(own, workers).is_some();
        let (stream, address, place) = socket.accept_within(limit, gives_way).await;
        match less_loaded(own, workers) {
            None => own.spawn(serve(Arrival { stream, address, place, worker: own.index })),
            Some(other) => move_to(other, stream, address, place, serve.clone()),
        }
    }
}

/// The least loaded worker, where this one has clearly more to do.
fn less_loaded<'a>(own: &Worker, workers: &'a [Worker]) -> Option<&'a Worker> {
    let least = Worker::least_loaded(workers);
    let tolerated = (least.load() / TOLERATED_PART).min(TOLERATED_AT_MOST);
    (own.load() > least.load() + tolerated).then_some(least)
}

/// Accepts what waits in the kernel's queue, which would be reset when the socket is closed.
async fn accept_waiting<F, S>(socket: &AcceptingSocket, limit: &Arc<Semaphore>, own: &Worker, serve: S)
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(Arrival) -> F + Send,
{
    for _ in 0..MAX_WAITING {
        let Ok(place) = Arc::clone(limit).try_acquire_owned() else { return };
        match tokio::time::timeout(Duration::ZERO, socket.accept()).await {
            Ok(Ok((stream, address))) => own.spawn(serve(Arrival { stream, address, place, worker: own.index })),
            Ok(Err(error)) if is_of_one_connection(&error) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

fn move_to<F, S>(worker: &Worker, stream: Stream, address: PeerAddress, place: OwnedSemaphorePermit, serve: S)
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(Arrival) -> F + Send + 'static,
{
    let index = worker.index;
    match stream.into_unregistered() {
        Ok(socket) => worker.spawn(async move {
            match socket.register() {
                Ok(stream) => serve(Arrival { stream, address, place, worker: index }).await,
                Err(error) => warn!(%error, "an accepted connection could not be registered"),
            }
        }),
        Err(error) => warn!(%error, "an accepted connection could not be moved to another worker"),
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::sync::mpsc::channel;

    use super::*;

    /// Which of two workers runs each of so many connections that come at once and stay.
    fn spread(connections: usize) -> [usize; 2] {
        let workers = Workers::start(2).expect("threads");
        let address = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = Arc::new(Listener::bind(&address).expect("a port"));
        let Address::Tcp(address) = *listener.address() else { unreachable!("it is of TCP") };
        let (tell, told) = channel();
        let serve = move |arrival: Arrival| {
            let told = tell.send(arrival.worker);
            async move {
                told.expect("somebody counts");
                let _stays = arrival;
                std::future::pending::<()>().await;
            }
        };
        listener.accept_on(&workers, &Arc::new(Semaphore::new(connections)), &CancellationToken::new(), serve);
        let _callers: Vec<TcpStream> =
            (0..connections).map(|_| TcpStream::connect(address).expect("it listens")).collect();
        let mut taken = [0; 2];
        for worker in told.iter().take(connections) {
            taken[worker] += 1;
        }
        taken
    }

    #[test]
    fn a_few_connections_are_spread_evenly_over_the_workers() {
        for _ in 0..20 {
            assert_eq!(spread(2), [1, 1]);
            // One that is being handed over is counted where it arrives.
            let [one, other] = spread(4);
            assert!(one.min(other) > 0, "{one} and {other}");
        }
    }

    #[test]
    fn of_many_connections_no_worker_has_many_more_than_another() {
        let [one, other] = spread(200);
        assert!(one.abs_diff(other) <= TOLERATED_AT_MOST + 1, "{one} and {other}");
    }
}
