//! What the sidecars say in their logs and in `/status`, read tolerantly: the one place that knows the names of the fields.

use serde_json::Value;

/// One line of a sidecar's log.
#[derive(Debug, Clone)]
pub(crate) struct Event(Value);

/// Which side of a sidecar a request passed through, relative to the service beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Inbound,
    Outbound,
}

/// Why a sidecar turned somebody away.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    /// The reason by its short name, such as `expired`.
    pub(crate) reason: String,
    /// The reason in words.
    pub(crate) detail: Option<String>,
    /// What the sidecar advises.
    pub(crate) hint: Option<String>,
}

impl Event {
    /// The event of a line, if it is one.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok().filter(Value::is_object).map(Self)
    }

    /// A field by its dotted name, whether it stands flat, in `fields`, or nested.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let nested = || name.split('.').try_fold(&self.0, |value, part| value.get(part));
        let value = self.0.get(name).or_else(|| self.0.get("fields")?.get(name)).or_else(nested)?;
        text_of(value)
    }

    /// The refusal of the peer at that address, if this event is one: of a caller, or of an upstream that was called.
    pub(crate) fn refusal_of(&self, peer_address: &str) -> Option<Refusal> {
        let named_by = match self.text("message")?.as_str() {
            "peer refused" => "peer.address",
            "exchange failed" => "upstream",
            _ => return None,
        };
        (self.text(named_by).as_deref() == Some(peer_address)).then(|| self.refusal()).flatten()
    }

    /// The refusal of a single request of a peer that was let in, if this event is one.
    pub(crate) fn refusal_of_request(&self) -> Option<Refusal> {
        (self.text("message").as_deref() == Some("peer refused")).then(|| self.refusal()).flatten()
    }

    fn refusal(&self) -> Option<Refusal> {
        let detail = self.text("detail").or_else(|| self.text("error"));
        Some(Refusal { reason: self.text("reason")?, detail, hint: self.text("hint") })
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{}: {detail}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl Direction {
    fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// What a sidecar says of its own certificate.
#[derive(Debug, Clone)]
pub(crate) struct OwnIdentity {
    pub(crate) name: String,
    pub(crate) serial: String,
    pub(crate) not_after: String,
}

/// The sidecar's own identity, from `/status`.
pub(crate) fn own_identity(status: &Value) -> Option<OwnIdentity> {
    let identity = Event(status.get("identity")?.clone());
    Some(OwnIdentity {
        name: identity.text("name").or_else(|| identity.text("spiffe_id"))?,
        serial: identity.text("serial")?,
        not_after: identity.text("not_after").unwrap_or_default(),
    })
}

/// The refusal of the peer at that address, from `/status`.
pub(crate) fn refusal_in_status(status: &Value, peer_address: &str) -> Option<Refusal> {
    let mut refusals = status.get("refusals")?.as_array()?.iter().rev().map(|value| Event(value.clone()));
    refusals.find(|event| event.text("peer_address").as_deref() == Some(peer_address))?.refusal()
}

/// A connection between two sidecars, as one of them lists it in `/status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) id: String,
    pub(crate) serial: String,
    pub(crate) issuer: Option<String>,
    /// Requests begun on it so far.
    pub(crate) requests: u64,
}

/// The connections with the peer of that name in one direction, from `/status`.
pub(crate) fn connections_with(status: &Value, peer: &str, direction: Direction) -> Vec<Connection> {
    let listed = status.get("connections").and_then(Value::as_array).into_iter().flatten();
    let events = listed.map(|value| Event(value.clone()));
    let wanted = events.filter(|event| {
        event.text("peer").as_deref() == Some(peer) && event.text("direction").as_deref() == Some(direction.as_str())
    });
    let read = wanted.filter_map(|event| {
        Some(Connection {
            id: event.text("id")?,
            serial: event.text("serial")?,
            issuer: event.text("issuer"),
            requests: event.text("requests")?.parse().ok()?,
        })
    });
    read.collect()
}

/// Whether two serial numbers are the same, however they are written.
pub(crate) fn same_serial(one: &str, other: &str) -> bool {
    plain_serial(one) == plain_serial(other)
}

fn plain_serial(serial: &str) -> String {
    let digits: String = serial.chars().filter(char::is_ascii_hexdigit).collect();
    digits.trim_start_matches('0').to_ascii_lowercase()
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_flat_nested_and_in_fields() {
        for line in
            [r#"{"peer.serial": "0a"}"#, r#"{"peer": {"serial": "0a"}}"#, r#"{"fields": {"peer.serial": "0a"}}"#]
        {
            assert_eq!(Event::parse(line).unwrap().text("peer.serial").as_deref(), Some("0a"), "{line}");
        }
        assert!(Event::parse("not json").is_none());
    }

    #[test]
    fn only_the_refusal_of_that_address_counts() {
        let line = r#"{"message": "peer refused", "reason": "expired", "peer.address": "127.0.0.1:5"}"#;
        let event = Event::parse(line).unwrap();
        assert_eq!(event.refusal_of("127.0.0.1:5").unwrap().reason, "expired");
        assert!(event.refusal_of("127.0.0.1:6").is_none());
    }

    #[test]
    fn connections_are_found_by_their_peer_and_direction() {
        let status = serde_json::json!({ "connections": [
            { "id": 1, "direction": "outbound", "peer": "spiffe://a/ads", "serial": "03", "requests": 1 },
            { "id": 2, "direction": "inbound", "peer": "spiffe://a/users", "serial": "01", "requests": 1 },
            { "id": 3, "direction": "outbound", "peer": "spiffe://a/users", "serial": "02", "issuer": "CA", "requests": 7 },
        ]});
        let found = Connection { id: "3".into(), serial: "02".into(), issuer: Some("CA".into()), requests: 7 };
        assert_eq!(connections_with(&status, "spiffe://a/users", Direction::Outbound), [found]);
    }

    #[test]
    fn serials_are_the_same_however_written() {
        assert!(same_serial("00:AB:0c", "ab0c"));
        assert!(!same_serial("ab0c", "ab0d"));
    }
}
