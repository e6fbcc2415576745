//! Bytes both ways between two streams. Each way ends by itself, so that one end can be done before the other.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::Buffer;

/// Bytes moved at a time: four full TLS records.
const CHUNK: usize = 4 * (1 << 14);

/// How many bytes of one way were read and delivered.
#[derive(Debug, Default)]
pub(super) struct Carried {
    read: AtomicU64,
    delivered: AtomicU64,
}

/// One way.
#[derive(Debug)]
struct Way<'a> {
    buffer: Buffer,
    is_flushed: bool,
    end: End,
    carried: &'a Carried,
}

#[derive(Debug)]
enum End {
    NotYet,
    /// The source has ended, the sink is to be told.
    Seen,
    Told,
}

impl Carried {
    /// Bytes that were handed to the sink.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// True where nothing that was read waits for the sink.
    pub(super) fn is_all_delivered(&self) -> bool {
        self.read.load(Ordering::Relaxed) == self.delivered()
    }
}

/// Carries bytes until both streams have ended. `note_use` is called for whatever is delivered.
///
/// # Errors
/// What the first stream that broke off says.
pub(super) async fn relay<A, B>(
    a: &mut A,
    b: &mut B,
    [from_a, from_b]: [&Carried; 2],
    note_use: impl Fn(),
) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut there = Way::new(from_a);
    let mut back = Way::new(from_b);
    poll_fn(|cx| {
        let is_there = there.poll(cx, a, b, &note_use)?;
        let is_back = back.poll(cx, b, a, &note_use)?;
        ready!(is_there);
        is_back.map(Ok)
    })
    .await
}

impl<'a> Way<'a> {
    fn new(carried: &'a Carried) -> Self {
        Self { buffer: Buffer::default(), is_flushed: true, end: End::NotYet, carried }
    }

    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
        note_use: &impl Fn(),
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            match self.end {
                End::NotYet if self.buffer.is_empty() => match self.poll_fill(cx, source) {
                    Poll::Ready(filled) => filled?,
                    Poll::Pending => {
                        if !self.is_flushed {
                            ready!(Pin::new(&mut *sink).poll_flush(cx))?;
                            self.is_flushed = true;
                        }
                        return Poll::Pending;
                    }
                },
                End::NotYet => {
                    let length = ready!(Pin::new(&mut *sink).poll_write(cx, self.buffer.filled()))?;
                    if length == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    self.buffer.discard(length);
                    self.is_flushed = false;
                    self.carried.delivered.fetch_add(length as u64, Ordering::Relaxed);
                    note_use();
                }
                End::Seen => {
                    ready!(Pin::new(&mut *sink).poll_shutdown(cx))?;
                    self.end = End::Told;
                }
                End::Told => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, source: &mut (impl AsyncRead + Unpin)) -> Poll<io::Result<()>> {
        let mut free = ReadBuf::new(&mut self.buffer.free()[..CHUNK]);
        let outcome = Pin::new(source).poll_read(cx, &mut free);
        let length = free.filled().len();
        self.buffer.fill(length);
        if length == 0 {
            // The buffer is lent for as long as there is something in it.
            self.buffer.settle();
        }
        ready!(outcome)?;
        self.carried.read.fetch_add(length as u64, Ordering::Relaxed);
        if length == 0 {
            self.end = End::Seen;
        }
        Poll::Ready(Ok(()))
    }
}
