//! Figures that are read off the running state at each scrape, so that none of them goes stale.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Unit;

use crate::enrolment::Giver;
use crate::proxy::Direction;
use crate::proxy::connections::Connections;
use crate::revocation::{CrlStatus, Freshness};
use crate::token::KeyState;
use crate::x509::CertificateInfo;

use super::{COMMIT, ReloadStatus, Running, VERSION};

/// Reads the figures.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) running: Arc<ArcSwap<Running>>,
    pub(super) reload: Arc<ReloadStatus>,
    pub(super) connections: Arc<Connections>,
    pub(super) started: SystemTime,
}

type Labels<const N: usize> = [(&'static str, String); N];

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let encoder = &mut encoder;
        let build = Info::new([("version", VERSION), ("commit", COMMIT)]);
        build.encode(encoder.encode_descriptor("mantlet_build", "The build that runs", None, MetricType::Info)?)?;
        self.encode_trust(encoder)?;
        self.encode_reloads(encoder)?;
        self.encode_connections(encoder)?;
        self.encode_process(encoder)
    }
}

impl Figures {
    fn encode_trust(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let running = self.running.load();
        let own = running.own.iter().map(|own| expiry("own", own));
        let anchors = running.anchors.iter().map(|anchor| expiry("anchor", anchor));
        let public = running.public.iter().map(|(_, public)| expiry("public", public));
        encode_gauges(
            encoder,
            "mantlet_certificate_expiry_timestamp",
            "When a certificate in use ends",
            Some(&Unit::Seconds),
            earliest(own.chain(anchors).chain(public)),
        )?;
        self.encode_enrolment(encoder)?;
        self.encode_crls(encoder)?;
        self.encode_crl_sources(encoder)?;
        self.encode_issuers(encoder)
    }

