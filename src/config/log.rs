//! `[log]`: what is written to standard error, and how.

use tracing_subscriber::EnvFilter;

use super::nearest::{nearest, one_of};
use super::reader::TableReader;

/// The log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Default auto.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,mantlet::tls=debug`; default `info`.
    pub level: String,
    /// One event for each request or TCP connection; default off.
    pub access: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".into(), access: false }
    }
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// Text for people.
    Text,
}

const FORMATS: [(&str, LogFormat); 3] =
    [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("text", LogFormat::Text)];
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

pub(super) fn read(t: &mut TableReader<'_, '_, '_>) -> Log {
    let default = Log::default();
    Log {
        format: t.choice("format", &FORMATS).map_or(default.format, |choice| choice.value),
        level: read_level(t).unwrap_or(default.level),
        access: t.boolean("access").map_or(default.access, |access| access.value),
    }
}

fn read_level(t: &mut TableReader<'_, '_, '_>) -> Option<String> {
    let level = t.string("level")?;
    // A bare word that is no level would be taken for the name of a module, and all but that module would be silent.
    let strange = level.value.split(',').map(str::trim).find(|directive| {
        !directive.contains(['=', '[']) && !LEVELS.iter().any(|name| name.eq_ignore_ascii_case(directive))
    });
    let complaint = match strange {
        Some(directive) => {
            Some(format!("{directive:?} is no level: expected {}", one_of(LEVELS.map(str::to_owned).into_iter())))
        }
        None => EnvFilter::builder().parse(&level.value).err().map(|error| error.to_string()),
    };
    let Some(complaint) = complaint else { return Some(level.value) };
    let remedy = match strange.and_then(|directive| nearest(directive, LEVELS.into_iter())) {
        Some(meant) => format!("write {meant:?}"),
        None => "write a level such as \"info\", or directives such as \"info,mantlet::tls=debug\"".into(),
    };
    t.error(Some(level.span), format!("{} is {:?}: {complaint}", t.thing("level"), level.value), remedy);
    None
}
