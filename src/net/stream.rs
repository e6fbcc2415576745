//! A connected stream socket, whatever its family.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::Address;

/// How long the other end may take to read our last words and close.
const LINGER: Duration = Duration::from_secs(1);

/// Pieces of so many bytes together, such as a short answer, are joined before they are written.
const JOINED_AT_MOST: usize = 1024;

/// A connected TCP or Unix stream socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP, with `TCP_NODELAY`.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

impl Stream {
    /// Connects to a local address.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Self::from_tcp(TcpStream::connect(address).await?),
            Address::Unix(path) => UnixStream::connect(path).await.map(Self::Unix),
        }
    }

    /// Wraps a TCP stream and turns Nagle's algorithm off.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn from_tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    /// Waits for the first bytes and copies them out without consuming them; 0 at the end of the stream.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.peek(buffer).await,
            Self::Unix(stream) => {
                stream.async_io(Interest::READABLE, || Ok(recv(stream, &mut *buffer, RecvFlags::PEEK)?.0)).await
            }
        }
    }

    /// True where nothing has come and the other end has not closed, as far as this process was told.
    pub fn is_quiet(&self) -> bool {
        let read = match self {
            Self::Tcp(stream) => stream.try_read(&mut [0]),
            Self::Unix(stream) => stream.try_read(&mut [0]),
        };
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Says whether a close shows the other end an error and not an orderly end, so that it does not take what it has received for
    /// the whole. The kernel keeps to it even where this process is killed. A Unix socket knows no such end.
    pub fn reset_on_close(&self, reset: bool) {
        if let Self::Tcp(stream) = self {
            // Where the kernel refuses, the connection is closed in the ordinary way.
            let _ = SockRef::from(stream).set_linger(reset.then_some(Duration::ZERO));
        }
    }

    /// Ends the connection with an error for the other end.
    pub fn abort(self) {
        self.reset_on_close(true);
    }

    /// Ends our side and waits a while for the other end to end its own. A socket closed over unread bytes resets the
    /// connection, and the reset may take our last words, which say why, away from the other end.
    pub async fn linger(mut self) {
        let farewell = async {
            self.shutdown().await?;
            tokio::io::copy(&mut self, &mut tokio::io::sink()).await
        };
        // Whoever does not close in time has had its chance.
        let _ = tokio::time::timeout(LINGER, farewell).await;
    }

    /// Our end's address, where it is an IP address and port.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok().map(canonical),
            Self::Unix(_) => None,
        }
    }
}

/// A listener for both families shows IPv4 addresses as IPv6 ones, which rules and readers do not expect.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

impl AsRef<Self> for Stream {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// A socket between two runtimes.
#[derive(Debug)]
pub(super) enum UnregisteredStream {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Stream {
    pub(super) fn into_unregistered(self) -> io::Result<UnregisteredStream> {
        Ok(match self {
            Self::Tcp(stream) => UnregisteredStream::Tcp(stream.into_std()?),
            Self::Unix(stream) => UnregisteredStream::Unix(stream.into_std()?),
        })
    }
}

impl UnregisteredStream {
    pub(super) fn register(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

/// Several short pieces as one, which is cheaper to hand to the kernel.
fn joined(pieces: &[io::IoSlice<'_>]) -> Option<([u8; JOINED_AT_MOST], usize)> {
    let length = pieces.iter().map(|piece| piece.len()).sum();
    if pieces.len() < 2 || length > JOINED_AT_MOST {
        return None;
    }
    let mut joined = [0; JOINED_AT_MOST];
    let mut rest = &mut joined[..];
    for piece in pieces {
        let (place, after) = rest.split_at_mut(piece.len());
        place.copy_from_slice(piece);
        rest = after;
    }
    Some((joined, length))
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some((joined, length)) = joined(bufs) {
            return self.poll_write(cx, &joined[..length]);
        }
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;

    #[test]
    fn several_short_pieces_are_written_as_one_and_nothing_else_is_copied() {
        let joined = |pieces: &[&[u8]]| {
            let pieces: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            joined(&pieces).map(|(joined, length)| joined[..length].to_vec())
        };
        assert_eq!(joined(&[b"head, ", b"", b"body"]), Some(b"head, body".to_vec()));
        assert_eq!(joined(&[b"alone"]), None);
        assert!(joined(&[b"h", &[0; JOINED_AT_MOST - 1]]).is_some());
        assert_eq!(joined(&[b"h", &[0; JOINED_AT_MOST]]), None);
    }
}
