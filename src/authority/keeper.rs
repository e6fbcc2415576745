//! The one task that keeps what is published up to date: it watches the store, signs CRLs, and renews the server's own certificate.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::ca::{
    Authority, CaError, Credential, CrlOptions, DnsName, IssuerId, StoreState, Timestamp, UnlistedRevocation, chain,
};
use crate::config::AuthorityConfig;
use crate::net::{Address, Host};
use crate::tls::UnjudgedAcceptor;

use super::published::Published;
use super::{ServeError, Server, now};

/// How often the store is asked whether another process has changed it.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is looked whether time alone has made something due.
const TICK: Duration = Duration::from_secs(5);
/// How long the server's own certificate is valid; it is renewed at half of it.
const SERVER_TTL: Duration = Duration::from_secs(7 * 86_400);
const ACTOR: &str = "server";
/// Why there is no certificate of the server's own, and what to do.
pub(super) const REVOKED: &str =
    "the certificate that issues is revoked; rotate the authority with \"mantlet ca rotate\"";

/// The task.
pub(super) struct Keeper {
    publish: watch::Sender<Arc<Published>>,
    options: CrlOptions,
    /// What the store said when it was last looked through.
    seen: Watched,
    /// Absent where the key that issues may not.
    own: Option<Own>,
    /// What was said last to be wrong, so that it is said once.
    fault: Option<String>,
}

/// The counters of the store that something published depends on.
#[derive(Debug, PartialEq, Eq)]
struct Watched([i64; 4]);

impl Watched {
    fn of(state: &StoreState) -> Self {
        Self([state.revoked_version, state.crls_version, state.anchors_version, state.entities_version])
    }
}

/// What a look found.
enum Outcome {
    /// Nothing was tried.
    Unknown,
    /// Everything that was tried went well.
    Good,
}

/// The server's own certificate.
struct Own {
    issuer: IssuerId,
    renew_at: Timestamp,
}

impl Keeper {
    /// Signs what is due, and gives what is published and the server's first certificate.
    pub(super) async fn start(
        config: &AuthorityConfig,
        authority: &Authority,
    ) -> Result<(Self, watch::Receiver<Arc<Published>>, Option<UnjudgedAcceptor>), ServeError> {
        let settings = &config.authority;
        let options = CrlOptions { next_update: settings.next_update, root_next_update: settings.root_next_update };
        let due = authority.sign_due_crls(&options, ACTOR, now()).await?;
        tell_unlisted(&due.unlisted);
        let published = Arc::new(publish(authority, due.unlisted).await?);
        let (own, acceptor) = own(config, authority).await?.unzip();
        if own.is_none() {
            error!("no service can enrol: {REVOKED}");
        }
        let seen = Watched::of(&published.state);
        let (publish, receiver) = watch::channel(published);
        let mut keeper = Self { publish, options, seen, own, fault: None };
        keeper.tell(outcome_of(due.failed));
        Ok((keeper, receiver, acceptor))
    }

