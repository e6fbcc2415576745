//! `[revocation]`: which lists withdraw certificates, where they come from, and what an unknown status means.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use url::Url;

use super::Located;
use super::identity::GiverKeys;
use super::reader::TableReader;

/// How revocation is judged. Without the table nothing is checked, and the log at start says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Files and folders of CRLs, PEM or DER, and addresses to fetch them from. What a SPIFFE agent gives comes beside them.
    pub sources: Vec<Located<CrlSource>>,
    /// Whether CRLs are also fetched from the distribution points that certificates of verified paths name; default no.
    pub distribution_points: bool,
    /// The hosts that distribution points may name; empty: any.
    pub distribution_point_hosts: Vec<Located<String>>,
    /// Where CRLs are kept over a restart; absent: nowhere.
    pub cache_dir: Option<Located<PathBuf>>,
    /// The longest time between two fetches from an address; 5 seconds to 7 days, default 1 hour.
    pub max_age: Duration,
    /// Most octets of a file or an answer; 1 KiB to 256 MiB, default 128 MiB.
    pub max_size: u64,
    /// How long a fetch may take in all; 1 second to 10 minutes, default 1 minute.
    pub fetch_timeout: Duration,
    /// How long a CRL still serves after its next update; default 1 hour.
    pub grace: Duration,
    /// What a certificate means whose issuer's CRL is older than that; default deny.
    pub on_stale: OnUnknown,
    /// What a certificate means whose issuer has no CRL; default deny.
    pub on_missing: OnUnknown,
    /// Which certificates of a path are looked up; default the whole chain below the anchor.
    pub depth: RevocationDepth,
    /// How long the connections of a revoked peer may still drain; default 0: they are cut at once.
    pub revoked_grace: Duration,
}

/// Where CRLs come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrlSource {
    /// A file, or a folder of them.
    Path(PathBuf),
    /// An address.
    Url(CrlUrl),
}

/// An `http` or `https` address without user, password and fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CrlUrl(Url);

/// Why a text is no address that CRLs are fetched from.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CrlUrlError {
    /// No address at all.
    #[error("{text:?} is no address: {detail}; expected http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH")]
    Malformed {
        /// The text as it was given.
        text: String,
        /// What the parser found.
        detail: String,
    },
    /// Another scheme.
    #[error("{text:?} is of the scheme {scheme:?}: expected http or https")]
    Scheme {
        /// The text as it was given.
        text: String,
        /// Its scheme.
        scheme: String,
    },
    /// A user name or password, which would stand in logs and status.
    #[error("{host:?} is given with a user name or password: expected an address without them")]
    Credentials {
        /// The host alone.
        host: String,
    },
    /// Too long.
    #[error("an address of {octets} octets: expected {MAX_URL} at most")]
    TooLong {
        /// Its length.
        octets: usize,
    },
}

/// What follows from a status that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnknown {
    /// Refuse the peer.
    #[default]
    Deny,
    /// Take the certificate for good.
    Allow,
}

/// Which certificates of a verified path are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RevocationDepth {
    /// The end-entity certificate and every intermediate.
    #[default]
    Chain,
    /// The end-entity certificate alone.
    EndEntity,
}

const GRACE: Duration = Duration::from_secs(3600);
const MAX_GRACE: Duration = Duration::from_secs(30 * 24 * 3600);
const MAX_AGE: Duration = Duration::from_secs(3600);
const MAX_AGES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(7 * 24 * 3600));
const MAX_SIZE: u64 = 128 * 1024 * 1024;
const MAX_SIZES: (u64, u64) = (1024, (1 << 28) - 1);
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
const FETCH_TIMEOUTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));
const MAX_REVOKED_GRACE: Duration = Duration::from_secs(3600);
const MAX_URL: usize = 2048;
const ON_UNKNOWN: [(&str, OnUnknown); 2] = [("deny", OnUnknown::Deny), ("allow", OnUnknown::Allow)];
const DEPTHS: [(&str, RevocationDepth); 2] =
    [("chain", RevocationDepth::Chain), ("end-entity", RevocationDepth::EndEntity)];

impl Revocation {
    /// These sources, and the default of everything else.
    pub fn of(sources: impl IntoIterator<Item = CrlSource>) -> Self {
        let located = |value| Located { value, span: 0..0 };
        Self {
            sources: sources.into_iter().map(located).collect(),
            distribution_points: false,
            distribution_point_hosts: Vec::new(),
            cache_dir: None,
            max_age: MAX_AGE,
            max_size: MAX_SIZE,
            fetch_timeout: FETCH_TIMEOUT,
            grace: GRACE,
            on_stale: OnUnknown::Deny,
            on_missing: OnUnknown::Deny,
            depth: RevocationDepth::Chain,
            revoked_grace: Duration::ZERO,
        }
    }

    /// What an absent table means where a SPIFFE agent may give CRLs: whom they list is refused, and whose issuer has none is not.
    pub(super) fn as_given() -> Self {
        Self { on_missing: OnUnknown::Allow, ..Self::of([]) }
    }

    /// Whether anything is fetched.
    pub fn fetches(&self) -> bool {
        self.distribution_points || self.sources.iter().any(|source| matches!(source.value, CrlSource::Url(_)))
    }

