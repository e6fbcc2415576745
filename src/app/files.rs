//! Notices that a file changed: the kernel tells of changes in its folder, and a slow poll finds what the kernel does not tell,
//! as with bind mounts. Only a change of content counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::config::{Config, CrlSource, Identity};
use crate::revocation::crl_files;

/// How often the files are looked at without being told.
const POLL: Duration = Duration::from_secs(5);
/// How long to wait for the rest of a change: certificate and key are rarely written at one instant.
const SETTLE: Duration = Duration::from_millis(100);

/// No file that is used is longer.
const MAX_DIGESTED: u64 = 1 << 28;

/// The files that the running configuration was made from.
pub(super) struct WatchedFiles {
    contents: BTreeMap<PathBuf, Noted>,
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
            known.look(file);
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
            let noted = before.get(&file).copied().unwrap_or_else(|| Noted::of(&file));
            (file, noted)
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
            // All are looked at, so that what is known of each stays cheap to compare.
            let changed =
                self.contents.iter_mut().fold(false, |changed, (file, known)| known.has_changed(file) || changed);
            if is_time || changed {
                return;
            }
        }
    }
}

fn files_of(config: &Config) -> Vec<PathBuf> {
    let trust = config.trust.anchors.iter().chain(&config.trust.intermediates);
    let crls = config.revocation.iter().flat_map(|revocation| &revocation.sources);
    let crls = crls.filter_map(|source| match &source.value {
        CrlSource::Path(path) => Some(path.clone()),
        CrlSource::Url(_) => None,
    });
    // What the authority gave is written here, and by nobody else.
    let own: Vec<PathBuf> = match &config.identity {
        Identity::Files(_) | Identity::WorkloadApi(_) => {
            let (certificate, key) = config.identity.files();
            certificate.into_iter().chain(key).collect()
        }
        Identity::Authority(enrolment) => vec![enrolment.bootstrap.path().value.clone()],
    };
    let issuers = config.issuers.iter().filter_map(|issuer| issuer.jwks_anchors.as_ref()).flatten();
    let public = config.edge.iter().flat_map(|edge| [&edge.certificate].into_iter().chain(&edge.private_key));
    let named = trust.chain(issuers).chain(public).map(|path| path.value.clone());
    own.into_iter().chain(named).chain(crls).chain([config.path.clone()]).collect()
}

/// The folder of a file and, where the file or its folder is a symbolic link, as secrets are mounted, the folder that it leads to.
fn folders_of(file: &Path) -> Vec<PathBuf> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let real = file.canonicalize().ok().and_then(|real| real.parent().map(Path::to_owned));
    let own = file.is_dir().then(|| file.to_owned());
    [Some(parent.to_owned()), real, own].into_iter().flatten().collect()
}

/// True for what has an end and can be read without waiting: no pipe or device. What is not there is not looked at here.
fn may_be_read(file: &Path) -> bool {
    file.metadata().map_or(true, |file| file.is_file() || file.is_dir())
}

/// What is known of a file.
#[derive(Debug, Clone, Copy)]
struct Noted {
    digest: Option<u64>,
    /// What the file system said of it, where that tells every later change.
    stamp: Option<Stamp>,
}

/// What the file system says of a file: device, inode, length, and the time of the last change in seconds and nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

impl Noted {
    fn of(file: &Path) -> Self {
        let mut noted = Self { digest: None, stamp: None };
        noted.look(file);
        noted
    }

    fn look(&mut self, file: &Path) {
        // Before the content, so that a change while it is read is another change.
        self.stamp = stamp(file);
        self.digest = digest(file);
    }

    /// Whether the content is another. A large file is not read for what its stamp tells.
    fn has_changed(&mut self, file: &Path) -> bool {
        let stamp = stamp(file);
        if self.stamp.is_some() && self.stamp == stamp {
            return false;
        }
        let digest = digest(file);
        if digest == self.digest {
            self.stamp = stamp;
        }
        digest != self.digest
    }
}

/// Nothing for folders, and for a file that was changed a moment ago: another change in the same tick of the clock would leave
/// the same stamp.
fn stamp(file: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    const TICK: i64 = 2;
    let file = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let is_settled = file.ctime().saturating_add(TICK) < i64::try_from(now).ok()?;
    is_settled.then(|| (file.dev(), file.ino(), file.len(), file.ctime(), file.ctime_nsec()))
}

/// A digest of the content; nothing for a file that cannot be read. It tells a change and proves nothing. Of a folder it is that
/// of the CRLs in it.
fn digest(file: &Path) -> Option<u64> {
    if !may_be_read(file) {
        return None;
    }
    if file.is_dir() {
        let mut hasher = DefaultHasher::new();
        for file in crl_files(file).ok()? {
            (&file, digest_of_file(&file)).hash(&mut hasher);
        }
        return Some(hasher.finish());
    }
    digest_of_file(file)
}

fn digest_of_file(file: &Path) -> Option<u64> {
    if !file.metadata().ok()?.is_file() {
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
