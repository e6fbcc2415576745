//! Finds out what is wrong with a file and with what it names.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::cli::{span_of_time, time_span};
use crate::config::{Config, Identity, Inspection, MaterialSections, Problem, Problems, WorkloadApi};
use crate::enrolment;
use crate::revocation::{OwnAlarm, read_files};
use crate::token::check_anchors;
use crate::x509::{
    Instant, MaterialPart, MaterialProblem, MaterialSources, PublicCertificate, PublicSources, RevocationLists,
    TrustMaterial, UnusableMaterial,
};

use super::outcome::Outcome;

/// Examines a file and what it names. `fail_within` makes an error of what ends so soon.
pub(super) fn examine(file: &Path, fail_within: Option<Duration>, now: SystemTime) -> Outcome {
    let text = match Config::read_text(file) {
        Ok(text) => text,
        Err(problems) => return Outcome { problems, config: None, material: None, uncertified: None, now },
    };
    let Inspection { config, material: sections, problems } =
        Inspection::new(file, &text, &|name| std::env::var_os(name));
    let mut list = problems.list;
    let (mut material, mut uncertified) = (None, None);
    if let Some(sections) = sections {
        let (missing, findings) = examine_giver(&sections, now);
        list.extend(findings.iter().cloned().map(|finding| located(&sections, finding)));
        let told = findings;
        let mut sources = MaterialSources::new(&sections.identity, &sections.trust, sections.revocation.as_ref());
        if missing.is_some() {
            (sources.certificate, sources.private_key) = (None, None);
        }
        let (lists, _) = RevocationLists::new();
        let findings = match TrustMaterial::load_at(&sources, &lists, now) {
            // The first anchor is found by its fingerprint, once the authority is asked.
            _ if missing.is_some() && sources.anchors.is_empty() => Vec::new(),
            Ok((loaded, mut findings)) => {
                findings.extend(read_crls(&sections, &loaded, &lists, now));
                findings.extend(check_anchors(&sections.issuers, &loaded, now));
                material = Some(loaded);
                findings
            }
            Err(UnusableMaterial { mut problems, crl_issuers }) => {
                let settings = sections.revocation.iter();
                problems.extend(settings.flat_map(|settings| read_files(settings, &crl_issuers, now).1));
                problems
            }
        };
        // The folder is looked at, and its files are judged again where they are opened.
        let news = findings.into_iter().filter(|finding| !told.contains(finding));
        list.extend(news.map(|finding| located(&sections, finding)));
        if let (Some(material), Some(within)) = (&material, fail_within) {
            list.extend(ends_within(&sections, material, within, now));
        }
        uncertified = missing;
    }
    if let Some(config) = &config {
        list.extend(examine_edges(config, fail_within, now));
    }
    Outcome { problems: Problems::new(file, text, list), config, material, uncertified, now }
}

/// What can be known of an authority or an agent without asking it: why it has to certify us first, and what is wrong with what it
/// is asked by.
fn examine_giver(sections: &MaterialSections, now: SystemTime) -> (Option<String>, Vec<MaterialProblem>) {
    let MaterialSections { identity, trust, revocation, .. } = sections;
    if let Some(agent) = identity.workload_api() {
        return examine_agent(agent);
    }
    let Some(settings) = identity.enrolment() else { return (None, Vec::new()) };
    let (missing, mut findings) = enrolment::examine(identity, trust, revocation.as_ref(), now);
    let unusable = unusable_folder("state folder", &settings.state_dir.value);
    findings.extend(unusable.map(|message| MaterialProblem {
        part: MaterialPart::State,
        fatal: true,
        message,
        remedy: "name a folder that the user that mantlet runs as may make and write to".to_owned(),
    }));
    if let Some(missing) = missing.as_ref().filter(|_| settings.credential_file().exists()) {
        findings.push(MaterialProblem {
            part: MaterialPart::State,
            fatal: false,
            message: format!("what the authority gave cannot be used: {missing}"),
            remedy: "it is replaced at the next start, where identity.bootstrap proves who we are".to_owned(),
        });
    }
    (missing, findings)
}

