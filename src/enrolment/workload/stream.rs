//! The stream of messages from an agent: one call of `FetchX509SVID` over gRPC on a Unix socket, within bounds of time and octets.

use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{self, SendRequest};
use http::{HeaderMap, Method, Request, StatusCode, header};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::config::{WorkloadApi, WorkloadEndpoint};
use crate::enrolment::attempt::Running;
use crate::enrolment::failure::printable;
use crate::enrolment::{Brought, Failure, FailureKind, Finished};

use super::message;

/// The call (SPIFFE Workload API section 5.2.1). A Unix socket has no host.
const CALL: &str = "http://localhost/SpiffeWorkloadAPI/FetchX509SVID";
/// The metadata that every request has to carry (SPIFFE Workload Endpoint section 3).
const SECURITY_HEADER: (&str, &str) = ("workload.spiffe.io", "true");
/// How long it may take until the first message is there, which comes without delay (SPIFFE Workload API section 4.3), and how
/// long the rest of a message may take once it has begun.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most octets of a message: what gRPC takes where nothing else is set.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// Most octets of a header section.
const MAX_HEADERS: u32 = 16 * 1024;
/// The least time between two messages that are looked at: what comes sooner waits at the agent.
const PAUSE: Duration = Duration::from_millis(250);
/// The octets before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Hears what an agent gives until that fails.
pub(super) struct Subscription {
    pub(super) settings: WorkloadApi,
    pub(super) generation: u64,
    pub(super) tell: mpsc::Sender<Finished>,
}

/// A connection, which lasts as long as this.
struct Session {
    sender: SendRequest<Bytes>,
    _connection: Running,
}

/// The messages of one call.
struct Messages {
    body: RecvStream,
    received: Zeroizing<Vec<u8>>,
}

impl Subscription {
    pub(super) async fn run(self) {
        if let Err(failure) = self.hear().await {
            self.tell(Brought::Deaf(failure)).await;
        }
    }

    /// False where nobody listens any more, as where the process ends.
    async fn tell(&self, brought: Brought) -> bool {
        self.tell.send(Finished { generation: self.generation, brought, skew: None }).await.is_ok()
    }

    async fn hear(&self) -> Result<(), Failure> {
        let endpoint = &self.settings.endpoint.value;
        let late = |_| away(endpoint, &format!("has not answered within {}", humantime::format_duration(PATIENCE)));
        let (_session, mut messages, first) = timeout(PATIENCE, self.open()).await.map_err(late)??;
        let mut octets = first;
        loop {
            // What cannot be read ends the stream no more than what cannot be used: the next message may be good.
            if !self.tell(Brought::Given(message::read(&self.settings, &octets).map(Box::new))).await {
                return Ok(());
            }
            sleep(PAUSE).await;
            octets = messages.next(endpoint).await?;
        }
    }

    /// Connects, asks, and waits for the first message.
    async fn open(&self) -> Result<(Session, Messages, Zeroizing<Vec<u8>>), Failure> {
        let endpoint = &self.settings.endpoint.value;
        let mut session = Session::open(endpoint).await?;
        let mut messages = session.fetch(endpoint).await?;
        let first = messages.next(endpoint).await?;
        Ok((session, messages, first))
    }
}

impl Session {
    async fn open(endpoint: &WorkloadEndpoint) -> Result<Self, Failure> {
        let socket = UnixStream::connect(endpoint.path())
            .await
            .map_err(|error| away(endpoint, &format!("cannot be connected to: {error}")))?;
        let mut builder = client::Builder::new();
        builder.enable_push(false).max_header_list_size(MAX_HEADERS);
        let (sender, connection) = builder.handshake(socket).await.map_err(|error| broke(endpoint, &error))?;
        // Its end is seen on the stream.
        let connection = Running(tokio::spawn(async move { drop(connection.await) }));
        Ok(Self { sender, _connection: connection })
    }

    async fn fetch(&mut self, endpoint: &WorkloadEndpoint) -> Result<Messages, Failure> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(CALL)
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header(header::USER_AGENT, concat!("mantlet/", env!("CARGO_PKG_VERSION")))
            .header(SECURITY_HEADER.0, SECURITY_HEADER.1)
            .body(())
            .expect("a request of constants");
        std::future::poll_fn(|context| self.sender.poll_ready(context))
            .await
            .map_err(|error| broke(endpoint, &error))?;
        let (answer, mut body) = self.sender.send_request(request, false).map_err(|error| broke(endpoint, &error))?;
        // An empty message: not compressed, of no octets.
        body.send_data(Bytes::from_static(&[0; PREFIX]), true).map_err(|error| broke(endpoint, &error))?;
        let (head, body) = answer.await.map_err(|error| broke(endpoint, &error))?.into_parts();
        if head.headers.contains_key("grpc-status") {
            return Err(of_status(endpoint, &head.headers));
        }
        let is_grpc =
            head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if head.status != StatusCode::OK || !is_grpc {
            let message = format!("{endpoint}: whoever answers, with {}, speaks no gRPC", head.status);
            return Err(Failure::unusable(message, "is identity.workload_api the socket of a SPIFFE agent?"));
        }
        Ok(Messages { body, received: Zeroizing::new(Vec::new()) })
    }
}

