//! The document at `/status`, for the server that writes it and the command that reads it. Times are RFC 3339.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::enrolment::EnrolmentStatus;
use crate::policy::RequestRule;
use crate::proxy::connections::{Live, Phase};
use crate::proxy::refusals::RefusalRecord;
use crate::revocation::{CrlStatus, SourceStatus};
use crate::token::IssuerStatus;
use crate::x509::{CertificateInfo, Instant};

use super::reload::ReloadRecord;
use super::{AdminState, COMMIT, ListenerStatus, Readiness, UpstreamStatus, VERSION};

/// How many connections are listed one by one.
const MAX_LISTED: usize = 1000;

/// What a process says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Document {
    /// The version that runs.
    pub version: String,
    /// The commit that it was made from.
    pub commit: String,
    /// When it was started.
    pub started: String,
    /// For how long it runs.
    pub uptime_seconds: u64,
    /// Its configuration file.
    pub config_file: String,
    /// Whether it is ready, and why not.
    #[serde(flatten)]
    pub readiness: Readiness,
    /// Its own certificate.
    pub identity: Option<CertificateEntry>,
    /// How an authority certifies it, or a SPIFFE agent gives it an identity; absent where files are named.
    #[serde(default)]
    pub enrolment: Option<EnrolmentEntry>,
    /// Its trust anchors.
    pub anchors: Vec<CertificateEntry>,
    /// The certificates of its edge listeners.
    #[serde(default)]
    pub public_certificates: Vec<PublicCertificateEntry>,
    /// Its CRLs.
    pub revocation: RevocationEntry,
    /// The issuers of end-user tokens that it knows.
    #[serde(default)]
    pub issuers: Vec<IssuerEntry>,
    /// Its listeners.
    pub listeners: Vec<ListenerEntry>,
    /// Where the routes of its edge listeners lead.
    #[serde(default)]
    pub upstreams: Vec<UpstreamEntry>,
    /// How many connections with peers are live, listed or not.
    pub connections_total: usize,
    /// The oldest of them.
    pub connections: Vec<ConnectionEntry>,
    /// The same by peer, all of them.
    pub peers: Vec<PeerEntry>,
    /// The last refusals, newest last.
    pub refusals: Vec<RefusalEntry>,
    /// How the reloads went.
    pub reload: ReloadEntry,
}

/// A certificate in use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CertificateEntry {
    /// The first name it proves; absent where it proves none, as is usual for a CA.
    pub name: Option<String>,
    /// Its subject.
    pub subject: String,
    /// Its serial number.
    pub serial: String,
    /// Its issuer.
    pub issuer: String,
    /// When it begins.
    pub not_before: String,
    /// When it ends.
    pub not_after: String,
    /// How long that is from now; negative where it has ended.
    pub expires_in_seconds: i64,
    /// SHA-256 of its DER.
    pub fingerprint: String,
}

/// The certificate of an edge listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PublicCertificateEntry {
    /// The listener.
    pub listener: String,
    /// Its certificate.
    #[serde(flatten)]
    pub certificate: CertificateEntry,
}

/// How an authority certifies the process, or a SPIFFE agent gives it an identity.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnrolmentEntry {
    /// `authority` or `workload_api`.
    #[serde(default)]
    pub giver: String,
    /// Its address.
    pub authority: String,
    /// The name that it knows us by; of an agent the SPIFFE ID.
    pub name: String,
    /// `certified`, `failing` (the last attempt to renew brought nothing) or `missing` (there is no certificate that is good).
    pub state: String,
    /// When the certificate is renewed.
    pub renewal: Option<String>,
    /// When the authority was last asked for a certificate.
    pub last_attempt: Option<String>,
    /// When it last gave one.
    pub last_success: Option<String>,
    /// When it is asked again.
    pub next_attempt: Option<String>,
    /// Certificates that it gave since the start.
    pub successes: u64,
    /// Attempts since the start that brought none.
    pub failures: u64,
    /// Since when no attempt has brought any.
    pub failing_since: Option<String>,
    /// Why the last one has not, by name.
    pub reason: Option<String>,
    /// The same in words.
    pub last_error: Option<String>,
    /// What the authority says of our registration: `active`, `suspended` or `removed`; empty where it was not heard yet.
    pub registration: String,
    /// Whether changes are heard of at once.
    pub push_connected: bool,
    /// Why not.
    pub push_error: Option<String>,
    /// The authority's clock less ours.
    pub clock_skew_seconds: Option<i64>,
}

