//! Live connections: who they are and when they have to end. This is the one place that decides a connection's end by age,
//! idleness, expiry, withdrawn trust or shutdown; the task that serves the connection carries it out.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use futures_util::task::AtomicWaker;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::OwnedSemaphorePermit;

use crate::config::Timeouts;
use crate::net::PeerAddress;
use crate::tls::Peer;

use super::direction::Direction;
use super::metrics::OpenConnection;

/// How long a draining connection has to be quiet before it is taken for unused. A request that its peer sent just before it
/// learnt of the end is so still answered.
const QUIET: Duration = Duration::from_secs(1);
/// How long before its peer's certificate ends a connection begins to drain.
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);
/// Requests cancelled within [`RESET_WINDOW`], beyond which a peer that cancels most of its requests is cut off (CVE-2023-44487).
const MAX_CANCELLED: u64 = 500;
/// How often cancelled requests are counted up, however often the connections are swept.
const RESET_WINDOW: Duration = Duration::from_secs(1);

/// How far a connection is on its way out. It only ever moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// In use.
    Open = 0,
    /// No new work is wanted: the peer is told, and what it has begun is finished.
    Draining = 1,
    /// Nothing is in flight: close politely.
    Closing = 2,
    /// Close now, whatever is in flight.
    Cut = 3,
}

/// Why a connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Nothing happened on it for `timeouts.idle` or `timeouts.upstream_idle`.
    Idle,
    /// It reached `timeouts.max_connection_age`.
    MaxConnectionAge,
    /// The peer's certificate ends.
    CertificateExpired,
    /// A certificate of the peer's path was revoked.
    CertificateRevoked,
    /// Whether a certificate of the peer's path was revoked is no longer known.
    RevocationUnknown,
    /// The peer's path is no longer good under the present trust anchors.
    NoLongerTrusted,
    /// The present policy does not admit the peer.
    NoLongerAllowed,
    /// The policy admits the peer to nothing.
    NotAllowed,
    /// A request's header section took longer than `timeouts.request_header`.
    SlowHeader,
    /// The peer cancels most of what it asks for.
    TooManyResets,
    /// The listener was removed or changed.
    ListenerRemoved,
    /// The process shuts down.
    Shutdown,
}

/// One live connection.
#[derive(Debug)]
pub struct Live {
    /// Its number in this process.
    pub id: u64,
    /// The listener it belongs to.
    pub listener: Arc<str>,
    /// Which way it goes.
    pub direction: Direction,
    /// The other end's address.
    pub peer_address: PeerAddress,
    /// Who is at the other end; absent where it is the local service.
    pub peer: Option<Arc<Peer>>,
    opened: Instant,
    idle_limit: Duration,
    phase: AtomicU8,
    reason: OnceLock<EndReason>,
    phase_changed: AtomicWaker,
    permitted: AtomicBool,
    in_flight: AtomicU32,
    requests: AtomicU64,
    cancelled: AtomicU64,
    cancelled_before: AtomicU64,
    cancelled_counted: AtomicU64,
    last_used: AtomicU64,
    header_since: AtomicU64,
    /// The last request was over, its body read to the end, when its answer was.
    is_request_over: AtomicBool,
    /// It carries another protocol than the one it began with.
    has_switched: AtomicBool,
    draining_since: AtomicU64,
    /// For how many milliseconds it may drain, where that is less than `timeouts.drain`.
    drain_limit: AtomicU64,
    /// Its peer's certificate was withdrawn.
    withdrawn: AtomicBool,
    _held: Option<Held>,
}

/// What a connection holds for as long as anything refers to it, an upgraded tunnel included.
#[derive(Debug)]
pub struct Held {
    /// Its place under the listener's limit.
    pub place: OwnedSemaphorePermit,
    /// Its count among the open ones, where it was accepted.
    pub open: Option<OpenConnection>,
}

/// All live connections of the process.
#[derive(Debug)]
pub struct Connections {
    shards: Vec<Mutex<HashMap<u64, Arc<Live>>>>,
    next_id: AtomicU64,
}

/// Keeps a connection on the list until it is dropped.
#[derive(Debug)]
pub struct Registration {
    live: Arc<Live>,
    connections: Arc<Connections>,
}

/// One request in flight on a connection, from its header section to the last byte of the answer.
#[derive(Debug)]
pub struct InFlight(Arc<Live>);

/// Milliseconds of a clock that costs next to nothing to read and is a few of them late at most. Never 0, so that 0 can mean never.
fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    let milliseconds = now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000;
    milliseconds.max(1)
}

fn elapsed_since(since: u64, now: u64) -> Duration {
    Duration::from_millis(now.saturating_sub(since))
}

impl Connections {
    /// An empty list. `shards` is best the number of workers.
    pub fn new(shards: usize) -> Self {
        Self { shards: (0..shards.max(1)).map(|_| Mutex::default()).collect(), next_id: AtomicU64::new(1) }
    }

