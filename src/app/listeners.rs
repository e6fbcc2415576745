//! The listeners that run: made from the configuration, replaced by the next one, each as a whole.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::admin::ListenerStatus;
use crate::config::{self, Config};
use crate::net::{Address, Listener, Workers};
use crate::policy::Policy;
use crate::proxy::Direction;
use crate::proxy::ListenerContext;
use crate::proxy::Shared;
use crate::proxy::connections::{Connections, EndReason, Live, Phase};
use crate::proxy::edge::Edge;
use crate::proxy::inbound::{Inbound, InboundRules};
use crate::proxy::metrics::ProxyMetrics;
use crate::proxy::outbound::Outbound;
use crate::proxy::upstream::{Target, Upstream};
use crate::tls::{Acceptor, Connector, PreparedClient, PreparedServer, Presents};
use crate::token::Issuers;
use crate::x509::{PublicCertificate, TrustMaterial};

use super::edges::{PreparedEdges, targets_of};

/// The listeners that run, by name.
#[derive(Default)]
pub(super) struct Listeners {
    inbound: HashMap<String, Running<config::Inbound, Inbound>>,
    outbound: HashMap<String, Running<config::Outbound, Outbound>>,
    pub(super) edge: HashMap<String, Running<config::Edge, Edge>>,
    /// Where the routes of edge listeners lead.
    pub(super) upstreams: HashMap<String, (config::Upstream, Arc<Upstream>)>,
}

/// Sockets for listeners that need another, by listener name.
pub(super) type Bound = HashMap<String, Arc<Listener>>;

/// One listener that runs.
pub(super) struct Running<C, S> {
    pub(super) config: C,
    /// What serves the next connection.
    pub(super) service: Arc<ArcSwap<S>>,
    address: Address,
    /// The socket for as long as it is accepted on, so that another listener can take its address over.
    socket: Weak<Listener>,
    /// Places for connections, and how many there are.
    limit: Arc<Semaphore>,
    places: usize,
    stop: CancellationToken,
}

/// What a listener is made with.
pub(super) struct Making<'a> {
    pub(super) config: &'a Config,
    pub(super) material: &'a Arc<TrustMaterial>,
    /// The certificates of edge listeners, by the names of these.
    pub(super) public: &'a HashMap<String, PublicCertificate>,
    /// The issuers of the tokens of end users.
    pub(super) issuers: Issuers,
    pub(super) shared: Shared,
    pub(super) metrics: &'a ProxyMetrics,
    pub(super) workers: &'a Workers,
    /// True where something that every listener holds has changed, so that all are made anew.
    pub(super) all: bool,
}

/// Everything that a change needs, made and bound before anything of it is used.
pub(super) struct Prepared {
    inbound: Vec<PreparedInbound>,
    outbound: Vec<PreparedOutbound>,
    servers: Vec<(String, PreparedServer)>,
    clients: Vec<(String, PreparedClient)>,
    edges: PreparedEdges,
}

struct PreparedInbound {
    config: config::Inbound,
    service: Arc<Inbound>,
    rules: Arc<InboundRules>,
    listener: Option<Arc<Listener>>,
}

struct PreparedOutbound {
    config: config::Outbound,
    service: Arc<Outbound>,
    upstream: Arc<Upstream>,
    listener: Option<Arc<Listener>>,
}

impl Listeners {
    /// Makes what the configuration needs beyond what runs. `bound` holds the sockets bound for addresses that are new.
    pub(super) fn prepare(&self, making: &Making<'_>, bound: &mut Bound) -> Result<Prepared, rustls::Error> {
        let mut prepared = Prepared {
            inbound: Vec::new(),
            outbound: Vec::new(),
            servers: Vec::new(),
            clients: Vec::new(),
            edges: self.prepare_edges(making, bound)?,
        };
        for config in &making.config.inbound {
            let name = &config.name.value;
            match self.inbound.get(name) {
                Some(running) if running.config == *config && !making.all => {
                    prepared.servers.push((name.clone(), running.service.load().acceptor.prepare(making.material)?));
                }
                running => {
                    prepared.inbound.push(inbound(making, config, running, bound.remove(name))?);
                }
            }
        }
        for config in &making.config.outbound {
            let name = &config.name.value;
            match self.outbound.get(name) {
                Some(running) if running.config == *config && !making.all => {
                    let upstream = running.service.load().upstream.load_full();
                    if let Some(connector) = upstream.connector() {
                        prepared.clients.push((name.clone(), connector.prepare(making.material)?));
                    }
                }
                running => {
                    prepared.outbound.push(outbound(making, config, running, bound.remove(name))?);
                }
            }
        }
        Ok(prepared)
    }

