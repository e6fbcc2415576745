//! A connection over HTTP/1.1: one request and its answer at a time, moved by whoever waits for the answer.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Response, StatusCode, Version, request};
use http_body::Frame;

use crate::config::Limits;
use crate::proxy::connections::{Live, Phase, Registration};
use crate::proxy::request_body::RequestBody;
use crate::proxy::upstream::UpstreamStream;

use super::error::{Http1Error, had_to_end};
use super::receiving::Receiving;
use super::request::Framing;
use super::sending::{SendError, Sending};
use super::upgraded::Upgraded;

/// A connection over HTTP/1.1. It belongs to the pool, to the exchange that waits for an answer or to that answer's body; dropped
/// anywhere but in the pool it is closed.
#[derive(Debug)]
pub struct Connection {
    stream: UpstreamStream,
    registration: Registration,
    sending: Sending,
    receiving: Receiving,
    /// Why it takes no more of the request.
    unsent: Option<io::Error>,
}

impl Connection {
    /// A connection on a fresh stream.
    pub(in crate::proxy::upstream) fn new(stream: UpstreamStream, registration: Registration, limits: &Limits) -> Self {
        Self { stream, registration, sending: Sending::nothing(), receiving: Receiving::new(limits), unsent: None }
    }

    pub(in crate::proxy::upstream) fn live(&self) -> &Arc<Live> {
        self.registration.live()
    }

    /// True where it can be kept for another request: all of the last one was sent, all of its answer taken, nothing came beyond it,
    /// and both ends keep the connection.
    pub(in crate::proxy::upstream) fn is_at_rest(&self) -> bool {
        self.sending.is_done() && self.receiving.is_at_rest() && self.live().phase() == Phase::Open
    }

    /// True where it can carry a request now. A service that has closed it, or has sent what nobody asked for, is noticed.
    pub(in crate::proxy::upstream) fn is_fit(&mut self) -> bool {
        self.is_at_rest() && self.stream.is_quiet()
    }

    /// Begins a request.
    ///
    /// # Errors
    /// [`Http1Error::Invalid`]
    pub(super) fn begin(&mut self, head: &mut request::Parts, body: RequestBody) -> Result<(), Http1Error> {
        let framing = Framing::settle(&mut head.headers, &body)?;
        self.sending.begin(head, body, framing);
        self.receiving.expect(head.method == Method::HEAD);
        Ok(())
    }

    /// The request's body, where nothing of either was touched, so that it can be sent on another connection.
    pub(super) fn take_back(&mut self) -> Option<RequestBody> {
        self.sending.take_back()
    }

    /// True where all of the request was sent.
    pub(super) fn is_sent(&self) -> bool {
        self.sending.is_done()
    }

    /// True where the answer was taken to its end.
    pub(super) fn is_answer_over(&self) -> bool {
        self.receiving.is_over()
    }

    /// What is still to come of the answer's body, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.receiving.left()
    }

    /// Sends on, and waits for the header section of the answer.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Http1Error>> {
        if self.has_to_end() {
            return Poll::Ready(Err(self.ended()));
        }
        self.send_on(cx)?;
        if !self.sending.has_begun() {
            // What comes before a request is no answer to it.
            return match self.unsent.take() {
                Some(error) => Poll::Ready(Err(Http1Error::Unheard(error))),
                None => self.poll_end(cx).map(|()| Err(self.ended())),
            };
        }
        match self.receiving.poll_head(cx, &mut self.stream) {
            Poll::Ready(Ok(head)) => {
                if head.status == StatusCode::SWITCHING_PROTOCOLS && !self.is_sent() {
                    return Poll::Ready(Err(Http1Error::Invalid("protocols switched in the middle of a request")));
                }
                let mut response = Response::new(());
                *response.status_mut() = head.status;
                *response.version_mut() = Version::HTTP_11;
                *response.headers_mut() = head.headers;
                Poll::Ready(Ok(response))
            }
            Poll::Ready(Err(Http1Error::Unheard(error))) => {
                Poll::Ready(Err(Http1Error::Unheard(self.unsent.take().unwrap_or(error))))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.poll_end(cx).map(|()| Err(self.ended())),
        }
    }

    /// Sends on, and waits for the next part of the answer's body; nothing after its end.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Http1Error>>> {
        // However much has come already.
        if self.has_to_end() {
            return Poll::Ready(Some(Err(self.ended())));
        }
        self.send_on(cx)?;
        match self.receiving.poll_frame(cx, &mut self.stream) {
            Poll::Pending => self.poll_end(cx).map(|()| Some(Err(self.ended()))),
            frame @ Poll::Ready(_) => frame,
        }
    }

    /// Sends on, until that fails.
    pub(super) fn poll_sending(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.send_on(cx).is_err() { Poll::Ready(()) } else { self.poll_end(cx) }
    }

    /// Sends on after the end of the answer, until the request is sent or nobody wants more of it. A service that closes or says
    /// anything else wants no more.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_over = self.send_on(cx).is_err()
            || self.is_sent()
            || self.unsent.is_some()
            || self.receiving.poll_fill(cx, &mut self.stream).is_ready();
        if is_over { Poll::Ready(()) } else { self.poll_end(cx) }
    }

    /// What is left once both ends have switched protocols.
    pub(super) fn into_upgraded(self) -> Upgraded {
        Upgraded::new(self.stream, self.receiving.into_rest())
    }

    /// Sends what can be sent now. Where the connection takes no more, there may still be an answer that says why.
    fn send_on(&mut self, cx: &mut Context<'_>) -> Result<(), Http1Error> {
        if self.unsent.is_some() {
            return Ok(());
        }
        match self.sending.poll(cx, &mut self.stream) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(SendError::Body(error))) => Err(error),
            Poll::Ready(Err(SendError::Connection(error))) => {
                if self.sending.has_begun() {
                    self.sending.give_up();
                }
                self.unsent = Some(error);
                Ok(())
            }
        }
    }

    /// True where the connection has to end at once. One that drains finishes what it carries.
    fn has_to_end(&self) -> bool {
        self.live().phase() > Phase::Draining
    }

    /// Waits until the connection has to end.
    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.live().poll_phase_after(cx, Phase::Draining).map(drop)
    }

    fn ended(&self) -> Http1Error {
        if self.receiving.is_heard() { Http1Error::BrokenOff(had_to_end()) } else { Http1Error::Unheard(had_to_end()) }
    }
}
