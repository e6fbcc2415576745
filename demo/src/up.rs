//! The flea market on this machine, started and left running: for people who want to try it, and for the tests.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::market::Market;
use crate::report::Teller;
use crate::{flow, mantlet_binary, pki};

/// What `flea-market up` takes from the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// Print where everything is as one line of JSON, instead of commands to try
    #[arg(long)]
    json: bool,
    /// No colours, not even on a terminal
    #[arg(long)]
    no_color: bool,
    /// The mantlet program to run, instead of the one built from this workspace
    #[arg(long, value_name = "PATH")]
    mantlet: Option<PathBuf>,
}

/// Starts everything in a temporary folder, and stops it at the first signal.
pub(crate) async fn run(args: UpArgs) -> anyhow::Result<()> {
    let teller = Teller::new(args.no_color, args.json);
    let mantlet = mantlet_binary::find_or_build(args.mantlet).await?;
    let folder = tempfile::Builder::new().prefix("flea-market-").tempdir()?;
    let mut signals = Signals::install()?;
    // A signal drops what was begun, and with it every process that was started.
    let mut market = tokio::select! {
        market = start(&teller, &mantlet, folder.path()) => market?,
        name = signals.next() => bail!("stopped by {name}"),
    };
    if args.json {
        println!("{}", market.whereabouts());
    }
    invite(&market, &teller);
    signals.next().await;
    let bad_ends = market.stop().await;
    if bad_ends.is_empty() { Ok(()) } else { bail!("{}", bad_ends.join("; ")) }
}

/// Makes the PKI and starts everything, and tells of it.
pub(crate) async fn start(teller: &Teller, mantlet: &Path, folder: &Path) -> anyhow::Result<Market> {
    let pki = pki::create(mantlet, folder).await.context("the PKI is not made")?;
    teller.note(&format!("A closed PKI for spiffe://{}, made with mantlet ca.", pki::TRUST_DOMAIN));
    let market = Market::start(mantlet, pki, folder).await?;
    introduce(&market, teller, folder);
    Ok(market)
}

fn introduce(market: &Market, teller: &Teller, folder: &Path) {
    let Market { ad_service, user_service, issuer, edge, .. } = market;
    teller.note(&format!(
        "UserService on {}, plain HTTP; its sidecar on {}.",
        user_service.app.address, user_service.inbound
    ));
    teller
        .note(&format!("AdService on {}, plain HTTP; its sidecar on {}.", ad_service.app.address, ad_service.inbound));
    teller.note(&format!("The token issuer on {}, HTTPS.", issuer.address));
    teller.note(&format!("The gateway on {edge}, HTTPS for the public."));
    teller.note(&format!("Configuration, certificates and logs: {}", folder.display()));
}

/// Tells what to try.
pub(crate) fn invite(market: &Market, teller: &Teller) {
    let pki = &market.pki;
    let (ca, public_ca) = (pki.anchor.display(), pki.public_anchor.display());
    let (edge, issuer, ads) = (market.edge.port(), market.issuer.address.port(), market.ad_service.inbound.port());
    let (certificate, key) = (pki.gateway.certificate.display(), pki.gateway.private_key.display());
    let users = market.user_service.inbound.port();
    let target = flow::TARGET;
    teller.heading("Try it yourself");
    for (what, command) in [
        (
            "the page for people; your browser has to be told to trust this authority",
            format!("https://localhost:{edge}/  ({public_ca})"),
        ),
        (
            "a token",
            format!(
                "TOKEN=$(curl -s --cacert {public_ca} -d user=anneke@example.org -d password=market-anneke \
                 https://localhost:{issuer}/token | sed 's/.*access_token\":\"\\([^\"]*\\).*/\\1/')"
            ),
        ),
        (
            "through the gateway with it",
            format!("curl --cacert {public_ca} -H \"Authorization: Bearer $TOKEN\" 'https://localhost:{edge}{target}'"),
        ),
        ("and without it", format!("curl -i --cacert {public_ca} 'https://localhost:{edge}{target}'")),
        (
            "AdService directly, as the gateway",
            format!("curl --cacert {ca} --cert {certificate} --key {key} 'https://localhost:{ads}{target}'"),
        ),
        ("without a certificate", format!("curl --cacert {ca} 'https://localhost:{ads}{target}'")),
        (
            "UserService, which the gateway may not call",
            format!(
                "curl -i --cacert {ca} --cert {certificate} --key {key} 'https://localhost:{users}/users/preview?id=anneke'"
            ),
        ),
        ("what the gateway says", format!("curl http://{}/status", market.gateway.admin())),
        ("its figures", format!("curl http://{}/metrics", market.gateway.admin())),
    ] {
        teller.note(&format!("# {what}"));
        teller.note(&format!("{command}\n"));
    }
    teller.note("Ctrl-C stops everything.");
}

/// What tells this program to stop.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn install() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them, and names it.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "Ctrl-C",
        }
    }
}
