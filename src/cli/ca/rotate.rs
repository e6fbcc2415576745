//! `mantlet ca rotate`: a new generation of the authority's keys takes over.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::ca::{Authority, IssuerId, RotationStatus, RotationStep, Tier, Timestamp};
use crate::cli::output::print_json;

use super::place::Place;
use super::{Actor, Algorithm};

/// Replace the authority's own keys, step by step, while everything runs
///
/// First "start" publishes a new trust anchor beside the old one. Once every peer has it, "switch" has the new keys issue, and
/// services renew by themselves. Once no certificate of the old keys is valid any more, "retire" withdraws the old anchor.
/// "status" says which step is next, and what it waits for.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  mantlet ca rotate start  --dir ca
  mantlet ca rotate status --dir ca
  mantlet ca rotate switch --dir ca
  mantlet ca rotate retire --dir ca")]
pub(super) struct Rotate {
    #[command(subcommand)]
    step: Step,
}

#[derive(clap::Subcommand)]
enum Step {
    /// Make new keys, and publish the new trust anchor beside the old one
    Start {
        #[command(flatten)]
        common: Common,
        /// How long the new certificates of the authority are valid
        #[arg(long, value_name = "DURATION", default_value = "3650d", value_parser = humantime::parse_duration)]
        ttl: Duration,
        /// Kind of the new keys
        #[arg(long, value_enum, default_value_t)]
        algorithm: Algorithm,
    },
    /// Have the new keys issue
    Switch {
        #[command(flatten)]
        common: Common,
    },
    /// Withdraw the old trust anchor
    Retire {
        #[command(flatten)]
        common: Common,
        /// Also while certificates of the old keys are valid: peers refuse these from then on
        #[arg(long)]
        unsafe_cut: bool,
    },
    /// Say how far it is, and what is next
    Status {
        #[command(flatten)]
        common: Common,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct Common {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    actor: Actor,
}

pub(super) async fn rotate(args: Rotate) -> anyhow::Result<()> {
    let (common, json) = match &args.step {
        Step::Start { common, .. } | Step::Switch { common } | Step::Retire { common, .. } => (common, false),
        Step::Status { common, json } => (common, *json),
    };
    let authority = common.place.open().await?;
    let _lock = authority.lock_files()?;
    let (actor, now) = (common.actor.name(), Timestamp::now());
    let status = match &args.step {
        Step::Start { ttl, algorithm, .. } => authority.rotate_start(*ttl, (*algorithm).into(), &actor, now).await?,
        Step::Switch { .. } => authority.rotate_switch(&actor, now).await?,
        Step::Retire { unsafe_cut, .. } => authority.rotate_retire(*unsafe_cut, &actor, now).await?,
        Step::Status { .. } => authority.rotation(now).await?,
    };
    if json {
        return print_json(&document(&status));
    }
    print_status(&authority, &status, common.place.dir())
}

fn document(status: &RotationStatus) -> serde_json::Value {
    let step = match status.step {
        RotationStep::None => "none",
        RotationStep::Published => "published",
        RotationStep::Switched => "switched",
    };
    json!({
        "step": step,
        "oldest_generation": status.oldest,
        "issuing_generation": status.issuing,
        "newest_generation": status.newest,
        "certificates_of_old": status.certificates_of_old,
        "old_ends": status.old_ends.map(|ends| ends.to_string()),
    })
}

fn print_status(authority: &Authority, status: &RotationStatus, dir: &Path) -> anyhow::Result<()> {
    let (dir, anchors) = (dir.display(), authority.anchors_file());
    let RotationStatus { oldest, issuing, newest, certificates_of_old: left, .. } = *status;
    match status.step {
        RotationStep::None => {
            say!("no rotation is on its way: generation {issuing} issues, and its anchor alone is published")?;
            say!("next: mantlet ca rotate start --dir {dir}, a while before the anchor ends")?;
        }
        RotationStep::Published => {
            say!(
                "step 1 of 3: the anchors of generations {oldest} to {newest} are published, generation {issuing} issues"
            )?;
            let root = IssuerId { generation: newest, tier: Tier::Root };
            say!("  anchors       {}  (both; enrolled services fetch them by themselves)", anchors.display())?;
            say!("  new root key  {}  (keep it secret)", authority.key_file(root).display())?;
            say!("Copy the new files in {dir} to every replica of the authority.")?;
            say!(
                "next: once every peer has the new anchor, those with files included, mantlet ca rotate switch --dir {dir}"
            )?;
        }
        RotationStep::Switched => {
            say!(
                "step 2 of 3: generation {newest} issues, and the anchors of generations {oldest} to {newest} are published"
            )?;
            if let Some(ends) = status.old_ends {
                say!("  of old keys   {left} certificates are valid still, the last until {ends}")?;
                say!("next: wait for them to be renewed or to end, then mantlet ca rotate retire --dir {dir}")?;
            } else {
                say!("  of old keys   no certificate is valid any more")?;
                say!("next: mantlet ca rotate retire --dir {dir}")?;
            }
        }
    }
    Ok(())
}
