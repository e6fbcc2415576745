//! Logging. What is counted is defined beside what it counts; `admin` shows it.

mod logging;

pub use logging::{LoggingError, start_logging};
