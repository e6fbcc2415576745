//! An inbound and an outbound listener with the defaults of the configuration, served on the runtime of the benchmark.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use mantlet::config::{AppProtocol, ClientAuth, Hop, IdentityHeader, Limits, Protocol, Timeouts, TlsVersion};
use mantlet::identity::PeerPattern;
use mantlet::net::{Address, Arrival, Endpoint, Host, Listener, PeerAddress};
use mantlet::policy::Policy;
use mantlet::proxy::connections::Connections;
use mantlet::proxy::inbound::{Inbound, InboundRules};
use mantlet::proxy::metrics::ProxyMetrics;
use mantlet::proxy::outbound::Outbound;
use mantlet::proxy::refusals::Refusals;
use mantlet::proxy::upstream::{Target, Upstream};
use mantlet::proxy::{Direction, ListenerContext, Shared};
use mantlet::tls::{Acceptor, Connector, Presents};
use mantlet::x509::TrustMaterial;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The one thread of the benchmark stands for the one worker.
const WORKERS: usize = 1;

/// An inbound listener that lets `caller` call `service`.
pub(super) fn inbound(material: &Arc<TrustMaterial>, caller: &PeerPattern, service: SocketAddr) -> Arc<Inbound> {
    let context = context("inbound", Direction::Inbound, material);
    let target = Target::Service { address: Address::Tcp(service), app_protocol: AppProtocol::default() };
    let rules = InboundRules {
        policy: Policy::allowing(std::slice::from_ref(caller)),
        upstream: Arc::new(Upstream::new(target, &context, WORKERS)),
        identity_headers: vec![IdentityHeader::ClientCert, IdentityHeader::MantletPeer],
        proxy_protocol: false,
    };
    let presents = Presents::OwnIdentity;
    let acceptor = Acceptor::new(material, presents, ClientAuth::Required, Protocol::Http, TlsVersion::default());
    Arc::new(Inbound {
        context: Arc::new(context),
        rules: Arc::new(ArcSwap::from_pointee(rules)),
        protocol: Protocol::Http,
        acceptor: acceptor.expect("an acceptor"),
    })
}

/// An outbound listener to the peer at this address, which has to prove that it is `expect`.
pub(super) fn outbound(material: &Arc<TrustMaterial>, expect: PeerPattern, peer: SocketAddr) -> Arc<Outbound> {
    let context = context("outbound", Direction::Outbound, material);
    let connector = Connector::new(material, vec![expect], None, TlsVersion::default()).expect("a connector");
    let endpoint = Endpoint { host: Host::Ip(peer.ip()), port: peer.port() };
    let upstream = Upstream::new(Target::Peer { endpoint, connector, hop: Hop::default() }, &context, WORKERS);
    Arc::new(Outbound {
        context: Arc::new(context),
        upstream: Arc::new(ArcSwap::from_pointee(upstream)),
        protocol: Protocol::Http,
    })
}

fn context(name: &str, direction: Direction, material: &Arc<TrustMaterial>) -> ListenerContext {
    let metrics = ProxyMetrics::register(&mut Registry::default()).listener(name, direction);
    let shared = Shared {
        connections: Arc::new(Connections::new(WORKERS)),
        refusals: Arc::new(Refusals::default()),
        trust: Arc::new(ArcSwap::new(Arc::clone(material))),
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        access_log: false,
    };
    ListenerContext::new(name, direction, metrics, &shared)
}

/// Accepts for a listener on this runtime, for as long as it runs.
pub(super) fn listen<L, F>(
    sidecar: Arc<L>,
    serve: impl Fn(Arc<L>, Arrival, CancellationToken) -> F + Send + 'static,
) -> SocketAddr
where
    L: Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = Listener::bind(&Address::Tcp((Ipv4Addr::LOCALHOST, 0).into())).expect("bound");
    let Address::Tcp(address) = *listener.address() else { unreachable!("it was bound to a port") };
    tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(Limits::default().max_connections));
        let take = move |stream, place| {
            let address = PeerAddress::Tcp(address);
            let arrival = Arrival { stream, address, place, worker: 0 };
            tokio::spawn(serve(Arc::clone(&sidecar), arrival, CancellationToken::new()));
        };
        listener.accept_here(&places, take).await.expect("a listening socket");
    });
    address
}