    /// The names and addresses that a configuration needs bound: new listeners and those whose address is another.
    pub(super) fn unbound<'a>(&self, config: &'a Config) -> Vec<(&'a str, &'a Address)> {
        let inbound = config
            .inbound
            .iter()
            .filter(|new| self.inbound.get(&new.name.value).is_none_or(|running| running.config.listen != new.listen));
        let outbound = config
            .outbound
            .iter()
            .filter(|new| self.outbound.get(&new.name.value).is_none_or(|running| running.config.listen != new.listen));
        let edge = config
            .edge
            .iter()
            .filter(|new| self.edge.get(&new.name.value).is_none_or(|running| running.config.listen != new.listen));
        let inbound = inbound.map(|new| (new.name.value.as_str(), &new.listen.value));
        let outbound = outbound.map(|new| (new.name.value.as_str(), &new.listen.value));
        inbound.chain(outbound).chain(edge.map(|new| (new.name.value.as_str(), &new.listen.value))).collect()
    }

    /// The socket that is accepted on at this address now, whoever's it is. A listener that is renamed, or swaps its address
    /// with another, goes on with it, and no connection that waits in its queue is lost.
    pub(super) fn socket_at(&self, address: &Address) -> Option<Arc<Listener>> {
        let inbound = self.inbound.values().map(|running| (&running.address, &running.socket));
        let outbound = self.outbound.values().map(|running| (&running.address, &running.socket));
        let edge = self.edge.values().map(|running| (&running.address, &running.socket));
        let mut all = inbound.chain(outbound).chain(edge);
        all.find(|(bound, _)| *bound == address).and_then(|(_, socket)| socket.upgrade())
    }

    /// Puts what was prepared to use. It cannot fail. Listeners that the configuration no longer has stop accepting, and their
    /// connections drain.
    pub(super) fn install(&mut self, prepared: Prepared, making: &Making<'_>) {
        for (name, server) in prepared.servers {
            self.inbound[&name].service.load().acceptor.install(server);
        }
        for (name, client) in prepared.clients {
            if let Some(connector) = self.outbound[&name].service.load().upstream.load().connector() {
                connector.install(client);
            }
        }
        let connections = &making.shared.connections;
        retain(&mut self.inbound, |name| making.config.inbound.iter().any(|kept| kept.name.value == name), connections);
        retain(
            &mut self.outbound,
            |name| making.config.outbound.iter().any(|kept| kept.name.value == name),
            connections,
        );
        for PreparedInbound { config, service, rules, listener } in prepared.inbound {
            let before = self.inbound.get(&config.name.value);
            if before.is_some_and(|before| before.config.protocol != config.protocol) {
                drain(&config.name.value, connections, |_| true);
            } else if before.is_some_and(|before| !Arc::ptr_eq(&before.rules().upstream, &rules.upstream)) {
                drain(&config.name.value, connections, |live| live.peer.is_none());
            }
            service.rules.store(rules);
            let name = config.name.value.clone();
            install_one(&mut self.inbound, &name, config, service, listener, making, |slot, arrival, stop| {
                slot.load_full().serve(arrival, stop)
            });
        }
        for PreparedOutbound { config, service, upstream, listener } in prepared.outbound {
            if let Some(before) = self.outbound.get(&config.name.value) {
                let is_other_protocol = before.config.protocol != config.protocol;
                drain(&config.name.value, connections, |live| is_other_protocol || live.peer.is_some());
            }
            service.upstream.store(upstream);
            let name = config.name.value.clone();
            install_one(&mut self.outbound, &name, config, service, listener, making, |slot, arrival, stop| {
                slot.load_full().serve(arrival, stop)
            });
        }
        self.install_edges(prepared.edges, making);
    }

    /// Whether none runs.
    pub(super) fn is_empty(&self) -> bool {
        self.inbound.is_empty() && self.outbound.is_empty() && self.edge.is_empty()
    }

    /// The policy of an inbound listener as it is now.
    pub(super) fn rules(&self, name: &str) -> Option<Arc<InboundRules>> {
        self.inbound.get(name).map(Running::rules)
    }

    /// Forgets pooled connections that have ended.
    pub(super) fn prune(&self) {
        self.inbound.values().for_each(|running| running.service.load().rules.load().upstream.prune());
        self.outbound.values().for_each(|running| running.service.load().upstream.load().prune());
        self.upstreams.values().for_each(|(_, upstream)| upstream.prune());
    }

    /// Stops accepting in one direction.
    pub(super) fn stop_accepting(&self, direction: Direction) {
        match direction {
            Direction::Inbound => self.inbound.values().for_each(|running| running.stop.cancel()),
            Direction::Edge => self.edge.values().for_each(|running| running.stop.cancel()),
            Direction::Outbound => self.outbound.values().for_each(|running| running.stop.cancel()),
        }
    }

    /// Handshakes with callers that are under way.
    pub(super) fn handshakes_in_flight(&self) -> usize {
        let inbound = self.inbound.values().map(|running| running.service.load().context.handshakes_in_flight());
        let edge = self.edge.values().map(|running| running.service.load().context.handshakes_in_flight());
        inbound.chain(edge).sum()
    }

    pub(super) fn addresses(&self) -> Vec<(String, Address)> {
        let inbound = self.inbound.iter().map(|(name, running)| (name.clone(), running.address.clone()));
        let outbound = self.outbound.iter().map(|(name, running)| (name.clone(), running.address.clone()));
        let edge = self.edge.iter().map(|(name, running)| (name.clone(), running.address.clone()));
        inbound.chain(outbound).chain(edge).collect()
    }

    /// What status shows, in the order of their names.
    pub(super) fn status(&self) -> Vec<ListenerStatus> {
        let inbound = self.inbound.values().map(|running| ListenerStatus {
            name: running.config.name.value.clone(),
            direction: Direction::Inbound.label(),
            protocol: running.config.protocol.label(),
            address: running.address.to_string(),
            target: running.config.forward_to.value.to_string(),
            peers: running.config.allow.iter().map(ToString::to_string).collect(),
            rules: running.config.rules.clone(),
        });
        let outbound = self.outbound.values().map(|running| ListenerStatus {
            name: running.config.name.value.clone(),
            direction: Direction::Outbound.label(),
            protocol: running.config.protocol.label(),
            address: running.address.to_string(),
            target: running.config.connect_to.value.to_string(),
            peers: running.config.expect.iter().map(ToString::to_string).collect(),
            rules: Vec::new(),
        });
        let edge = self.edge.values().map(|running| ListenerStatus {
            name: running.config.name.value.clone(),
            direction: Direction::Edge.label(),
            protocol: config::Protocol::Http.label(),
            address: running.address.to_string(),
            target: targets_of(&running.config),
            peers: running.config.routes.iter().map(|route| route.name.value.clone()).collect(),
            rules: Vec::new(),
        });
        let mut all: Vec<ListenerStatus> = inbound.chain(outbound).chain(edge).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }
}

