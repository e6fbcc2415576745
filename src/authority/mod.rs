//! The authority as a service: enrolment over TLS (EST, RFC 7030), CRLs and anchors over HTTP, and word of changes.
//!
//! What is issued, and to whom, is decided in `ca`. One task, the `keeper`, signs CRLs when they are due and publishes what the
//! listeners show; these change nothing but by asking `ca` to enrol somebody.

mod admin;
mod answer;
mod cms;
mod connection;
mod est;
mod events;
mod files;
mod keeper;
mod metrics;
mod published;
mod rates;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::ca::{Authority, CaError, RevocationPointers, StorePlace, Timestamp};
use crate::config::{AuthorityConfig, StoreSetting};
use crate::net::{Address, Arrival, BindError, Listener, Workers};
use crate::tls::UnjudgedAcceptor;

use keeper::Keeper;
use metrics::Metrics;
use published::Published;
use rates::Rates;

/// How long requests in flight may take at a shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// Why the authority does not start.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The authority, its store or its keys.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// An address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The TLS library.
    #[error("the TLS library refuses the server's certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// The system gives no threads, signals or event queue.
    #[error("the system refuses what a start needs: {0}")]
    System(#[from] std::io::Error),
}

/// What the listeners share.
struct Server {
    config: AuthorityConfig,
    authority: Authority,
    published: watch::Receiver<Arc<Published>>,
    /// Absent where no certificate can be issued for the server itself.
    acceptor: ArcSwapOption<UnjudgedAcceptor>,
    rates: Rates,
    metrics: Metrics,
    stop: CancellationToken,
}

/// Opens the authority and serves it until a signal ends the process.
///
/// # Errors
/// Why it does not start.
pub fn run(file: &Path, config: AuthorityConfig) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(file, config))
}

async fn serve(file: &Path, config: AuthorityConfig) -> Result<(), ServeError> {
    let mut signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let authority = open(&config).await?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (keeper, published, acceptor) = Keeper::start(&config, &authority).await?;
    let (listen, crl_listen) = (config.authority.listen.value.clone(), config.authority.crl_listen.clone());
    let est = Arc::new(Listener::bind(&listen)?);
    let crls = crl_listen.map(|listen| Listener::bind(&listen.value)).transpose()?.map(Arc::new);
    let admin = config.admin.as_ref().map(|admin| Listener::bind(&admin.listen.value)).transpose()?;
    let workers = Workers::start(config.runtime.workers)?;
    let server = Arc::new(Server {
        rates: Rates::new(&config.limits),
        config,
        authority,
        published,
        acceptor: ArcSwapOption::from_pointee(acceptor),
        metrics,
        stop: CancellationToken::new(),
    });

    let connections = TaskTracker::new();
    start_listening("est", &est, &workers, &server, &connections, connection::serve_est);
    if let Some(crls) = &crls {
        start_listening("crl", crls, &workers, &server, &connections, connection::serve_files);
    }
    if let Some(listener) = admin {
        announce("admin", listener.address());
        tokio::spawn(admin::serve(listener, Arc::clone(&server), registry));
    }
    info!(
        config = %file.display(),
        version = env!("CARGO_PKG_VERSION"),
        trust_domain = server.authority.store().trust_domain().as_str(),
        store = %server.authority.store().place(),
        "started"
    );
    let [terminate, interrupt] = &mut signals;
    tokio::select! {
        () = keeper.run(&server) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!(connections = connections.len(), "shutting down");
    server.stop.cancel();
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        warn!(connections = connections.len(), "the drain timeout has passed; what is left is cut");
    }
    drop(workers);
    server.authority.store().close().await;
    info!("ended");
    Ok(())
}

/// Opens the authority with the store that the configuration names.
async fn open(config: &AuthorityConfig) -> Result<Authority, CaError> {
    let settings = &config.authority;
    let authority = match &settings.store {
        StoreSetting::Postgres(url) => Authority::open_with_postgres(&settings.dir, url).await?,
        StoreSetting::Sqlite => Authority::open(&settings.dir).await?,
    };
    let mut authority = authority.with_passphrase_file(settings.passphrase_file.clone());
    for warning in authority.take_warnings() {
        warn!("{warning}");
    }
    if let (StoreSetting::Sqlite, StorePlace::Postgres(url)) = (&settings.store, authority.store().place()) {
        let (used, given) = (url.to_string(), "sqlite".to_owned());
        return Err(CaError::StoreElsewhere { directory: settings.dir.clone(), used, given });
    }
    authority.store().examine().await?;
    let pointers = RevocationPointers {
        distribution_point: settings.distribution_point.clone(),
        no_revocation_below: settings.no_revocation_below,
        delta_next_update: settings.delta_next_update,
    };
    authority.set_revocation_pointers(&pointers).await?;
    authority.check_issuing_key().await?;
    Ok(authority)
}

fn start_listening<F>(
    name: &'static str,
    listener: &Arc<Listener>,
    workers: &Workers,
    server: &Arc<Server>,
    connections: &TaskTracker,
    serve: fn(Arrival, Arc<Server>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    announce(name, listener.address());
    let limit = Arc::new(Semaphore::new(server.config.limits.max_connections));
    let (stop, server, connections) = (server.stop.clone(), Arc::clone(server), connections.clone());
    Arc::clone(listener).accept_on(workers, &limit, &stop, move |arrival| {
        connections.track_future(serve(arrival, Arc::clone(&server)))
    });
}

fn announce(name: &'static str, address: &Address) {
    info!(listener = name, %address, "listening");
}

/// The present second.
fn now() -> Timestamp {
    Timestamp::now()
}
