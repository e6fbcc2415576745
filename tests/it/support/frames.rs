//! Requests over HTTP/2 that no library would send, and how they end.

use std::io::{Read, Write};

use super::h2_frames::{DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, literal, preface, put};

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The first octet of the answer's header block, which names the more usual statuses.
    Headers(u8),
    Reset,
    GoAway,
    Closed,
}

/// `:status: 200` in the static table of RFC 7541.
pub(crate) const OK: u8 = 0x88;
/// `:status: 400`.
pub(crate) const BAD_REQUEST: u8 = 0x8c;

/// A connection of a client.
pub(crate) struct Frames<S> {
    stream: S,
    next: u32,
}

impl<S: Read + Write> Frames<S> {
    pub(crate) fn open(mut stream: S) -> Self {
        stream.write_all(&preface()).unwrap();
        Self { stream, next: 1 }
    }

    /// Sends one request of these fields and, where there is one, this body, and says how it ended.
    pub(crate) fn ask(&mut self, fields: &[(&str, &str)], body: Option<&str>) -> End {
        let id = self.next;
        self.next += 2;
        let block: Vec<u8> =
            fields.iter().flat_map(|(name, value)| literal(name.as_bytes(), value.as_bytes())).collect();
        let end = if body.is_none() { END_STREAM } else { 0 };
        let mut bytes = Vec::new();
        put(&mut bytes, HEADERS, END_HEADERS | end, id, &block);
        if let Some(body) = body {
            put(&mut bytes, DATA, END_STREAM, id, body.as_bytes());
        }
        self.stream.write_all(&bytes).unwrap();
        self.stream.flush().unwrap();
        loop {
            let Some((kind, stream, payload)) = self.read() else { return End::Closed };
            match kind {
                // A change of the table's size may come first.
                HEADERS if stream == id => {
                    return End::Headers(*payload.iter().find(|octet| *octet & 0xe0 != 0x20).unwrap());
                }
                RST_STREAM if stream == id => return End::Reset,
                GOAWAY => return End::GoAway,
                _ => {}
            }
        }
    }

    fn read(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }
}