    /// Puts a connection on the list.
    pub fn register(
        self: &Arc<Self>,
        listener: &Arc<str>,
        direction: Direction,
        peer_address: PeerAddress,
        peer: Option<Arc<Peer>>,
        idle_limit: Duration,
        held: Option<Held>,
    ) -> Registration {
        let live = Arc::new(Live {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            listener: Arc::clone(listener),
            direction,
            peer_address,
            peer,
            opened: Instant::now(),
            idle_limit,
            phase: AtomicU8::new(Phase::Open as u8),
            reason: OnceLock::new(),
            phase_changed: AtomicWaker::new(),
            permitted: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            cancelled_before: AtomicU64::new(0),
            cancelled_counted: AtomicU64::new(now_ms()),
            last_used: AtomicU64::new(now_ms()),
            header_since: AtomicU64::new(0),
            is_request_over: AtomicBool::new(false),
            has_switched: AtomicBool::new(false),
            draining_since: AtomicU64::new(0),
            drain_limit: AtomicU64::new(u64::MAX),
            withdrawn: AtomicBool::new(false),
            _held: held,
        });
        self.shard(live.id).insert(live.id, Arc::clone(&live));
        Registration { live, connections: Arc::clone(self) }
    }

    fn shard(&self, id: u64) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Live>>> {
        let index = usize::try_from(id % self.shards.len() as u64).unwrap_or(0);
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A snapshot of the list, in no order.
    pub fn list(&self) -> Vec<Arc<Live>> {
        let shards = self.shards.iter();
        shards
            .flat_map(|shard| {
                shard.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect::<Vec<_>>()
            })
            .collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Moves every connection on that has to end by the clock.
    pub fn sweep(&self, timeouts: &Timeouts, now: SystemTime) {
        let tick = now_ms();
        for live in self.list() {
            live.judge_by_clock(timeouts, now, tick);
        }
    }

    /// Ends every connection that is to be ended, after trust or policy changed. All others lose nothing. `end` says whether it
    /// moved one on; the result is how many it did.
    pub fn end_where(&self, end: impl Fn(&Live) -> bool) -> usize {
        self.list().into_iter().filter(|live| end(live)).count()
    }
}

impl Live {
    /// How far it is on its way out.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Open,
            1 => Phase::Draining,
            2 => Phase::Closing,
            _ => Phase::Cut,
        }
    }

    /// Why it has to end, once it has to.
    pub fn reason(&self) -> Option<EndReason> {
        self.reason.get().copied()
    }

