//! `[log]`: what is written to standard error, and how.

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