    /// Whether a distribution point may be asked.
    pub fn may_ask(&self, url: &CrlUrl) -> bool {
        let hosts = &self.distribution_point_hosts;
        self.distribution_points && (hosts.is_empty() || hosts.iter().any(|host| host.value == url.host()))
    }
}

impl FromStr for CrlUrl {
    type Err = CrlUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bounded = |text: &str| match text.len() {
            octets if octets > MAX_URL => Err(CrlUrlError::TooLong { octets }),
            _ => Ok(()),
        };
        bounded(text)?;
        let malformed = |detail: String| CrlUrlError::Malformed { text: text.to_owned(), detail };
        // The URL standard would take the path for the host.
        if text.split_once("://").is_some_and(|(_, rest)| rest.starts_with('/')) {
            return Err(malformed("empty host".to_owned()));
        }
        let mut url = Url::parse(text).map_err(|error| malformed(error.to_string()))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        if !url.username().is_empty() || url.password().is_some() {
            return Err(CrlUrlError::Credentials { host });
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(CrlUrlError::Scheme { text: text.to_owned(), scheme: url.scheme().to_owned() });
        }
        url.set_fragment(None);
        // An octet that has no place in an address becomes three.
        bounded(url.as_str())?;
        Ok(Self(url))
    }
}

impl CrlUrl {
    /// The address.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Its host, in lower case, without its port.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }
}

impl fmt::Display for CrlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl fmt::Display for CrlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

pub(super) fn read(t: &mut TableReader<'_, '_, '_>, giver: GiverKeys) -> Option<Revocation> {
    let remedy = "name the CRLs, such as sources = [\"certs/ca.crl\"], or remove the table [revocation]";
    let directory = t.directory();
    let sources = t.list("sources", |t, thing, text| {
        if text.value.contains("://") {
            let remedy = "write an address such as \"http://ca.example/ca.crl\", or a path";
            t.parse_text(thing, text, remedy).map(CrlSource::Url)
        } else {
            Some(CrlSource::Path(directory.join(&text.value)))
        }
    });
    let distribution_points = t.boolean("distribution_points").is_some_and(|value| value.value);
    if !distribution_points && !giver.workload_api {
        t.require("sources", remedy);
        if t.is_empty_list("sources") {
            let message = format!("{} is empty: expected one entry or more", t.thing("sources"));
            t.error(t.span("sources"), message, remedy);
        }
    }
    let hosts = t.list("distribution_point_hosts", |_, _, text| Some(text.value.to_ascii_lowercase()));
    if hosts.is_some() && !distribution_points {
        let message =
            format!("{} is without effect: distribution_points is false", t.thing("distribution_point_hosts"));
        t.warn(t.span("distribution_point_hosts"), message, "set distribution_points = true, or remove the hosts");
    }
    let cache_dir = t.path("cache_dir");
    let fetches =
        distribution_points || sources.iter().flatten().any(|source| matches!(source.value, CrlSource::Url(_)));
    if fetches && cache_dir.is_none() {
        let message = "[revocation] has no cache_dir: what was fetched does not outlive a restart";
        t.warn(t.header(), message.to_owned(), "set cache_dir = \"/var/lib/mantlet/crl\"");
    }
    let max_age = t.duration("max_age", MAX_AGES.0..=MAX_AGES.1).unwrap_or(MAX_AGE);
    let max_size = t.integer("max_size", MAX_SIZES.0..=MAX_SIZES.1).unwrap_or(MAX_SIZE);
    let fetch_timeout = t.duration("fetch_timeout", FETCH_TIMEOUTS.0..=FETCH_TIMEOUTS.1).unwrap_or(FETCH_TIMEOUT);
    let grace = t.duration("grace", Duration::ZERO..=MAX_GRACE).unwrap_or(GRACE);
    let on_stale = t.choice("on_stale", &ON_UNKNOWN).map_or_else(OnUnknown::default, |choice| choice.value);
    let on_missing = t.choice("on_missing", &ON_UNKNOWN).map_or_else(OnUnknown::default, |choice| choice.value);
    let depth = t.choice("depth", &DEPTHS).map_or_else(RevocationDepth::default, |choice| choice.value);
    let revoked_grace = t.duration("revoked_grace", Duration::ZERO..=MAX_REVOKED_GRACE).unwrap_or_default();
    let sources = match sources {
        None if (distribution_points || giver.workload_api) && t.span("sources").is_none() => Vec::new(),
        sources => sources?,
    };
    Some(Revocation {
        sources,
        distribution_points,
        distribution_point_hosts: hosts.unwrap_or_default(),
        cache_dir,
        max_age,
        max_size,
        fetch_timeout,
        grace,
        on_stale,
        on_missing,
        depth,
        revoked_grace,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_what_it_prints_and_is_bounded_as_it_prints() {
        let url: CrlUrl = "HTTP://CA.example:80/a b?x#part".parse().expect("an address");
        assert_eq!(url.to_string(), "http://ca.example/a%20b?x");
        assert_eq!(url.to_string().parse(), Ok(url));
        let grown = format!("http://ca/{}", " x".repeat(600));
        assert_eq!(grown.parse::<CrlUrl>(), Err(CrlUrlError::TooLong { octets: 2410 }));
    }
}