    /// Whether its peer's certificate was withdrawn, so that nothing new is permitted on it.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire)
    }

    /// Ends it because its peer's certificate was withdrawn: within `grace`, or once it has finished what it carries where there is
    /// none. Nothing new is permitted on it. True where it was on its way out less far.
    pub fn withdraw(&self, grace: Option<Duration>, reason: EndReason) -> bool {
        self.withdrawn.store(true, Ordering::Release);
        match grace {
            Some(Duration::ZERO) => return self.end(Phase::Cut, reason),
            Some(grace) => {
                let limit = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
                self.drain_limit.fetch_min(limit, Ordering::AcqRel);
            }
            None => {}
        }
        self.end(Phase::Draining, reason)
    }

    /// How old it is.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Requests begun on it.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests in flight on it.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Whether anything was ever permitted on it.
    pub fn was_permitted(&self) -> bool {
        self.permitted.load(Ordering::Acquire)
    }

    /// Notes that something was permitted on it.
    pub fn note_permitted(&self) {
        if !self.permitted.load(Ordering::Relaxed) {
            self.permitted.store(true, Ordering::Release);
        }
    }

    /// Asks for its end. True where that moved it on; a later, milder wish changes nothing.
    pub fn end(&self, phase: Phase, reason: EndReason) -> bool {
        if self.phase() >= phase {
            return false;
        }
        // The first reason is the one that counts; what follows only hastens the end.
        let _ = self.reason.set(reason);
        let _ = self.draining_since.compare_exchange(0, now_ms(), Ordering::AcqRel, Ordering::Relaxed);
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.phase_changed.wake();
        true
    }

    /// Waits until it is further on its way out than `seen`. Only the task that serves the connection waits.
    pub async fn phase_after(&self, seen: Phase) -> Phase {
        poll_fn(|cx| self.poll_phase_after(cx, seen)).await
    }

    /// The same for a task that waits for more than that.
    pub fn poll_phase_after(&self, cx: &mut Context<'_>, seen: Phase) -> Poll<Phase> {
        // Before the look, so that a change after it wakes.
        self.phase_changed.register(cx.waker());
        let phase = self.phase();
        if phase > seen { Poll::Ready(phase) } else { Poll::Pending }
    }

    /// Begins a request.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.header_since.store(0, Ordering::Relaxed);
        self.is_request_over.store(false, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Notes that bytes came in. Outside a request they begin a header section.
    pub fn note_bytes_in(&self) {
        if self.in_flight() == 0 && self.header_since.load(Ordering::Relaxed) == 0 {
            self.header_since.store(now_ms(), Ordering::Relaxed);
        }
    }

    /// Notes that a request was answered, and whether its body was read to its end.
    pub fn note_answered(&self, is_request_over: bool) {
        self.is_request_over.store(is_request_over, Ordering::Relaxed);
    }

    /// True where all that the caller has sent was read: its last request to the end, and nothing after it.
    pub fn is_read_to_the_end(&self) -> bool {
        self.header_since.load(Ordering::Relaxed) == 0 && self.is_request_over.load(Ordering::Relaxed)
    }

    /// Notes that it carries another protocol from here on.
    pub fn note_switched(&self) {
        self.has_switched.store(true, Ordering::Relaxed);
    }

    /// Whether it carries another protocol than the one it began with.
    pub fn has_switched(&self) -> bool {
        self.has_switched.load(Ordering::Relaxed)
    }

    /// Notes that a tunnel carried something.
    pub fn note_use(&self) {
        self.last_used.store(now_ms(), Ordering::Relaxed);
    }

    fn judge_by_clock(&self, timeouts: &Timeouts, now: SystemTime, tick: u64) {
        if let Some((margin, left)) = self.time_to_expiry(now) {
            if left.is_zero() {
                self.end(Phase::Cut, EndReason::CertificateExpired);
            } else if left <= margin {
                self.end(Phase::Draining, EndReason::CertificateExpired);
            }
        }
        if self.age() >= timeouts.max_connection_age {
            self.end(Phase::Draining, EndReason::MaxConnectionAge);
        }
        self.judge_resets(tick);
        let header_since = self.header_since.load(Ordering::Relaxed);
        let unused = elapsed_since(self.last_used.load(Ordering::Relaxed), tick);
        let is_unused = self.in_flight() == 0;
        if is_unused && header_since != 0 && elapsed_since(header_since, tick) >= timeouts.request_header {
            self.end(Phase::Cut, EndReason::SlowHeader);
        }
        if is_unused && unused >= self.idle_limit {
            self.end(Phase::Draining, EndReason::Idle);
        }
        if self.phase() >= Phase::Draining {
            let draining = elapsed_since(self.draining_since.load(Ordering::Acquire), tick);
            let limit = Duration::from_millis(self.drain_limit.load(Ordering::Acquire));
            if draining >= timeouts.drain.min(limit) {
                self.end(Phase::Cut, EndReason::Shutdown);
            } else if is_unused && unused >= QUIET && draining >= QUIET && header_since == 0 {
                self.end(Phase::Closing, EndReason::Shutdown);
            }
        }
    }

    /// The margin before the end of the peer's certificate in which to drain, and the time left. A certificate that was nearly
    /// over when the connection was opened leaves a shorter margin.
    fn time_to_expiry(&self, now: SystemTime) -> Option<(Duration, Duration)> {
        let not_after = self.peer.as_ref()?.path.as_ref()?.not_after();
        let left = not_after.duration_since(now).unwrap_or_default();
        Some((EXPIRY_MARGIN.min((left + self.age()) / 4), left))
    }

    fn judge_resets(&self, tick: u64) {
        if elapsed_since(self.cancelled_counted.load(Ordering::Relaxed), tick) < RESET_WINDOW {
            return;
        }
        self.cancelled_counted.store(tick, Ordering::Relaxed);
        let cancelled = self.cancelled.load(Ordering::Relaxed);
        let before = self.cancelled_before.swap(cancelled, Ordering::Relaxed);
        if cancelled - before > MAX_CANCELLED && cancelled > self.requests() / 2 {
            self.end(Phase::Cut, EndReason::TooManyResets);
        }
    }
}

impl InFlight {
    /// The connection it is on.
    pub fn live(&self) -> &Arc<Live> {
        &self.0
    }

    /// Notes that the peer took its request back.
    pub fn note_cancelled(&self) {
        self.0.cancelled.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.note_use();
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Registration {
    /// The connection.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connections.shard(self.live.id).remove(&self.live.id);
    }
}

impl EndReason {
    /// A short fixed name for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::MaxConnectionAge => "max_connection_age",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateRevoked => "certificate_revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::NoLongerTrusted => "no_longer_trusted",
            Self::NoLongerAllowed => "no_longer_allowed",
            Self::NotAllowed => "not_allowed",
            Self::SlowHeader => "slow_header",
            Self::TooManyResets => "too_many_resets",
            Self::ListenerRemoved => "listener_removed",
            Self::Shutdown => "shutdown",
        }
    }
}
