//! What we tell every HTTP/2 neighbour, caller and upstream alike (RFC 9113 section 6.5.2).

/// Bytes of one message's body that a neighbour may send ahead of whoever takes them.
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all that one caller sends on a connection, which is its own.
pub(super) const CALLER_WINDOW: u32 = 1024 * 1024;

/// The same for all that an upstream sends on a connection with so many streams. Callers share it, so each of them has its part:
/// those who do not read what they asked for take nothing from the others.
pub(super) fn upstream_window(max_streams: u32) -> u32 {
    const LARGEST: u32 = (1 << 31) - 1;
    STREAM_WINDOW.saturating_mul(max_streams).min(LARGEST)
}

/// What small frames that nobody has taken yet may cost on one connection, each 256 less its length, before the library ends the
/// connection and with it the exchanges of all others on it. It takes some hundred thousand of them, which the windows bound anyway.
pub(super) const SMALL_FRAMES: usize = 32 * 1024 * 1024;
/// The largest frame that a neighbour may send: with its header, four full TLS records.
pub(super) const MAX_FRAME: u32 = 4 * (1 << 14) - 9;
/// Bytes of one body that wait for a slow neighbour before whoever sends them is made to wait.
pub(super) const SEND_BUFFER: usize = 64 * 1024;
