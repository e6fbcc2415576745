//! What was found, as text and as JSON.

use std::fmt::Write;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::cli::span_of_time;
use crate::config::{Config, Edge, Inbound, Issuer, Outbound, Problem, Problems, Upstream};
use crate::identity::PeerPattern;
use crate::x509::{CertificateInfo, Instant, TrustMaterial};

/// Everything that is known of a file.
pub(super) struct Outcome {
    pub(super) problems: Problems,
    /// Absent where the file cannot be used.
    pub(super) config: Option<Config>,
    /// Absent where what the file names cannot be used.
    pub(super) material: Option<TrustMaterial>,
    /// Why an authority has to certify us before anything is served.
    pub(super) uncertified: Option<String>,
    pub(super) now: SystemTime,
}

impl Outcome {
    pub(super) fn is_good(&self) -> bool {
        self.problems.errors() == 0
    }

    /// The problems, what would run if there is no error, and the verdict as the last line.
    pub(super) fn to_text(&self, colors: bool) -> String {
        let mut text = self.problems.report(colors);
        if let Some(config) = self.config.as_ref().filter(|_| self.is_good()) {
            text.push_str(&self.summary(config));
        }
        text.push_str(&self.problems.verdict());
        text.push('\n');
        text
    }

    fn summary(&self, config: &Config) -> String {
        let mut rows: Vec<(&str, String)> = Vec::new();
        if let Some(own) = self.material.as_ref().and_then(|material| material.own.as_ref()) {
            rows.push(("identity", self.ending(&own.names.to_string(), own.not_after)));
        }
        if let (Some(enrolment), Some(missing)) = (config.identity.enrolment(), &self.uncertified) {
            let (authority, name) = (&enrolment.authority.value, &enrolment.name.value);
            rows.push((
                "identity",
                format!("{name}, which {authority} has to certify before anything is served: {missing}"),
            ));
        }
        if let Some(agent) = config.identity.workload_api() {
            let name = agent.spiffe_id.as_ref().map_or("ours".to_owned(), |id| id.value.to_string());
            rows.push((
                "identity",
                format!("{name}, which {} has to give before anything is served", agent.endpoint.value),
            ));
        }
        if let Some(material) = &self.material {
            rows.extend(
                material.anchors.iter().map(|anchor| ("anchor", self.ending(&anchor.title(), anchor.not_after))),
            );
            rows.extend(material.lists().load().crls().map(|crl| {
                let title = format!("{}, {} revoked", crl.info.issuer, crl.info.entries);
                ("CRL", self.ending(&title, crl.info.next_update))
            }));
        }
        rows.extend(config.inbound.iter().map(|inbound| ("inbound", inbound_line(inbound))));
        rows.extend(config.outbound.iter().map(|outbound| ("outbound", outbound_line(outbound))));
        rows.extend(config.edge.iter().map(|edge| ("edge", edge_line(edge))));
        rows.extend(config.upstream.iter().map(|upstream| ("upstream", upstream_line(upstream))));
        rows.extend(config.issuers.iter().map(|issuer| ("issuer", issuer_line(issuer))));
        rows.extend(config.admin.iter().map(|admin| ("admin", admin.listen.value.to_string())));
        rows.into_iter().fold(String::new(), |mut text, (head, line)| {
            let _ = writeln!(text, "{head:<9} {line}");
            text
        })
    }

    fn ending(&self, title: &str, end: SystemTime) -> String {
        format!("{title}, ends on {}, {}", Instant(end), span_of_time(self.now, end))
    }

    /// One object: `file`, `ok`, `problems`, `identity` and `listeners`. What is not known is null or empty.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "file": self.problems.path.display().to_string(),
            "ok": self.is_good(),
            "problems": self.problems.list.iter().map(|problem| self.problem_to_json(problem)).collect::<Vec<_>>(),
            "identity": self.material.as_ref().and_then(|material| material.own.as_ref()).map(identity_to_json),
            "listeners": self.config.as_ref().map(listeners_to_json).unwrap_or_default(),
        })
    }

    fn problem_to_json(&self, problem: &Problem) -> Value {
        let position = self.problems.position(problem);
        json!({
            "severity": problem.severity.label(),
            "file": self.problems.path.display().to_string(),
            "line": position.map(|position| position.line),
            "column": position.map(|position| position.column),
            "end_line": position.map(|position| position.end_line),
            "end_column": position.map(|position| position.end_column),
            "text": self.problems.text_of(problem),
            "message": problem.message,
            "remedy": problem.remedy,
        })
    }
}

