//! Processes that the flea market starts: their lines are kept and can be waited for, and none outlives the flea market.
//!
//! Each one is killed by its own id, and only what was started here.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// Lines kept in memory of each process; the file keeps them all.
const MAX_LINES: usize = 10_000;

/// A running child process with its output.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Arc<Lines>,
    log: PathBuf,
}

/// A place in the output of a process: what was written before it is of no interest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(usize);

impl Mark {
    /// The beginning of the output.
    pub(crate) const START: Self = Self(0);
}

impl Process {
    /// Starts `command`, with all its output going to `NAME.log` in the folder `logs`.
    pub(crate) fn start(name: &str, mut command: Command, logs: &Path) -> anyhow::Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        // A group of its own: Ctrl-C on the terminal is for the flea market, which then stops the others in order.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let program = command.as_std().get_program().to_owned();
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let lines = Arc::new(Lines::new(file));
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(Arc::clone(&lines).collect(stdout));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(Arc::clone(&lines).collect(stderr));
        }
        Ok(Self { name: name.to_owned(), child, lines, log })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The file with everything that the process wrote.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The present end of the output.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.lines.kept().end())
    }

    /// What `look` finds in the lines after `from`, now or before the deadline.
    pub(crate) async fn wait_for<T>(
        &self,
        from: Mark,
        deadline: Duration,
        mut look: impl FnMut(&str) -> Option<T>,
    ) -> Option<T> {
        let mut grown = self.lines.grown.subscribe();
        let mut next = from.0;
        let search = async {
            loop {
                grown.mark_unchanged();
                if let Some(found) = self.lines.kept().find(&mut next, &mut look) {
                    return Some(found);
                }
                grown.changed().await.ok()?;
            }
        };
        timeout(deadline, search).await.ok().flatten()
    }

    /// What `look` finds in the lines after `from` that are there already.
    pub(crate) fn find<T>(&self, from: Mark, mut look: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let mut next = from.0;
        self.lines.kept().find(&mut next, &mut look)
    }

    /// The last lines of the output, for a person to read.
    pub(crate) fn last_lines(&self, count: usize) -> Vec<String> {
        let kept = self.lines.kept();
        kept.lines.iter().skip(kept.lines.len().saturating_sub(count)).cloned().collect()
    }

    /// The last lines as the end of an error message.
    pub(crate) fn last_words(&self) -> String {
        self.last_lines(5).iter().fold(String::new(), |text, line| text + "\n  " + line)
    }

    /// How the process ended, if it did.
    pub(crate) fn exited(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks the process to finish with SIGTERM, and kills it when it does not before the deadline. Fails where it ended in
    /// another way than it should.
    pub(crate) async fn stop(&mut self, deadline: Duration) -> Result<(), String> {
        let ended = if self.terminate() {
            timeout(deadline, self.child.wait()).await.ok()
        } else {
            self.child.try_wait().transpose()
        };
        let name = &self.name;
        match ended {
            Some(Ok(status)) if status.success() => (),
            Some(Ok(status)) => return Err(format!("{name} ended with {status}")),
            Some(Err(error)) => return Err(format!("{name} cannot be waited for: {error}")),
            None => {
                self.child.kill().await.ok();
                return Err(format!("{name} did not end within {deadline:?} and was killed"));
            }
        }
        match self.find(Mark::START, |line| line.contains("panicked at").then(|| line.to_owned())) {
            Some(line) => Err(format!("{name} has a fault: {line}")),
            None => Ok(()),
        }
    }

    /// Sends SIGTERM; false where the process has ended before.
    fn terminate(&self) -> bool {
        // An id is there for as long as the process was not reaped, so that it cannot be another's by now.
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        id.and_then(Pid::from_raw).is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok())
    }
}

#[derive(Debug)]
struct Lines {
    kept: Mutex<Kept>,
    grown: watch::Sender<()>,
}

#[derive(Debug)]
struct Kept {
    /// How many lines were dropped from the front.
    dropped: usize,
    lines: VecDeque<String>,
    file: File,
}

impl Lines {
    fn new(file: File) -> Self {
        let kept = Kept { dropped: 0, lines: VecDeque::new(), file };
        Self { kept: Mutex::new(kept), grown: watch::Sender::new(()) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn collect(self: Arc<Self>, output: impl AsyncRead + Unpin) {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while let Ok(1..) = output.read_until(b'\n', &mut line).await {
            self.kept().push(String::from_utf8_lossy(&line).trim_end().to_owned());
            self.grown.send_replace(());
            line.clear();
        }
    }
}

impl Kept {
    fn end(&self) -> usize {
        self.dropped + self.lines.len()
    }

    fn push(&mut self, line: String) {
        // A full disk must not end the story: the lines in memory are what it is told from.
        writeln!(self.file, "{line}").ok();
        self.lines.push_back(line);
        if self.lines.len() > MAX_LINES {
            self.lines.pop_front();
            self.dropped += 1;
        }
    }

    fn find<T>(&self, next: &mut usize, look: &mut impl FnMut(&str) -> Option<T>) -> Option<T> {
        let from = next.saturating_sub(self.dropped);
        *next = self.end();
        self.lines.iter().skip(from).find_map(|line| look(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_line_is_found_whichever_stream_it_came_on_and_is_in_the_file() {
        let logs = tempfile::tempdir().unwrap();
        let process = Process::start("talker", shell("echo out; echo err >&2"), logs.path()).unwrap();
        for wanted in ["out", "err"] {
            let found = process.wait_for(Mark(0), DEADLINE, |line| (line == wanted).then_some(())).await;
            assert_eq!(found, Some(()), "{wanted}");
        }
        let written = std::fs::read_to_string(process.log()).unwrap();
        assert!(written.contains("out\n") && written.contains("err\n"), "{written}");
    }

    #[tokio::test]
    async fn lines_before_the_mark_are_not_found() {
        let logs = tempfile::tempdir().unwrap();
        let process = Process::start("talker", shell("echo early; exec sleep 60"), logs.path()).unwrap();
        process.wait_for(Mark(0), DEADLINE, |line| (line == "early").then_some(())).await.unwrap();
        assert_eq!(process.find(process.mark(), |line| Some(line.to_owned())), None);
    }

    #[tokio::test]
    async fn a_process_that_heeds_no_sigterm_is_gone_all_the_same() {
        let logs = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo ready; while :; do sleep 1; done";
        let mut process = Process::start("stubborn", shell(script), logs.path()).unwrap();
        process.wait_for(Mark(0), DEADLINE, |line| (line == "ready").then_some(())).await.unwrap();
        let problem = process.stop(Duration::from_millis(100)).await.unwrap_err();
        assert_eq!(problem, "stubborn did not end within 100ms and was killed");
        assert!(process.exited().is_some());
    }

    #[tokio::test]
    async fn an_end_that_is_not_as_it_should_be_is_told() {
        let logs = tempfile::tempdir().unwrap();
        for (script, told) in [
            ("exec sleep 60", "shell ended with signal: 15 (SIGTERM)"),
            (
                "trap 'exit 0' TERM; echo panicked at noon; while :; do sleep 0.01; done",
                "shell has a fault: panicked at noon",
            ),
        ] {
            let mut process = Process::start("shell", shell(&format!("echo begun; {script}")), logs.path()).unwrap();
            process
                .wait_for(Mark::START, DEADLINE, |line| (line != "begun" || script.starts_with("exec")).then_some(()))
                .await
                .unwrap();
            assert_eq!(process.stop(DEADLINE).await.unwrap_err(), told);
        }
    }
}
