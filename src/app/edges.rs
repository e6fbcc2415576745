//! Edge listeners and the upstreams that their routes lead to: made from the configuration, and put to use.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config;
use crate::net::Listener;
use crate::proxy::edge::{ConnectionsByAddress, Edge, EdgeRules, Route};
use crate::proxy::upstream::{Target, Upstream};
use crate::proxy::{Direction, ListenerContext};
use crate::tls::{Acceptor, Connector, PreparedClient, PreparedServer, Presents};

use super::listeners::{Bound, Listeners, Making, Running, drain, install_one, retain, upstream};

/// What the edge listeners of a configuration need beyond what runs.
#[derive(Default)]
pub(super) struct PreparedEdges {
    edges: Vec<PreparedEdge>,
    /// Those that stay as they are, but for certificate and rules.
    kept: Vec<(String, PreparedServer, Arc<EdgeRules>)>,
    upstreams: HashMap<String, (config::Upstream, Arc<Upstream>)>,
    clients: Vec<(String, PreparedClient)>,
}

struct PreparedEdge {
    config: config::Edge,
    service: Arc<Edge>,
    rules: Arc<EdgeRules>,
    listener: Option<Arc<Listener>>,
}

impl Listeners {
    /// Makes what edge listeners need. Nothing of it is used yet.
    pub(super) fn prepare_edges(&self, making: &Making<'_>, bound: &mut Bound) -> Result<PreparedEdges, rustls::Error> {
        let mut prepared = PreparedEdges::default();
        for config in &making.config.upstream {
            let name = &config.name.value;
            let upstream = match self.upstreams.get(name) {
                Some((before, upstream)) if before == config && !making.all => {
                    if let Some(connector) = upstream.connector() {
                        prepared.clients.push((name.clone(), connector.prepare(making.material)?));
                    }
                    Arc::clone(upstream)
                }
                _ => peer(making, config)?,
            };
            prepared.upstreams.insert(name.clone(), (config.clone(), upstream));
        }
        for config in &making.config.edge {
            let name = &config.name.value;
            let running = self.edge.get(name);
            let rules = rules(making, config, &prepared.upstreams, running);
            let presents = presents(making, config)?;
            match running {
                Some(running) if running.config == *config && !making.all => {
                    let server = running.service.load().acceptor.prepare_presenting(making.material, &presents)?;
                    prepared.kept.push((name.clone(), server, rules));
                }
                running => {
                    let service = edge(making, config, running, &rules, presents)?;
                    let listener = bound.remove(name);
                    prepared.edges.push(PreparedEdge { config: config.clone(), service, rules, listener });
                }
            }
        }
        Ok(prepared)
    }

    /// Puts what was prepared to use. It cannot fail.
    pub(super) fn install_edges(&mut self, prepared: PreparedEdges, making: &Making<'_>) {
        for (name, client) in prepared.clients {
            if let Some(connector) = self.upstreams[&name].1.connector() {
                connector.install(client);
            }
        }
        let connections = &making.shared.connections;
        for (name, (_, before)) in &self.upstreams {
            if prepared.upstreams.get(name).is_none_or(|(_, upstream)| !Arc::ptr_eq(upstream, before)) {
                drain(name, connections, |_| true);
            }
        }
        self.upstreams = prepared.upstreams;
        for (name, server, rules) in prepared.kept {
            let service = self.edge[&name].service.load();
            service.acceptor.install(server);
            service.rules.store(rules);
        }
        retain(&mut self.edge, |name| making.config.edge.iter().any(|kept| kept.name.value == name), connections);
        for PreparedEdge { config, service, rules, listener } in prepared.edges {
            service.rules.store(rules);
            let name = config.name.value.clone();
            install_one(&mut self.edge, &name, config, service, listener, making, |slot, arrival, stop| {
                slot.load_full().serve(arrival, stop)
            });
        }
    }
}

/// The upstreams that the routes of a listener lead to, for people.
pub(super) fn targets_of(config: &config::Edge) -> String {
    let mut targets: Vec<&str> = Vec::new();
    for route in &config.routes {
        if !targets.contains(&route.upstream.value.as_str()) {
            targets.push(&route.upstream.value);
        }
    }
    targets.join(", ")
}

/// An upstream bears its own name: its connections are on the list under it.
fn peer(making: &Making<'_>, config: &config::Upstream) -> Result<Arc<Upstream>, rustls::Error> {
    let metrics = making.metrics.listener(&config.name.value, Direction::Outbound);
    let context = ListenerContext::new(&config.name.value, Direction::Outbound, metrics, &making.shared);
    let min_version = making.config.tls.min_version;
    let connector = Connector::new(making.material, config.expect.clone(), config.server_name.as_deref(), min_version)?;
    let target = Target::Peer { endpoint: config.connect_to.value.clone(), connector, hop: config.hop };
    Ok(upstream(making, target, &context))
}

fn presents(making: &Making<'_>, config: &config::Edge) -> Result<Presents, rustls::Error> {
    let public = making.public.get(&config.name.value);
    let public = public.ok_or_else(|| rustls::Error::General("no public certificate".into()))?;
    Ok(Presents::Public(Arc::clone(&public.credential)))
}

fn rules(
    making: &Making<'_>,
    config: &config::Edge,
    upstreams: &HashMap<String, (config::Upstream, Arc<Upstream>)>,
    running: Option<&Running<config::Edge, Edge>>,
) -> Arc<EdgeRules> {
    let before = running.map(|running| running.service.load().rules.load_full());
    let routes = config.routes.iter().map(|route| {
        let (_, upstream) = &upstreams[&route.upstream.value];
        let before = before.as_ref().and_then(|before| before.route(&route.name.value));
        Arc::new(Route::new(route, config, Arc::clone(upstream), before))
    });
    let routes = routes.collect();
    Arc::new(EdgeRules::new(config, routes, making.issuers.clone(), before.as_deref()))
}

/// Live connections of a listener that ran before see its new rules at once, because they share the place that holds them.
fn edge(
    making: &Making<'_>,
    config: &config::Edge,
    running: Option<&Running<config::Edge, Edge>>,
    rules: &Arc<EdgeRules>,
    presents: Presents,
) -> Result<Arc<Edge>, rustls::Error> {
    let metrics = making.metrics.listener(&config.name.value, Direction::Edge);
    let context = ListenerContext::new(&config.name.value, Direction::Edge, metrics, &making.shared);
    let min_version = making.config.tls.min_version;
    let protocol = config::Protocol::Http;
    let acceptor = Acceptor::new(making.material, presents, config.client_auth, protocol, min_version)?;
    let (place, by_address) = match running.map(|running| running.service.load()) {
        Some(before) => (Arc::clone(&before.rules), Arc::clone(&before.by_address)),
        None => (Arc::new(ArcSwap::new(Arc::clone(rules))), Arc::new(ConnectionsByAddress::default())),
    };
    Ok(Arc::new(Edge { context: Arc::new(context), rules: place, acceptor, by_address }))
}
