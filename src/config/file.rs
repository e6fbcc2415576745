//! From a file to a [`Config`]: its text, its TOML, its tables.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use toml::de::DeTable;

use super::listeners::Claims;
use super::reader::{Reading, TableReader};
use super::{
    Config, Edge, Identity, Issuer, Problem, Problems, Revocation, Severity, Trust, Upstream, admin, edge, identity,
    inbound, issuer, limits, log, outbound, revocation, runtime, syntax, timeouts, tls, trust, upstream,
};

/// The most bytes that a configuration file may hold: a hundred times what the largest needs.
const MAX_BYTES: u64 = 1024 * 1024;

/// What a file says as far as it can be understood. [`Config::parse`] is for those who want it whole or not at all.
#[derive(Debug)]
pub struct Inspection {
    /// The configuration, where nothing prevents its use.
    pub config: Option<Config>,
    /// The sections that name files, where nothing is wrong with these: their files can be judged although the
    /// listeners are wrong.
    pub material: Option<MaterialSections>,
    /// Everything to say about the file; may be empty.
    pub problems: Problems,
}

/// The sections that name the files of certificates, keys and CRLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaterialSections {
    /// `[identity]`
    pub identity: Identity,
    /// `[trust]`
    pub trust: Trust,
    /// `[revocation]`
    pub revocation: Option<Revocation>,
    /// `[[issuer]]`
    pub issuers: Vec<Issuer>,
}

impl Config {
    /// Reads a file. The second value holds the warnings.
    ///
    /// # Errors
    /// Every problem of the file, warnings included, if any is an error.
    pub fn load(path: &Path) -> Result<(Self, Vec<Problem>), Problems> {
        let text = Self::read_text(path)?;
        Self::parse(path, &text)
    }

    /// The text of a file: UTF-8 of at most 1 MiB.
    ///
    /// # Errors
    /// Why it cannot be read, as the only problem.
    pub fn read_text(path: &Path) -> Result<String, Problems> {
        let unreadable = |message: String, remedy: &str| {
            Problems::new(path, "", vec![Problem::error(None, format!("the configuration file {message}"), remedy)])
        };
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            let remedy = match error.kind() {
                io::ErrorKind::NotFound => "name a file that exists",
                io::ErrorKind::PermissionDenied => "let this user read it",
                _ => "name a readable file",
            };
            return Err(unreadable(format!("cannot be read: {error}"), remedy));
        }
        if bytes.len() as u64 > MAX_BYTES {
            return Err(unreadable(format!("is larger than {MAX_BYTES} bytes"), "name a configuration file"));
        }
        String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..valid].split(|byte| *byte == b'\n').count();
            unreadable(format!("is not UTF-8 text: line {line} holds other bytes"), "save it as UTF-8")
        })
    }

    /// Reads the text of a file. `path` is named in messages, and its folder is where relative paths begin.
    ///
    /// # Errors
    /// Every problem of the text, warnings included, if any is an error.
    pub fn parse(path: &Path, text: &str) -> Result<(Self, Vec<Problem>), Problems> {
        Self::parse_with(path, text, &|name| std::env::var_os(name))
    }

    /// Like [`Config::parse`], with the values of `${NAME}` from elsewhere than the process's environment.
    ///
    /// # Errors
    /// Every problem of the text, warnings included, if any is an error.
    pub fn parse_with(
        path: &Path,
        text: &str,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<(Self, Vec<Problem>), Problems> {
        let Inspection { config, problems, .. } = Inspection::new(path, text, environment);
        config.map(|config| (config, problems.list.clone())).ok_or(problems)
    }
}

impl Inspection {
    /// Reads the text of a file as far as it can be understood.
    pub fn new(path: &Path, text: &str, environment: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let ((config, material), problems) = read_with(path, text, environment, |root| read(root, path));
        Self { config: config.filter(|_| problems.errors() == 0), material, problems }
    }
}

/// Reads the text of any of our files: its TOML, then its tables by `read`, whatever is wrong with either.
pub(super) fn read_with<T>(
    path: &Path,
    text: &str,
    environment: &dyn Fn(&str) -> Option<OsString>,
    read: impl FnOnce(&mut TableReader<'_, '_, '_>) -> T,
) -> (T, Problems) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reading = Reading {
        directory: path.parent().unwrap_or(Path::new("")),
        environment,
        broken_from: syntax::broken_from(text, &errors),
        problems: syntax::problems(text, &errors),
        asked: Vec::new(),
    };
    let found = TableReader::read_root(&mut reading, table.get_ref(), read);
    (found, Problems::new(path, text, reading.problems))
}

