//! An answer that comes in: its header section, then its body, up to its last byte and no further.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Frame;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::config::Limits;
use crate::net::Buffer;

use super::chunks::{Chunks, Found};
use super::error::Http1Error;
use super::head::{Head, Section, SectionLimits};
use super::length::{Length, persists};

/// Bytes that are read at a time until more turn out to come.
const FEW: usize = 8 * 1024;
/// Free bytes from which on a buffer is read into once more.
const ROOM: usize = 1024;
/// Interim answers to one request, which are read and not passed on (RFC 9110 section 15.2).
const MAX_INTERIM: usize = 100;

/// An answer that comes in. What was read of it waits in memory that it alone has, and that is gone with its last byte.
#[derive(Debug)]
pub(super) struct Receiving {
    /// What was received and not taken yet.
    received: Bytes,
    /// Bytes to read at a time.
    at_a_time: usize,
    many: usize,
    limits: SectionLimits,
    section: Section,
    interim: usize,
    is_heard: bool,
    to_head_request: bool,
    body: Body,
    persists: bool,
}

/// What is still to come of a body.
#[derive(Debug)]
enum Body {
    Sized(u64),
    Chunked(Box<Chunks>),
    UntilClose,
    Over,
}

impl Receiving {
    /// Nothing so far.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            received: Bytes::new(),
            at_a_time: FEW,
            many: limits.http1_buffer(),
            limits: SectionLimits::of(limits),
            section: Section::default(),
            interim: 0,
            is_heard: false,
            to_head_request: false,
            body: Body::Over,
            persists: true,
        }
    }

    /// Expects the answer to a request, which may be a HEAD.
    pub(super) fn expect(&mut self, to_head_request: bool) {
        self.at_a_time = FEW;
        self.interim = 0;
        self.is_heard = false;
        self.to_head_request = to_head_request;
    }

    /// True where some of an answer has come.
    pub(super) fn is_heard(&self) -> bool {
        self.is_heard
    }

    /// True where the answer was taken to its end.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.body, Body::Over)
    }

    /// What is still to come, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self.body {
            Body::Sized(left) => Some(left),
            Body::Over => Some(0),
            Body::Chunked(_) | Body::UntilClose => None,
        }
    }

    /// True where another request may follow: the sender keeps the connection, and has sent its answer and nothing beyond.
    pub(super) fn is_at_rest(&self) -> bool {
        self.persists && self.is_over() && self.received.is_empty()
    }

    /// What was read beyond the answer.
    pub(super) fn into_rest(self) -> Bytes {
        self.received
    }

    /// Waits for the header section of the answer. Interim ones are passed over.
    pub(super) fn poll_head<S>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Poll<Result<Head, Http1Error>>
    where
        S: AsyncRead + Unpin,
    {
        loop {
            while let Some(mut head) = self.section.take_head(&mut self.received, self.limits)? {
                let length = Length::of(&mut head, self.to_head_request)?;
                if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
                    self.interim += 1;
                    if self.interim > MAX_INTERIM {
                        return Poll::Ready(Err(Http1Error::Invalid("interim answers without an end")));
                    }
                    continue;
                }
                self.persists = persists(&head) && head.status != StatusCode::SWITCHING_PROTOCOLS;
                self.body = match length {
                    Length::Exact(0) => Body::Over,
                    Length::Exact(length) => Body::Sized(length),
                    Length::Chunked => Body::Chunked(Box::new(Chunks::new(self.limits))),
                    Length::UntilClose => Body::UntilClose,
                };
                self.persists &= length != Length::UntilClose;
                return Poll::Ready(Ok(head));
            }
            match ready!(self.poll_fill(cx, stream)) {
                Ok(0) => return Poll::Ready(Err(self.broken_off(super::error::closed()))),
                Ok(_) => self.is_heard = true,
                Err(error) => return Poll::Ready(Err(self.broken_off(error))),
            }
        }
    }

    /// Waits for the next part of the body; nothing after its end.
    pub(super) fn poll_frame<S>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<Option<Result<Frame<Bytes>, Http1Error>>>
    where
        S: AsyncRead + Unpin,
    {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.is_over() {
                return Poll::Ready(None);
            }
            match ready!(self.poll_fill(cx, stream)) {
                Ok(0) if matches!(self.body, Body::UntilClose) => self.body = Body::Over,
                Ok(0) => return Poll::Ready(Some(Err(Http1Error::BrokenOff(super::error::closed())))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(Http1Error::BrokenOff(error)))),
            }
        }
    }

    fn take_frame(&mut self) -> Result<Option<Frame<Bytes>>, Http1Error> {
        match &mut self.body {
            Body::Over => Ok(None),
            _ if self.received.is_empty() => Ok(None),
            Body::UntilClose => Ok(Some(Frame::data(std::mem::take(&mut self.received)))),
            Body::Sized(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(self.received.len());
                *left -= length as u64;
                if *left == 0 {
                    self.body = Body::Over;
                }
                Ok(Some(Frame::data(self.received.split_to(length))))
            }
            Body::Chunked(chunks) => {
                let found = chunks.take(&mut self.received)?;
                if chunks.is_over() {
                    self.body = Body::Over;
                }
                Ok(match found {
                    Found::Data(data) => Some(Frame::data(data)),
                    Found::Trailers(trailers) => Some(Frame::trailers(trailers)),
                    Found::End | Found::Nothing => None,
                })
            }
        }
    }

    /// Reads on, behind what waits to be taken. 0 is the end.
    pub(super) fn poll_fill<S>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + Unpin,
    {
        let room = match self.body {
            Body::Sized(left) => usize::try_from(left).unwrap_or(usize::MAX).clamp(self.at_a_time, self.many),
            Body::Chunked(_) | Body::UntilClose | Body::Over => self.at_a_time,
        };
        if self.received.is_empty() && room <= FEW {
            return self.poll_fill_with_few(cx, stream, room);
        }
        let mut buffer = reopen(std::mem::take(&mut self.received), room);
        let free = buffer.capacity() - buffer.len();
        let outcome = poll_read_buf(Pin::new(stream), cx, &mut buffer);
        if let Poll::Ready(Ok(read)) = outcome {
            self.at_a_time = if read == free { self.many } else { self.at_a_time.min(FEW.max(read)) };
        }
        // An empty buffer is not kept.
        self.received = if buffer.is_empty() { Bytes::new() } else { buffer.freeze() };
        outcome
    }

    /// Reads what is likely to be little into memory that the worker lends, and keeps no more than came: with many answers on their
    /// way, room for each would leave the processor's caches.
    fn poll_fill_with_few<S>(&mut self, cx: &mut Context<'_>, stream: &mut S, room: usize) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + Unpin,
    {
        let mut lent = Buffer::default();
        let mut buffer = ReadBuf::new(&mut lent.free()[..room]);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        let read = buffer.filled();
        if read.len() == room {
            self.at_a_time = self.many;
        }
        self.received = Bytes::copy_from_slice(read);
        Poll::Ready(Ok(read.len()))
    }

    fn broken_off(&self, error: io::Error) -> Http1Error {
        if self.is_heard { Http1Error::BrokenOff(error) } else { Http1Error::Unheard(error) }
    }
}

/// A buffer that begins with these bytes and has room for more.
fn reopen(received: Bytes, room: usize) -> BytesMut {
    if received.is_empty() {
        return BytesMut::with_capacity(room);
    }
    let mut buffer = received.try_into_mut().unwrap_or_else(|shared| {
        let mut copy = BytesMut::with_capacity(shared.len() + room);
        copy.extend_from_slice(&shared);
        copy
    });
    if buffer.capacity() - buffer.len() < ROOM {
        buffer.reserve(room);
    }
    buffer
}
