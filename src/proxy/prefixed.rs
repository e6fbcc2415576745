//! A stream whose first bytes are looked at before they are read.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::{Buffer, Stream};

use super::watched::{Farewell, write_through};

/// Bytes taken ahead at most. Whoever reads an HTTP connection asks for as many first.
const MOST: usize = 8 << 10;

/// A stream that gives the bytes which were taken ahead before those that follow.
#[derive(Debug)]
pub(super) struct Prefixed<S> {
    ahead: Buffer,
    stream: S,
}

impl<S: AsyncRead + Unpin> Prefixed<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { ahead: Buffer::default(), stream }
    }

    /// Waits for more bytes and gives all that were taken so far; nothing at the end of the stream.
    ///
    /// # Errors
    /// What the stream says.
    pub(super) async fn take_ahead(&mut self) -> io::Result<&[u8]> {
        let came = poll_fn(|cx| self.poll_ahead(cx)).await?;
        Ok(if came { self.ahead.filled() } else { &[] })
    }

    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let room = MOST.saturating_sub(self.ahead.filled().len());
        let free = self.ahead.free();
        let room = room.min(free.len());
        let mut buffer = ReadBuf::new(&mut free[..room]);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        let length = buffer.filled().len();
        self.ahead.fill(length);
        if read.is_pending() {
            self.ahead.settle();
        }
        read.map_ok(|()| length > 0)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let length = this.ahead.filled().len().min(buf.remaining());
        buf.put_slice(&this.ahead.filled()[..length]);
        this.ahead.discard(length);
        this.ahead.settle();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsRef<Stream>> AsRef<Stream> for Prefixed<S> {
    fn as_ref(&self) -> &Stream {
        self.stream.as_ref()
    }
}

write_through!(Prefixed<S: AsyncWrite>);

impl Farewell for Prefixed<Stream> {
    const IS_SAID_BY_DROPPING: bool = true;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn bytes_taken_ahead_come_before_those_that_follow() {
        let (mut caller, stream) = duplex(1 << 16);
        let mut stream = Prefixed::new(stream);
        for (more, all) in [("GE", "GE"), ("T /", "GET /")] {
            caller.write_all(more.as_bytes()).await.expect("there is room");
            assert_eq!(stream.take_ahead().await.expect("bytes"), all.as_bytes());
        }
        caller.write_all(b"ads").await.expect("there is room");
        drop(caller);
        let mut read = [0; 2];
        stream.read_exact(&mut read).await.expect("bytes");
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.expect("text");
        assert_eq!((&read, rest.as_str()), (b"GE", "T /ads"));
        assert!(stream.take_ahead().await.expect("bytes").is_empty());
    }

    #[tokio::test]
    async fn no_more_is_taken_ahead_than_whoever_reads_asks_for_first() {
        let (mut caller, stream) = duplex(3 * MOST);
        let mut stream = Prefixed::new(stream);
        caller.write_all(&[b'x'; 2 * MOST]).await.expect("there is room");
        assert_eq!(stream.take_ahead().await.expect("bytes").len(), MOST);
    }
}
