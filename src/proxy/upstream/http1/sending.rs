//! A request on its way: what waits for the socket, and the rest of the body that follows.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http::request;
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite;

use crate::proxy::request_body::RequestBody;

use super::error::Http1Error;
use super::request::{Framing, write_head, write_trailers};

/// Bytes that may wait for the socket before more of the body is asked for.
const ENOUGH: usize = 64 * 1024;
/// Pieces that one call of the kernel takes, and that may wait for it.
const MAX_PIECES: usize = 16;
/// Pieces that one frame of a body becomes at most.
const PIECES_OF_A_FRAME: usize = 3;

/// A request on its way.
#[derive(Debug)]
pub(super) struct Sending {
    /// What goes out first: the header section, or the line before a chunk.
    first: BytesMut,
    /// What goes out after it, in order.
    next: VecDeque<Bytes>,
    /// Bytes in `next`.
    waiting: usize,
    body: RequestBody,
    framing: Framing,
    is_body_over: bool,
    is_body_touched: bool,
    stage: Stage,
}

/// How far a request is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing of it has left.
    Here,
    /// Some of it may have reached the other end.
    OnItsWay,
    /// Every byte of it is with the kernel.
    Sent,
}

/// Why a request could not be sent to its end.
#[derive(Debug)]
pub(super) enum SendError {
    /// The connection takes no more.
    Connection(io::Error),
    /// The body is none that can be sent.
    Body(Http1Error),
}

impl Sending {
    /// Nothing to send.
    pub(super) fn nothing() -> Self {
        Self {
            first: BytesMut::new(),
            next: VecDeque::new(),
            waiting: 0,
            body: RequestBody::Empty,
            framing: Framing::Length(0),
            is_body_over: true,
            is_body_touched: false,
            stage: Stage::Sent,
        }
    }

    /// Begins a request, with its header section. The framing of its body has been settled with that.
    pub(super) fn begin(&mut self, head: &request::Parts, body: RequestBody, framing: Framing) {
        write_head(head, &mut self.first);
        self.is_body_over = body.is_empty();
        self.body = body;
        self.framing = framing;
        self.is_body_touched = false;
        self.stage = Stage::Here;
    }

    /// True where every byte of it is with the kernel.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Sent
    }

    /// True where some of it may have reached the other end.
    pub(super) fn has_begun(&self) -> bool {
        self.stage != Stage::Here
    }

    /// The body, where nothing was taken of it and nothing of the request was sent.
    pub(super) fn take_back(&mut self) -> Option<RequestBody> {
        (self.stage == Stage::Here && !self.is_body_touched)
            .then(|| std::mem::replace(&mut self.body, RequestBody::Empty))
    }

    /// Lets go of what was not sent. It never comes to its end.
    pub(super) fn give_up(&mut self) {
        *self = Self { stage: Stage::OnItsWay, is_body_touched: true, ..Self::nothing() };
    }

    /// Sends what can be sent now, until all is.
    pub(super) fn poll<S>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Poll<Result<(), SendError>>
    where
        S: AsyncWrite + Unpin,
    {
        while !self.is_done() {
            self.poll_body(cx).map_err(SendError::Body)?;
            if !self.first.is_empty() || !self.next.is_empty() {
                ready!(self.poll_write(cx, stream)).map_err(SendError::Connection)?;
                continue;
            }
            ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(SendError::Connection)?;
            if !self.is_body_over {
                return Poll::Pending;
            }
            self.first = BytesMut::new();
            self.body = RequestBody::Empty;
            self.stage = Stage::Sent;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes as much of the body as there is and as may wait.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Result<(), Http1Error> {
        while !self.is_body_over && self.waiting < ENOUGH && self.next.len() + PIECES_OF_A_FRAME < MAX_PIECES {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else { break };
            self.is_body_touched = true;
            match frame {
                Some(Ok(frame)) => self.put(frame)?,
                Some(Err(error)) => return Err(Http1Error::Request(Box::new(error))),
                None => self.put_end(None)?,
            }
        }
        Ok(())
    }

    fn put(&mut self, frame: Frame<Bytes>) -> Result<(), Http1Error> {
        let data = match frame.into_data() {
            Ok(data) if data.is_empty() => return Ok(()),
            Ok(data) => data,
            Err(frame) => return self.put_end(frame.into_trailers().ok().as_ref()),
        };
        match &mut self.framing {
            Framing::Length(left) => {
                *left = left
                    .checked_sub(data.len() as u64)
                    .ok_or(Http1Error::Invalid("the request's body is longer than it declares"))?;
                self.is_body_over = *left == 0;
                self.put_piece(data);
            }
            Framing::Chunked(_) => {
                self.put_line(format_args!("{:x}\r\n", data.len()));
                self.put_piece(data);
                self.is_body_over = self.body.is_end_stream();
                let end: &[u8] = if self.is_body_over { b"\r\n0\r\n\r\n" } else { b"\r\n" };
                self.put_piece(Bytes::from_static(end));
            }
        }
        Ok(())
    }

    fn put_end(&mut self, trailers: Option<&http::HeaderMap>) -> Result<(), Http1Error> {
        self.is_body_over = true;
        match &self.framing {
            Framing::Length(0) => {}
            Framing::Length(_) => return Err(Http1Error::Invalid("the request's body is shorter than it declares")),
            Framing::Chunked(announced) => {
                let mut end = BytesMut::from(&b"0\r\n"[..]);
                if let Some(trailers) = trailers {
                    write_trailers(trailers, announced, &mut end);
                }
                end.extend_from_slice(b"\r\n");
                self.put_piece(end.freeze());
            }
        }
        Ok(())
    }

    fn put_line(&mut self, line: std::fmt::Arguments<'_>) {
        use std::fmt::Write as _;
        if self.next.is_empty() {
            // It writes to memory, which takes all.
            let _ = self.first.write_fmt(line);
        } else {
            self.put_piece(Bytes::from(line.to_string()));
        }
    }

    fn put_piece(&mut self, piece: Bytes) {
        self.waiting += piece.len();
        self.next.push_back(piece);
    }

    fn poll_write<S>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        let stream = Pin::new(stream);
        let sent = if self.next.is_empty() {
            ready!(stream.poll_write(cx, &self.first))?
        } else {
            let mut pieces = [IoSlice::new(&[]); MAX_PIECES + 1];
            let waiting = std::iter::once(&self.first[..]).chain(self.next.iter().map(|piece| &piece[..]));
            let mut count = 0;
            for (piece, bytes) in pieces.iter_mut().zip(waiting.filter(|bytes| !bytes.is_empty())) {
                *piece = IoSlice::new(bytes);
                count += 1;
            }
            ready!(stream.poll_write_vectored(cx, &pieces[..count]))?
        };
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.stage = Stage::OnItsWay;
        self.discard(sent);
        Poll::Ready(Ok(()))
    }

    fn discard(&mut self, mut sent: usize) {
        let of_first = sent.min(self.first.len());
        self.first.advance(of_first);
        sent -= of_first;
        self.waiting -= sent;
        while let Some(piece) = self.next.front_mut() {
            if sent < piece.len() {
                piece.advance(sent);
                break;
            }
            sent -= piece.len();
            self.next.pop_front();
        }
    }
}
