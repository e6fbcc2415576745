//! The flow: a client with a token, the gateway, `AdService`, `UserService`, and back, in eight steps. Each is told from what
//! the client sees, from what the sidecars report at `/status`, and from what the services say.

mod steps;
mod view;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::builder::NonEmptyStringValueParser;
use url::Url;

use crate::report::{Story, Teller};
use crate::{attacks, client};

pub(crate) use self::view::{Admins, View, Witnesses};

/// Ads within a few kilometres of Alexanderplatz in Berlin.
pub(crate) const TARGET: &str = "/ads?lat=52.5219&lon=13.4132&radius_km=5";

/// What `flea-market flow` takes from the command line: where a running flea market is reached, and what may be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct FlowArgs {
    /// The gateway, as clients reach it
    #[arg(long, env = "GATEWAY", default_value = "https://localhost:8443", value_name = "URL")]
    gateway: Url,
    /// The token issuer, as clients reach it
    #[arg(long, env = "TOKEN_ISSUER", default_value = "https://localhost:8445", value_name = "URL")]
    issuer: Url,
    /// PEM file of the authority that both of them have their certificates from
    #[arg(long, env = "CA", value_name = "FILE")]
    ca: PathBuf,
    /// Who signs in
    #[arg(long, env = "MARKET_USER", default_value = "anneke@example.org")]
    user: String,
    /// With which password
    #[arg(long, env = "MARKET_PASSWORD", default_value = "market-anneke", hide_env_values = true)]
    password: String,
    /// Admin listener of the gateway; what it is not asked, it cannot tell
    #[arg(long, env = "GATEWAY_ADMIN", value_name = "HOST:PORT", value_parser = NonEmptyStringValueParser::new())]
    gateway_admin: Option<String>,
    /// Admin listener of `AdService`'s sidecar
    #[arg(long, env = "ADSERVICE_ADMIN", value_name = "HOST:PORT", value_parser = NonEmptyStringValueParser::new())]
    adservice_admin: Option<String>,
    /// Admin listener of `UserService`'s sidecar
    #[arg(long, env = "USERSERVICE_ADMIN", value_name = "HOST:PORT", value_parser = NonEmptyStringValueParser::new())]
    userservice_admin: Option<String>,
    /// Attack the gateway from outside as well
    #[arg(long)]
    attacks: bool,
    /// The issuer's folder of signing keys, for attacks with tokens that only its keys can make
    #[arg(long, env = "KEYS", value_name = "FOLDER")]
    keys: Option<PathBuf>,
    /// Print the result as JSON instead of the story
    #[arg(long)]
    json: bool,
    /// No colours, not even on a terminal
    #[arg(long)]
    no_color: bool,
}

/// Tells the flow through a flea market that runs already, and whether it went as it should.
pub(crate) async fn run(args: FlowArgs) -> anyhow::Result<bool> {
    let teller = Teller::new(args.no_color, args.json);
    let admins =
        Admins { gateway: args.gateway_admin, ad_service: args.adservice_admin, user_service: args.userservice_admin };
    let view = View {
        tls: client::tls_trusting(&args.ca, None)?,
        gateway: args.gateway,
        issuer: args.issuer,
        user: args.user,
        password: args.password,
        keys: args.keys,
        admins,
        witnesses: None,
    };
    let mut story = Story::default();
    teller.heading(HEADING);
    let told = async {
        tell(&view, &teller, &mut story).await?;
        if args.attacks {
            teller.heading("The attacks from outside");
            attacks::tell_from_outside(&view, &teller, &mut story).await?;
        }
        anyhow::Ok(())
    };
    story.ended_by = told.await.err().map(|error| format!("{error:#}"));
    story.passed = story.problems().is_empty();
    teller.summary(&story);
    for problem in story.problems() {
        teller.problem(&problem);
    }
    if args.json {
        Teller::json(&story)?;
    }
    Ok(story.passed)
}

/// What the story of the flow is called.
pub(crate) const HEADING: &str = "The flow: somebody looks for ads near Alexanderplatz";

/// Goes through the eight steps, and adds them and the answer to the story.
pub(crate) async fn tell(view: &View<'_>, teller: &Teller, story: &mut Story) -> anyhow::Result<()> {
    let (steps, ads) = steps::take(view).await.context("the flow did not come to its end")?;
    for (index, step) in steps.iter().enumerate() {
        teller.step(index + 1, step);
    }
    teller.answer(&ads);
    story.steps = steps;
    story.answer = Some(ads);
    Ok(())
}
