//! What the flea market in containers needs beside its services: its PKI, those who attack it from a container of their own, and
//! those who use it all the time.

mod attacks;
mod enrolment_attacks;
mod load;
mod pki;
mod sniffer;
mod stolen_key;

use clap::Subcommand;

/// What one container does.
#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    Pki(pki::Args),
    Attacks(attacks::Args),
    StolenKey(stolen_key::Args),
    Sniff(sniffer::Args),
    Load(load::Args),
}

/// Does it, and tells whether everything was as it should be.
pub(crate) async fn run(part: Part) -> anyhow::Result<bool> {
    match part {
        Part::Pki(args) => pki::run(&args).await.map(|()| true),
        Part::Attacks(args) => attacks::run(&args).await,
        Part::StolenKey(args) => stolen_key::run(&args).await,
        Part::Sniff(args) => sniffer::run(&args).await,
        Part::Load(args) => load::run(&args).await,
    }
}
