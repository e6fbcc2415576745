//! Why an exchange over HTTP/1.1 broke off.

use std::io;

use thiserror::Error;

use crate::proxy::error::HttpError;

/// Why an exchange over HTTP/1.1 broke off.
#[derive(Debug, Error)]
pub enum Http1Error {
    /// The connection ended before the first byte of an answer.
    #[error("{0}")]
    Unheard(#[source] io::Error),
    /// The connection ended in the middle of an answer.
    #[error("{0}")]
    BrokenOff(#[source] io::Error),
    /// What came is no answer that all readers would read in the same way, or the request is none.
    #[error("{0}")]
    Invalid(&'static str),
    /// The caller broke off in the middle of its request.
    #[error("the request broke off: {0}")]
    Request(#[source] Box<HttpError>),
}

/// The other end closed.
pub(super) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed before message completed")
}

/// We close.
pub(super) fn had_to_end() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection had to end")
}