/// Whether an agent may be there. What it gives is seen at a start alone.
fn examine_agent(agent: &WorkloadApi) -> (Option<String>, Vec<MaterialProblem>) {
    use std::os::unix::fs::FileTypeExt as _;
    let path = agent.endpoint.value.path();
    let fault = match path.metadata() {
        Ok(found) if found.file_type().is_socket() => None,
        Ok(_) => Some("is no socket".to_owned()),
        Err(error) => Some(format!("there is no socket that this user can see: {error}")),
    };
    let findings = fault.into_iter().map(|fault| MaterialProblem {
        part: MaterialPart::Given,
        fatal: false,
        message: format!("{}: {fault}", path.display()),
        remedy: "start the SPIFFE agent, and let this user use its socket; mantlet waits for it".to_owned(),
    });
    (Some("what an agent gives is kept nowhere".to_owned()), findings.collect())
}

/// What is wrong with the certificates of edge listeners, or ends too soon.
fn examine_edges(config: &Config, fail_within: Option<Duration>, now: SystemTime) -> Vec<Problem> {
    let mut found = Vec::new();
    for (index, edge) in config.edge.iter().enumerate() {
        let span = |part| match (part, &edge.private_key) {
            (MaterialPart::EdgePrivateKey(_), Some(key)) => Some(key.span.clone()),
            _ => Some(edge.certificate.span.clone()),
        };
        let (certificate, findings) = match PublicCertificate::load(&PublicSources::from(edge), index, now) {
            Ok((certificate, findings)) => (Some(certificate), findings),
            Err(findings) => (None, findings),
        };
        found.extend(findings.into_iter().map(|finding| {
            let problem = if finding.fatal { Problem::error } else { Problem::warning };
            problem(span(finding.part), finding.message, finding.remedy)
        }));
        if let (Some(PublicCertificate { info, .. }), Some(within)) = (certificate, fail_within) {
            let thing = format!("the certificate {:?} of edge {:?}", info.title(), edge.name.value);
            let remedy = "get a new one from its CA";
            found.extend(ends_too_soon(
                (span(MaterialPart::EdgeCertificate(index)), thing, info.not_after, remedy),
                within,
                now,
            ));
        }
    }
    found
}

fn located(sections: &MaterialSections, finding: MaterialProblem) -> Problem {
    let span = span_of(sections, finding.part);
    let problem = if finding.fatal { Problem::error } else { Problem::warning };
    problem(span, finding.message, finding.remedy)
}

fn span_of(sections: &MaterialSections, part: MaterialPart) -> Option<Range<usize>> {
    let MaterialSections { identity, trust, revocation, issuers } = sections;
    if let MaterialPart::Crl(index) = part {
        return revocation
            .as_ref()
            .and_then(|revocation| revocation.sources.get(index))
            .map(|source| source.span.clone());
    }
    let (own, private_key) = match identity {
        Identity::Files(files) => (&files.certificate.span, files.private_key.as_ref().map(|path| &path.span)),
        Identity::Authority(enrolment) => (&enrolment.state_dir.span, None),
        Identity::WorkloadApi(agent) => (&agent.endpoint.span, None),
    };
    let span = match part {
        MaterialPart::Certificate | MaterialPart::State | MaterialPart::Given => Some(own),
        MaterialPart::PrivateKey => Some(private_key.unwrap_or(own)),
        MaterialPart::Bootstrap => identity.enrolment().map(|enrolment| &enrolment.bootstrap.path().span),
        // Behind those of the configuration stand those that the authority served.
        MaterialPart::Anchor(index) => {
            let served = Some(own).filter(|_| !matches!(identity, Identity::Files(_)));
            trust.anchors.get(index).map(|path| &path.span).or(served)
        }
        MaterialPart::Intermediate(index) => trust.intermediates.get(index).map(|path| &path.span),
        MaterialPart::Crl(_) | MaterialPart::EdgeCertificate(_) | MaterialPart::EdgePrivateKey(_) => None,
        MaterialPart::IssuerAnchor { issuer, file } => {
            let files = issuers.get(issuer).and_then(|issuer| issuer.jwks_anchors.as_ref());
            files.and_then(|files| files.get(file)).map(|path| &path.span)
        }
        MaterialPart::CrlCache => {
            revocation.as_ref().and_then(|revocation| revocation.cache_dir.as_ref()).map(|path| &path.span)
        }
    };
    span.cloned()
}