pub(super) fn read(root: &mut TableReader<'_, '_, '_>, path: &Path) -> (Option<Config>, Option<MaterialSections>) {
    root.belongs_elsewhere(
        "authority",
        "start an authority with \"mantlet ca serve FILE\"; this is read as the file of a sidecar",
    );
    let material = read_material(root);
    let mut claims = Claims::default();
    let inbound = root.sections("inbound", |t| inbound::read(t, &mut claims));
    let outbound = root.sections("outbound", |t| outbound::read(t, &mut claims));
    let upstreams = root.sections("upstream", |t| upstream::read(t, &mut claims));
    let edges = root.sections("edge", |t| edge::read(t, &mut claims));
    check_edges(root, &edges, &upstreams, material.as_ref());
    if ["inbound", "outbound", "edge"].iter().all(|kind| root.span(kind).is_none()) {
        let message = "no [[inbound]], [[outbound]] or [[edge]] is there: nothing would be served";
        root.rule(None, message.into(), "add an [[inbound]] with name, listen, forward_to and allow");
    }
    let admin = root.section("admin", |t| admin::read(t, &mut claims));
    claims.check(root);
    let runtime = root.section("runtime", runtime::read).unwrap_or_default();
    let limits = root.section("limits", limits::read).unwrap_or_default();
    let timeouts = root.section("timeouts", timeouts::read).unwrap_or_default();
    let tls = root.section("tls", tls::read).unwrap_or_default();
    let log = root.section("log", log::read).unwrap_or_default();
    let listeners = || Some((all(inbound)?, all(outbound)?, all(upstreams)?, all(edges)?));
    let config = material.clone().zip(listeners()).zip(optional(admin)).map(
        |((sections, (inbound, outbound, upstream, edge)), admin)| {
            let MaterialSections { identity, trust, revocation, issuers } = sections;
            let path = path.to_owned();
            Config {
                path,
                identity,
                trust,
                revocation,
                issuers,
                inbound,
                outbound,
                upstream,
                edge,
                admin,
                runtime,
                limits,
                timeouts,
                tls,
                log,
            }
        },
    );
    (config, material)
}

/// Every one of the tables, where none is unusable.
fn all<T>(tables: Vec<Option<T>>) -> Option<Vec<T>> {
    tables.into_iter().collect()
}

/// Looks at edges together with the tables that they name, as far as all of these are known.
fn check_edges(
    root: &mut TableReader<'_, '_, '_>,
    edges: &[Option<Edge>],
    upstreams: &[Option<Upstream>],
    material: Option<&MaterialSections>,
) {
    let (Some(edges), Some(upstreams)) = (all(edges.to_vec()), all(upstreams.to_vec())) else { return };
    let names: Vec<&str> = upstreams.iter().map(|upstream| upstream.name.value.as_str()).collect();
    let issuers: Option<Vec<&str>> =
        material.map(|sections| sections.issuers.iter().map(|issuer| issuer.name.value.as_str()).collect());
    edge::check(root, &edges, &edge::Known { upstreams: &names, issuers: issuers.as_deref() });
    for upstream in &upstreams {
        let leads_there = |edge: &Edge| edge.routes.iter().any(|route| route.upstream == upstream.name);
        if !edges.iter().any(leads_there) {
            let message = format!("upstream {:?} is never used: no [[edge.route]] leads to it", upstream.name.value);
            root.warn(Some(upstream.name.span.clone()), message, "remove it, or name it in a route");
        }
    }
}

/// A section that may be absent, but must be usable where it is present: an unusable one never passes for an absent one.
#[expect(clippy::option_option, reason = "absent and unusable are two things")]
fn optional<T>(section: Option<Option<T>>) -> Option<Option<T>> {
    match section {
        None => Some(None),
        Some(section) => section.map(Some),
    }
}

fn read_material(root: &mut TableReader<'_, '_, '_>) -> Option<MaterialSections> {
    let (identity, giver) = root.section("identity", identity::read).unwrap_or_default();
    root.require("identity", "add [identity] with certificate and private_key: the files that prove who we are");
    let mut trust = root.section("trust", |t| trust::read(t, giver)).flatten();
    if root.span("trust").is_none() && (giver.enrols || giver.workload_api) {
        if giver.enrols && !giver.pinned {
            root.rule(None, trust::NOTHING_HELD.to_owned(), trust::NOTHING_HELD_REMEDY);
        }
        trust = Some(Trust::absent(giver.enrols));
    } else {
        root.require("trust", "add [trust] with anchors: the files of the authority whose certificates are believed");
    }
    let mut revocation = root.section("revocation", |t| revocation::read(t, giver));
    if root.span("revocation").is_none() && giver.workload_api {
        revocation = Some(Some(Revocation::as_given()));
    } else if root.span("revocation").is_none() {
        let message = "[revocation] is missing: no certificate is checked for revocation";
        root.warn(None, message.into(), "add [revocation] with sources = [\"certs/ca.crl\"]");
    }
    let issuers = root.sections("issuer", issuer::read);
    issuer::check(root, &issuers);
    // Half of a list of anchors would make the certificates look wrong where the list is.
    if root.reading.problems.iter().any(|problem| problem.severity == Severity::Error) {
        return None;
    }
    Some(MaterialSections {
        identity: identity?,
        trust: trust?,
        revocation: optional(revocation)?,
        issuers: issuers.into_iter().collect::<Option<_>>()?,
    })
}
