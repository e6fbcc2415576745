//! Child processes: each leads a process group of its own, and the whole group is ended when it is no longer wanted.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use crate::usage::{Memory, cpu_seconds, memory};

/// Lines of a log that stand in the message when a process ended by itself.
const LAST_LINES: usize = 6;

/// A running program with all that it started.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    group: Pid,
    log: PathBuf,
    ended: bool,
}

impl Process {
    /// Starts `command`, with its output going to the file `log`.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        // A group of its own: Ctrl-C on the terminal is for this program alone, and the workers of the child are found by it.
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0).kill_on_drop(true);
        let program = command.as_std().get_program().to_owned();
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = id.with_context(|| format!("{name} ended as it began"))?;
        Ok(Self { name: name.to_owned(), child, group, log: log.to_owned(), ended: false })
    }

    /// CPU seconds, in user and kernel mode, of the whole group so far, those of children already gone included.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.group)
    }

    /// What the group holds in memory.
    pub(crate) fn memory(&self) -> Memory {
        memory(self.group)
    }

    /// Fails, with the last lines of the log, where the process has ended.
    pub(crate) fn check_running(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            self.end();
            bail!("{} ended with {status}:{}", self.name, self.last_lines());
        }
        Ok(())
    }

    /// Asks the leader to read everything again.
    pub(crate) fn hang_up(&self) {
        kill_process_group(self.group, Signal::HUP).ok();
    }

    /// Ends the group and waits until its leader is gone.
    pub(crate) async fn stop(mut self) {
        self.end();
        self.child.wait().await.ok();
    }

    /// The end of the log, each line indented on a line of its own.
    pub(crate) fn last_lines(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].iter().fold(String::new(), |text, line| text + "\n  " + line)
    }

    fn end(&mut self) {
        // Once only: the id of a group that is gone may become another's.
        if !self.ended {
            self.ended = true;
            kill_process_group(self.group, Signal::KILL).ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
