//! The keys of `[identity]` that have a SPIFFE agent on this machine give us an identity.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use crate::identity::SpiffeId;

use super::Located;
use super::reader::TableReader;

/// Where our identity is got from, over the SPIFFE Workload API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadApi {
    /// Where the agent listens.
    pub endpoint: Located<WorkloadEndpoint>,
    /// Which of the identities that it gives is ours; absent: the first (SPIFFE Workload API section 5.3).
    pub spiffe_id: Option<Located<SpiffeId>>,
}

/// A Unix socket as the SPIFFE Workload Endpoint writes it (section 4): `unix:///PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadEndpoint(PathBuf);

/// Why a text is no endpoint of a Workload API that we speak to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WorkloadEndpointError {
    /// Another scheme, or none.
    #[error(
        "{text:?} is no Unix socket: expected unix:///PATH, for over a network an agent cannot tell which process asks"
    )]
    Scheme {
        /// The text as it was given.
        text: String,
    },
    /// No absolute path, or something beside it.
    #[error("{text:?} holds no absolute path alone: expected unix:///PATH without host, \"%\", \"?\" and \"#\"")]
    Path {
        /// The text as it was given.
        text: String,
    },
    /// Longer than the kernel takes.
    #[error("{text:?} names a path of {octets} octets: expected {MAX_PATH} at most")]
    TooLong {
        /// The text as it was given.
        text: String,
        /// How long the path is.
        octets: usize,
    },
}

/// The longest path of a Unix socket on Linux, `unix(7)`.
const MAX_PATH: usize = 107;

impl WorkloadEndpoint {
    /// The socket.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for WorkloadEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.0.display())
    }
}

impl FromStr for WorkloadEndpoint {
    type Err = WorkloadEndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text_owned = || text.to_owned();
        let rest = text.strip_prefix("unix:").ok_or_else(|| WorkloadEndpointError::Scheme { text: text_owned() })?;
        let path = rest.strip_prefix("//").unwrap_or(rest);
        if !path.starts_with('/') || path.starts_with("//") || path.contains(['%', '?', '#', '\0']) {
            return Err(WorkloadEndpointError::Path { text: text_owned() });
        }
        if path.len() > MAX_PATH {
            return Err(WorkloadEndpointError::TooLong { text: text_owned(), octets: path.len() });
        }
        Ok(Self(path.into()))
    }
}

pub(super) fn read(t: &mut TableReader<'_, '_, '_>) -> Option<WorkloadApi> {
    let endpoint = t.parsed::<WorkloadEndpoint>(
        "workload_api",
        "write the agent's socket, such as \"unix:///run/spire/agent.sock\", or \"${SPIFFE_ENDPOINT_SOCKET}\"",
    );
    let spiffe_id = t.parsed::<SpiffeId>("spiffe_id", "write a SPIFFE ID such as \"spiffe://domain/service\"");
    match (t.span("workload_api"), t.whole_span("spiffe_id")) {
        (None, Some(span)) => {
            let message = format!("{} is there without {}", t.thing("spiffe_id"), t.thing("workload_api"));
            t.rule(Some(span), message, "name the agent's socket, or remove it: a certificate says itself who we are");
        }
        (Some(span), _) if !cfg!(feature = "spiffe") => {
            let message = format!("{} is there, and this build has no SPIFFE Workload API", t.thing("workload_api"));
            t.error(Some(span), message, "build mantlet with the feature \"spiffe\", or name files");
        }
        _ => {}
    }
    if t.span("spiffe_id").is_some() && spiffe_id.is_none() {
        return None;
    }
    Some(WorkloadApi { endpoint: endpoint?, spiffe_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_unix_socket_by_its_absolute_path() {
        for text in ["unix:///run/spire/agent.sock", "unix:/run/spire/agent.sock"] {
            let endpoint: WorkloadEndpoint = text.parse().expect("an endpoint");
            assert_eq!(endpoint.path(), Path::new("/run/spire/agent.sock"));
            assert_eq!(endpoint.to_string(), "unix:///run/spire/agent.sock");
        }
        for bad in ["", "/run/agent.sock", "tcp://127.0.0.1:8081", "UNIX:///run/x", "https://agent"] {
            assert!(matches!(bad.parse::<WorkloadEndpoint>(), Err(WorkloadEndpointError::Scheme { .. })), "{bad}");
        }
        for bad in [
            "unix:",
            "unix://",
            "unix://host/run/x",
            "unix:run/x",
            "unix:////run/x",
            "unix:///a%20b",
            "unix:///a?b",
            "unix:///a#b",
        ] {
            assert!(matches!(bad.parse::<WorkloadEndpoint>(), Err(WorkloadEndpointError::Path { .. })), "{bad}");
        }
        let long = format!("unix:///{}", "x".repeat(107));
        assert!(long.parse::<WorkloadEndpoint>().is_err_and(|error| error.to_string().contains("108 octets")));
    }
}
