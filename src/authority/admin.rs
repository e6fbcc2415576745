//! Health, metrics and status of the authority.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use prometheus_client::encoding::EncodeMetric as _;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use serde_json::{Value, json};
use tracing::error;

use crate::admin::{self, AdminAnswer, HostRule, problem, respond};
use crate::ca::{StoreFigures, Timestamp, chain};
use crate::net::Listener;

use super::keeper::REVOKED;
use super::{Server, now};

const PATHS: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/status"];
/// How old the counted figures may be.
const FIGURES_AGE: Duration = Duration::from_secs(5);

/// Serves until the server stops.
pub(super) async fn serve(listener: Listener, server: Arc<Server>, registry: Registry) {
    let shown = Arc::new(Shown { registry, figures: tokio::sync::Mutex::default() });
    let (hosts, stop) = (HostRule::of_listener(listener.address()), server.stop.clone());
    let answer = move |request| {
        let (server, shown) = (Arc::clone(&server), Arc::clone(&shown));
        async move { answer(&server, &shown, hosts, &request).await }
    };
    if let Err(error) = admin::serve_with(listener, stop, answer).await {
        error!(%error, "the admin listener ended");
    }
}

struct Shown {
    registry: Registry,
    figures: tokio::sync::Mutex<Option<(tokio::time::Instant, StoreFigures)>>,
}

impl Shown {
    /// What the store holds, counted a few seconds ago at most.
    async fn figures(&self, server: &Server) -> Result<StoreFigures, crate::ca::CaError> {
        let mut kept = self.figures.lock().await;
        if let Some((_, figures)) = kept.filter(|(at, _)| at.elapsed() < FIGURES_AGE) {
            return Ok(figures);
        }
        let figures = server.authority.figures(now()).await?;
        *kept = Some((tokio::time::Instant::now(), figures));
        Ok(figures)
    }
}

async fn answer(server: &Server, shown: &Shown, hosts: HostRule, request: &Request<impl Sized>) -> AdminAnswer {
    if let Some(refusal) = admin::refuse(hosts, request) {
        return refusal;
    }
    match request.uri().path() {
        "/healthz" => respond(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"),
        "/readyz" => {
            let reasons = not_ready(server).await;
            let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let text = if reasons.is_empty() { "ready\n".to_owned() } else { reasons.join("\n") + "\n" };
            respond(status, "text/plain; charset=utf-8", text)
        }
        "/metrics" => metrics(server, shown).await,
        "/status" => {
            let document = status(server, shown).await;
            respond(StatusCode::OK, "application/json", format!("{document:#}\n"))
        }
        _ => problem(StatusCode::NOT_FOUND, &format!("there is nothing at this path, but at {}", PATHS.join(", "))),
    }
}

/// Why the authority cannot do its work.
async fn not_ready(server: &Server) -> Vec<String> {
    let mut reasons = Vec::new();
    if server.stop.is_cancelled() {
        reasons.push("the process is shutting down".to_owned());
    }
    match server.authority.issuers().await {
        Err(error) => reasons.push(chain(&error)),
        Ok(issuers) => {
            for missing in server.authority.missing_keys(&issuers) {
                let key = server.authority.key_file(missing);
                reasons.push(format!("{}: the {missing} key is missing; copy it from another replica", key.display()));
            }
        }
    }
    if server.acceptor.load().is_none() {
        reasons.push(format!("no service can enrol: {REVOKED}"));
    }
    let now = now();
    let published = server.published.borrow().clone();
    reasons.extend(published.unlisted.iter().map(ToString::to_string));
    for crl in &published.crls {
        let (issuer, due, kind) = (crl.record.issuer, crl.record.next_update, kind_of(&crl.record));
        if due <= now {
            reasons.push(format!("the {issuer}'s {kind} CRL expired at {due}; \"mantlet ca crl\" signs another"));
        }
    }
    reasons
}

async fn metrics(server: &Server, shown: &Shown) -> AdminAnswer {
    let mut text = String::new();
    let figures = shown.figures(server).await;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Gauges {
        figures: figures.ok(),
        crls: server.published.borrow().crls.iter().map(|crl| crl.record).collect(),
        entries: server.published.borrow().crls.iter().map(|crl| crl.entries).collect(),
        unlisted: server.published.borrow().unlisted.len(),
        now: now(),
    }));
    let counted = prometheus_client::encoding::text::encode_registry(&mut text, &shown.registry)
        .and_then(|()| prometheus_client::encoding::text::encode(&mut text, &registry));
    match counted {
        Ok(()) => respond(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text),
        Err(error) => {
            error!(%error, "the metrics could not be encoded");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be encoded")
        }
    }
}