/// Reads the files of CRLs. What is fetched is not asked for here: "mantlet crl fetch" does.
fn read_crls(
    sections: &MaterialSections,
    material: &TrustMaterial,
    lists: &RevocationLists,
    now: SystemTime,
) -> Vec<MaterialProblem> {
    let Some(revocation) = &sections.revocation else { return Vec::new() };
    let (index, mut findings) = read_files(revocation, &material.crl_issuers(), now);
    let cache =
        revocation.cache_dir.as_ref().and_then(|folder| unusable_folder("folder of the CRL cache", &folder.value));
    findings.extend(cache.map(|message| MaterialProblem {
        part: MaterialPart::CrlCache,
        fatal: true,
        message,
        remedy: "name a folder that the user that mantlet runs as may make and write to".to_owned(),
    }));
    lists.store(index);
    // What is fetched may say more than the files do.
    let is_certain = |alarm: &OwnAlarm| alarm.label == "revoked" || !revocation.fetches();
    if let Some(alarm) = OwnAlarm::judge(material, now).filter(is_certain) {
        let remedy = "issue a new certificate, or get the CRL of its CA".to_owned();
        findings.push(MaterialProblem {
            part: MaterialPart::Certificate,
            fatal: false,
            message: alarm.message,
            remedy,
        });
    }
    findings
}

/// Why files could not be written to a folder, whether it is there or would have to be made.
fn unusable_folder(what: &str, folder: &Path) -> Option<String> {
    let is_there = |path: &&Path| std::fs::symlink_metadata(path).is_ok();
    let nearest = folder.ancestors().find(is_there).unwrap_or(Path::new("."));
    let shown = folder.display();
    if !nearest.is_dir() {
        return Some(format!("{shown}: the {what} cannot be made: {} is no folder", nearest.display()));
    }
    let access = rustix::fs::access(nearest, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    access.err().map(|error| format!("{shown}: the {what} cannot be written to: {}: {error}", nearest.display()))
}

/// What of the material ends too soon.
fn ends_within(
    sections: &MaterialSections,
    material: &TrustMaterial,
    within: Duration,
    now: SystemTime,
) -> Vec<Problem> {
    let own = material.own.iter().map(|own| {
        let remedy = "issue a new one, as \"mantlet ca issue\" does";
        (span_of(sections, MaterialPart::Certificate), format!("our certificate {}", own.names), own.not_after, remedy)
    });
    // A file may hold several anchors, so that only a lone file is certainly the place of an anchor.
    let place = sections.trust.anchors.first().filter(|_| sections.trust.anchors.len() == 1);
    let anchors = material.anchors.iter().map(|anchor| {
        let remedy = "add the next trust anchor beside it, and reissue what it signed";
        let span = place.map(|path| path.span.clone());
        (span, format!("the trust anchor {:?}", anchor.title()), anchor.not_after, remedy)
    });
    let index = material.lists().load();
    let crls = index.crls().map(|crl| {
        let sources = sections.revocation.iter().flat_map(|one| &one.sources);
        let source = sources.clone().find(|source| *source.value.to_string() == *crl.info.source);
        let span = source.map(|path| path.span.clone());
        let remedy = "issue a new one, as \"mantlet ca crl\" does";
        (span, format!("the CRL of {:?}", crl.info.issuer), index.next_update(crl), remedy)
    });
    own.chain(anchors).chain(crls).filter_map(|ending| ends_too_soon(ending, within, now)).collect()
}

/// The place of a thing, what it is, when it ends, and what to do then.
type Ending = (Option<Range<usize>>, String, SystemTime, &'static str);

fn ends_too_soon((span, thing, end, remedy): Ending, within: Duration, now: SystemTime) -> Option<Problem> {
    if end.duration_since(now).unwrap_or_default() >= within {
        return None;
    }
    let message = format!(
        "{thing} ends on {}, {}: expected it to last for {} or longer",
        Instant(end),
        span_of_time(now, end),
        time_span(within.as_secs()),
    );
    Some(Problem::error(span, message, remedy))
}