impl Messages {
    /// The next message, for which an agent may have us wait for ever. The end of the stream is a failure, for the agent never ends it
    /// without a reason.
    async fn next(&mut self, endpoint: &WorkloadEndpoint) -> Result<Zeroizing<Vec<u8>>, Failure> {
        loop {
            if let Some(message) = self.whole(endpoint)? {
                return Ok(message);
            }
            let chunk = if self.received.is_empty() {
                self.body.data().await
            } else {
                let late = |_| away(endpoint, "has stopped in the middle of a message");
                timeout(PATIENCE, self.body.data()).await.map_err(late)?
            };
            let Some(chunk) = chunk else { return Err(self.end(endpoint).await) };
            let chunk = chunk.map_err(|error| broke(endpoint, &error))?;
            self.append(&chunk);
            // The room that it took in the window of the stream is given back, whatever comes of it.
            let _ = self.body.flow_control().release_capacity(chunk.len());
        }
    }

    /// A message that is there as a whole, taken from what was received.
    fn whole(&mut self, endpoint: &WorkloadEndpoint) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        let Some((prefix, rest)) = self.received.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let [compressed, length @ ..] = *prefix;
        let length = u32::from_be_bytes(length) as usize;
        let unusable = |detail: String| {
            Failure::unusable(
                format!("{endpoint}: what the agent gave cannot be used: {detail}"),
                "look at the agent's log",
            )
        };
        if compressed != 0 {
            return Err(unusable("it is compressed, which was not asked for".to_owned()));
        }
        if length > MAX_MESSAGE {
            return Err(unusable(format!("it is a message of {length} octets, more than {MAX_MESSAGE}")));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let message = Zeroizing::new(rest[..length].to_vec());
        self.received = Zeroizing::new(rest[length..].to_vec());
        Ok(Some(message))
    }

    /// Takes octets up without leaving a copy of a key where a buffer was outgrown.
    fn append(&mut self, chunk: &[u8]) {
        if self.received.capacity() - self.received.len() < chunk.len() {
            let mut grown = Zeroizing::new(Vec::with_capacity((self.received.len() + chunk.len()) * 2));
            grown.extend_from_slice(&self.received);
            self.received = grown;
        }
        self.received.extend_from_slice(chunk);
    }

    /// Why the stream has ended.
    async fn end(&mut self, endpoint: &WorkloadEndpoint) -> Failure {
        match timeout(PATIENCE, self.body.trailers()).await {
            Ok(Ok(Some(trailers))) => of_status(endpoint, &trailers),
            Ok(Err(error)) => broke(endpoint, &error),
            _ => away(endpoint, "has ended the stream without a status"),
        }
    }
}

/// What a status means (SPIFFE Workload Endpoint, appendix A).
fn of_status(endpoint: &WorkloadEndpoint, headers: &HeaderMap) -> Failure {
    let text = |name| headers.get(name).map(|value| printable(&percent_decoded(value.as_bytes()))).unwrap_or_default();
    let (code, said) = (text("grpc-status"), text("grpc-message"));
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    let message = |name: &str| format!("{endpoint}: the agent answers with {name}{said}");
    match code.as_str() {
        "7" => Failure::new(
            FailureKind::Away,
            "permission_denied",
            message("PermissionDenied, for it has issued no identity to this process"),
            "register this workload with the SPIFFE server, by what the agent knows of it: user, path, container",
        ),
        "3" => Failure::new(
            FailureKind::Refused,
            "invalid_argument",
            message("InvalidArgument"),
            "look whether the agent speaks the SPIFFE Workload API as it is specified",
        ),
        "12" => Failure::new(
            FailureKind::Refused,
            "unimplemented",
            message("Unimplemented, for it gives no X.509 identities"),
            "name the socket of an agent that does, or look at its configuration",
        ),
        "14" | "0" | "1" => away(endpoint, &format!("has ended the stream, with the status {code}{said}")),
        _ => Failure::new(
            FailureKind::Away,
            "agent_error",
            message(&format!("the status {code:?}")),
            "look at the agent's log",
        ),
    }
}

/// Text as gRPC writes it in a header: what has no place there is percent-encoded, and what is ill-formed stays as it is.
fn percent_decoded(value: &[u8]) -> String {
    let (mut decoded, mut rest) = (Vec::new(), value);
    while let Some((first, behind)) = rest.split_first() {
        let octet = behind.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let octet = octet.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(octet.unwrap_or(*first));
        rest = if octet.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn away(endpoint: &WorkloadEndpoint, what: &str) -> Failure {
    let remedy = "look whether the SPIFFE agent runs, and whether this user may use its socket";
    Failure::new(FailureKind::Away, "away", format!("{endpoint}: the agent {what}"), remedy)
}

fn broke(endpoint: &WorkloadEndpoint, error: &h2::Error) -> Failure {
    away(endpoint, &format!("has broken the connection: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_says_is_decoded_and_ill_formed_text_stays_as_it_is() {
        for (value, text) in
            [("no%20identity%20issued", "no identity issued"), ("%C3%BC%", "\u{fc}%"), ("100%25 %zz %2", "100% %zz %2")]
        {
            assert_eq!(percent_decoded(value.as_bytes()), text);
        }
    }
}