impl<C, S> Running<C, S> {
    /// Makes more places for connections, or takes places back as connections end.
    fn resize(&mut self, places: usize) {
        self.limit.add_permits(places.saturating_sub(self.places));
        let surplus = self.places.saturating_sub(places);
        let taken = u32::try_from(surplus - self.limit.forget_permits(surplus)).unwrap_or(u32::MAX);
        self.places = places;
        if taken > 0 {
            let limit = Arc::clone(&self.limit);
            tokio::spawn(async move { limit.acquire_many_owned(taken).await.map(OwnedSemaphorePermit::forget) });
        }
    }
}

impl Running<config::Inbound, Inbound> {
    fn rules(&self) -> Arc<InboundRules> {
        self.service.load().rules.load_full()
    }
}

pub(super) fn retain<C, S>(
    running: &mut HashMap<String, Running<C, S>>,
    kept: impl Fn(&str) -> bool,
    connections: &Connections,
) {
    running.retain(|name, running| {
        let keep = kept(name);
        if !keep {
            running.stop.cancel();
            drain(name, connections, |_| true);
        }
        keep
    });
}

/// Ends the connections of a listener once what is in flight on them is done.
pub(super) fn drain(listener: &str, connections: &Connections, which: impl Fn(&Live) -> bool) {
    let ends = |live: &Live| &*live.listener == listener && which(live);
    connections.end_where(|live| ends(live) && live.end(Phase::Draining, EndReason::ListenerRemoved));
}

