//! A stream with its half of TLS: bytes in plaintext on our side, records on the socket.
//!
//! The TLS library keeps no bytes here (its unbuffered interface): records wait in buffers that the worker lends for as long as
//! there is something in them, so that a connection at rest costs its keys and little else.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, Error};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::{Buffer, Stream};

use super::error::HandshakeError;

/// What one record carries at most (RFC 8446 section 5.1).
const FRAGMENT: usize = 1 << 14;
/// Plaintext sealed by one write; the records fit the buffer for them.
const MAX_WRITE: usize = 4 * FRAGMENT;
/// The size of a page of memory.
const PAGE: usize = 4096;
/// From about this length on C libraries leave copying to one instruction of the processor.
const COPIED_BY_ONE_INSTRUCTION: usize = 2048;

/// One role of TLS, as the library has it.
pub trait Session: Unpin {
    /// What the library keeps for the role.
    type Data;

    /// What the library knows of the connection in either role.
    fn common(&self) -> &CommonState;

    /// Takes the next step with what has come in.
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

/// A socket that speaks TLS.
pub struct TlsStream<S> {
    socket: Stream,
    session: Box<S>,
    /// Records that wait to be opened.
    incoming: Buffer,
    /// Records that wait for the socket.
    outgoing: Buffer,
    /// Opened bytes that no reader had room for.
    unread: Unread,
    /// The peer has said that nothing more comes.
    peer_closed: bool,
    /// We have said so.
    closed: bool,
    /// The session has failed, and is not asked again.
    failed: bool,
}

#[derive(Debug, Default)]
struct Unread {
    bytes: Vec<u8>,
    start: usize,
}

/// Where the session stands once it has nothing more to do by itself.
enum Step {
    /// A record was opened.
    Opened,
    /// The peer has closed.
    Closed,
    /// Whatever comes next needs bytes of the peer, or of ours.
    Waiting,
}

impl<S: Session> TlsStream<S> {
    pub(super) fn new(socket: Stream, session: S) -> Self {
        Self {
            socket,
            session: Box::new(session),
            incoming: Buffer::default(),
            outgoing: Buffer::default(),
            unread: Unread::default(),
            peer_closed: false,
            closed: false,
            failed: false,
        }
    }

    /// Makes the handshake; the caller bounds its time. Where it fails, the peer has been sent the fitting alert.
    pub(super) async fn handshake(&mut self) -> Result<(), HandshakeError> {
        poll_fn(|cx| self.poll_handshake(cx)).await
    }

    /// Waits until there is something to read, or the end.
    ///
    /// # Errors
    /// As a read.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_open(cx, &mut ReadBuf::new(&mut []))
    }

