//! The configuration file of `mantlet ca serve`: one section for the authority, and some of those that a sidecar has.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls_pki_types::DnsName;

use crate::net::{Address, Host};

use super::listeners::{Claims, LISTEN_REMEDY};
use super::reader::TableReader;
use super::{Admin, Located, Log, PostgresUrl, Problem, Problems, Runtime, admin, file, log, runtime};

/// A whole validated configuration file of an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityConfig {
    /// `[authority]`
    pub authority: Authority,
    /// `[limits]`
    pub limits: AuthorityLimits,
    /// `[admin]`: health, metrics and status; without it there is no admin listener.
    pub admin: Option<Admin>,
    /// `[runtime]`
    pub runtime: Runtime,
    /// `[log]`
    pub log: Log,
}

/// What is served, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The directory of the authority, as `mantlet ca init` made it.
    pub dir: PathBuf,
    /// The file with the passphrase of its keys, where they are encrypted; default none.
    pub passphrase_file: Option<PathBuf>,
    /// Where enrolment over TLS is served.
    pub listen: Located<Address>,
    /// Where CRLs and anchors are served over plain HTTP; without it they are not.
    pub crl_listen: Option<Located<Address>>,
    /// Where the records are.
    pub store: StoreSetting,
    /// What the server's own certificate says besides its SPIFFE ID; default `ca`, `localhost`, the host's name, and the
    /// addresses of loopback and of `listen`.
    pub names: Option<Vec<Host>>,
    /// How long certificates are valid, unless the registration says otherwise; default 24 h.
    pub ttl: Duration,
    /// Where certificates say that their CRL is; default nowhere.
    pub distribution_point: Option<String>,
    /// Certificates that live no longer say that nobody will revoke them (RFC 9608); default none does.
    pub no_revocation_below: Option<Duration>,
    /// How long a CRL serves; default 24 h. A new one is signed at half of it at the latest.
    pub next_update: Duration,
    /// The same for the CRL of a root above an intermediate; default 180 d.
    pub root_next_update: Duration,
    /// How long a delta CRL serves (RFC 5280 section 5.2.4); default none is signed. With it a revocation is told by a delta CRL,
    /// beside the distribution point, and complete CRLs are signed at half of `next_update` alone.
    pub delta_next_update: Option<Duration>,
}

/// Where the records are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreSetting {
    /// In a file of the directory.
    Sqlite,
    /// In a `PostgreSQL` database, which replicas share.
    Postgres(PostgresUrl),
}

/// Bounds on what callers may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityLimits {
    /// Connections of one listener at a time; default 10,000. Further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Requests to enrol or renew that one name may make from one address in a minute; default 30.
    pub name_per_minute: u32,
    /// Requests to enrol or renew that one address may make in a minute; default 600. Here and below, the addresses of one IPv6 /64
    /// count as one.
    pub address_per_minute: u32,
    /// Requests for word of changes that one certificate may make from one address in a minute; default 300. A holder makes one
    /// about every minute, and one at each change.
    pub certificate_events_per_minute: u32,
    /// Requests for word of changes that one address may make in a minute; default 12,000.
    pub address_events_per_minute: u32,
}

impl Default for AuthorityLimits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            name_per_minute: 30,
            address_per_minute: 600,
            certificate_events_per_minute: 300,
            address_events_per_minute: 12_000,
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

impl AuthorityConfig {
    /// Reads the text of a file. `path` is named in messages, and its folder is where relative paths begin.
    ///
    /// # Errors
    /// Every problem of the text, warnings included, if any is an error.
    pub fn parse(path: &Path, text: &str) -> Result<(Self, Vec<Problem>), Problems> {
        Self::parse_with(path, text, &|name| std::env::var_os(name))
    }