/// What is known of revocation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevocationEntry {
    /// Whether it is checked.
    pub checked: bool,
    /// The CRLs in use.
    pub crls: Vec<CrlEntry>,
    /// Where they come from.
    pub sources: Vec<SourceEntry>,
    /// Why peers that read the same CRLs will refuse our own certificate; absent where they will not.
    pub own_certificate: Option<String>,
}

/// A CRL in use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CrlEntry {
    /// Its issuer.
    pub issuer: String,
    /// Which of its certificates it covers.
    pub scope: String,
    /// `fresh`, `due`, `stale` or `expired`.
    pub state: String,
    /// Its number.
    pub number: String,
    /// The number of the complete CRL that a delta CRL starts from.
    pub base_number: Option<String>,
    /// When it was issued.
    pub this_update: String,
    /// How long ago that is.
    pub age_seconds: i64,
    /// When its successor is due; for a complete CRL with a delta CRL applied to it, that one's.
    pub next_update: String,
    /// How long that is from now; negative where it is overdue.
    pub next_update_in_seconds: i64,
    /// When its successor is looked for.
    pub refresh_at: Option<String>,
    /// How many certificates it lists.
    pub entries: usize,
    /// Where it came from.
    pub source: String,
}

/// A source of CRLs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SourceEntry {
    /// The file, folder or address.
    pub source: String,
    /// `file`, `directory`, `url`, `distribution_point` or `workload_api`.
    pub kind: String,
    /// When it was last asked.
    pub last_attempt: Option<String>,
    /// When it last gave what could be used.
    pub last_success: Option<String>,
    /// Why it gave nothing that could be used, the last time.
    pub last_error: Option<String>,
    /// When it is asked again.
    pub next_attempt: Option<String>,
    /// Answers that could be used.
    pub successes: u64,
    /// Answers that could not, and attempts without an answer.
    pub failures: u64,
    /// CRLs that were refused because a newer one is in use.
    pub rollbacks: u64,
}

/// An issuer of end-user tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IssuerEntry {
    /// Its name.
    pub name: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// Where its keys are.
    pub jwks_url: String,
    /// `missing`, `fresh`, `stale` or `expired`.
    pub state: String,
    /// The keys in use, by algorithm and key ID.
    pub keys: Vec<String>,
    /// Keys that are not used, and why.
    pub left_out: Option<String>,
    /// When the keys in use were last confirmed.
    pub fetched_at: Option<String>,
    /// Until when they serve though no newer ones come.
    pub serves_until: Option<String>,
    /// When it was last asked.
    pub last_attempt: Option<String>,
    /// Why that failed.
    pub last_error: Option<String>,
    /// When it is asked again.
    pub next_attempt: Option<String>,
    /// Answers that could be used.
    pub successes: u64,
    /// Answers that could not, and attempts without an answer.
    pub failures: u64,
}

/// A listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListenerEntry {
    /// Its name.
    pub name: String,
    /// `inbound`, `outbound` or `edge`.
    pub direction: String,
    /// `http` or `tcp`.
    pub protocol: String,
    /// The address it is bound to.
    pub address: String,
    /// Where it forwards to or connects to.
    pub target: String,
    /// The peers allowed or expected; the routes of an edge listener.
    pub peers: Vec<String>,
    /// The rules about their requests, in their order.
    #[serde(default)]
    pub rules: Vec<RuleEntry>,
}

/// A peer that routes lead to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpstreamEntry {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub target: String,
    /// The identities expected.
    pub peers: Vec<String>,
}

/// A rule about requests.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RuleEntry {
    /// Its name.
    pub name: String,
    /// `allow` or `deny`.
    pub action: String,
    /// The callers; empty for all with a certificate.
    pub from: Vec<String>,
    /// The methods; empty for any.
    pub methods: Vec<String>,
    /// The paths; empty for any.
    pub paths: Vec<String>,
    /// Whether there has to be an end user.
    pub user: bool,
    /// What the end user's claims have to say.
    pub claims: Vec<String>,
}

