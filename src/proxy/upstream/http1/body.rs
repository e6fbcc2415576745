//! The body of an answer, read from its connection by whoever polls it, or carried by a task where the request is not sent yet.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::carrier::Carried;
use super::connection::Connection;
use super::error::{Http1Error, had_to_end};
use super::upgraded::Upgraded;

/// The body of an answer.
#[derive(Debug)]
pub struct Http1Body(Source);

#[derive(Debug)]
enum Source {
    Connection(Box<Connection>),
    Task(Carried),
    /// It was taken to its end, and what is left given back.
    Over,
    /// It ended before its end.
    Broken,
}

/// What an answer leaves once it was taken to its end.
#[derive(Debug)]
pub enum Used {
    /// A connection, for the pool if it can be used again.
    Connection(Box<Connection>),
    /// A task that still carries the request.
    Task(Carried),
}

impl Http1Body {
    /// Of an answer whose header section has come on this connection. A caller may read nothing until all that it sends was taken,
    /// so that sending must not wait for it.
    pub(super) fn on(connection: Box<Connection>) -> Self {
        Self(if connection.is_sent() {
            Source::Connection(connection)
        } else {
            Source::Task(Carried::by_task(connection))
        })
    }

    /// What is left at its end.
    pub(in crate::proxy) fn take_used(&mut self) -> Option<Used> {
        if !self.is_end_stream() {
            return None;
        }
        match std::mem::replace(&mut self.0, Source::Over) {
            Source::Connection(connection) => Some(Used::Connection(connection)),
            Source::Task(carried) => Some(Used::Task(carried)),
            Source::Over | Source::Broken => None,
        }
    }

    /// What the connection is once protocols have switched.
    pub(in crate::proxy) fn into_upgraded(self) -> Option<Upgraded> {
        match self.0 {
            Source::Connection(connection) => Some(connection.into_upgraded()),
            Source::Task(_) | Source::Over | Source::Broken => None,
        }
    }
}

impl Body for Http1Body {
    type Data = Bytes;
    type Error = Http1Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Http1Error>>> {
        let this = self.get_mut();
        let frame = match &mut this.0 {
            Source::Connection(connection) => ready!(connection.poll_frame(cx)),
            Source::Task(carried) => ready!(carried.poll_frame(cx)),
            Source::Over => None,
            Source::Broken => Some(Err(Http1Error::BrokenOff(had_to_end()))),
        };
        if matches!(frame, Some(Err(_))) {
            this.0 = Source::Broken;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Connection(connection) => connection.is_answer_over(),
            Source::Task(carried) => carried.left() == Some(0),
            Source::Over => true,
            Source::Broken => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.0 {
            Source::Connection(connection) => connection.left(),
            Source::Task(carried) => carried.left(),
            Source::Over => Some(0),
            Source::Broken => None,
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
