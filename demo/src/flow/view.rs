//! A running flea market as a client sees it, and who else can be asked what happened.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::ClientConfig;
use serde_json::Value;
use url::Url;

use crate::client::{self, Get};
use crate::events::{self, Connection, Direction, OwnIdentity};
use crate::https::{Https, Token};
use crate::market::App;
use crate::pki::spiffe_id;
use crate::process::Process;

/// Where a flea market is reached, and whom it lets be asked.
pub(crate) struct View<'a> {
    /// What trusts the authority of the gateway and of the issuer.
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) gateway: Url,
    pub(crate) issuer: Url,
    pub(crate) user: String,
    pub(crate) password: String,
    /// The folder of the issuer's signing keys.
    pub(crate) keys: Option<PathBuf>,
    pub(crate) admins: Admins,
    /// Whose logs can be read.
    pub(crate) witnesses: Option<Witnesses<'a>>,
}

/// Those whose logs can be read, where everything runs on this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Witnesses<'a> {
    pub(crate) gateway: &'a Process,
    pub(crate) ad_service: &'a App,
    pub(crate) user_service: &'a App,
}

/// The admin listeners of the three sidecars, HOST:PORT, as far as they can be reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct Admins {
    pub(crate) gateway: Option<String>,
    pub(crate) ad_service: Option<String>,
    pub(crate) user_service: Option<String>,
}

/// What the three sidecars report at one moment.
#[derive(Debug)]
pub(crate) struct Sight {
    pub(crate) gateway: Option<Report>,
    pub(crate) ad_service: Option<Report>,
    pub(crate) user_service: Option<Report>,
}

/// What a sidecar reports of itself.
#[derive(Debug)]
pub(crate) struct Report(Value);

impl View<'_> {
    /// A new connection to the gateway.
    pub(crate) async fn visit(&self) -> anyhow::Result<Https> {
        Https::connect(&self.gateway, &self.tls).await
    }

    /// A token for the user with that address.
    pub(crate) async fn sign_in(&self, user: &str, password: &str) -> anyhow::Result<Token> {
        Https::connect(&self.issuer, &self.tls).await?.sign_in(user, password).await
    }

    /// Looks at every sidecar that can be asked.
    pub(crate) async fn look(&self) -> anyhow::Result<Sight> {
        let Admins { gateway, ad_service, user_service } = &self.admins;
        Ok(Sight {
            gateway: Report::of(gateway.as_deref()).await?,
            ad_service: Report::of(ad_service.as_deref()).await?,
            user_service: Report::of(user_service.as_deref()).await?,
        })
    }
}

impl Witnesses<'_> {
    /// Whether a request with that trace came through to a service.
    pub(crate) fn heard(&self, trace: &str) -> bool {
        self.ad_service.saw(trace) || self.user_service.saw(trace)
    }
}

impl Sight {
    /// How many requests of the gateway have come to `AdService`'s sidecar; `None` where it cannot be asked.
    pub(crate) fn requests_to_ads(&self) -> Option<u64> {
        self.ad_service.as_ref().map(|report| report.requests_of(&spiffe_id("gateway")))
    }
}

impl Report {
    async fn of(admin: Option<&str>) -> anyhow::Result<Option<Self>> {
        let Some(admin) = admin else { return Ok(None) };
        let (host, port) = admin.rsplit_once(':').with_context(|| format!("{admin} is not HOST:PORT"))?;
        let address = client::resolve(host, port.parse()?).await?;
        let answer = client::plain(address, &Get::new("/status")).await?.answer;
        match answer {
            Ok(answer) if answer.status.is_success() => Ok(Some(Self(serde_json::from_str(&answer.body)?))),
            Ok(answer) => bail!("the admin listener {admin} answered {}", answer.status),
            Err(reason) => bail!("the admin listener {admin} does not answer: {reason}"),
        }
    }

    /// The certificate that the sidecar holds.
    pub(crate) fn own(&self) -> anyhow::Result<OwnIdentity> {
        events::own_identity(&self.0).context("a sidecar names no identity of its own")
    }

    /// Its connections to the peer of that name.
    pub(crate) fn to(&self, peer: &str) -> Vec<Connection> {
        events::connections_with(&self.0, peer, Direction::Outbound)
    }

    /// Its connections from the peer of that name.
    pub(crate) fn from(&self, peer: &str) -> Vec<Connection> {
        events::connections_with(&self.0, peer, Direction::Inbound)
    }

    fn requests_of(&self, peer: &str) -> u64 {
        self.from(peer).iter().map(|connection| connection.requests).sum()
    }
}