    /// The application protocol that was agreed on (RFC 7301).
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.session.common().alpn_protocol()
    }

    /// The chain that the peer presented, end entity first; empty where it presented none.
    pub(super) fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.session.common().peer_certificates().unwrap_or_default()
    }

    /// The socket, for what ends a connection without TLS.
    pub fn into_socket(self) -> Stream {
        self.socket
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HandshakeError>> {
        loop {
            match self.step(&mut ReadBuf::new(&mut [])) {
                Ok(Step::Closed) => return Poll::Ready(Err(HandshakeError::Closed)),
                Ok(Step::Opened | Step::Waiting) => {}
                Err(error) => {
                    self.send_alert(cx);
                    return Poll::Ready(Err(HandshakeError::of_library(error)));
                }
            }
            ready!(self.poll_send(cx)).map_err(HandshakeError::of_socket)?;
            if !self.session.common().is_handshaking() {
                self.incoming.settle();
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(cx)).map_err(HandshakeError::of_socket)?;
        }
    }

    /// Opens records until `buf` has some of what they carry, or the peer has closed.
    fn poll_open(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            self.unread.read(buf);
            return Poll::Ready(Ok(()));
        }
        while !self.peer_closed {
            if self.failed {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if !self.incoming.is_empty() {
                let opened = self.open_what_fits(buf);
                // What the session has to say goes out with the next write where the socket takes nothing now, and a socket that
                // takes nothing any more may still have something to read.
                let _ = self.poll_send(cx);
                match opened {
                    Ok(Step::Opened) => {
                        if self.incoming.is_empty() {
                            // Whoever has an answer may not read again for long.
                            self.incoming.settle();
                        }
                        return Poll::Ready(Ok(()));
                    }
                    Ok(Step::Closed) => break,
                    Ok(Step::Waiting) => {}
                    Err(error) => {
                        self.send_alert(cx);
                        return Poll::Ready(Err(invalid(error)));
                    }
                }
            }
            ready!(self.poll_receive(cx))?;
        }
        self.incoming.settle();
        Poll::Ready(Ok(()))
    }

    /// Opens at least one record, and further ones while they are there and `buf` has room for all they carry.
    fn open_what_fits(&mut self, buf: &mut ReadBuf<'_>) -> Result<Step, Error> {
        let first = self.step(buf)?;
        if !matches!(first, Step::Opened) {
            return Ok(first);
        }
        while first_record(self.incoming.filled()).is_some_and(|record| record.len() <= buf.remaining()) {
            if !matches!(self.step(buf)?, Step::Opened) {
                break;
            }
        }
        Ok(first)
    }

    /// Lets the session work on what has come in until it has opened a record or can do no more. An error is its last word.
    fn step(&mut self, buf: &mut ReadBuf<'_>) -> Result<Step, Error> {
        let step = self.advance(buf);
        self.failed |= step.is_err();
        step
    }

    fn advance(&mut self, buf: &mut ReadBuf<'_>) -> Result<Step, Error> {
        loop {
            let UnbufferedStatus { mut discard, state } = self.session.process(self.incoming.filled());
            let step = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        let (now, later) = record.payload.split_at(record.payload.len().min(buf.remaining()));
                        buf.put_slice(now);
                        self.unread.keep(later);
                    }
                    Some(Step::Opened)
                }
                Ok(ConnectionState::EncodeTlsData(message)) => {
                    encode(message, &mut self.outgoing)?;
                    None
                }
                Ok(ConnectionState::TransmitTlsData(message)) => {
                    message.done();
                    None
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.peer_closed = true;
                    Some(Step::Closed)
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Some(Step::Waiting),
                Ok(state) => return Err(Error::General(format!("no use for the state {state:?}"))),
                Err(error) => {
                    self.incoming.discard(discard);
                    return Err(error);
                }
            };
            self.incoming.discard(discard);
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// Sends the alert that a failed session has ready, as far as the socket takes it at once.
    fn send_alert(&mut self, cx: &mut Context<'_>) {
        while self.session.common().wants_write() {
            let UnbufferedStatus { discard, state } = self.session.process(self.incoming.filled());
            match state {
                Ok(ConnectionState::EncodeTlsData(message)) => {
                    if encode(message, &mut self.outgoing).is_err() {
                        break;
                    }
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => while traffic.next_record().is_some() {},
                _ => break,
            }
            self.incoming.discard(discard);
        }
        // The peer learns why where it can; the error that we report is the one before.
        let _ = self.poll_send(cx);
    }

    /// Takes in what the socket has.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let free = self.incoming.free();
        if free.is_empty() {
            return Poll::Ready(Err(invalid(Error::General("a handshake message larger than 64 KiB".into()))));
        }
        let mut received = ReadBuf::new(free);
        let outcome = Pin::new(&mut self.socket).poll_read(cx, &mut received);
        let length = received.filled().len();
        self.incoming.fill(length);
        match outcome {
            Poll::Ready(Ok(())) if length == 0 => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed without saying so")))
            }
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => {
                self.incoming.settle();
                Poll::Pending
            }
        }
    }

    /// Seals pieces up to [`MAX_WRITE`]. Those that do not fill a record by themselves are copied together; of a large one only
    /// what fills the record before it is copied.
    fn poll_write_pieces(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        let mut gathered = Buffer::default();
        let mut left = MAX_WRITE;
        for piece in pieces {
            let mut piece = &piece[..piece.len().min(left)];
            left -= piece.len();
            while !piece.is_empty() {
                if gathered.is_empty() && piece.len() >= FRAGMENT {
                    let (whole, rest) = piece.split_at(piece.len() - piece.len() % FRAGMENT);
                    self.seal_plaintext(whole)?;
                    piece = rest;
                    continue;
                }
                let room = FRAGMENT - gathered.filled().len();
                let (now, later) = piece.split_at(piece.len().min(room));
                gathered.free()[..now.len()].copy_from_slice(now);
                gathered.fill(now.len());
                piece = later;
                if gathered.filled().len() == FRAGMENT {
                    self.seal_plaintext(gathered.filled())?;
                    gathered.discard(FRAGMENT);
                }
            }
        }
        if !gathered.is_empty() {
            self.seal_plaintext(gathered.filled())?;
        }
        let _ = self.poll_send(cx)?;
        Poll::Ready(Ok(MAX_WRITE - left))
    }

    /// Hands the socket every record that waits for it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, self.outgoing.filled()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.outgoing.discard(sent),
            }
        }
        self.outgoing.settle();
        Poll::Ready(Ok(()))
    }

    /// Seals up to [`MAX_WRITE`], from where the library copies it fast.
    fn seal_plaintext(&mut self, plaintext: &[u8]) -> io::Result<()> {
        if !is_slow_to_copy(plaintext) {
            return self.seal(|traffic, records| traffic.encrypt(plaintext, records));
        }
        let mut moved = Buffer::default();
        moved.free()[..plaintext.len()].copy_from_slice(plaintext);
        moved.fill(plaintext.len());
        self.seal(|traffic, records| traffic.encrypt(moved.filled(), records))
    }

    /// Seals something with what `seal` is given to do it, once the session is where it can.
    fn seal(
        &mut self,
        seal: impl FnOnce(&mut WriteTraffic<'_, S::Data>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        if self.failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // What came in meanwhile is before our turn, and no more than the buffer for records holds.
        while let Step::Opened = self.step(&mut ReadBuf::new(&mut [])).map_err(invalid)? {}
        match self.session.process(self.incoming.filled()).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let sealed = seal(&mut traffic, self.outgoing.free()).map_err(io::Error::other)?;
                self.outgoing.fill(sealed);
                Ok(())
            }
            Ok(_) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(error) => Err(invalid(error)),
        }
    }
}

