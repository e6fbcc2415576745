//! The log: events on standard error, as text for people or one JSON object a line for machines.

use std::io::IsTerminal;

use thiserror::Error;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// What a peer did is told by our own events, in our own terms. A directive of the operator overrides these.
const QUIET_LIBRARIES: &str = "h2=error,hyper=error,rustls=error";

/// Why the log cannot be started.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The level is none.
    #[error("log.level {level:?} is not a level or a list of directives such as \"info,mantlet::tls=debug\": {source}")]
    Level {
        /// The level as it was given.
        level: String,
        /// What the filter says.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something logs already.
    #[error("the log was started before")]
    Started,
}

/// Starts the log of this process.
///
/// # Errors
/// [`LoggingError`]
pub fn start_logging(log: &Log) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(directives(&log.level))
        .map_err(|source| LoggingError::Level { level: log.level.clone(), source })?;
    let is_terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Auto if !is_terminal => builder.json().flatten_event(true).try_init(),
        LogFormat::Auto | LogFormat::Text => builder.with_ansi(is_terminal).try_init(),
    };
    started.map_err(|_| LoggingError::Started)
}

/// The operator's directives, with quiet libraries unless all of the log is to be verbose.
fn directives(level: &str) -> String {
    let is_verbose = level.split(',').any(|directive| matches!(directive.trim(), "debug" | "trace"));
    if is_verbose { level.to_owned() } else { format!("{QUIET_LIBRARIES},{level}") }
}
