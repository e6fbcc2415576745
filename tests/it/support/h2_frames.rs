//! HTTP/2 frame by frame (RFC 9113 section 4), for what no decent client sends.

use std::io::{Read, Result, Write};

pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const WINDOW_UPDATE: u8 = 0x8;
pub(crate) const CONTINUATION: u8 = 0x9;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;

/// A frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// Writes a frame to a buffer.
pub(crate) fn put(buffer: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    buffer.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    buffer.extend_from_slice(&[kind, flags]);
    buffer.extend_from_slice(&stream.to_be_bytes());
    buffer.extend_from_slice(payload);
}

/// The preface and empty settings.
pub(crate) fn preface() -> Vec<u8> {
    let mut buffer = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    put(&mut buffer, SETTINGS, 0, 0, &[]);
    buffer
}

/// The header block of a GET (RFC 7541: indexed `:method: GET`, `:scheme: https`, then literals without indexing).
pub(crate) fn get(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x87];
    block.extend(literal(b":path", path.as_bytes()));
    block.extend(literal(b":authority", b"adservice"));
    block
}

/// One header field, as a literal without indexing.
pub(crate) fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        length(&mut field, text.len());
        field.extend_from_slice(text);
    }
    field
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn length(buffer: &mut Vec<u8>, length: usize) {
    if length < 127 {
        buffer.push(u8::try_from(length).unwrap());
        return;
    }
    buffer.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        buffer.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    buffer.push(u8::try_from(rest).unwrap());
}

/// Reads a frame.
pub(crate) fn read(stream: &mut impl Read) -> Result<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload)?;
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    Ok(Frame { kind: head[3], flags: head[4], stream: id, payload })
}

/// Reads until a frame of this kind comes.
pub(crate) fn read_until(stream: &mut impl Read, kind: u8) -> Result<Frame> {
    loop {
        let frame = read(stream)?;
        if frame.kind == kind {
            return Ok(frame);
        }
    }
}

/// Begins a connection and sends one GET on stream 1.
pub(crate) fn begin_with_get(stream: &mut impl Write, path: &str) {
    let mut buffer = preface();
    put(&mut buffer, HEADERS, END_STREAM | END_HEADERS, 1, &get(path));
    stream.write_all(&buffer).unwrap();
    stream.flush().unwrap();
}

/// Takes all of the answer to a request on stream 1 of a connection that is told to go, and gives how often it was told, and whether
/// the answer was whole.
pub(crate) fn read_to_the_farewell(stream: &mut (impl Read + Write)) -> (usize, bool) {
    let mut window = Vec::new();
    for id in [0, 1] {
        put(&mut window, WINDOW_UPDATE, 0, id, &1_000_000_u32.to_be_bytes());
    }
    stream.write_all(&window).unwrap();
    let (mut goaways, mut ended) = (0, false);
    while let Ok(frame) = read(stream) {
        match frame.kind {
            GOAWAY => {
                assert_eq!(frame.payload[4..8], [0; 4], "NO_ERROR");
                goaways += 1;
            }
            PING if frame.flags & ACK == 0 => {
                let mut pong = Vec::new();
                put(&mut pong, PING, ACK, 0, &frame.payload);
                stream.write_all(&pong).unwrap();
            }
            DATA => ended |= frame.flags & END_STREAM != 0,
            _ => {}
        }
    }
    (goaways, ended)
}
