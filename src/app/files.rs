//! Notices that a file changed: the kernel tells of changes in its folder, and a slow poll finds what the kernel does not tell,
//! as with bind mounts. Only a change of content counts.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::config::Config;

/// How often the files are looked at without being told.
const POLL: Duration = Duration::from_secs(5);
/// How long to wait for the rest of a change: certificate and key are rarely written at one instant.
const SETTLE: Duration = Duration::from_millis(100);

/// The files that the running configuration was made from.
pub(super) struct WatchedFiles {
    contents: BTreeMap<PathBuf, Option<u64>>,
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    told: mpsc::Receiver<()>,
    /// The last attempt to take a change up failed: it is tried again at each poll, changed or not.
    retry: bool,
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
        let mut files = Self { contents: BTreeMap::new(), watcher, folders: BTreeSet::new(), told, retry: false };
        files.watch(config);
        files
    }

    /// Watches the files of this configuration from now on, as they are now.
    pub(super) fn watch(&mut self, config: &Config) {
        self.contents = files_of(config).into_iter().map(|file| (file.clone(), digest(&file))).collect();
        self.retry = false;
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
        for (file, known) in &mut self.contents {
            *known = digest(file);
        }
        self.retry = true;
    }

    /// Waits until the content of a file is another, or until it is time to try again.
    pub(super) async fn changed(&mut self) {
        loop {
            let told = tokio::time::timeout(POLL, self.told.recv()).await;
            if told.is_ok() {
                tokio::time::sleep(SETTLE).await;
                while self.told.try_recv().is_ok() {}
            }
            let retry = self.retry && told.is_err();
            if retry || self.contents.iter().any(|(file, known)| digest(file) != *known) {
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

/// A digest of the content; nothing for a file that cannot be read. It tells a change and proves nothing.
fn digest(file: &Path) -> Option<u64> {
    let content = std::fs::read(file).ok()?;
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    Some(hasher.finish())
}