/// A live connection with a peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConnectionEntry {
    /// Its number, as in the log.
    pub id: u64,
    /// Its listener.
    pub listener: String,
    /// `inbound` or `outbound`.
    pub direction: String,
    /// The peer's identity, or `anonymous`.
    pub peer: String,
    /// The peer's address.
    pub peer_address: String,
    /// The serial number of the peer's certificate.
    pub serial: Option<String>,
    /// Its issuer.
    pub issuer: Option<String>,
    /// When the peer's path ends, and the connection with it.
    pub not_after: Option<String>,
    /// How old the connection is.
    pub age_seconds: u64,
    /// Requests begun on it.
    pub requests: u64,
    /// Requests in flight on it.
    pub in_flight: u32,
    /// `open`, `draining`, `closing` or `cut`.
    pub phase: String,
    /// Why it has to end, once it has to.
    pub ending_because: Option<String>,
}

/// The live connections with one peer over one listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerEntry {
    /// The peer's identity, or `anonymous`.
    pub peer: String,
    /// `inbound` or `outbound`.
    pub direction: String,
    /// The listener.
    pub listener: String,
    /// Live connections.
    pub connections: u64,
    /// Requests begun on them.
    pub requests: u64,
}

/// A peer that was refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefusalEntry {
    /// When.
    pub time: String,
    /// The listener.
    pub listener: String,
    /// `inbound` or `outbound`.
    pub direction: String,
    /// The peer's address.
    pub peer_address: String,
    /// The reason by name.
    pub reason: String,
    /// The reason in words.
    pub detail: String,
    /// What to do about it.
    pub hint: String,
    /// The identity that its certificate claims, where one came.
    pub peer: Option<String>,
    /// Its subject.
    pub subject: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its issuer.
    pub issuer: Option<String>,
}

/// How the reloads went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReloadEntry {
    /// Reloads in all.
    pub attempts: u64,
    /// Those taken over.
    pub successes: u64,
    /// Those refused.
    pub failures: u64,
    /// When the last one was taken over; the start counts as the first.
    pub last_success: String,
    /// Why the last one was refused; absent where the last one was taken over.
    pub last_error: Option<ReloadErrorEntry>,
}

/// A reload that was refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReloadErrorEntry {
    /// When.
    pub time: String,
    /// Why.
    pub message: String,
}

impl Document {
    pub(super) fn of(state: &AdminState) -> Self {
        let (running, reload, now) = (state.running.load(), state.reload.record(), SystemTime::now());
        let mut live = state.connections.list();
        live.retain(|live| live.peer.is_some());
        live.sort_unstable_by_key(|live| live.id);
        let revocation = &running.revocation;
        Self {
            version: VERSION.to_owned(),
            commit: COMMIT.to_owned(),
            started: Instant(state.started).to_string(),
            uptime_seconds: now.duration_since(state.started).unwrap_or_default().as_secs(),
            config_file: running.config_file.display().to_string(),
            readiness: Readiness::judge(&running, &reload, now),
            identity: running.own.as_ref().map(|own| CertificateEntry::of(own, now)),
            enrolment: running.enrolment.as_ref().map(EnrolmentEntry::from),
            anchors: running.anchors.iter().map(|anchor| CertificateEntry::of(anchor, now)).collect(),
            public_certificates: running
                .public
                .iter()
                .map(|(listener, public)| PublicCertificateEntry {
                    listener: listener.clone(),
                    certificate: CertificateEntry::of(public, now),
                })
                .collect(),
            revocation: RevocationEntry {
                checked: running.revocation_checked,
                crls: revocation.crls.iter().map(|crl| CrlEntry::of(crl, now)).collect(),
                sources: revocation.sources.iter().map(SourceEntry::from).collect(),
                own_certificate: revocation.own.as_ref().map(|own| own.message.clone()),
            },
            issuers: running.issuers.iter().map(|issuer| IssuerEntry::of(issuer, now)).collect(),
            listeners: running.listeners.iter().map(ListenerEntry::from).collect(),
            upstreams: running.upstreams.iter().map(UpstreamEntry::from).collect(),
            connections_total: live.len(),
            peers: by_peer(&live),
            connections: live.iter().take(MAX_LISTED).filter_map(|live| ConnectionEntry::of(live)).collect(),
            refusals: state.refusals.list().into_iter().map(RefusalEntry::from).collect(),
            reload: ReloadEntry::from(reload),
        }
    }
}

