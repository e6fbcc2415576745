//! Whom the engine follows: an authority, or a SPIFFE agent.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;

use crate::x509::{GivenMaterial, RevocationLists};

use super::plan::Plan;
use super::{Absorbed, Brought, EnrolmentStatus, Finished};

/// The plan of one source of identity.
#[derive(Debug)]
pub(super) enum Following {
    /// With an authority.
    Authority(Box<Plan>),
    /// With a SPIFFE agent.
    #[cfg(feature = "spiffe")]
    Agent(Box<super::workload::Plan>),
}

impl Following {
    /// Which plan it is; absent before it is followed.
    pub(super) fn generation(&self) -> Option<u64> {
        match self {
            Self::Authority(plan) => plan.generation,
            #[cfg(feature = "spiffe")]
            Self::Agent(plan) => plan.generation,
        }
    }

    pub(super) fn follow_as(&mut self, generation: u64) {
        match self {
            Self::Authority(plan) => plan.generation = Some(generation),
            #[cfg(feature = "spiffe")]
            Self::Agent(plan) => plan.generation = Some(generation),
        }
    }

    /// Why there is no certificate that can be used.
    pub(super) fn missing(&self) -> Option<&str> {
        match self {
            Self::Authority(plan) => plan.missing.as_deref(),
            #[cfg(feature = "spiffe")]
            Self::Agent(plan) => plan.missing(),
        }
    }

    /// What an agent gave.
    pub(super) fn given(&self) -> Option<&Arc<GivenMaterial>> {
        match self {
            Self::Authority(_) => None,
            #[cfg(feature = "spiffe")]
            Self::Agent(plan) => plan.given(),
        }
    }

    pub(super) fn take_over(&mut self, before: Self, now: SystemTime) {
        match (self, before) {
            (Self::Authority(plan), Self::Authority(before)) => plan.take_over(*before, now),
            #[cfg(feature = "spiffe")]
            (Self::Agent(plan), Self::Agent(before)) => plan.take_over(*before, now),
            #[cfg(feature = "spiffe")]
            _ => {}
        }
    }

    pub(super) fn schedule(&mut self, random: &mut fastrand::Rng, now: SystemTime) {
        match self {
            Self::Authority(plan) => plan.schedule(random, now),
            #[cfg(feature = "spiffe")]
            Self::Agent(plan) => plan.schedule(now),
        }
    }

    pub(super) fn hurry(&mut self, now: SystemTime) {
        match self {
            Self::Authority(plan) => plan.hurry(now),
            #[cfg(feature = "spiffe")]
            Self::Agent(plan) => plan.hurry(now),
        }
    }

    /// The clock of an agent is ours.
    pub(super) fn note_skew(&mut self, skew: Option<i64>) -> bool {
        match self {
            Self::Authority(plan) => plan.note_skew(skew),
            #[cfg(feature = "spiffe")]
            Self::Agent(_) => false,
        }
    }

    pub(super) fn absorb(
        &mut self,
        brought: Brought,
        lists: &Arc<RevocationLists>,
        random: &mut fastrand::Rng,
        now: SystemTime,
    ) -> Absorbed {
        match self {
            Self::Authority(plan) => plan.absorb(brought, lists, random, now),
            #[cfg(feature = "spiffe")]
            Self::Agent(plan) => plan.absorb(brought, lists, random, now),
        }
    }

    pub(super) fn tell_stage(&mut self, now: SystemTime) -> bool {
        match self {
            Self::Authority(plan) => plan.tell_stage(now),
            #[cfg(feature = "spiffe")]
            Self::Agent(plan) => plan.tell_stage(now),
        }
    }

    pub(super) fn ask(
        &mut self,
        lists: &Arc<RevocationLists>,
        tell: &mpsc::Sender<Finished>,
        random: &mut fastrand::Rng,
        now: SystemTime,
    ) -> bool {
        match self {
            Self::Authority(plan) => plan.ask(lists, tell, random, now),
            #[cfg(feature = "spiffe")]
            Self::Agent(plan) => plan.ask(tell, now),
        }
    }

    pub(super) fn status(&self, now: SystemTime) -> EnrolmentStatus {
        match self {
            Self::Authority(plan) => plan.status(now),
            #[cfg(feature = "spiffe")]
            Self::Agent(plan) => plan.status(now),
        }
    }
}
