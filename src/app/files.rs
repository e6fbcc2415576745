//! Notices that a file changed: the kernel tells of changes in its folder, and a slow poll finds what the kernel does not tell,
//! as with bind mounts. Only a change of content counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::config::Config;

/// How often the files are looked at without being told.
const POLL: Duration = Duration::from_secs(5);
/// How long to wait for the rest of a change: certificate and key are rarely written at one instant.
const SETTLE: Duration = Duration::from_millis(100);

/// No file that is used is longer.
const MAX_DIGESTED: u64 = 1 << 28;

/// The files that the running configuration was made from.
pub(super) struct WatchedFiles {
    contents: BTreeMap<PathBuf, Option<u64>>,
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    told: mpsc::Receiver<()>,
    /// When to look at the files next. It outlives the waiting, which the sweep of the connections interrupts again and again.
    look_at: Instant,
    /// When to try again to take a change up, changed once more or not.
    retry_at: Option<Instant>,
}

impl WatchedFiles {
    pub(super) fn new(config: &Config) -> Self {
        let (tell, told) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(_))) {
                // A full channel holds the news already.
                let _ = tell.try_send(());
            }
        });
        let watcher = watcher.inspect_err(|error| warn!(%error, "changes of files are found by polling alone")).ok();
        let look_at = Instant::now() + POLL;
        let mut files =
            Self { contents: BTreeMap::new(), watcher, folders: BTreeSet::new(), told, look_at, retry_at: None };
        files.watch(config);
        files
    }

    /// Notes how the files are just before they are read, so that a change while they are read is another change.
    pub(super) fn note(&mut self) {
        for (file, known) in &mut self.contents {
            *known = digest(file);
        }
    }

    /// A file in whose place there is something whose reading might never end, and the task that reads it with it.
    pub(super) fn irregular(&self) -> Option<&Path> {
        self.contents.keys().map(PathBuf::as_path).find(|file| !may_be_read(file))
    }

    /// Watches the files of this configuration from now on. Those that were watched before are known as they were noted.
    pub(super) fn watch(&mut self, config: &Config) {
        let before = std::mem::take(&mut self.contents);
        let known = |file: PathBuf| {
            let digest = before.get(&file).copied().unwrap_or_else(|| digest(&file));
            (file, digest)
        };
        self.contents = files_of(config).into_iter().map(known).collect();
        self.retry_at = None;
        let folders: BTreeSet<PathBuf> = self.contents.keys().flat_map(|file| folders_of(file)).collect();
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.folders.difference(&folders) {
            // A folder that was removed is no longer watched anyway.
            let _ = watcher.unwatch(gone);
        }
        for new in folders.difference(&self.folders) {
            if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                debug!(folder = %new.display(), %error, "changes in this folder are found by polling alone");
            }
        }
        self.folders = folders;
    }

    /// The attempt to take the change up failed.
    pub(super) fn try_again(&mut self) {
        self.retry_at = Some(Instant::now() + POLL);
    }

    /// Waits until the content of a file is another, or until it is time to try again. It may be dropped at any time and
    /// called again: nothing that it was told is lost.
    pub(super) async fn changed(&mut self) {
        loop {
            tokio::select! {
                () = sleep_until(self.look_at) => {}
                Some(()) = self.told.recv() => {
                    self.look_at = self.look_at.min(Instant::now() + SETTLE);
                    continue;
                }
            }
            let now = Instant::now();
            self.look_at = now + POLL;
            let is_time = self.retry_at.is_some_and(|retry_at| retry_at <= now);
            if is_time || self.contents.iter().any(|(file, known)| digest(file) != *known) {
                return;
            }
        }
    }
}

fn files_of(config: &Config) -> Vec<PathBuf> {
    let trust = config.trust.anchors.iter().chain(&config.trust.intermediates);
    let crls = config.revocation.iter().flat_map(|revocation| &revocation.sources);
    let key = config.identity.private_key.iter();
    let located = [&config.identity.certificate].into_iter().chain(key).chain(trust).chain(crls);
    located.map(|path| path.value.clone()).chain([config.path.clone()]).collect()
}

/// The folder of a file and, where the file or its folder is a symbolic link, as secrets are mounted, the folder that it leads to.
fn folders_of(file: &Path) -> Vec<PathBuf> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let real = file.canonicalize().ok().and_then(|real| real.parent().map(Path::to_owned));
    [Some(parent.to_owned()), real].into_iter().flatten().collect()
}

/// True for what has an end and can be read without waiting: no pipe, device or folder. What is not there is not looked at here.
fn may_be_read(file: &Path) -> bool {
    file.metadata().map_or(true, |file| file.is_file())
}

/// A digest of the content; nothing for a file that cannot be read. It tells a change and proves nothing.
fn digest(file: &Path) -> Option<u64> {
    if !may_be_read(file) {
        return None;
    }
    let mut content = File::open(file).ok()?.take(MAX_DIGESTED);
    let (mut hasher, mut buffer) = (DefaultHasher::new(), [0; 16 * 1024]);
    loop {
        match content.read(&mut buffer).ok()? {
            0 => return Some(hasher.finish()),
            read => hasher.write(&buffer[..read]),
        }
    }
}
