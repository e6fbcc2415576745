//! Full mutual TLS 1.3 handshakes over TCP on loopback, with a CRL loaded at both ends.

use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;

use divan::Bencher;
use mantlet::config::{ClientAuth, Protocol, TlsVersion};
use mantlet::net::Stream;
use mantlet::tls::{
    Acceptor, Alpn, Connector, FailedHandshake, HandshakeError, Peer, Presents, TlsClientStream, TlsServerStream,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::pki::Pki;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// All that client and server do, and what the kernel does between them.
#[divan::bench(min_time = 2)]
fn both_halves(bencher: Bencher) {
    let ends = Ends::new();
    bencher.with_inputs(|| ends.connected()).bench_local_values(|(server, client)| {
        ends.runtime.block_on(async {
            let (accepted, connected) = tokio::join!(ends.accept(server), ends.connect(client));
            (accepted.expect("accepted"), connected.expect("connected"))
        })
    });
}

/// The server's first half: from the `ClientHello` to its own `Finished`, with the key exchange and a signature.
#[divan::bench(min_time = 2)]
fn server_answers_hello(bencher: Bencher) {
    let ends = Ends::new();
    bencher.with_inputs(|| ends.greeted()).bench_local_values(|(mut accepting, connecting)| {
        ends.poll_once(&mut accepting);
        (accepting, connecting)
    });
}

/// The server's second half: from the client's certificate to a proven identity, with the path, the CRL, and the signatures of the
/// certificate and of the handshake.
#[divan::bench(min_time = 2)]
fn server_judges_client(bencher: Bencher) {
    let ends = Ends::new();
    let answered = || {
        let (mut accepting, connecting) = ends.greeted();
        ends.poll_once(&mut accepting);
        (accepting, ends.runtime.block_on(connecting).expect("connected"))
    };
    bencher
        .with_inputs(answered)
        .bench_local_values(|(accepting, connected)| (ends.runtime.block_on(accepting).expect("accepted"), connected));
}

type Accepting<'a> = Pin<Box<dyn Future<Output = Result<(TlsServerStream, Peer), FailedHandshake>> + 'a>>;
type Connecting<'a> = Pin<Box<dyn Future<Output = Result<(TlsClientStream, Peer), HandshakeError>> + 'a>>;

/// A client and a server of one authority, on one thread.
struct Ends {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    acceptor: Acceptor,
    connector: Connector,
}

impl Ends {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind((LOOPBACK, 0))).expect("bound");
        let address = listener.local_addr().expect("an address");
        let mut pki = Pki::new();
        let (server, client) = (pki.issue("adservice"), pki.issue("gateway"));
        let (material, presents) = (pki.material(&server), Presents::OwnIdentity);
        let acceptor = Acceptor::new(&material, presents, ClientAuth::Required, Protocol::Http, TlsVersion::V1_3)
            .expect("an acceptor");
        let connector =
            Connector::new(&pki.material(&client), vec![server.spiffe], Some("adservice"), TlsVersion::V1_3)
                .expect("a connector");
        Self { runtime, listener, address, acceptor, connector }
    }

    fn accept(&self, server: Stream) -> Accepting<'_> {
        Box::pin(self.acceptor.accept(server))
    }

    fn connect(&self, client: Stream) -> Connecting<'_> {
        Box::pin(self.connector.connect(client, LOOPBACK, Alpn::Http2))
    }

    /// Both ends of a connection on which nothing was said.
    fn connected(&self) -> (Stream, Stream) {
        self.runtime.block_on(async {
            let (accepted, client) = tokio::join!(self.listener.accept(), TcpStream::connect(self.address));
            let stream = |stream| Stream::from_tcp(stream).expect("a socket");
            (stream(accepted.expect("accepted").0), stream(client.expect("connected")))
        })
    }

    /// A connection on which the client has sent its `ClientHello`, and the server knows that there is something to read.
    fn greeted(&self) -> (Accepting<'_>, Connecting<'_>) {
        let (server, client) = self.connected();
        let mut connecting = self.connect(client);
        let mut first = [0];
        self.runtime.block_on(async {
            tokio::select! {
                outcome = &mut connecting => panic!("the client was done before the server began: {outcome:?}"),
                peeked = server.peek(&mut first) => assert_eq!(peeked.expect("readable"), 1),
            }
        });
        (self.accept(server), connecting)
    }

    /// Lets the server do all that it can do now.
    fn poll_once(&self, accepting: &mut Accepting<'_>) {
        let polled = self.runtime.block_on(poll_fn(|cx| Poll::Ready(accepting.as_mut().poll(cx))));
        assert!(polled.is_pending(), "{polled:?}");
    }
}
