//! Streams that report what comes in on them.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::net::{Buffer, Stream};
use crate::tls::TlsServerStream;

use super::connections::Live;

/// How long a caller may take to read its last answer and close, once we have nothing more to say.
const LINGER: Duration = Duration::from_secs(1);

/// A stream that notes when bytes come in, so that a header section that never ends is seen.
///
/// Its shutdown lingers where the caller may still be sending (RFC 9112 section 9.6): a socket closed over unread bytes resets the
/// connection, and the reset may take the last answer, which says why, away from the caller. What comes on a connection that has
/// switched protocols is not for us to read.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    live: Arc<Live>,
    lingering: Option<Pin<Box<Sleep>>>,
}

/// A stream that says whether anything was heard from the other end.
#[derive(Debug)]
pub(super) struct Audible<S> {
    stream: S,
    heard: Arc<AtomicBool>,
}

/// How a stream tells the other end that no more comes.
pub(super) trait Farewell {
    /// True where dropping it says as much as shutting it down, which saves a call of the kernel. False where there are last
    /// words, such as TLS has.
    const IS_SAID_BY_DROPPING: bool;
}

impl Farewell for TlsServerStream {
    const IS_SAID_BY_DROPPING: bool = false;
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, live: Arc<Live>) -> Self {
        Self { stream, live, lingering: None }
    }
}

impl<S> Audible<S> {
    pub(super) fn new(stream: S, heard: Arc<AtomicBool>) -> Self {
        Self { stream, heard }
    }
}

impl<S: AsRef<Stream>> AsRef<Stream> for Watched<S> {
    fn as_ref(&self) -> &Stream {
        self.stream.as_ref()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let outcome = Pin::new(&mut this.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.live.note_bytes_in();
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Audible<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
        this.heard.store(true, Ordering::Relaxed);
        Poll::Ready(outcome)
    }
}

impl<S: AsyncRead + AsyncWrite + Farewell + Unpin> Watched<S> {
    fn poll_lingering_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.live.has_switched() {
            return Pin::new(&mut self.stream).poll_shutdown(cx);
        }
        if self.lingering.is_none() {
            let is_said = S::IS_SAID_BY_DROPPING && self.live.is_read_to_the_end();
            if is_said && !matches!(self.poll_unread(cx), Poll::Ready(Unread::Some)) {
                return Poll::Ready(Ok(()));
            }
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        loop {
            let unread = self.poll_unread(cx);
            let is_over = match unread {
                Poll::Ready(unread) => unread == Unread::Over,
                Poll::Pending => self.lingering.is_none() && self.live.is_read_to_the_end(),
            };
            if is_over {
                return Poll::Ready(Ok(()));
            }
            let lingering = self.lingering.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
            if lingering.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            ready!(unread);
        }
    }

    /// Reads what nobody wants any more.
    fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<Unread> {
        let mut unread = Buffer::default();
        let mut buffer = ReadBuf::new(unread.free());
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
        Poll::Ready(if read.is_err() || buffer.filled().is_empty() { Unread::Over } else { Unread::Some })
    }
}

/// What a caller still sends when we have nothing more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unread {
    Some,
    /// It has ended its side, or is gone.
    Over,
}

/// Implements writing for a wrapper of a stream by writing to that stream, and its shutdown alike unless another is given.
macro_rules! write_through {
    ($stream:ident<S: $($bound:ident)+>) => {
        write_through!($stream<S: $($bound)+>, |this: &mut $stream<S>, cx| Pin::new(&mut this.stream).poll_shutdown(cx));
    };
    ($stream:ident<S: $($bound:ident)+>, $shutdown:expr) => {
        impl<S: $($bound +)+ Unpin> AsyncWrite for $stream<S> {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                self.stream.is_write_vectored()
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.get_mut().stream).poll_flush(cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                $shutdown(self.get_mut(), cx)
            }
        }
    };
}

pub(super) use write_through;

write_through!(Watched<S: AsyncRead AsyncWrite Farewell>, Watched::poll_lingering_shutdown);
write_through!(Audible<S: AsyncWrite>);