    /// Goes on until it is dropped.
    pub(super) async fn run(mut self, server: &Server) {
        let mut changes = server.authority.store().changes();
        let mut ticked = Instant::now();
        loop {
            tokio::select! {
                // The store that sends them is held by the server.
                _ = changes.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            let tick = ticked.elapsed() >= TICK;
            if tick {
                ticked = Instant::now();
            }
            let outcome = self.look(server, tick).await;
            self.tell(outcome);
        }
    }

    /// Brings what is published and the server's own certificate up to date. A key that does not open is told of once the rest is done.
    async fn look(&mut self, server: &Server, tick: bool) -> Result<Outcome, ServeError> {
        let authority = &server.authority;
        let state = authority.store().state().await?;
        // Most changes are enrolments, which nothing published depends on.
        let found = Watched::of(&state);
        if found == self.seen && !tick {
            return Ok(Outcome::Unknown);
        }
        let due = authority.sign_due_crls(&self.options, ACTOR, now()).await?;
        let (shown, other_unlisted) = {
            let published = self.publish.borrow();
            (published.state.clone(), published.unlisted != due.unlisted)
        };
        if other_unlisted {
            tell_unlisted(&due.unlisted);
        }
        let state = authority.store().state().await?;
        let other_files = (shown.crls_version, shown.anchors_version) != (state.crls_version, state.anchors_version);
        if other_files
            || other_unlisted
            || shown.entities_version != state.entities_version
            || shown.revoked_version != state.revoked_version
        {
            self.publish.send_replace(Arc::new(publish(authority, due.unlisted).await?));
        }
        for signed in due.signed {
            server.metrics.crls_signed.inc();
            info!(
                issuer = %signed.record.issuer,
                number = signed.record.number,
                delta_since = signed.record.base_number,
                entries = signed.entries,
                next_update = %signed.record.next_update,
                "CRL signed"
            );
        }
        let issuing = authority.issuers().await?.issuing();
        let is_good = self.own.as_ref().is_some_and(|own| own.issuer == issuing && own.renew_at > now());
        if !is_good && let Some((own, acceptor)) = own(&server.config, authority).await? {
            self.own = Some(own);
            server.acceptor.store(Some(Arc::new(acceptor)));
            info!("the server's own certificate was renewed");
        }
        // What came meanwhile, our own CRLs included, is news to the next look; a CRL's key that does not open is tried again at a tick.
        self.seen = found;
        outcome_of(due.failed)
    }

    /// Says what is wrong once, and that it is over.
    fn tell(&mut self, outcome: Result<Outcome, ServeError>) {
        match (outcome, &self.fault) {
            (Ok(Outcome::Unknown), _) | (Ok(Outcome::Good), None) => {}
            (Ok(Outcome::Good), Some(_)) => {
                info!("the store and the keys are usable again");
                self.fault = None;
            }
            (Err(fault), told) => {
                let text = chain(&fault);
                if told.as_ref() != Some(&text) {
                    if matches!(fault, ServeError::Authority(CaError::StoreBusy { .. })) {
                        warn!("{text}");
                    } else {
                        error!("{text}");
                    }
                    self.fault = Some(text);
                }
            }
        }
    }
}

async fn publish(authority: &Authority, unlisted: Vec<UnlistedRevocation>) -> Result<Published, CaError> {
    let issuers = authority.issuers().await?;
    Ok(Published::new(&issuers, authority.crls().await?, unlisted))
}

/// The first key that does not sign what is due.
fn outcome_of(failed: Vec<CaError>) -> Result<Outcome, ServeError> {
    match failed.into_iter().next() {
        Some(fault) => Err(fault.into()),
        None => Ok(Outcome::Good),
    }
}

fn tell_unlisted(unlisted: &[UnlistedRevocation]) {
    for UnlistedRevocation { issuer, serial, key, fault } in unlisted {
        let why = match fault {
            None => "is kept elsewhere; bring the key back for a while",
            Some(_) => "cannot be used; mend what the fault says",
        };
        let (key, fault) = (key.display(), fault.as_deref());
        error!(%issuer, %serial, %key, fault, "a revocation is on no CRL, for the key that signs it {why}");
    }
}

/// Issues the server's own certificate; none where that of the issuer is revoked. What says so, the CRL, is served all the same.
async fn own(config: &AuthorityConfig, authority: &Authority) -> Result<Option<(Own, UnjudgedAcceptor)>, ServeError> {
    let (dns, ip) = names(config);
    let spiffe = authority.store().trust_domain().member("ca").map_err(CaError::from)?;
    let credential: Credential = match authority.issue_server(&spiffe, &dns, &ip, SERVER_TTL, now()).await {
        Err(CaError::IssuerRevoked { .. }) => return Ok(None),
        issued => issued?,
    };
    let certificate = &credential.certificate;
    let half = certificate.not_after.to_system().duration_since(now().to_system()).unwrap_or_default() / 2;
    let own = Own { issuer: certificate.issuer, renew_at: now().saturating_add(half) };
    Ok(Some((own, UnjudgedAcceptor::new(credential.chain_pem(), credential.key_pem())?)))
}

fn names(config: &AuthorityConfig) -> (Vec<DnsName>, Vec<IpAddr>) {
    let listen = match &config.authority.listen.value {
        Address::Tcp(address) if !address.ip().is_unspecified() => Some(address.ip()),
        _ => None,
    };
    let by_default = || {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let dns = ["ca".to_owned(), "localhost".to_owned(), host].map(Host::Dns);
        let ip = [Some(IpAddr::from([127, 0, 0, 1])), "::1".parse().ok(), listen].into_iter().flatten().map(Host::Ip);
        dns.into_iter().chain(ip).collect()
    };
    let (mut dns, mut ip): (Vec<DnsName>, Vec<IpAddr>) = (Vec::new(), Vec::new());
    for name in config.authority.names.clone().unwrap_or_else(by_default) {
        match name {
            // A host's name that no certificate can carry is left out.
            Host::Dns(name) => dns.extend(name.parse::<DnsName>().ok().filter(|name| !dns.contains(name))),
            Host::Ip(address) => {
                if !ip.contains(&address) {
                    ip.push(address);
                }
            }
        }
    }
    (dns, ip)
}
