//! An answer that came before its request was sent: a task carries both to their ends, each as fast as its reader takes it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::PollSender;

use crate::proxy::upstream::Lease;

use super::connection::Connection;
use super::error::{Http1Error, had_to_end};

/// A part of a body, or its end. Where neither comes any more, it has broken off.
type Part = Option<Result<Frame<Bytes>, Http1Error>>;

/// An answer's body that a task carries. Dropped before its end, it takes the task and the connection with it.
#[derive(Debug)]
pub struct Carried {
    parts: mpsc::Receiver<Part>,
    left: Option<u64>,
    finished: oneshot::Sender<Lease>,
}

/// The task.
struct Carrier {
    connection: Box<Connection>,
    /// Where parts of the answer go, until its end.
    parts: Option<PollSender<Part>>,
    finished: oneshot::Receiver<Lease>,
    lease: Option<Lease>,
}

impl Carried {
    pub(super) fn by_task(connection: Box<Connection>) -> Self {
        let left = connection.left();
        let (sender, parts) = mpsc::channel(1);
        let (finished, receiver) = oneshot::channel();
        let mut carrier = Carrier { connection, parts: Some(PollSender::new(sender)), finished: receiver, lease: None };
        tokio::spawn(async move {
            poll_fn(|cx| carrier.poll(cx)).await;
            if let Some(lease) = carrier.lease {
                lease.keep(carrier.connection);
            }
        });
        Self { parts, left, finished }
    }

    /// The answer was taken to its end: the connection can be given back once the request was sent.
    pub(in crate::proxy::upstream) fn finish(self, lease: Lease) {
        // A task that is gone has nothing to give back.
        drop(self.finished.send(lease));
    }

    /// What is still to come, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.left
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Part> {
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        let part = ready!(self.parts.poll_recv(cx)).unwrap_or_else(|| Some(Err(Http1Error::BrokenOff(had_to_end()))));
        match &part {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.left = self.left.map(|left| left.saturating_sub(length));
            }
            Some(Err(_)) => {}
            None => self.left = Some(0),
        }
        Poll::Ready(part)
    }
}

impl Carrier {
    /// Carries on until nothing is left to carry, or nobody wants it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.lease.is_none() {
            match Pin::new(&mut self.finished).poll(cx) {
                Poll::Ready(Ok(lease)) => self.lease = Some(lease),
                // Whoever took the answer is gone.
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        while let Some(parts) = &mut self.parts {
            match parts.poll_reserve(cx) {
                Poll::Ready(Ok(())) => {
                    let part = ready!(self.connection.poll_frame(cx));
                    let is_last = !matches!(part, Some(Ok(_)));
                    // There is room for it; where nobody takes it any more, `finished` says so.
                    let _ = parts.send_item(part);
                    if is_last {
                        self.parts = None;
                    }
                }
                Poll::Ready(Err(_)) => self.parts = None,
                Poll::Pending => return self.connection.poll_sending(cx),
            }
        }
        if !self.connection.is_sent() {
            ready!(self.connection.poll_rest(cx));
        }
        if self.lease.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }
}