    /// Like [`AuthorityConfig::parse`], with the values of `${NAME}` from elsewhere than the process's environment.
    ///
    /// # Errors
    /// Every problem of the text, warnings included, if any is an error.
    pub fn parse_with(
        path: &Path,
        text: &str,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<(Self, Vec<Problem>), Problems> {
        let (config, problems) = file::read_with(path, text, environment, read);
        let config = config.filter(|_| problems.errors() == 0);
        config.map(|config| (config, problems.list.clone())).ok_or(problems)
    }
}

pub(super) fn read(root: &mut TableReader<'_, '_, '_>) -> Option<AuthorityConfig> {
    let remedy = "start a sidecar with \"mantlet run FILE\"; this is read as the file of an authority";
    for key in ["identity", "inbound", "outbound", "edge"] {
        root.belongs_elsewhere(key, remedy);
    }
    let mut claims = Claims::default();
    let authority = root.section("authority", |t| read_authority(t, &mut claims));
    root.require("authority", "add [authority] with dir and listen: where the authority is, and where it is served");
    let limits = root.section("limits", read_limits).unwrap_or_default();
    let admin = root.section("admin", |t| admin::read(t, &mut claims));
    let runtime = root.section("runtime", runtime::read).unwrap_or_default();
    let log = root.section("log", log::read).unwrap_or_default();
    claims.check(root);
    let admin = match admin {
        None => None,
        // An unusable section never passes for an absent one.
        Some(admin) => Some(admin?),
    };
    Some(AuthorityConfig { authority: authority??, limits, admin, runtime, log })
}

fn read_authority(t: &mut TableReader<'_, '_, '_>, claims: &mut Claims) -> Option<Authority> {
    let dir = t.path("dir");
    let passphrase_file = t.path("passphrase_file").map(|file| file.value);
    t.require("dir", "name the directory that \"mantlet ca init\" made, such as dir = \"ca\"");
    let listen = t.parsed::<Address>("listen", LISTEN_REMEDY);
    t.require("listen", "say where, such as listen = \"0.0.0.0:8444\"");
    claims.listen("authority (listen)", listen.as_ref(), true);
    let crl_listen = t.parsed::<Address>("crl_listen", LISTEN_REMEDY);
    claims.listen("authority (crl_listen)", crl_listen.as_ref(), false);
    let store = read_store(t);
    let names = t.list("names", |t, thing, text| {
        let name = read_name(&text.value);
        if name.is_none() {
            let message = format!("{thing} lists {:?}: expected a DNS name or an IP address", text.value);
            t.error(Some(text.span.clone()), message, "write the names that services reach the authority by");
        }
        name
    });
    let ttl = t.duration("ttl", SECOND..=397 * DAY).unwrap_or(DAY);
    let distribution_point = read_distribution_point(t);
    let no_revocation_below = t.duration("no_revocation_below", SECOND..=DAY);
    let next_update = t.duration("next_update", SECOND..=365 * DAY).unwrap_or(DAY);
    let root_next_update = t.duration("root_next_update", SECOND..=3650 * DAY).unwrap_or(180 * DAY);
    let delta_next_update = read_delta(t, next_update);
    Some(Authority {
        dir: dir?.value,
        passphrase_file,
        listen: listen?,
        crl_listen,
        store: store?,
        names: names.map(|names| names.into_iter().map(|name| name.value).collect()),
        ttl,
        distribution_point,
        no_revocation_below,
        next_update,
        root_next_update,
        delta_next_update,
    })
}

fn read_store(t: &mut TableReader<'_, '_, '_>) -> Option<StoreSetting> {
    let store = t.string("store");
    let waived = t.boolean("unsafe_store_in_plaintext").is_some_and(|waived| waived.value);
    let Some(store) = store else {
        return if t.span("store").is_none() { Some(StoreSetting::Sqlite) } else { None };
    };
    if store.value == "sqlite" {
        return Some(StoreSetting::Sqlite);
    }
    let url = if waived { PostgresUrl::on_any_host(&store.value) } else { PostgresUrl::on_this_host(&store.value) };
    match url {
        Ok(url) => Some(StoreSetting::Postgres(url)),
        Err(error) => {
            // The value may hold a password: neither it nor its line is shown.
            let remedy =
                "write \"sqlite\" or \"postgres://USER@127.0.0.1/DATABASE\", or unsafe_store_in_plaintext = true";
            t.error(None, format!("{} {error}", t.thing("store")), remedy);
            None
        }
    }
}

fn read_name(text: &str) -> Option<Host> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(Host::Ip(address));
    }
    DnsName::try_from(text).is_ok().then(|| Host::Dns(text.to_ascii_lowercase()))
}

fn read_distribution_point(t: &mut TableReader<'_, '_, '_>) -> Option<String> {
    let point = t.string("distribution_point")?;
    let url = url::Url::parse(&point.value).ok().filter(|url| url.scheme() == "http" && url.has_host());
    if url.is_none() || !point.value.is_ascii() {
        let message = format!("{} is {:?}: expected an http:// address", t.thing("distribution_point"), point.value);
        t.error(Some(point.span), message, "write where crl_listen is reached, such as \"http://ca:8480/ca.crl\"");
        return None;
    }
    Some(point.value)
}

fn read_delta(t: &mut TableReader<'_, '_, '_>, next_update: Duration) -> Option<Duration> {
    let delta = t.duration("delta_next_update", SECOND..=365 * DAY)?;
    let (span, thing) = (t.span("delta_next_update"), t.thing("delta_next_update"));
    if t.span("distribution_point").is_none() {
        let message = format!(
            "{thing} is there without distribution_point: complete CRLs could not say where their delta CRL is"
        );
        t.rule(span, message, "add distribution_point, such as \"http://ca:8480/ca.crl\", or leave this out");
    } else if delta > next_update {
        let (given, most) = (humantime::format_duration(delta), humantime::format_duration(next_update));
        let message = format!("{thing} is {given}: expected at most next_update, {most}");
        t.rule(span, message, "let a delta CRL serve a shorter time than the complete one");
    }
    Some(delta)
}

fn read_limits(t: &mut TableReader<'_, '_, '_>) -> AuthorityLimits {
    let default = AuthorityLimits::default();
    AuthorityLimits {
        max_connections: t.integer("max_connections", 1..=1_000_000).unwrap_or(default.max_connections),
        name_per_minute: t.integer("name_per_minute", 1..=1_000_000).unwrap_or(default.name_per_minute),
        address_per_minute: t.integer("address_per_minute", 1..=100_000_000).unwrap_or(default.address_per_minute),
        certificate_events_per_minute: t
            .integer("certificate_events_per_minute", 1..=1_000_000)
            .unwrap_or(default.certificate_events_per_minute),
        address_events_per_minute: t
            .integer("address_events_per_minute", 1..=100_000_000)
            .unwrap_or(default.address_events_per_minute),
    }
}
