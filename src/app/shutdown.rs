//! The end of the process, in order: inbound stops accepting and drains while outbound still serves what the local service needs to
//! finish; then outbound follows.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::proxy::Direction;
use crate::proxy::connections::{EndReason, Live, Phase};

use super::files::WatchedFiles;
use super::service_manager::Notice;
use super::{App, Signals};

/// How often a drain looks whether connections are left.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl App {
    /// Drains and returns. A second signal ends it at once.
    pub(super) async fn shut_down(&mut self, signals: &mut Signals, files: &mut WatchedFiles) {
        info!(connections = self.connections.count(), "shutting down");
        self.manager.tell(&Notice::Stopping(self.config.timeouts.drain));
        self.is_draining = true;
        self.show();
        let ended = {
            let drain = async {
                let deadline = Instant::now() + self.config.timeouts.drain;
                self.drain(Direction::Inbound, deadline, files).await;
                self.drain(Direction::Outbound, deadline, files).await;
            };
            tokio::select! {
                () = drain => true,
                () = signals.end() => false,
            }
        };
        if !ended {
            warn!("a second signal: what is in flight is cut");
        }
        self.connections.end_where(|live| live.end(Phase::Cut, EndReason::Shutdown));
        self.listeners.stop_accepting(Direction::Outbound);
        if let Some(admin) = &self.admin {
            admin.stop.cancel();
        }
        info!("ended");
    }

    /// Drains one direction until none of its connections is left, or the deadline has passed. The public counts as inbound. Outbound accepts until the end: a
    /// service that is finishing may open another connection.
    async fn drain(&mut self, direction: Direction, deadline: Instant, files: &mut WatchedFiles) {
        if direction == Direction::Inbound {
            self.listeners.stop_accepting(Direction::Edge);
            self.listeners.stop_accepting(Direction::Inbound);
        }
        let accepted = |live: &Live| match live.direction {
            Direction::Inbound => direction == Direction::Inbound && live.peer.is_some(),
            Direction::Outbound => direction == Direction::Outbound && live.peer.is_none(),
            Direction::Edge => direction == Direction::Inbound,
        };
        loop {
            self.connections.end_where(|live| accepted(live) && live.end(Phase::Draining, EndReason::Shutdown));
            // The first look comes late enough for what the kernel had accepted to be on the list.
            tokio::time::sleep(LOOK_AGAIN).await;
            // Whoever is revoked now is not waited for.
            while let Some(event) = self.revocation.try_event() {
                self.take_revocation_event(event);
            }
            while let Some(event) = self.enrolment.try_event() {
                self.take_enrolment_event(event, files);
            }
            self.sweep();
            let left = self.connections.list().into_iter().filter(|live| accepted(live)).count()
                + if direction == Direction::Inbound { self.listeners.handshakes_in_flight() } else { 0 };
            if left == 0 {
                return;
            }
            if Instant::now() >= deadline {
                warn!(
                    direction = direction.label(),
                    connections = left,
                    "the drain timeout has passed; what is left is cut"
                );
                return;
            }
        }
    }
}