fn inbound_line(inbound: &Inbound) -> String {
    let Inbound { name, listen, forward_to, protocol, client_auth, allow, rules, .. } = inbound;
    let by_rules = match rules.len() {
        0 => String::new(),
        1 => ", by 1 rule".to_owned(),
        number => format!(", by {number} rules"),
    };
    format!(
        "{}: {} -> {}, {}, client certificate {}, allows {}{by_rules}",
        name.value,
        listen.value,
        forward_to.value,
        protocol.label(),
        client_auth.label(),
        listed(allow),
    )
}

fn outbound_line(outbound: &Outbound) -> String {
    let Outbound { name, listen, connect_to, protocol, expect, .. } = outbound;
    format!(
        "{}: {} -> {}, {}, expects {}",
        name.value,
        listen.value,
        connect_to.value,
        protocol.label(),
        listed(expect)
    )
}

fn edge_line(edge: &Edge) -> String {
    let Edge { name, listen, client_auth, routes, .. } = edge;
    let public = routes.iter().filter(|route| route.is_public).count();
    let routes = if routes.len() == 1 { "1 route".to_owned() } else { format!("{} routes", routes.len()) };
    format!(
        "{}: {}, client certificate {}, {routes}, {public} of them without a user",
        name.value,
        listen.value,
        client_auth.label(),
    )
}

fn upstream_line(upstream: &Upstream) -> String {
    format!("{}: {}, expects {}", upstream.name.value, upstream.connect_to.value, listed(&upstream.expect))
}

fn issuer_line(issuer: &Issuer) -> String {
    format!("{}: {}, keys from {}", issuer.name.value, issuer.issuer.value, issuer.jwks_url.value)
}

fn listed(patterns: &[PeerPattern]) -> String {
    match patterns {
        [] => "nobody".into(),
        _ => patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn identity_to_json(own: &CertificateInfo) -> Value {
    json!({
        "name": own.names.to_string(),
        "subject": own.subject,
        "issuer": own.issuer,
        "serial": own.serial.to_string(),
        "fingerprint_sha256": own.fingerprint_hex(),
        "not_before": Instant(own.not_before).to_string(),
        "not_after": Instant(own.not_after).to_string(),
    })
}

fn listeners_to_json(config: &Config) -> Vec<Value> {
    let names = |patterns: &[PeerPattern]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
    let inbound = config.inbound.iter().map(|inbound| {
        json!({
            "kind": "inbound",
            "name": inbound.name.value,
            "listen": inbound.listen.value.to_string(),
            "forward_to": inbound.forward_to.value.to_string(),
            "protocol": inbound.protocol.label(),
            "client_auth": inbound.client_auth.label(),
            "allow": names(&inbound.allow),
            "user_from": names(&inbound.user_from),
            "rules": inbound.rules.iter().map(|rule| &*rule.name).collect::<Vec<_>>(),
        })
    });
    let outbound = config.outbound.iter().map(|outbound| {
        json!({
            "kind": "outbound",
            "name": outbound.name.value,
            "listen": outbound.listen.value.to_string(),
            "connect_to": outbound.connect_to.value.to_string(),
            "protocol": outbound.protocol.label(),
            "expect": names(&outbound.expect),
            "server_name": outbound.server_name,
        })
    });
    let admin = config.admin.iter().map(|admin| json!({ "kind": "admin", "listen": admin.listen.value.to_string() }));
    let edge = config.edge.iter().map(|edge| {
        json!({
            "kind": "edge",
            "name": edge.name.value,
            "listen": edge.listen.value.to_string(),
            "client_auth": edge.client_auth.label(),
            "routes": edge.routes.iter().map(|route| &*route.name.value).collect::<Vec<_>>(),
        })
    });
    inbound.chain(outbound).chain(edge).chain(admin).collect()
}
