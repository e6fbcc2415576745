//! Finds out what is wrong with a file and with what it names.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::cli::time_span;
use crate::config::{Config, Inspection, MaterialSections, Problem, Problems};
use crate::x509::{Instant, MaterialPart, MaterialProblem, MaterialSources, TrustMaterial};

use super::outcome::{Outcome, span_of_time};

/// Examines a file and what it names. `fail_within` makes an error of what ends so soon.
pub(super) fn examine(file: &Path, fail_within: Option<Duration>, now: SystemTime) -> Outcome {
    let text = match Config::read_text(file) {
        Ok(text) => text,
        Err(problems) => return Outcome { problems, config: None, material: None, now },
    };
    let Inspection { config, material: sections, problems } =
        Inspection::new(file, &text, &|name| std::env::var_os(name));
    let mut list = problems.list;
    let mut material = None;
    if let Some(sections) = sections {
        let sources = MaterialSources::new(&sections.identity, &sections.trust, sections.revocation.as_ref());
        let findings = match TrustMaterial::load_at(&sources, now) {
            Ok((loaded, findings)) => {
                material = Some(loaded);
                findings
            }
            Err(findings) => findings,
        };
        list.extend(findings.into_iter().map(|finding| located(&sections, finding)));
        if let (Some(material), Some(within)) = (&material, fail_within) {
            list.extend(ends_within(&sections, material, within, now));
        }
    }
    Outcome { problems: Problems::new(file, text, list), config, material, now }
}

fn located(sections: &MaterialSections, finding: MaterialProblem) -> Problem {
    let span = span_of(sections, finding.part);
    let problem = if finding.fatal { Problem::error } else { Problem::warning };
    problem(span, finding.message, finding.remedy)
}

fn span_of(sections: &MaterialSections, part: MaterialPart) -> Option<Range<usize>> {
    let MaterialSections { identity, trust, revocation } = sections;
    let path = match part {
        MaterialPart::Certificate => Some(&identity.certificate),
        MaterialPart::PrivateKey => Some(identity.private_key.as_ref().unwrap_or(&identity.certificate)),
        MaterialPart::Anchor(index) => trust.anchors.get(index),
        MaterialPart::Intermediate(index) => trust.intermediates.get(index),
        MaterialPart::Crl(index) => revocation.as_ref().and_then(|revocation| revocation.sources.get(index)),
    };
    path.map(|path| path.span.clone())
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
    let crls = material.crls().map(|crl| {
        let source = sections.revocation.iter().flat_map(|one| &one.sources).find(|path| path.value == crl.source);
        let span = source.map(|path| path.span.clone());
        let remedy = "issue a new one, as \"mantlet ca crl\" does";
        (span, format!("the CRL of {:?}", crl.issuer), crl.next_update, remedy)
    });
    own.chain(anchors)
        .chain(crls)
        .filter(|(_, _, end, _)| end.duration_since(now).unwrap_or_default() < within)
        .map(|(span, thing, end, remedy)| {
            let message = format!(
                "{thing} ends on {}, {}: expected it to last for {} or longer",
                Instant(end),
                span_of_time(now, end),
                time_span(within.as_secs()),
            );
            Problem::error(span, message, remedy)
        })
        .collect()
}