impl CertificateEntry {
    fn of(info: &CertificateInfo, now: SystemTime) -> Self {
        Self {
            name: (!info.names.is_empty()).then(|| info.names.to_string()),
            subject: info.subject.clone(),
            serial: info.serial.to_string(),
            issuer: info.issuer.clone(),
            not_before: Instant(info.not_before).to_string(),
            not_after: Instant(info.not_after).to_string(),
            expires_in_seconds: seconds_until(info.not_after, now),
            fingerprint: info.fingerprint_hex(),
        }
    }
}

impl From<&EnrolmentStatus> for EnrolmentEntry {
    fn from(status: &EnrolmentStatus) -> Self {
        let time = |time: Option<SystemTime>| time.map(|time| Instant(time).to_string());
        let state = match (&status.missing, status.is_failing()) {
            (Some(_), _) => "missing",
            (None, true) => "failing",
            (None, false) => "certified",
        };
        Self {
            giver: status.giver.label().to_owned(),
            authority: status.authority.clone(),
            name: status.name.clone(),
            state: state.to_owned(),
            renewal: time(status.renewal),
            last_attempt: time(status.last_attempt),
            last_success: time(status.last_success),
            next_attempt: time(status.next_attempt),
            successes: status.successes,
            failures: status.failures,
            failing_since: time(status.failing_since),
            reason: status.last_error.as_ref().map(|failure| failure.label.to_owned()),
            last_error: status.last_error.as_ref().map(ToString::to_string),
            registration: status.registration.clone(),
            push_connected: status.push.connected,
            push_error: status.push.last_error.as_ref().map(ToString::to_string),
            clock_skew_seconds: status.clock_skew,
        }
    }
}

impl CrlEntry {
    fn of(status: &CrlStatus, now: SystemTime) -> Self {
        let info = &status.info;
        Self {
            issuer: info.issuer.clone(),
            scope: info.scope.clone(),
            state: status.state(now).to_string(),
            number: info.number.to_string(),
            base_number: info.base_number.as_ref().map(ToString::to_string),
            this_update: Instant(info.this_update).to_string(),
            age_seconds: -seconds_until(info.this_update, now),
            next_update: Instant(status.serves_until).to_string(),
            next_update_in_seconds: seconds_until(status.serves_until, now),
            refresh_at: status.refresh_at.map(|at| Instant(at).to_string()),
            entries: info.entries,
            source: info.source.to_string(),
        }
    }
}

impl From<&SourceStatus> for SourceEntry {
    fn from(status: &SourceStatus) -> Self {
        let time = |time: Option<SystemTime>| time.map(|time| Instant(time).to_string());
        Self {
            source: status.source.to_string(),
            kind: status.kind.to_owned(),
            last_attempt: time(status.last_attempt),
            last_success: time(status.last_success),
            last_error: status.last_error.clone(),
            next_attempt: time(status.next_attempt),
            successes: status.successes,
            failures: status.failures,
            rollbacks: status.rollbacks,
        }
    }
}

impl IssuerEntry {
    fn of(status: &IssuerStatus, now: SystemTime) -> Self {
        let time = |time: Option<SystemTime>| time.map(|time| Instant(time).to_string());
        Self {
            name: status.name.clone(),
            issuer: status.issuer.clone(),
            jwks_url: status.jwks_url.clone(),
            state: status.state(now).label().to_owned(),
            keys: status.keys.clone(),
            left_out: status.left_out.as_deref().map(str::to_owned),
            fetched_at: time(status.fetched_at),
            serves_until: time(status.serves_until),
            last_attempt: time(status.last_attempt),
            last_error: status.last_error.as_deref().map(str::to_owned),
            next_attempt: time(status.next_attempt),
            successes: status.successes,
            failures: status.failures,
        }
    }
}

