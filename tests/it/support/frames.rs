//! HTTP/2 frame by frame, for saying what no library would.

use std::io::{Read, Write};

/// The connection preface and empty settings.
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

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

/// A header field without Huffman coding or the tables (RFC 7541 section 6.2.2).
fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let length = |text: &[u8]| u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap();
    [&[0, length(name)], name, &[length(value)], value].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A connection of a client.
pub(crate) struct Frames<S> {
    stream: S,
    next: u32,
}

impl<S: Read + Write> Frames<S> {
    pub(crate) fn open(mut stream: S) -> Self {
        stream.write_all(OPENING).unwrap();
        Self { stream, next: 1 }
    }

    /// Sends one request of these fields and, where there is one, this body, and says how it ended.
    pub(crate) fn ask(&mut self, fields: &[(&str, &str)], body: Option<&str>) -> End {
        let id = self.next;
        self.next += 2;
        let block: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name.as_bytes(), value.as_bytes())).collect();
        let end = if body.is_none() { END_STREAM } else { 0 };
        let mut bytes = frame(1, END_HEADERS | end, id, &block);
        bytes.extend(body.map(|body| frame(0, END_STREAM, id, body.as_bytes())).unwrap_or_default());
        self.stream.write_all(&bytes).unwrap();
        self.stream.flush().unwrap();
        loop {
            let Some((kind, stream, payload)) = self.read() else { return End::Closed };
            match kind {
                // A change of the table's size may come first.
                1 if stream == id => return End::Headers(*payload.iter().find(|octet| *octet & 0xe0 != 0x20).unwrap()),
                3 if stream == id => return End::Reset,
                7 => return End::GoAway,
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
