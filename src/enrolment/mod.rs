//! Enrolment: an authority certifies a key of ours, again before each certificate ends, and tells us at once what changes; or a
//! SPIFFE agent on this machine gives us key and certificate.
//!
//! One task owns the [`Engine`]. It asks the authority in the background (EST, RFC 7030) and keeps what came in a folder, or hears
//! what the agent gives (SPIFFE Workload API) and keeps it in memory. It judges that as it will be used, and says that there is
//! something new to take up. Time is a parameter of everything that judges by it, and what is asked reports through a channel and
//! changes nothing itself.
//!
//! Taking up what is new is left to `app`, and finding CRLs to `revocation`.

mod attempt;
mod certs_only;
mod exchange;
mod failure;
mod follow;
mod plan;
mod preparing;
mod push;
mod schedule;
mod session;
mod state;
mod status;
#[cfg(feature = "spiffe")]
mod workload;

use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use tokio::sync::mpsc;

use crate::x509::{GivenMaterial, RevocationLists};

use exchange::{Certified, Served};
use follow::Following;
use push::News;

pub use failure::{Failure, FailureKind};
pub use preparing::{Prepared, examine};
pub use status::{EnrolmentStatus, Giver, PushStatus};

/// Most reports that wait to be looked at.
const MAX_REPORTS: usize = 8;

/// Keeps us certified.
#[derive(Debug)]
pub struct Engine {
    lists: Arc<RevocationLists>,
    tell: mpsc::Sender<Finished>,
    finished: mpsc::Receiver<Finished>,
    /// Absent where files are named.
    plan: Option<Following>,
    /// Counts the plans, so that what was asked for an earlier one changes nothing.
    generation: u64,
    random: fastrand::Rng,
}

/// Something that the engine has to look at.
#[derive(Debug)]
pub struct Event(Finished);

/// What followed from an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Absorbed {
    /// There is a certificate, or there are anchors, to take up.
    pub has_new_material: bool,
    /// There are CRLs that are newer than those fetched last.
    pub asks_for_crls: bool,
    /// There is something else to show than before.
    pub is_news: bool,
}

/// Something that was asked and has ended, or goes on.
#[derive(Debug)]
struct Finished {
    generation: u64,
    brought: Brought,
    /// The authority's clock less ours in seconds.
    skew: Option<i64>,
}

#[derive(Debug)]
enum Brought {
    FirstAnchor(Result<CertificateDer<'static>, Failure>),
    Certified(Result<Box<Certified>, Failure>),
    Anchors(Result<Served, Failure>),
    News(Box<News>),
    /// What an agent gave.
    #[cfg(feature = "spiffe")]
    Given(Result<Box<GivenMaterial>, Failure>),
    /// Changes are not heard of any more.
    Deaf(Failure),
}

impl Engine {
    /// An engine that asks nobody yet. What the authority's server presents is looked up in `lists`.
    pub fn new(lists: &Arc<RevocationLists>) -> Self {
        let (tell, finished) = mpsc::channel(MAX_REPORTS);
        let (lists, random) = (Arc::clone(lists), fastrand::Rng::new());
        Self { lists, tell, finished, plan: None, generation: 0, random }
    }

    /// Puts what was prepared to use. It cannot fail. What is known of the same authority is kept.
    pub fn install(&mut self, prepared: Prepared, now: SystemTime) {
        let before = self.plan.take();
        self.plan = prepared.plan.map(|mut plan| {
            if let Some(before) = before {
                plan.take_over(before, now);
            }
            plan.schedule(&mut self.random, now);
            plan
        });
        if self.plan.as_ref().is_none_or(|plan| plan.generation().is_none()) {
            self.generation += 1;
            if let Some(plan) = &mut self.plan {
                plan.follow_as(self.generation);
            }
        }
    }

    /// Waits for something to look at. It may be dropped at any time.
    pub async fn event(&mut self) -> Event {
        match self.finished.recv().await {
            Some(finished) => Event(finished),
            None => unreachable!("the engine holds a sender itself"),
        }
    }

    /// What is there to look at without waiting.
    pub fn try_event(&mut self) -> Option<Event> {
        self.finished.try_recv().ok().map(Event)
    }

    /// What an agent gave, where one does and has: the material in use is made of it.
    pub fn given(&self) -> Option<&Arc<GivenMaterial>> {
        self.plan.as_ref().and_then(Following::given)
    }

    /// Looks at it. Files are written here, and are few.
    pub fn absorb(&mut self, event: Event, now: SystemTime) -> Absorbed {
        let Finished { generation, brought, skew } = event.0;
        let Some(plan) = self.plan.as_mut().filter(|plan| plan.generation() == Some(generation)) else {
            return Absorbed::default();
        };
        let is_skew_news = plan.note_skew(skew);
        let mut absorbed = plan.absorb(brought, &self.lists, &mut self.random, now);
        absorbed.is_news |= is_skew_news | self.ask(now);
        absorbed
    }

    /// Asks for what is due. True where there is something else to show than before.
    pub fn tick(&mut self, now: SystemTime) -> bool {
        let is_news = self.plan.as_mut().is_some_and(|plan| plan.tell_stage(now));
        self.ask(now) || is_news
    }

    /// Tries again now what has failed, as when an operator asks for it.
    pub fn ask_now(&mut self, now: SystemTime) {
        if let Some(plan) = &mut self.plan {
            plan.hurry(now);
        }
        self.ask(now);
    }

    /// What an operator sees; nothing where files are named.
    pub fn status(&self, now: SystemTime) -> Option<EnrolmentStatus> {
        self.plan.as_ref().map(|plan| plan.status(now))
    }

    fn ask(&mut self, now: SystemTime) -> bool {
        self.plan.as_mut().is_some_and(|plan| plan.ask(&self.lists, &self.tell, &mut self.random, now))
    }
}
