//! Problems as people read them: the text at fault underlined, with its place and the remedy.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode, SourceSpan,
    ThemeCharacters, ThemeStyles,
};

use super::{Problem, Problems, Severity};

const WIDTH: usize = 120;

impl Problems {
    /// Every problem with its lines of the file, for a terminal; colours by ANSI sequences if wanted.
    pub fn report(&self, colors: bool) -> String {
        let styles = if colors { ThemeStyles::ansi() } else { ThemeStyles::none() };
        let theme = GraphicalTheme { characters: ThemeCharacters::unicode(), styles };
        let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(WIDTH);
        let text: Arc<str> = self.text.as_str().into();
        let mut report = String::new();
        for problem in &self.list {
            let finding = Finding::new(&self.path, &text, problem);
            if handler.render_report(&mut report, &finding).is_err() {
                report.push_str(&problem.message);
            }
            report.push('\n');
        }
        report
    }

    /// One line: `config/ads.toml: 2 errors, 1 warning`, `config/ads.toml: good`.
    pub fn verdict(&self) -> String {
        let count = |number: usize, one: &str| match number {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{number} {one}s")),
        };
        let errors = count(self.errors(), Severity::Error.label()).unwrap_or_else(|| "good".into());
        let warnings = count(self.warnings(), Severity::Warning.label());
        let counts: Vec<String> = [Some(errors), warnings].into_iter().flatten().collect();
        format!("{}: {}", self.path.display(), counts.join(", "))
    }
}

/// A problem in the form that miette draws.
#[derive(Debug)]
struct Finding<'a> {
    problem: &'a Problem,
    message: String,
    source: Option<(NamedSource<Arc<str>>, SourceSpan)>,
}

impl<'a> Finding<'a> {
    fn new(path: &Path, text: &Arc<str>, problem: &'a Problem) -> Self {
        let path = path.display().to_string();
        let span = problem.span.clone().filter(|span| text.get(span.clone()).is_some());
        let message = match span {
            Some(_) => problem.message.clone(),
            None => format!("{path}: {}", problem.message),
        };
        Self { problem, message, source: span.map(|span| (NamedSource::new(path, Arc::clone(text)), span.into())) }
    }
}

impl fmt::Display for Finding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Finding<'_> {}

impl Diagnostic for Finding<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        Some(Box::new(&self.problem.remedy))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|(source, _)| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (_, span) = self.source.as_ref()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, *span))))
    }
}