pub(super) fn install_one<C, S, F>(
    all: &mut HashMap<String, Running<C, S>>,
    name: &str,
    config: C,
    service: Arc<S>,
    listener: Option<Arc<Listener>>,
    making: &Making<'_>,
    serve: impl Fn(&ArcSwap<S>, crate::net::Arrival, CancellationToken) -> F + Clone + Send + 'static,
) where
    S: Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    match (all.get_mut(name), listener) {
        (Some(running), None) => {
            running.service.store(service);
            running.config = config;
            running.resize(making.config.limits.max_connections);
        }
        (running, Some(listener)) => {
            if let Some(running) = running {
                running.stop.cancel();
            }
            let (address, stop, socket) =
                (listener.address().clone(), CancellationToken::new(), Arc::downgrade(&listener));
            info!(listener = name, %address, "listening");
            let slot = Arc::new(ArcSwap::new(service));
            let places = making.config.limits.max_connections;
            let limit = Arc::new(Semaphore::new(places));
            let (serving, stopped) = (Arc::clone(&slot), stop.clone());
            listener.accept_on(making.workers, &limit, &stop, move |arrival| serve(&serving, arrival, stopped.clone()));
            all.insert(name.to_owned(), Running { config, service: slot, address, socket, limit, places, stop });
        }
        (None, None) => unreachable!("a new listener was bound before"),
    }
}

/// Live connections of a listener that ran before see its new rules at once, because they share the place that holds them.
fn inbound(
    making: &Making<'_>,
    config: &config::Inbound,
    running: Option<&Running<config::Inbound, Inbound>>,
    listener: Option<Arc<Listener>>,
) -> Result<PreparedInbound, rustls::Error> {
    let metrics = making.metrics.listener(&config.name.value, Direction::Inbound);
    let context = ListenerContext::new(&config.name.value, Direction::Inbound, metrics, &making.shared);
    let min_version = making.config.tls.min_version;
    let acceptor =
        Acceptor::new(making.material, Presents::OwnIdentity, config.client_auth, config.protocol, min_version)?;
    let is_same = |before: &config::Inbound| {
        before.forward_to == config.forward_to && before.app_protocol == config.app_protocol && !making.all
    };
    let upstream = if let Some(running) = running.filter(|running| is_same(&running.config)) {
        Arc::clone(&running.rules().upstream)
    } else {
        let target = Target::Service { address: config.forward_to.value.clone(), app_protocol: config.app_protocol };
        upstream(making, target, &context)
    };
    let rules = Arc::new(InboundRules {
        policy: Policy::new(&config.allow, &config.rules, &config.user_from),
        upstream,
        identity_headers: config.identity_headers.clone(),
        proxy_protocol: config.proxy_protocol,
    });
    let kept = running.filter(|running| running.config.protocol == config.protocol);
    let place = kept.map(|running| Arc::clone(&running.service.load().rules));
    let place = place.unwrap_or_else(|| Arc::new(ArcSwap::new(Arc::clone(&rules))));
    let service = Inbound { context: Arc::new(context), rules: place, protocol: config.protocol, acceptor };
    Ok(PreparedInbound { config: config.clone(), service: Arc::new(service), rules, listener })
}

fn outbound(
    making: &Making<'_>,
    config: &config::Outbound,
    running: Option<&Running<config::Outbound, Outbound>>,
    listener: Option<Arc<Listener>>,
) -> Result<PreparedOutbound, rustls::Error> {
    let metrics = making.metrics.listener(&config.name.value, Direction::Outbound);
    let context = ListenerContext::new(&config.name.value, Direction::Outbound, metrics, &making.shared);
    let min_version = making.config.tls.min_version;
    let connector = Connector::new(making.material, config.expect.clone(), config.server_name.as_deref(), min_version)?;
    let target = Target::Peer { endpoint: config.connect_to.value.clone(), connector, hop: config.hop };
    let upstream = upstream(making, target, &context);
    let place = running.map(|running| Arc::clone(&running.service.load().upstream));
    let place = place.unwrap_or_else(|| Arc::new(ArcSwap::new(Arc::clone(&upstream))));
    let service = Outbound { context: Arc::new(context), upstream: place, protocol: config.protocol };
    Ok(PreparedOutbound { config: config.clone(), service: Arc::new(service), upstream, listener })
}

pub(super) fn upstream(making: &Making<'_>, target: Target, context: &ListenerContext) -> Arc<Upstream> {
    Arc::new(Upstream::new(target, context, making.workers.count()))
}