    /// Nothing where no issuer of tokens is known.
    fn encode_issuers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (running, now) = (self.running.load(), SystemTime::now());
        let issuers = &running.issuers;
        if issuers.is_empty() {
            return Ok(());
        }
        let help = "Attempts to get the keys of an issuer of tokens, by outcome";
        let mut family =
            encoder.encode_descriptor("mantlet_token_key_fetches", help, None, ConstCounter::<u64>::TYPE)?;
        for issuer in issuers {
            for (outcome, count) in [("success", issuer.successes), ("failure", issuer.failures)] {
                let labels = [("issuer", &*issuer.name), ("outcome", outcome)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let states = issuers.iter().flat_map(|issuer| {
            let holds = issuer.state(now);
            KeyState::ALL.map(|state| {
                let labels = [("issuer", issuer.name.clone()), ("state", state.label().to_owned())];
                (labels, if state == holds { 1.0 } else { 0.0 })
            })
        });
        let help = "How old the keys of an issuer of tokens are: 1 for what holds";
        encode_gauges(encoder, "mantlet_token_keys_state", help, None, states)?;
        let label = |name: &str| [("issuer", name.to_owned())];
        let keys = issuers.iter().map(|issuer| (label(&issuer.name), as_f64(issuer.keys.len())));
        encode_gauges(encoder, "mantlet_token_keys", "Keys of an issuer of tokens that are in use", None, keys)?;
        let fetched = issuers.iter().filter_map(|issuer| Some((label(&issuer.name), unix_seconds(issuer.fetched_at?))));
        let help = "When the keys of an issuer of tokens were last confirmed";
        encode_gauges(encoder, "mantlet_token_keys_fetched_timestamp", help, Some(&Unit::Seconds), fetched)?;
        let failing =
            issuers.iter().map(|issuer| (label(&issuer.name), if issuer.last_error.is_some() { 1.0 } else { 0.0 }));
        let help = "1 where the last attempt to get the keys of an issuer of tokens failed";
        encode_gauges(encoder, "mantlet_token_keys_failing", help, None, failing)
    }

    fn encode_enrolment(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let running = self.running.load();
        let Some(enrolment) = &running.enrolment else { return Ok(()) };
        let help = "Attempts to have the authority certify us, or what a SPIFFE agent gave, by outcome";
        let mut family =
            encoder.encode_descriptor("mantlet_identity_renewals", help, None, ConstCounter::<u64>::TYPE)?;
        for (outcome, count) in [("success", enrolment.successes), ("failure", enrolment.failures)] {
            ConstCounter::new(count).encode(family.encode_family(&[("outcome", outcome)])?)?;
        }
        let one_if = |is_so: bool| if is_so { 1.0 } else { 0.0 };
        let help = "1 where the last attempt to have the authority certify us, or to be given an identity, failed";
        encode_gauge(encoder, "mantlet_identity_renewal_failing", help, None, one_if(enrolment.is_failing()))?;
        if let Some(renewal) = enrolment.renewal {
            let help = "When our certificate is renewed";
            let name = "mantlet_identity_renewal_timestamp";
            encode_gauge(encoder, name, help, Some(&Unit::Seconds), unix_seconds(renewal))?;
        }
        let (name, help) = match enrolment.giver {
            Giver::Authority => ("mantlet_authority_push_connected", "1 where the authority tells of changes at once"),
            Giver::WorkloadApi => ("mantlet_workload_api_connected", "1 where the stream of the SPIFFE agent is open"),
        };
        encode_gauge(encoder, name, help, None, one_if(enrolment.push.connected))?;
        let Some(skew) = enrolment.clock_skew else { return Ok(()) };
        let help = "The authority's clock less ours";
        #[expect(clippy::cast_precision_loss, reason = "exact for any distance of clocks that matters")]
        let skew = skew as f64;
        encode_gauge(encoder, "mantlet_authority_clock_skew", help, Some(&Unit::Seconds), skew)
    }

    fn encode_crls(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (running, now) = (self.running.load(), SystemTime::now());
        let crls = &running.revocation.crls;
        let seconds = Some(&Unit::Seconds);
        let next_updates = crls.iter().map(|crl| (labels_of(crl), unix_seconds(crl.serves_until)));
        let help = "When the successor of a CRL in use is due";
        encode_gauges(encoder, "mantlet_crl_next_update_timestamp", help, seconds, earliest(next_updates))?;
        let this_updates = crls.iter().map(|crl| (labels_of(crl), unix_seconds(crl.info.this_update)));
        let help = "When a CRL in use was issued: what was revoked later is not known here";
        encode_gauges(encoder, "mantlet_crl_this_update_timestamp", help, seconds, earliest(this_updates))?;
        let states = Freshness::ALL.map(|state| {
            let count = crls.iter().filter(|crl| crl.state(now) == state).count();
            ([("state", state.label().to_owned())], as_f64(count))
        });
        encode_gauges(encoder, "mantlet_crls", "CRLs in use, by state", None, states)?;
        let entries: usize = crls.iter().map(|crl| crl.info.entries).sum();
        let help = "Certificates that the CRLs in use list";
        encode_gauge(encoder, "mantlet_crl_entries", help, None, as_f64(entries))?;
        let own = running.revocation.own.as_ref().map_or("good", |own| own.label);
        let statuses = ["good", "revoked", "revocation_unknown", "revocation_stale"];
        let own = statuses.map(|status| ([("status", status.to_owned())], if status == own { 1.0 } else { 0.0 }));
        let help = "What the CRLs in use say of our own certificate: 1 for what holds";
        encode_gauges(encoder, "mantlet_own_certificate_status", help, None, own)
    }

    fn encode_crl_sources(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let running = self.running.load();
        let sources = &running.revocation.sources;
        let help = "Attempts to get CRLs from a source, by outcome";
        let mut family = encoder.encode_descriptor("mantlet_crl_fetches", help, None, ConstCounter::<u64>::TYPE)?;
        for source in sources {
            for (outcome, count) in [("success", source.successes), ("failure", source.failures)] {
                let labels = [("source", &*source.source), ("outcome", outcome)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "CRLs of a source that were refused because a newer one is in use";
        let mut family = encoder.encode_descriptor("mantlet_crl_rollbacks", help, None, ConstCounter::<u64>::TYPE)?;
        for source in sources {
            ConstCounter::new(source.rollbacks).encode(family.encode_family(&[("source", &*source.source)])?)?;
        }
        let failing = sources.iter().map(|source| {
            ([("source", source.source.to_string())], if source.last_error.is_some() { 1.0 } else { 0.0 })
        });
        let help = "1 where the last attempt to get CRLs from a source failed";
        encode_gauges(encoder, "mantlet_crl_source_failing", help, None, failing)?;
        let successes = sources
            .iter()
            .filter_map(|source| Some(([("source", source.source.to_string())], unix_seconds(source.last_success?))));
        let help = "When a source last gave CRLs that could be used";
        encode_gauges(encoder, "mantlet_crl_source_last_success_timestamp", help, Some(&Unit::Seconds), successes)
    }

    fn encode_reloads(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let record = self.reload.record();
        let help = "Reloads of configuration, certificates or CRLs, by outcome";
        let mut family = encoder.encode_descriptor("mantlet_reloads", help, None, ConstCounter::<u64>::TYPE)?;
        for (outcome, count) in [("success", record.successes), ("failure", record.failures)] {
            ConstCounter::new(count).encode(family.encode_family(&[("outcome", outcome)])?)?;
        }
        encode_gauge(
            encoder,
            "mantlet_reload_last_success_timestamp",
            "When what is in use was last taken over",
            Some(&Unit::Seconds),
            unix_seconds(record.last_success),
        )?;
        let failing = if record.last_error.is_some() { 1.0 } else { 0.0 };
        encode_gauge(encoder, "mantlet_reload_failing", "1 where the last reload was refused", None, failing)
    }

    fn encode_connections(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let live = self.connections.list();
        let count = |direction: Direction| {
            let connections = live.iter().filter(|live| live.peer.is_some() && live.direction == direction).count();
            ([("direction", direction.label().to_owned())], as_f64(connections))
        };
        encode_gauges(
            encoder,
            "mantlet_live_connections",
            "Live connections with peers, by direction",
            None,
            [Direction::Inbound, Direction::Outbound, Direction::Edge].map(count),
        )
    }

    fn encode_process(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let started = unix_seconds(self.started);
        encode_gauge(encoder, "process_start_time", "When the process started", Some(&Unit::Seconds), started)?;
        match resident_bytes() {
            Some(bytes) => {
                encode_gauge(encoder, "process_resident_memory", "Resident memory", Some(&Unit::Bytes), bytes)
            }
            None => Ok(()),
        }
    }
}

fn labels_of(crl: &CrlStatus) -> Labels<3> {
    let kind = if crl.info.base_number.is_some() { "delta" } else { "complete" };
    [("issuer", crl.info.issuer.clone()), ("scope", crl.info.scope.clone()), ("kind", kind.to_owned())]
}

fn expiry(kind: &str, certificate: &CertificateInfo) -> (Labels<3>, f64) {
    let labels = [
        ("kind", kind.to_owned()),
        ("subject", certificate.subject.clone()),
        ("serial", certificate.serial.to_string()),
    ];
    (labels, unix_seconds(certificate.not_after))
}

/// A scrape with the same labels twice is ill-formed, though two issuers may share a name. The earliest date is the one to
/// act on.
fn earliest<const N: usize>(dates: impl Iterator<Item = (Labels<N>, f64)>) -> BTreeMap<Labels<N>, f64> {
    let mut kept = BTreeMap::new();
    for (labels, date) in dates {
        kept.entry(labels).and_modify(|known: &mut f64| *known = known.min(date)).or_insert(date);
    }
    kept
}

fn encode_gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: f64,
) -> fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)
}

fn encode_gauges<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    values: impl IntoIterator<Item = (Labels<N>, f64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn unix_seconds(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact far beyond any number of connections or entries")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

/// Resident memory as the kernel counts it; absent where there is no procfs.
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u32 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(f64::from(kibibytes) * 1024.0)
}