/// True where the library would copy this at a twentieth of the usual speed. It copies plaintext to 5 bytes behind the beginning of
/// fresh memory, which is that of a page. There are processors, AMD's Zen 3 among them, whose instruction for copying is so slow
/// where the destination lies up to 31 bytes further in its page than the source, and C libraries that take it all the same
/// (<https://sourceware.org/bugzilla/show_bug.cgi?id=30994>). Bytes that were read into fresh memory lie just there.
fn is_slow_to_copy(plaintext: &[u8]) -> bool {
    const DESTINATION: usize = 5;
    let ahead = (PAGE + DESTINATION - plaintext.as_ptr().addr() % PAGE) % PAGE;
    plaintext.len() >= COPIED_BY_ONE_INSTRUCTION && (1..32).contains(&ahead)
}

impl<S: Session> AsyncRead for TlsStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_open(cx, buf)
    }
}

impl<S: Session> AsyncWrite for TlsStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        let taken = &buf[..buf.len().min(MAX_WRITE)];
        this.seal_plaintext(taken)?;
        // They are on their way; where the socket takes no more now, the next write or flush waits for it.
        let _ = this.poll_send(cx)?;
        Poll::Ready(Ok(taken.len()))
    }

    /// Pieces share records: a small first one takes with it as much of the next as fills them.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = pieces.iter().filter(|piece| !piece.is_empty());
        match (filled.next(), filled.next()) {
            (None, _) => Poll::Ready(Ok(0)),
            (Some(only), None) => self.poll_write(cx, only),
            (Some(first), _) if first.len() >= MAX_WRITE => self.poll_write(cx, first),
            _ => self.get_mut().poll_write_pieces(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    /// Says that nothing more comes, and ends our side of the socket.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closed {
            ready!(this.poll_send(cx))?;
            this.closed = true;
            // A session that has failed has sent its alert and has nothing to add.
            #[expect(
                clippy::redundant_closure_for_method_calls,
                reason = "the method is not general enough in its lifetimes"
            )]
            let _ = this.seal(|traffic, records| traffic.queue_close_notify(records));
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

impl<S> AsRef<Stream> for TlsStream<S> {
    fn as_ref(&self) -> &Stream {
        &self.socket
    }
}

impl<S> AsMut<Stream> for TlsStream<S> {
    fn as_mut(&mut self) -> &mut Stream {
        &mut self.socket
    }
}

impl Unread {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn read(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = &self.bytes[self.start..];
        let taken = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..taken]);
        self.start += taken;
        if self.start == self.bytes.len() {
            *self = Self::default();
        }
    }
}

impl<S> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Session for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn common(&self) -> &CommonState {
        self
    }

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Session for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn common(&self) -> &CommonState {
        self
    }

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

/// The first record, where it is there as a whole.
fn first_record(records: &[u8]) -> Option<&[u8]> {
    let [_, _, _, high, low, ..] = records else { return None };
    records.get(..5 + usize::from(u16::from_be_bytes([*high, *low])))
}

/// Puts a message of the session among the records that wait for the socket.
fn encode<D>(mut message: EncodeTlsData<'_, D>, outgoing: &mut Buffer) -> Result<(), Error> {
    let encoded = match message.encode(outgoing.free()) {
        Err(EncodeError::InsufficientSize(size)) => message.encode(outgoing.free_for(size.required_size)),
        outcome => outcome,
    };
    outgoing.fill(encoded.map_err(|error| Error::General(error.to_string()))?);
    Ok(())
}

/// The form in which readers of a stream look for the library's errors.
fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::{COPIED_BY_ONE_INSTRUCTION, PAGE, first_record, is_slow_to_copy};

    #[test]
    fn only_long_plaintext_that_begins_just_before_the_copy_in_its_page_is_slow_to_copy() {
        let memory = vec![0; 3 * PAGE];
        let page = memory.as_ptr().addr().next_multiple_of(PAGE) - memory.as_ptr().addr();
        let slow = |offset: usize, length: usize| is_slow_to_copy(&memory[page + offset..][..length]);
        for (offset, expected) in [(0, true), (4, true), (5, false), (64, false), (PAGE - 27, false), (PAGE - 26, true)]
        {
            assert_eq!(slow(offset, COPIED_BY_ONE_INSTRUCTION), expected, "{offset} bytes into a page");
        }
        assert!(!slow(0, COPIED_BY_ONE_INSTRUCTION - 1));
    }

    #[test]
    fn a_record_is_known_by_its_header_and_taken_as_a_whole() {
        let mut records = vec![23, 3, 3, 1];
        assert_eq!(first_record(&records), None);
        records.extend([2; 1 + 257]);
        assert_eq!(first_record(&records), None);
        records.extend([9; 8]);
        assert_eq!(first_record(&records).map(<[u8]>::len), Some(5 + 258));
    }
}
