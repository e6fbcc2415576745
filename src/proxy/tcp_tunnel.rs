//! Bytes both ways, with half-close, until both ends are done or the connection has to end.

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tracing::debug;

use crate::net::Stream;
use crate::policy::Permit;
use crate::tls::TlsServerStream;

use super::connections::{Live, Phase, Registration};
use super::incoming::Incoming;
use super::listener::ListenerContext;
use super::prefixed::Prefixed;
use super::record::ExchangeRecord;
use super::relay::{Carried, relay};
use super::upstream::Lease;
use super::watched::Watched;

/// How long an orderly end may take, what is buffered included, once a connection has to end.
const FAREWELL: Duration = Duration::from_millis(50);

/// What went through a tunnel.
#[derive(Debug, Default)]
pub(super) struct TunnelBytes {
    request: Carried,
    response: Carried,
}

/// How a tunnel ended.
#[derive(Debug)]
pub(super) enum TunnelEnd {
    /// Both ends closed.
    Closed,
    /// One end broke off, so that the other must not take what it has for the whole.
    Broken(io::Error),
    /// The connection had to end, while nothing was under way.
    Ended,
    /// The connection had to end at once, or while something was under way: as if it had broken off.
    Cut,
}

impl fmt::Display for TunnelEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("both ends closed"),
            Self::Broken(error) => write!(f, "one end broke off: {error}"),
            Self::Ended => f.write_str("it had to end"),
            Self::Cut => f.write_str("it had to end with something under way"),
        }
    }
}

impl TunnelEnd {
    /// True where both ends may take what they have for the whole.
    fn is_orderly(&self) -> bool {
        matches!(self, Self::Closed | Self::Ended)
    }
}

impl TunnelBytes {
    pub(super) fn to_upstream(&self) -> u64 {
        self.request.delivered()
    }

    pub(super) fn to_caller(&self) -> u64 {
        self.response.delivered()
    }

    fn is_all_delivered(&self) -> bool {
        self.request.is_all_delivered() && self.response.is_all_delivered()
    }
}

/// Joins the sockets of a caller and an upstream. Unless the end is an orderly one, both see a reset, also where this task is
/// dropped or the process dies: a part must never look like the whole.
pub(super) async fn join<C, U>(
    permit: Permit,
    mut caller: C,
    mut upstream: U,
    lives: [&Arc<Live>; 2],
    bytes: &TunnelBytes,
) -> TunnelEnd
where
    C: AsyncRead + AsyncWrite + AsRef<Stream> + Unpin,
    U: AsyncRead + AsyncWrite + AsRef<Stream> + Unpin,
{
    caller.as_ref().reset_on_close(true);
    upstream.as_ref().reset_on_close(true);
    let end = tunnel(permit, &mut caller, &mut upstream, lives, bytes).await;
    caller.as_ref().reset_on_close(!end.is_orderly());
    upstream.as_ref().reset_on_close(!end.is_orderly());
    end
}

/// Carries bytes both ways. Either of `lives` can end it.
async fn tunnel<C, U>(
    _permit: Permit,
    caller: &mut C,
    upstream: &mut U,
    lives: [&Arc<Live>; 2],
    bytes: &TunnelBytes,
) -> TunnelEnd
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let note_use = || lives.iter().for_each(|live| live.note_use());
    let phase = tokio::select! {
        outcome = relay(caller, upstream, [&bytes.request, &bytes.response], note_use) => {
            return outcome.map_or_else(TunnelEnd::Broken, |()| TunnelEnd::Closed);
        }
        phase = lives[0].phase_after(Phase::Draining) => phase,
        phase = lives[1].phase_after(Phase::Draining) => phase,
    };
    if phase == Phase::Cut || !bytes.is_all_delivered() {
        return TunnelEnd::Cut;
    }
    let farewell = async { tokio::try_join!(caller.shutdown(), upstream.shutdown()) };
    match tokio::time::timeout(FAREWELL, farewell).await {
        Ok(Ok(_)) => TunnelEnd::Ended,
        Ok(Err(_)) | Err(_) => TunnelEnd::Cut,
    }
}

/// Joins the two halves of an upgrade once both have switched; the upstream's is the body of its answer. The records of both
/// connections end when HTTP lets go of them, so both are put on the list again before it does: no change of trust finds them
/// missing.
pub(super) fn join_upgraded(
    context: Arc<ListenerContext>,
    accepted: &Arc<Live>,
    permit: Permit,
    caller: OnUpgrade,
    answer: Incoming,
    lease: Lease,
    mut record: Box<ExchangeRecord>,
) {
    let registrations = [accepted, lease.live()].map(|live| register_again(&context, live));
    let upstream = answer.into_upgraded();
    tokio::spawn(async move {
        let _lease = lease;
        let lives = registrations.each_ref().map(Registration::live);
        let Some(mut upstream) = upstream else { return };
        let mut caller = match caller.await {
            Ok(caller) => TokioIo::new(caller),
            Err(error) => {
                debug!(listener = &*context.name, %error, "an upgrade failed");
                return;
            }
        };
        let bytes = TunnelBytes::default();
        let end = tunnel(permit, &mut caller, &mut upstream, lives, &bytes).await;
        if !end.is_orderly() {
            abort(caller.into_inner());
            upstream.as_ref().reset_on_close(true);
        }
        debug!(listener = &*context.name, %end, "an upgraded connection ended");
        record.add_response_bytes(bytes.to_caller());
        record.add_request_bytes(bytes.to_upstream());
        record.complete(None);
    });
}

/// Ends a caller's upgraded connection with an error for the other end.
fn abort(upgraded: Upgraded) {
    let outcome =
        reset_on_close::<Watched<TlsServerStream>>(upgraded).or_else(reset_on_close::<Watched<Prefixed<Stream>>>);
    debug_assert!(outcome.is_ok(), "an upgraded connection is one of these");
}

/// Gives it back where it is on another kind of stream.
fn reset_on_close<S>(upgraded: Upgraded) -> Result<(), Upgraded>
where
    S: AsyncRead + AsyncWrite + AsRef<Stream> + Unpin + 'static,
{
    upgraded.downcast::<TokioIo<S>>().map(|parts| parts.io.into_inner().as_ref().reset_on_close(true))
}

/// Puts a connection on the list again, as far on its way out as it was.
fn register_again(context: &ListenerContext, live: &Live) -> Registration {
    let (address, peer, idle) = (live.peer_address.clone(), live.peer.clone(), context.timeouts.idle);
    let again = context.connections.register(&context.name, live.direction, address, peer, idle, None);
    if let Some(reason) = live.reason() {
        again.live().end(live.phase(), reason);
    }
    again
}
