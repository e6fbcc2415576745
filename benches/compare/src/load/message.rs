//! As much of HTTP/1.1 as the harness needs to speak itself.

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::pki::SERVER_NAME;

const MAX_LINE: u64 = 16 << 10;
const MAX_LINES: usize = 200;

/// The header section of a request or an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) first_line: String,
    fields: Vec<(String, String)>,
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyLength {
    Known(u64),
    Chunked,
}

/// Reads one header section.
pub(crate) async fn read_head(stream: &mut (impl AsyncBufRead + Unpin)) -> anyhow::Result<Head> {
    let first_line = line(stream).await?;
    let mut fields = Vec::new();
    loop {
        let line = line(stream).await?;
        if line.is_empty() {
            return Ok(Head { first_line, fields });
        }
        let (name, value) = line.split_once(':').with_context(|| format!("{line:?} is no header field"))?;
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        ensure!(fields.len() <= MAX_LINES, "a header section has no end");
    }
}

async fn line(stream: &mut (impl AsyncBufRead + Unpin)) -> anyhow::Result<String> {
    let mut line = String::new();
    let read = stream.take(MAX_LINE).read_line(&mut line).await?;
    ensure!(read > 0, "the connection was closed where a header section was expected");
    let Some(line) = line.strip_suffix('\n') else { bail!("a line has no end") };
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

impl Head {
    /// The status code of an answer.
    pub(crate) fn status(&self) -> Option<u16> {
        self.first_line.split(' ').nth(1)?.parse().ok()
    }

    /// How long the body is; nothing is said means that there is none.
    pub(crate) fn body_length(&self) -> anyhow::Result<BodyLength> {
        let value = |wanted: &str| self.fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        if value("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Ok(BodyLength::Chunked);
        }
        let length = value("content-length").unwrap_or("0");
        length.parse().map(BodyLength::Known).with_context(|| format!("{length:?} is no length"))
    }
}

/// The length of the chunk whose first line comes next; 0 is the last one.
pub(crate) async fn chunk_length(stream: &mut (impl AsyncBufRead + Unpin)) -> anyhow::Result<u64> {
    let line = line(stream).await?;
    u64::from_str_radix(line.trim(), 16).with_context(|| format!("{line:?} is no length of a chunk"))
}

/// Sends a GET that keeps the connection open, and gives the status once the whole answer was read.
pub(crate) async fn exchange<S>(stream: &mut S) -> anyhow::Result<u16>
where
    S: AsyncBufRead + AsyncWrite + Unpin,
{
    send(stream, &format!("GET / HTTP/1.1\r\nHost: {SERVER_NAME}\r\n\r\n")).await
}

/// Sends a request, and gives the status once the whole answer was read.
pub(crate) async fn send<S>(stream: &mut S, request: &str) -> anyhow::Result<u16>
where
    S: AsyncBufRead + AsyncWrite + Unpin,
{
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let head = read_head(stream).await?;
    let BodyLength::Known(length) = head.body_length()? else { bail!("a short answer came in chunks") };
    tokio::io::copy(&mut stream.take(length), &mut tokio::io::sink()).await?;
    head.status().with_context(|| format!("{:?} is no answer", head.first_line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_header_section_is_read_to_its_end() {
        let mut text = &b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello"[..];
        let head = read_head(&mut text).await.unwrap();
        assert_eq!((head.status(), head.body_length().unwrap()), (Some(200), BodyLength::Known(5)));
        assert_eq!(text, b"hello");
    }

    #[tokio::test]
    async fn a_header_section_that_breaks_off_is_an_error() {
        assert!(read_head(&mut &b"HTTP/1.1 200 OK\r\nContent-Le"[..]).await.is_err());
    }
}
