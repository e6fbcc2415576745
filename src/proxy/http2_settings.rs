//! What we tell every HTTP/2 neighbour, caller and upstream alike (RFC 9113 section 6.5.2).

/// Bytes of one message's body that a neighbour may send ahead of whoever takes them, and of all on one connection.
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;
pub(super) const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The largest frame that a neighbour may send: with its header, four full TLS records.
pub(super) const MAX_FRAME: u32 = 4 * (1 << 14) - 9;
/// Bytes of one body that wait for a slow neighbour before whoever sends them is made to wait.
pub(super) const SEND_BUFFER: usize = 64 * 1024;
