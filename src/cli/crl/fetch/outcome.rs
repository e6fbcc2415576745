//! What the sources gave, as text and as JSON.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::cli::span_of_time;
use crate::config::{CrlSource, CrlUrl, Revocation};
use crate::revocation::{Freshness, SourceReport, SuppliedCrl};
use crate::x509::{CrlInfo, Instant};

use super::super::shown;
use super::dry_run::DryRun;

/// Everything that is printed.
pub(super) struct Outcome<'a> {
    pub(super) file: &'a Path,
    /// As the configuration has them.
    pub(super) settings: &'a Revocation,
    pub(super) dry_run: DryRun,
    pub(super) now: SystemTime,
}

/// One source, used or not.
struct Row<'a> {
    source: String,
    kind: &'static str,
    error: Option<String>,
    took: Option<Duration>,
    crls: &'a [SuppliedCrl],
}

impl Outcome<'_> {
    pub(super) fn is_good(&self) -> bool {
        self.dry_run.own.is_ok() && self.rows().iter().all(|row| row.error.is_none())
    }

    /// The configured sources in their order, then the distribution points.
    fn rows(&self) -> Vec<Row<'_>> {
        let mut used = self.dry_run.sources.iter();
        let mut rows: Vec<Row<'_>> = Vec::new();
        for (configured, position) in self.settings.sources.iter().zip(0..) {
            let mut problems = self.dry_run.unusable.iter().filter(|(place, _)| *place == position).peekable();
            if problems.peek().is_some() {
                let texts: Vec<String> = problems.map(|(_, problem)| super::problem_text(problem)).collect();
                rows.push(unusable_row(&configured.value, texts.join("; ")));
            } else {
                rows.extend(used.next().map(|report| self.row(report)));
            }
        }
        rows.extend(used.map(|report| self.row(report)));
        rows
    }

    fn row<'a>(&self, report: &'a SourceReport) -> Row<'a> {
        let SourceReport { status, took, crls } = report;
        let unanswered = || status.last_attempt.is_none().then(|| "gave no answer in time".to_owned());
        let error = status.last_error.clone().or_else(unanswered).or_else(|| self.overdue(crls));
        Row { source: status.source.to_string(), kind: status.kind, error, took: *took, crls }
    }

    fn overdue(&self, crls: &[SuppliedCrl]) -> Option<String> {
        let late = crls.iter().map(|crl| &crl.status).find(|crl| crl.state(self.now) >= Freshness::Stale)?;
        let (issuer, due) = (&late.info.issuer, Instant(late.serves_until));
        Some(format!("gives a CRL of {issuer:?} whose next update was due {due}; have the CA issue its successor"))
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        let rows = self.rows();
        for row in &rows {
            let took = row.took.map(|took| format!(" in {}", milliseconds(took))).unwrap_or_default();
            let _ = writeln!(text, "{}", shown(&row.source));
            let _ = writeln!(text, "  kind        {}", row.kind.replace('_', " "));
            let _ = match &row.error {
                None => writeln!(text, "  result      ok{took}"),
                Some(error) => writeln!(text, "  result      FAILED{took}: {}", shown(error)),
            };
            if row.error.is_some() && row.source.contains("://") {
                let _ = writeln!(
                    text,
                    "  remedy      check that this machine reaches it, and look at it with \"mantlet crl show\""
                );
            }
            row.crls.iter().for_each(|crl| self.crl_text(&mut text, crl));
            if row.crls.is_empty() && row.error.is_none() {
                let _ = writeln!(text, "  CRL         none of a CA that is known here");
            }
            text.push('\n');
        }
        for (point, reason) in self.refused_points() {
            let _ = writeln!(
                text,
                "{}\n  kind        distribution point\n  result      not asked: {reason}\n",
                shown(point)
            );
        }
        let _ = match &self.dry_run.own {
            Ok(()) => writeln!(text, "our own certificate is good"),
            Err(refusal) => {
                let (label, reason, hint) = (refusal.reason.label(), &refusal.reason, refusal.reason.hint());
                writeln!(text, "our own certificate is REFUSED ({label}): {}; {hint}", shown(&reason.to_string()))
            }
        };
        let good = rows.iter().filter(|row| row.error.is_none()).count();
        let _ = writeln!(text, "{}: {good} of {} sources are good", self.file.display(), rows.len());
        text
    }

    fn crl_text(&self, text: &mut String, crl: &SuppliedCrl) {
        let SuppliedCrl { status, file_name } = crl;
        let CrlInfo { issuer, number, base_number, scope, entries, source, .. } = &status.info;
        let base = base_number.as_ref().map(|base| format!(", delta since {base}")).unwrap_or_default();
        let (state, until) = (status.state(self.now), status.serves_until);
        let _ = writeln!(text, "  CRL         {}", shown(issuer));
        let _ = writeln!(text, "    covers    {}", shown(scope));
        let _ = writeln!(text, "    number    {number}{base}");
        let _ = writeln!(text, "    entries   {entries}");
        let _ = writeln!(text, "    serves    until {} ({}), {state}", Instant(until), span_of_time(self.now, until));
        let _ = writeln!(text, "    from      {}", shown(source));
        let kept = match self.kept_as(file_name) {
            Some(path) => format!("would be kept as {path}"),
            None => "would not be kept: revocation.cache_dir is not set".to_owned(),
        };
        let _ = writeln!(text, "    cache     {kept}");
    }

    fn kept_as(&self, file_name: &str) -> Option<String> {
        let folder = &self.settings.cache_dir.as_ref()?.value;
        Some(folder.join(file_name).display().to_string())
    }

    /// Distribution points that are not asked, and why.
    fn refused_points(&self) -> impl Iterator<Item = (&str, String)> {
        self.dry_run.refused_points.iter().map(|point| {
            let reason = match point.parse::<CrlUrl>() {
                Err(error) => shown(&error.to_string()),
                Ok(url) if !self.settings.may_ask(&url) => format!(
                    "its host {:?} is not among revocation.distribution_point_hosts; add it there if it is to be asked",
                    url.host()
                ),
                Ok(_) => "there are too many of them".to_owned(),
            };
            (point.as_str(), reason)
        })
    }

    pub(super) fn to_json(&self) -> Value {
        let own = match &self.dry_run.own {
            Ok(()) => json!({ "status": "good", "message": null, "hint": null }),
            Err(refusal) => json!({
                "status": refusal.reason.label(),
                "message": refusal.reason.to_string(),
                "hint": refusal.reason.hint(),
            }),
        };
        let points = self.refused_points().map(|(point, reason)| json!({ "source": point, "reason": reason }));
        json!({
            "file": self.file.display().to_string(),
            "ok": self.is_good(),
            "sources": self.rows().iter().map(|row| self.row_to_json(row)).collect::<Vec<_>>(),
            "not_asked": points.collect::<Vec<_>>(),
            "own_certificate": own,
        })
    }

    fn row_to_json(&self, row: &Row<'_>) -> Value {
        json!({
            "source": row.source,
            "kind": row.kind,
            "ok": row.error.is_none(),
            "error": row.error,
            "took_seconds": row.took.map(|took| took.as_secs_f64()),
            "crls": row.crls.iter().map(|crl| self.crl_to_json(crl)).collect::<Vec<_>>(),
        })
    }

    fn crl_to_json(&self, crl: &SuppliedCrl) -> Value {
        let info = &crl.status.info;
        json!({
            "issuer": info.issuer,
            "scope": info.scope,
            "number": info.number.to_string(),
            "base_number": info.base_number.as_ref().map(ToString::to_string),
            "entries": info.entries,
            "this_update": Instant(info.this_update).to_string(),
            "next_update": Instant(crl.status.serves_until).to_string(),
            "state": crl.status.state(self.now).label(),
            "source": &*info.source,
            "file_name": crl.file_name,
            "kept_as": self.kept_as(&crl.file_name),
        })
    }
}

/// A source that nothing was taken of.
fn unusable_row(source: &CrlSource, error: String) -> Row<'static> {
    let kind = match source {
        CrlSource::Path(path) if path.is_dir() => "directory",
        CrlSource::Path(_) => "file",
        CrlSource::Url(_) => "url",
    };
    Row { source: source.to_string(), kind, error: Some(error), took: None, crls: &[] }
}

fn milliseconds(span: Duration) -> String {
    format!("{:.0} ms", span.as_secs_f64() * 1000.0)
}
