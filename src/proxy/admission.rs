//! What every connection that speaks TLS begins with: the handshake within its time, and the list of live connections.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::net::{Arrival, Stream};
use crate::tls::{Acceptor, FailedHandshake, HandshakeError, Peer, TlsServerStream, TrustSnapshot};
use crate::x509::Usage;

use super::connections::{Phase, Registration};
use super::http_connection::HttpVersion;
use super::listener::ListenerContext;

/// How long a handshake under way may still take once its listener has stopped accepting. The request that its caller is about
/// to send is so answered and not lost.
const HANDSHAKE_GRACE: Duration = Duration::from_secs(1);

/// A connection whose caller is known.
pub(super) struct Admitted {
    pub(super) stream: TlsServerStream,
    pub(super) registration: Registration,
    pub(super) worker: usize,
}

/// Makes the handshake with whoever connected and puts the connection on the list; nothing where the caller is refused, which is told
/// of, or gone.
pub(super) async fn admit(
    context: &ListenerContext,
    acceptor: &Acceptor,
    arrival: Arrival,
    stop: CancellationToken,
) -> Option<Admitted> {
    let Arrival { stream, address, place, worker } = arrival;
    let trust = TrustSnapshot::of(&context.trust);
    let too_late = async {
        stop.cancelled().await;
        tokio::time::sleep(HANDSHAKE_GRACE).await;
    };
    let outcome = tokio::select! {
        outcome = Box::pin(handshake(context, acceptor, stream)) => outcome,
        () = too_late => return None,
    };
    let (stream, peer) = match outcome {
        Err((error, stream)) => {
            context.refuse_handshake(&address.to_string(), &error);
            if let Some(stream) = stream {
                stream.linger().await;
            }
            return None;
        }
        Ok(accepted) => accepted,
    };
    context.metrics.count_handshake();
    let peer = Arc::new(peer);
    // Registered first: a change of trust from here on finds it on the list.
    let registration = context.register(address.clone(), Some(Arc::clone(&peer)), place);
    if let Err(refusal) = peer.verify_again(&trust, &context.trust, Usage::Client) {
        context.refuse_handshake(&address.to_string(), &HandshakeError::Refused(refusal));
        return None;
    }
    Some(Admitted { stream, registration, worker })
}

/// Waits for a place and makes the handshake, both within the time for one, so that those who only wait do not keep others
/// from being accepted.
async fn handshake(
    context: &ListenerContext,
    acceptor: &Acceptor,
    stream: Stream,
) -> Result<(TlsServerStream, Peer), FailedHandshake> {
    let limit = context.timeouts.handshake;
    let handshake = async {
        let _place = context.handshakes.acquire().await;
        acceptor.accept(stream).await
    };
    tokio::time::timeout(limit, handshake).await.unwrap_or(Err((HandshakeError::TimedOut(limit), None)))
}

/// Waits for the first bytes, and says in which version of HTTP they are. Nothing is set up for a caller that has asked nothing yet.
pub(super) async fn http_version(stream: &mut TlsServerStream, registration: &Registration) -> HttpVersion {
    tokio::select! {
        biased;
        _ = poll_fn(|cx| stream.poll_readable(cx)) => {}
        _ = registration.live().phase_after(Phase::Draining) => {}
    }
    match stream.alpn_protocol() {
        Some(b"h2") => HttpVersion::Http2,
        _ => HttpVersion::Http1,
    }
}
