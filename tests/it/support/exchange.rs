//! Requests of HTTP/1.1 one by one on a connection that stays open.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn closes(&self) -> bool {
        self.head.to_ascii_lowercase().contains("\r\nconnection: close")
    }
}

/// A connection that is kept.
pub(crate) struct KeptAlive<S>(BufReader<S>);

impl<S: Read + Write> KeptAlive<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    pub(crate) fn stream(&mut self) -> &mut S {
        self.0.get_mut()
    }

    /// Sends a GET and reads the whole answer.
    pub(crate) fn get(&mut self, path: &str) -> Result<Answer> {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: adservice\r\n\r\n"))?;
        self.answer()
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, request: &str) -> Result<()> {
        self.stream().write_all(request.as_bytes())?;
        self.stream().flush()
    }

    /// Reads one whole answer.
    pub(crate) fn answer(&mut self) -> Result<Answer> {
        let head = self.head()?;
        let lower = head.to_ascii_lowercase();
        let field =
            |name: &str| lower.split(&format!("\r\n{name}: ")).nth(1).map(|rest| rest.split("\r\n").next().unwrap());
        let mut body = Vec::new();
        if field("transfer-encoding") == Some("chunked") {
            loop {
                let size = usize::from_str_radix(self.line()?.trim(), 16).map_err(Error::other)?;
                self.exactly(size, &mut body)?;
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = field("content-length") {
            self.exactly(length.parse().map_err(Error::other)?, &mut body)?;
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Ok(Answer { status, head, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// Reads up to the end of a header section.
    pub(crate) fn head(&mut self) -> Result<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push_str(&self.line()?);
        }
        Ok(head)
    }

    /// Reads and throws away until the other end closes; the bytes, and the error where it was no orderly end.
    pub(crate) fn rest(&mut self) -> (u64, Option<Error>) {
        let mut sink = CountingSink(0);
        let error = std::io::copy(&mut self.0, &mut sink).err();
        (sink.0, error)
    }

    /// Reads this many bytes.
    pub(crate) fn exactly(&mut self, count: usize, into: &mut Vec<u8>) -> Result<()> {
        let before = into.len();
        into.resize(before + count, 0);
        self.0.read_exact(&mut into[before..])
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(line),
        }
    }
}

struct CountingSink(u64);

impl Write for CountingSink {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