#[derive(Debug)]
struct Gauges {
    figures: Option<StoreFigures>,
    crls: Vec<crate::ca::CrlRecord>,
    entries: Vec<usize>,
    unlisted: usize,
    now: Timestamp,
}

impl prometheus_client::collector::Collector for Gauges {
    fn encode(&self, mut encoder: prometheus_client::encoding::DescriptorEncoder) -> std::fmt::Result {
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, values: Vec<(Vec<(&str, String)>, i64)>| {
            let kind = prometheus_client::metrics::MetricType::Gauge;
            let mut family = encoder.encode_descriptor(name, help, unit, kind)?;
            for (labels, value) in values {
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
            Ok::<_, std::fmt::Error>(())
        };
        gauge(
            "mantlet_authority_store_up",
            "Whether the store answers",
            None,
            vec![(vec![], i64::from(self.figures.is_some()))],
        )?;
        if let Some(figures) = self.figures {
            let states = [("valid", figures.valid), ("expiring", figures.expiring)];
            let values = states.map(|(state, count)| (vec![("state", state.to_owned())], count));
            let help = "Certificates of services that are valid, and those of them that end within a day";
            gauge("mantlet_authority_certificates", help, None, values.into())?;
            let states = [("active", figures.active), ("suspended", figures.suspended)];
            let values = states.map(|(state, count)| (vec![("state", state.to_owned())], count));
            gauge("mantlet_authority_registrations", "Names that are registered", None, values.into())?;
        }
        let labels = |record: &crate::ca::CrlRecord| {
            vec![("issuer", record.issuer.to_string()), ("kind", kind_of(record).to_owned())]
        };
        let each = |value: &dyn Fn(&crate::ca::CrlRecord) -> i64| {
            self.crls.iter().map(|record| (labels(record), value(record))).collect::<Vec<_>>()
        };
        let numbers = each(&|record| i64::try_from(record.number).unwrap_or(i64::MAX));
        gauge("mantlet_authority_crl_number", "The number of the last CRL", None, numbers)?;
        let seconds = Some(&Unit::Seconds);
        let age = each(&|record| unix(self.now) - unix(record.this_update));
        gauge("mantlet_authority_crl_age", "How long ago the last CRL was signed", seconds, age)?;
        let due = each(&|record| unix(record.next_update));
        gauge("mantlet_authority_crl_next_update_timestamp", "When the last CRL ends", seconds, due)?;
        let entries = self.crls.iter().zip(&self.entries);
        let entries = entries.map(|(record, count)| (labels(record), i64::try_from(*count).unwrap_or(i64::MAX)));
        gauge("mantlet_authority_crl_entries", "Certificates that the last CRL lists", None, entries.collect())?;
        let unlisted = i64::try_from(self.unlisted).unwrap_or(i64::MAX);
        let help = "Revocations that are on no CRL, for the key that signs it is kept elsewhere or does not open";
        gauge("mantlet_authority_unlisted_revocations", help, None, vec![(vec![], unlisted)])
    }
}

fn kind_of(record: &crate::ca::CrlRecord) -> &'static str {
    if record.base_number.is_some() { "delta" } else { "complete" }
}

fn unix(time: Timestamp) -> i64 {
    let since = time.to_system().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

async fn status(server: &Server, shown: &Shown) -> Value {
    let not_ready = not_ready(server).await;
    let rotation = server.authority.rotation(now()).await;
    let published = server.published.borrow().clone();
    let crls = published.crls.iter().map(|crl| {
        json!({
            "issuer": crl.record.issuer.to_string(),
            "number": crl.record.number,
            "base_number": crl.record.base_number,
            "entries": crl.entries,
            "this_update": crl.record.this_update.to_string(),
            "next_update": crl.record.next_update.to_string(),
        })
    });
    let figures = shown.figures(server).await.ok().map(|figures| {
        json!({
            "valid": figures.valid,
            "expiring": figures.expiring,
            "registered": figures.active,
            "suspended": figures.suspended,
        })
    });
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "role": "authority",
        "trust_domain": server.authority.store().trust_domain().as_str(),
        "store": server.authority.store().place().to_string(),
        "ready": not_ready.is_empty(),
        "not_ready": not_ready,
        "crls": crls.collect::<Value>(),
        "certificates": figures,
        "subscribers": server.metrics.subscribers.get(),
        "issuing_generation": rotation.as_ref().ok().map(|rotation| rotation.issuing),
        "newest_generation": rotation.as_ref().ok().map(|rotation| rotation.newest),
        "oldest_generation": rotation.as_ref().ok().map(|rotation| rotation.oldest),
        "certificates_of_old_generations": rotation.ok().map(|rotation| rotation.certificates_of_old),
    })
}