impl ConnectionEntry {
    fn of(live: &Live) -> Option<Self> {
        let peer = live.peer.as_ref()?;
        let end_entity = peer.path.as_ref().map(|path| &path.end_entity);
        Some(Self {
            id: live.id,
            listener: live.listener.to_string(),
            direction: live.direction.label().to_owned(),
            peer: peer.identity.to_string(),
            peer_address: live.peer_address.to_string(),
            serial: end_entity.map(|certificate| certificate.serial.to_string()),
            issuer: end_entity.map(|certificate| certificate.issuer.clone()),
            not_after: peer.path.as_ref().map(|path| Instant(path.not_after()).to_string()),
            age_seconds: live.age().as_secs(),
            requests: live.requests(),
            in_flight: live.in_flight(),
            phase: phase_name(live.phase()).to_owned(),
            ending_because: live.reason().map(|reason| reason.label().to_owned()),
        })
    }
}

impl From<&ListenerStatus> for ListenerEntry {
    fn from(status: &ListenerStatus) -> Self {
        let ListenerStatus { name, direction, protocol, address, target, peers, rules } = status.clone();
        let rules = rules.iter().map(RuleEntry::from).collect();
        Self { name, direction: direction.to_owned(), protocol: protocol.to_owned(), address, target, peers, rules }
    }
}

impl From<&RequestRule> for RuleEntry {
    fn from(rule: &RequestRule) -> Self {
        Self {
            name: rule.name.to_string(),
            action: rule.action.label().to_owned(),
            from: rule.from.iter().flatten().map(ToString::to_string).collect(),
            methods: rule.methods.names().iter().map(ToString::to_string).collect(),
            paths: rule.paths.iter().map(ToString::to_string).collect(),
            user: rule.asks_for_user(),
            claims: rule.claims.all().iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<&UpstreamStatus> for UpstreamEntry {
    fn from(status: &UpstreamStatus) -> Self {
        let UpstreamStatus { name, target, peers } = status.clone();
        Self { name, target, peers }
    }
}

impl From<RefusalRecord> for RefusalEntry {
    fn from(record: RefusalRecord) -> Self {
        Self {
            time: record.time,
            listener: record.listener,
            direction: record.direction.to_owned(),
            peer_address: record.peer_address,
            reason: record.reason.to_owned(),
            detail: record.detail,
            hint: record.hint.to_owned(),
            peer: record.peer,
            subject: record.subject,
            serial: record.serial,
            issuer: record.issuer,
        }
    }
}

impl From<ReloadRecord> for ReloadEntry {
    fn from(record: ReloadRecord) -> Self {
        Self {
            attempts: record.successes + record.failures,
            successes: record.successes,
            failures: record.failures,
            last_success: Instant(record.last_success).to_string(),
            last_error: record
                .last_error
                .map(|error| ReloadErrorEntry { time: Instant(error.time).to_string(), message: error.message }),
        }
    }
}

fn by_peer(live: &[Arc<Live>]) -> Vec<PeerEntry> {
    let mut counts: BTreeMap<(String, &'static str, String), (u64, u64)> = BTreeMap::new();
    for live in live {
        if let Some(peer) = &live.peer {
            let key = (peer.identity.to_string(), live.direction.label(), live.listener.to_string());
            let (connections, requests) = counts.entry(key).or_default();
            *connections += 1;
            *requests += live.requests();
        }
    }
    let entries = counts.into_iter().map(|((peer, direction, listener), (connections, requests))| PeerEntry {
        peer,
        direction: direction.to_owned(),
        listener,
        connections,
        requests,
    });
    entries.collect()
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Open => "open",
        Phase::Draining => "draining",
        Phase::Closing => "closing",
        Phase::Cut => "cut",
    }
}

fn seconds_until(end: SystemTime, now: SystemTime) -> i64 {
    let whole = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    match end.duration_since(now) {
        Ok(left) => whole(left.as_secs()),
        Err(over) => -whole(over.duration().as_secs()),
    }
}
