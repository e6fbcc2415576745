//! The status document as tables for people.

use std::fmt::{self, Write as _};

use crate::admin::{
    CertificateEntry, CrlEntry, Document, EnrolmentEntry, IssuerEntry, ListenerEntry, PeerEntry,
    PublicCertificateEntry, RefusalEntry, ReloadEntry, RevocationEntry, UpstreamEntry,
};
use crate::cli::time_span;

/// How many refusals and peers are shown; JSON has them all.
const MAX_REFUSALS: usize = 10;
const MAX_PEERS: usize = 40;

/// The whole status as text.
pub(super) fn render(document: &Document) -> String {
    let sections = [
        Some(head(document)),
        Some(identity(document.identity.as_ref(), document.enrolment.as_ref())),
        Some(anchors(&document.anchors)),
        public_certificates(&document.public_certificates),
        Some(revocation(&document.revocation)),
        issuers(&document.issuers),
        Some(listeners(&document.listeners)),
        rules(&document.listeners),
        upstreams(&document.upstreams),
        Some(peers(&document.peers, document.connections_total)),
        Some(refusals(&document.refusals)),
        Some(reload(&document.reload)),
    ];
    sections.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// Text from elsewhere as one line that is safe for a terminal.
pub(in crate::cli) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn head(document: &Document) -> String {
    let state = if document.readiness.ready { "ready" } else { "NOT READY" };
    let uptime = time_span(document.uptime_seconds);
    let mut text = Text::default();
    text.line(format_args!(
        "mantlet {} ({}), {state}, up {uptime} since {}",
        document.version, document.commit, document.started
    ));
    text.line(format_args!("configuration  {}", document.config_file));
    for reason in &document.readiness.not_ready {
        text.line(format_args!("not ready      {reason}"));
    }
    for warning in &document.readiness.warnings {
        text.line(format_args!("warning        {warning}"));
    }
    text.0
}

fn identity(identity: Option<&CertificateEntry>, enrolment: Option<&EnrolmentEntry>) -> String {
    let mut text = Text::default();
    text.line(format_args!("IDENTITY"));
    match identity {
        Some(own) => {
            text.line(format_args!("  name         {}", own.name.as_deref().unwrap_or("(none)")));
            text.line(format_args!("  certificate  {}, serial {}", own.subject, own.serial));
            text.line(format_args!("  issuer       {}", own.issuer));
            text.line(format_args!("  valid        {} to {}, {}", own.not_before, own.not_after, expiry(own)));
            text.line(format_args!("  SHA-256      {}", own.fingerprint));
        }
        None => text.line(format_args!("  no certificate is loaded")),
    }
    if let Some(enrolment) = enrolment {
        enrolled(&mut text, enrolment);
    }
    text.0
}

fn enrolled(text: &mut Text, enrolment: &EnrolmentEntry) {
    if enrolment.giver == "workload_api" {
        return given(text, enrolment);
    }
    let next = match (&enrolment.renewal, &enrolment.next_attempt) {
        (Some(renewal), _) => format!("to be renewed {renewal}"),
        (None, Some(next)) => format!("asked again {next}"),
        (None, None) => "being asked".to_owned(),
    };
    text.line(format_args!(
        "  authority    {} as {}, {}, {next}",
        enrolment.authority, enrolment.name, enrolment.state
    ));
    if let Some(error) = &enrolment.last_error {
        text.line(format_args!("  last error   {error}"));
    }
    let registration = if enrolment.registration.is_empty() { "not heard of" } else { &enrolment.registration };
    let push = match (&enrolment.push_error, enrolment.push_connected) {
        (_, true) => "heard of at once".to_owned(),
        (Some(error), false) => format!("asked for now and then: {error}"),
        (None, false) => "asked for now and then".to_owned(),
    };
    text.line(format_args!("  registration {registration}; changes are {push}"));
    if let Some(skew) = enrolment.clock_skew_seconds.filter(|skew| skew.abs() > 1) {
        text.line(format_args!("  clocks       the authority's is {skew} s ahead of ours"));
    }
}

fn given(text: &mut Text, enrolment: &EnrolmentEntry) {
    let name = if enrolment.name.is_empty() { "us" } else { &enrolment.name };
    let stream = match (enrolment.push_connected, &enrolment.next_attempt) {
        (true, _) => "its stream is open".to_owned(),
        (false, Some(next)) => format!("asked again {next}"),
        (false, None) => "being asked".to_owned(),
    };
    text.line(format_args!("  SPIFFE agent {} for {name}, {}, {stream}", enrolment.authority, enrolment.state));
    if let Some(error) = &enrolment.last_error {
        text.line(format_args!("  last error   {error}"));
    }
}

fn anchors(anchors: &[CertificateEntry]) -> String {
    let rows = anchors.iter().map(|anchor| {
        [anchor.subject.clone(), anchor.serial.clone(), format!("{} ({})", anchor.not_after, expiry(anchor))]
    });
    section("TRUST ANCHORS", ["SUBJECT", "SERIAL", "NOT AFTER"], rows, "none")
}

/// Nothing where there is no edge listener.
fn public_certificates(public: &[PublicCertificateEntry]) -> Option<String> {
    let rows = public.iter().map(|PublicCertificateEntry { listener, certificate }| {
        let end = format!("{} ({})", certificate.not_after, expiry(certificate));
        [listener.clone(), certificate.subject.clone(), certificate.issuer.clone(), certificate.serial.clone(), end]
    });
    let heading = ["LISTENER", "SUBJECT", "ISSUER", "SERIAL", "NOT AFTER"];
    (!public.is_empty()).then(|| section("PUBLIC CERTIFICATES", heading, rows, "none"))
}

/// Nothing where there is none.
fn upstreams(upstreams: &[UpstreamEntry]) -> Option<String> {
    let rows = upstreams.iter().map(|one| [one.name.clone(), one.target.clone(), one.peers.join(", ")]);
    let heading = ["NAME", "CONNECTS TO", "PEERS EXPECTED"];
    (!upstreams.is_empty()).then(|| section("UPSTREAMS", heading, rows, "none"))
}

fn revocation(revocation: &RevocationEntry) -> String {
    let none = if revocation.checked { "checked, but no CRL is loaded" } else { "not checked" };
    let rows = revocation.crls.iter().map(|crl| {
        let next_update = format!("{} ({})", crl.next_update, due(crl));
        let number = match &crl.base_number {
            Some(base) => format!("{} since {base}", crl.number),
            None => crl.number.clone(),
        };
        let covers = format!("{}: {}", crl.issuer, crl.scope);
        [covers, crl.state.clone(), number, crl.entries.to_string(), next_update, crl.source.clone()]
    });
    let heading = ["CRL ISSUER", "STATE", "NUMBER", "ENTRIES", "NEXT UPDATE", "SOURCE"];
    let mut text = section("REVOCATION", heading, rows, none);
    if !revocation.sources.is_empty() {
        let rows = revocation.sources.iter().map(|source| {
            let never = || "none since the start".to_owned();
            let last_success = source.last_success.clone().unwrap_or_else(never);
            let last_error = source.last_error.clone().unwrap_or_else(|| "-".to_owned());
            let next = source.next_attempt.clone().unwrap_or_else(|| "when it changes".to_owned());
            let kind = source.kind.replace('_', " ");
            [source.source.clone(), kind, last_success, next, source.rollbacks.to_string(), last_error]
        });
        let heading = ["SOURCE", "KIND", "LAST SUCCESS", "ASKED NEXT", "ROLLBACKS", "LAST ERROR"];
        text.push('\n');
        text.push_str(&section("CRL SOURCES", heading, rows, "none"));
    }
    if let Some(alarm) = &revocation.own_certificate {
        let _ = writeln!(text, "  ALARM: {alarm}");
    }
    text
}

/// Nothing where no issuer of tokens is known.
fn issuers(issuers: &[IssuerEntry]) -> Option<String> {
    let rows = issuers.iter().map(|issuer| {
        let fetched = issuer.fetched_at.clone().unwrap_or_else(|| "never".to_owned());
        let next = issuer.next_attempt.clone().unwrap_or_else(|| "being asked".to_owned());
        let error = issuer.last_error.clone().or_else(|| issuer.left_out.clone()).unwrap_or_else(|| "-".to_owned());
        let keys = if issuer.keys.is_empty() { "none".to_owned() } else { issuer.keys.join(", ") };
        [issuer.name.clone(), issuer.state.clone(), keys, fetched, next, error]
    });
    let heading = ["ISSUER", "KEYS", "IN USE", "CONFIRMED", "ASKED NEXT", "LAST ERROR"];
    (!issuers.is_empty()).then(|| section("TOKEN ISSUERS", heading, rows, "none"))
}

fn listeners(listeners: &[ListenerEntry]) -> String {
    let rows = listeners.iter().map(|listener| {
        let unnamed = match listener.direction.as_str() {
            "inbound" => "nobody",
            "edge" => "no route",
            _ => "the name connected to",
        };
        let peers = if listener.peers.is_empty() { unnamed.to_owned() } else { listener.peers.join(", ") };
        let way = format!("{} {}", listener.direction, listener.protocol);
        [listener.name.clone(), way, listener.address.clone(), listener.target.clone(), peers]
    });
    section("LISTENERS", ["NAME", "KIND", "LISTENS ON", "TARGET", "PEERS ALLOWED OR EXPECTED, OR ROUTES"], rows, "none")
}

/// Nothing where no listener has any.
fn rules(listeners: &[ListenerEntry]) -> Option<String> {
    let all = listeners.iter().flat_map(|listener| listener.rules.iter().map(move |rule| (listener, rule)));
    let rows = all.map(|(listener, rule)| {
        let or = |list: &[String], none: &str| if list.is_empty() { none.to_owned() } else { list.join(", ") };
        let user = match (&*rule.claims, rule.user) {
            ([], false) => "-".to_owned(),
            ([], true) => "any".to_owned(),
            (claims, _) => claims.join(", "),
        };
        let (from, methods, paths) =
            (or(&rule.from, "all with a certificate"), or(&rule.methods, "any"), or(&rule.paths, "any"));
        [listener.name.clone(), rule.name.clone(), rule.action.clone(), from, methods, paths, user]
    });
    let heading = ["LISTENER", "RULE", "ACTION", "FROM", "METHODS", "PATHS", "USER"];
    listeners
        .iter()
        .any(|one| !one.rules.is_empty())
        .then(|| section("RULES, OF WHICH THE FIRST THAT MATCHES DECIDES", heading, rows, "none"))
}

fn peers(peers: &[PeerEntry], connections: usize) -> String {
    let title = format!("PEERS ({connections} live connections)");
    let rows = peers.iter().take(MAX_PEERS).map(|peer| {
        let (connections, requests) = (peer.connections.to_string(), peer.requests.to_string());
        [peer.peer.clone(), peer.direction.clone(), peer.listener.clone(), connections, requests]
    });
    let mut text = Text(section(&title, ["PEER", "DIRECTION", "LISTENER", "CONNECTIONS", "REQUESTS"], rows, "none"));
    if peers.len() > MAX_PEERS {
        text.line(format_args!("  and {} more; --json lists them", peers.len() - MAX_PEERS));
    }
    text.0
}

fn refusals(refusals: &[RefusalEntry]) -> String {
    let mut text = Text::default();
    text.line(format_args!("LAST REFUSALS"));
    if refusals.is_empty() {
        text.line(format_args!("  none"));
    }
    let alike: Vec<_> = refusals.chunk_by(is_the_same_again).collect();
    for alike in &alike[alike.len().saturating_sub(MAX_REFUSALS)..] {
        let [.., refusal] = alike else { continue };
        let who = refusal.peer.as_deref().or(refusal.subject.as_deref()).unwrap_or("no certificate");
        let times =
            if alike.len() > 1 { format!(", {} times since {}", alike.len(), alike[0].time) } else { String::new() };
        text.line(format_args!(
            "  {}  {} ({}) from {} ({who}){times}",
            refusal.time, refusal.listener, refusal.direction, refusal.peer_address
        ));
        if let (Some(subject), Some(serial), Some(issuer)) = (&refusal.subject, &refusal.serial, &refusal.issuer) {
            text.line(format_args!("    sent    {subject}, serial {serial}, issued by {issuer}"));
        }
        text.line(format_args!("    reason  {}: {}", refusal.reason, refusal.detail));
        text.line(format_args!("    hint    {}", refusal.hint));
    }
    text.0
}

/// A peer that tries again and again would push every other refusal off the screen.
fn is_the_same_again(one: &RefusalEntry, next: &RefusalEntry) -> bool {
    let what = |entry: &RefusalEntry| {
        let host = entry.peer_address.rsplit_once(':').map_or(&*entry.peer_address, |(host, _)| host).to_owned();
        (host, entry.listener.clone(), entry.direction.clone(), entry.serial.clone(), entry.detail.clone())
    };
    what(one) == what(next)
}

fn reload(reload: &ReloadEntry) -> String {
    let ReloadEntry { attempts, failures, last_success, .. } = reload;
    let mut text = Text::default();
    text.line(format_args!("RELOADS"));
    text.line(format_args!("  {attempts} since the start, {failures} refused; in use since {last_success}"));
    if let Some(error) = &reload.last_error {
        text.line(format_args!("  the last one was refused at {}:", error.time));
        error.message.lines().for_each(|line| text.line(format_args!("    {line}")));
    }
    text.0
}

fn expiry(certificate: &CertificateEntry) -> String {
    match certificate.expires_in_seconds {
        left @ 0.. => format!("expires in {}", time_span(left.unsigned_abs())),
        over => format!("EXPIRED {} ago", time_span(over.unsigned_abs())),
    }
}

fn due(crl: &CrlEntry) -> String {
    match crl.next_update_in_seconds {
        left @ 0.. => format!("in {}", time_span(left.unsigned_abs())),
        over => format!("OVERDUE by {}", time_span(over.unsigned_abs())),
    }
}

pub(in crate::cli) fn section<const N: usize>(
    title: &str,
    heading: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    none: &str,
) -> String {
    let rows: Vec<_> = rows.map(|row| row.map(|cell| printable(&cell))).collect();
    let mut text = Text::default();
    text.line(format_args!("{title}"));
    if rows.is_empty() {
        text.line(format_args!("  {none}"));
        return text.0;
    }
    let rows: Vec<_> = std::iter::once(heading.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.line(format_args!("  {}", cells.join("  ").trim_end()));
    }
    text.0
}

/// Lines that a terminal cannot be tricked with.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: fmt::Arguments<'_>) {
        let line = printable(&line.to_string());
        writeln!(self.0, "{line}").expect("a string takes any text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_shows_what_an_operator_needs() {
        let document = serde_json::from_value(serde_json::json!({
            "version": "0.1.0", "commit": "abc", "started": "2026-01-01T00:00:00Z", "uptime_seconds": 3700,
            "config_file": "/etc/mantlet/ads.toml", "ready": false, "not_ready": ["no listener is bound yet"],
            "warnings": ["ca.crl: the next CRL of CN=ca was due 2026-01-01T00:00:00Z; fetch or issue a new one"],
            "identity": certificate("spiffe://test/ads", 82_800), "anchors": [certificate("", -7200)],
            "revocation": { "checked": true, "crls": [{
                "issuer": "CN=ca", "scope": "all certificates", "state": "stale", "number": "01", "base_number": null,
                "this_update": "2026-01-01T00:00:00Z", "age_seconds": 86460, "refresh_at": null,
                "next_update": "2026-01-02T00:00:00Z", "next_update_in_seconds": -60, "entries": 3, "source": "ca.crl",
            }], "sources": [{
                "source": "http://ca/ca.crl", "kind": "url", "last_attempt": "2026-01-02T00:00:30Z", "last_success": null,
                "last_error": "answers 404 Not Found, expected 200", "next_attempt": "2026-01-02T00:01:02Z",
                "successes": 0, "failures": 3, "rollbacks": 1,
            }], "own_certificate": "peers that read the same CRLs will refuse our own certificate: it is revoked" },
            "listeners": [{
                "name": "ads", "direction": "inbound", "protocol": "http", "address": "0.0.0.0:8443",
                "target": "127.0.0.1:8080", "peers": [],
                "rules": [{
                    "name": "read ads", "action": "allow", "from": [], "methods": ["GET", "HEAD"], "paths": ["/ads/{id}"],
                    "user": true, "claims": ["role = \"seller\""],
                }, {
                    "name": "health", "action": "allow", "from": ["anonymous"], "methods": [], "paths": [], "user": false,
                    "claims": [],
                }],
            }],
            "connections_total": 2, "connections": [],
            "peers": [{
                "peer": "spiffe://test/gateway", "direction": "inbound", "listener": "ads", "connections": 2, "requests": 9,
            }],
            "refusals": [{
                "time": "2026-01-01T00:00:01.000Z", "listener": "ads", "direction": "inbound",
                "peer_address": "10.0.0.7:4711", "reason": "unknown_issuer", "detail": "no trust anchor issued it",
                "hint": "add its CA", "peer": "evil\u{1b}[2J", "subject": "CN=evil", "serial": "0b",
                "issuer": "CN=other",
            }],
            "reload": {
                "attempts": 2, "successes": 1, "failures": 1, "last_success": "2026-01-01T00:00:02Z",
                "last_error": { "time": "2026-01-01T00:00:03Z", "message": "line one\nline two" },
            },
        }));
        insta::assert_snapshot!(render(&document.expect("a document")));
    }

    #[test]
    fn a_spiffe_agent_is_shown_with_its_stream_and_why_it_gives_nothing() {
        let entry = |name: &str, connected: bool, error: Option<&str>| -> EnrolmentEntry {
            let entry = serde_json::json!({
                "giver": "workload_api", "authority": "unix:///agent.sock", "name": name, "state": "failing",
                "renewal": null, "last_attempt": null, "last_success": null, "next_attempt": "t1", "successes": 0,
                "failures": 1, "failing_since": null, "reason": error, "last_error": error, "registration": "",
                "push_connected": connected, "push_error": null, "clock_skew_seconds": null,
            });
            serde_json::from_value(entry).expect("an entry")
        };
        let shown = |entry: EnrolmentEntry| identity(None, Some(&entry));
        assert_eq!(
            shown(entry("spiffe://a/b", true, None)),
            "IDENTITY\n  no certificate is loaded\n  SPIFFE agent unix:///agent.sock for spiffe://a/b, failing, its stream is open\n"
        );
        assert_eq!(
            shown(entry("", false, Some("away"))),
            "IDENTITY\n  no certificate is loaded\n  SPIFFE agent unix:///agent.sock for us, failing, asked again t1\n  last error   away\n"
        );
    }

    #[test]
    fn a_refusal_that_repeats_itself_is_shown_once() {
        let refusal = |time: &str, port: u16, detail: &str| -> RefusalEntry {
            let entry = serde_json::json!({
                "time": time, "listener": "ads", "direction": "inbound", "peer_address": format!("10.0.0.7:{port}"),
                "reason": "no_certificate", "detail": detail, "hint": "give it one", "peer": null, "subject": null,
                "serial": null, "issuer": null,
            });
            serde_json::from_value(entry).expect("an entry")
        };
        let shown = refusals(&[refusal("t1", 1, "none"), refusal("t2", 2, "none"), refusal("t3", 3, "other")]);
        let heads: Vec<_> = shown.lines().filter(|line| line.contains("from")).collect();
        assert_eq!(
            heads,
            [
                "  t2  ads (inbound) from 10.0.0.7:2 (no certificate), 2 times since t1",
                "  t3  ads (inbound) from 10.0.0.7:3 (no certificate)",
            ]
        );
    }

    fn certificate(name: &str, expires_in_seconds: i64) -> serde_json::Value {
        serde_json::json!({
            "name": name, "subject": "CN=x", "serial": "0a", "issuer": "CN=ca", "not_before": "2026-01-01T00:00:00Z",
            "not_after": "2026-01-02T00:00:00Z", "expires_in_seconds": expires_in_seconds, "fingerprint": "00ff",
        })
    }

    #[test]
    fn no_control_character_reaches_the_terminal() {
        assert_eq!(printable("CN=\u{1b}[2Jevil\r\nx"), "CN=\u{fffd}[2Jevil\u{fffd}\u{fffd}x");
    }
}
