//! Peers that were refused: logged once each with everything that explains it, counted, and the last ones kept for status.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, warn};

use crate::policy::Denial;
use crate::tls::{HandshakeError, Peer};
use crate::x509::CertificateInfo;

use super::direction::Direction;
use super::error::ProxyError;
use super::listener::ListenerContext;

/// How many refusals are kept for status.
const KEPT: usize = 64;
/// Refusals logged within one [`LOG_WINDOW`]; a flood beyond that is counted and summed up.
const LOGGED_PER_WINDOW: u32 = 50;
const LOG_WINDOW: Duration = Duration::from_secs(10);

/// The last refusals.
#[derive(Debug, Default)]
pub struct Refusals {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: VecDeque<RefusalRecord>,
    window: Option<(Instant, u32)>,
    silent: u64,
    trusted_anchors: String,
}

/// One refusal, as status shows it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct RefusalRecord {
    /// When, in RFC 3339.
    pub time: String,
    /// The listener.
    pub listener: String,
    /// Which way the connection goes.
    pub direction: &'static str,
    /// The peer's address.
    pub peer_address: String,
    /// The reason by name.
    pub reason: &'static str,
    /// The reason in words.
    pub detail: String,
    /// What to do about it.
    pub hint: &'static str,
    /// The identity that the certificate claims, where one came.
    pub peer: Option<String>,
    /// Its subject.
    pub subject: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its issuer.
    pub issuer: Option<String>,
}

impl Refusals {
    /// Notes the anchors that we trust, which each refusal names.
    pub fn set_trusted_anchors(&self, anchors: &[CertificateInfo]) {
        let names: Vec<&str> = anchors.iter().map(|anchor| anchor.subject.as_str()).collect();
        self.state.lock().unwrap_or_else(PoisonError::into_inner).trusted_anchors = names.join("; ");
    }

    /// The refusals kept, oldest first.
    pub fn list(&self) -> Vec<RefusalRecord> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).kept.iter().cloned().collect()
    }

    /// Keeps a refusal and logs it.
    fn add(&self, record: &RefusalRecord) {
        let anchors = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.kept.len() == KEPT {
                state.kept.pop_front();
            }
            state.kept.push_back(record.clone());
            state.trusted_anchors.clone()
        };
        if !self.admit_to_log() {
            return;
        }
        warn!(
            listener = record.listener,
            direction = record.direction,
            peer.address = record.peer_address,
            peer = record.peer,
            peer.subject = record.subject,
            peer.serial = record.serial,
            peer.issuer = record.issuer,
            reason = record.reason,
            detail = record.detail,
            hint = record.hint,
            trusted_anchors = anchors,
            "peer refused"
        );
    }
}

impl Refusals {
    /// Whether one more refusal or failure gets a line of its own. Those that did not are summed up when the next window begins.
    fn admit_to_log(&self) -> bool {
        let (admitted, silent) = self.state.lock().unwrap_or_else(PoisonError::into_inner).admit_to_log(Instant::now());
        if silent > 0 {
            warn!(count = silent, "further refusals and failures had no line of their own; see the metrics");
        }
        admitted
    }
}

impl State {
    /// Whether this refusal gets a line, and how many before it went without since the window began.
    fn admit_to_log(&mut self, now: Instant) -> (bool, u64) {
        match &mut self.window {
            Some((began, count)) if now.duration_since(*began) < LOG_WINDOW => {
                *count += 1;
                let admitted = *count <= LOGGED_PER_WINDOW;
                self.silent += u64::from(!admitted);
                (admitted, 0)
            }
            _ => {
                self.window = Some((now, 1));
                (true, std::mem::take(&mut self.silent))
            }
        }
    }
}

impl ListenerContext {
    /// Counts a failed handshake with a caller and tells of it. Whoever is on the Internet tries everything; there only a certificate
    /// that we refuse is of one of ours, or nearly.
    pub(super) fn refuse_handshake(&self, address: &str, error: &HandshakeError) {
        let is_noise =
            error.is_probe() || (self.direction == Direction::Edge && !matches!(error, HandshakeError::Refused(_)));
        if is_noise && self.direction != Direction::Outbound {
            self.metrics.count_failed_handshake(error.label());
            debug!(listener = &*self.name, peer.address = address, %error, "a handshake did not come to its end");
            return;
        }
        self.tell_of_handshake(address, error);
    }

    /// Counts a failed handshake, with whomever it was, and tells of it.
    fn tell_of_handshake(&self, address: &str, error: &HandshakeError) {
        self.metrics.count_failed_handshake(error.label());
        let certificate = match error {
            HandshakeError::Refused(refusal) => refusal.certificate.as_deref(),
            _ => None,
        };
        let record = self.refusal(address.to_owned(), error.label(), error.to_string(), error.hint(), certificate);
        self.refusals.add(&record);
    }

    /// Counts a denial by the policy and tells of it.
    pub(super) fn refuse_by_policy(&self, address: &str, peer: &Peer, denial: &Denial) {
        self.metrics.count_denial(denial.rule.label());
        let certificate = peer.path.as_ref().map(|path| &path.end_entity);
        let record =
            self.refusal(address.to_owned(), denial.rule.label(), denial.to_string(), denial.rule.hint(), certificate);
        self.refusals.add(&record);
    }

    /// Tells of an exchange that failed for a reason other than the caller. A peer that we refuse to speak to is a refusal like
    /// that of a caller.
    pub(super) fn tell_of_failure(&self, upstream: &str, error: &ProxyError) {
        match error {
            ProxyError::Tls { address, source } => self.tell_of_handshake(address, source),
            _ if self.refusals.admit_to_log() => warn!(
                listener = &*self.name,
                upstream,
                reason = error.label(),
                %error,
                hint = error.hint(),
                "exchange failed"
            ),
            _ => {}
        }
    }

    /// Counts a tunnel that could not be made and tells of it.
    pub(super) fn report_failure(&self, upstream: &str, error: &ProxyError) {
        self.metrics.count_error(error.label());
        self.tell_of_failure(upstream, error);
    }

    fn refusal(
        &self,
        peer_address: String,
        reason: &'static str,
        detail: String,
        hint: &'static str,
        certificate: Option<&CertificateInfo>,
    ) -> RefusalRecord {
        RefusalRecord {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            listener: self.name.to_string(),
            direction: self.direction.label(),
            peer_address,
            reason,
            detail,
            hint,
            peer: certificate.map(|certificate| certificate.names.to_string()),
            subject: certificate.map(|certificate| certificate.subject.clone()),
            serial: certificate.map(|certificate| certificate.serial.to_string()),
            issuer: certificate.map(|certificate| certificate.issuer.clone()),
        }
    }
}
