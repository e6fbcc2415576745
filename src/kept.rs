//! Files that decide who we are and whom we believe, and who else may reach them.
//!
//! A file is judged by the handle that is read, so that nothing can be put in its place between the two.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::geteuid;
use thiserror::Error;

/// What is kept, by whom it must not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Nobody else may write to it.
    Folder,
    /// Nobody else may read it, or write to it.
    Key,
    /// Nobody else may write to it.
    File,
}

/// What is wrong with who reaches a file, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{fault}")]
pub(crate) struct Reached {
    /// Without the path.
    pub(crate) fault: String,
    /// What to do.
    pub(crate) remedy: String,
}

/// Why a file is not read.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Others reach it.
    #[error(transparent)]
    Reached(#[from] Reached),
}

impl Reached {
    /// What is wrong with this file.
    pub(crate) fn message(&self, path: &Path) -> String {
        format!("{}: {}", path.display(), self.fault)
    }
}

impl Kept {
    /// Opens a file that nobody else reaches. A symbolic link is not followed.
    ///
    /// # Errors
    /// What the system says, or who else reaches it.
    pub(crate) fn open(self, path: &Path) -> Result<File, OpenError> {
        // Without waiting for whoever would write to a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file: File = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(handle) => handle.into(),
            Err(rustix::io::Errno::LOOP) => return Err(no_file(path).into()),
            Err(error) => return Err(io::Error::from(error).into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(no_file(path).into());
        }
        self.judge(path, metadata.mode(), metadata.uid())?;
        Ok(file)
    }

    /// Who else reaches what is there, without opening it. What is not there reaches nobody.
    ///
    /// # Errors
    /// Who it is.
    pub(crate) fn look(self, path: &Path) -> Result<(), Reached> {
        // The operator may put the folder elsewhere; what is in it is ours to make.
        let metadata = if self == Self::Folder { path.metadata() } else { path.symlink_metadata() };
        let Ok(metadata) = metadata else { return Ok(()) };
        if self != Self::Folder && !metadata.is_file() {
            return Err(no_file(path));
        }
        self.judge(path, metadata.mode(), metadata.uid())
    }

    /// Who else reaches what has this mode and owner.
    fn judge(self, path: &Path, mode: u32, owner: u32) -> Result<(), Reached> {
        self.fault(path, mode & 0o7777, owner, geteuid().as_raw()).map_or(Ok(()), Err)
    }

    /// Who else reaches it, and what to do. `us` is the user that mantlet runs as. What belongs to root is root's, as everything is.
    fn fault(self, path: &Path, mode: u32, owner: u32, us: u32) -> Option<Reached> {
        let shown = path.display();
        let (thing, closed, forbidden, may) = match self {
            Self::Folder => ("the state folder", "700", 0o022, "write to it, and so decide whom we believe"),
            Self::Key => ("the file of our key", "600", 0o066, "read the key or replace it, and so stand for us"),
            Self::File => ("the file", "644", 0o022, "write to it, and so decide what we believe"),
        };
        if owner != us && owner != 0 {
            let fault = format!(
                "{thing} belongs to the user {owner}, who may {may}; expected it to belong to {us}, whom mantlet runs as"
            );
            let remedy = match self {
                Self::Folder => format!("empty it, for what is in it may be another's, then chown {us} {shown}"),
                Self::Key => format!("chown {us} {shown}, if what is in it is ours"),
                Self::File => format!("remove {shown}: mantlet gets it anew"),
            };
            return Some(Reached { fault, remedy });
        }
        let who = match mode & forbidden {
            0 => return None,
            open if open & 0o007 != 0 => "anyone",
            _ => "its group",
        };
        let fault = format!("{who} may {may}: the mode of {thing} is {mode:04o}");
        let remedy = match self {
            Self::Folder => {
                format!("empty it, for what is in it may be another's, then chmod {closed} {shown}")
            }
            Self::Key => format!("chmod {closed} {shown}"),
            Self::File => {
                format!("remove {shown}: mantlet gets it anew; or chmod {closed} {shown}, if what is in it is right")
            }
        };
        Some(Reached { fault, remedy })
    }
}

/// A link, a folder, a pipe: whoever made it decides what is read.
fn no_file(path: &Path) -> Reached {
    Reached {
        fault: "is no regular file: expected neither a symbolic link nor a folder, socket or pipe".to_owned(),
        remedy: format!("remove {}: mantlet makes it anew", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn what_another_user_or_a_group_reaches_is_refused_by_name() {
        let fault = |kept: Kept, mode, owner| {
            kept.fault(Path::new("/state"), mode, owner, 7).map(|reached| (reached.fault, reached.remedy))
        };
        for (kept, mode) in [
            (Kept::Folder, 0o700),
            (Kept::Folder, 0o755),
            (Kept::Key, 0o600),
            (Kept::Key, 0o400),
            (Kept::File, 0o600),
            (Kept::File, 0o644),
        ] {
            assert_eq!((fault(kept, mode, 7), fault(kept, mode, 0)), (None, None), "{kept:?} {mode:o}");
        }
        for (kept, mode, owner, message, remedy) in [
            (
                Kept::Folder,
                0o770,
                7,
                "its group may write to it, and so decide whom we believe: the mode of the state folder is 0770",
                "empty it, for what is in it may be another's, then chmod 700 /state",
            ),
            (
                Kept::Folder,
                0o757,
                7,
                "anyone may write to it, and so decide whom we believe: the mode of the state folder is 0757",
                "empty it, for what is in it may be another's, then chmod 700 /state",
            ),
            (
                Kept::Folder,
                0o700,
                8,
                "the state folder belongs to the user 8, who may write to it, and so decide whom we believe; expected it to belong to 7, whom mantlet runs as",
                "empty it, for what is in it may be another's, then chown 7 /state",
            ),
            (
                Kept::Key,
                0o640,
                7,
                "its group may read the key or replace it, and so stand for us: the mode of the file of our key is 0640",
                "chmod 600 /state",
            ),
            (
                Kept::Key,
                0o604,
                7,
                "anyone may read the key or replace it, and so stand for us: the mode of the file of our key is 0604",
                "chmod 600 /state",
            ),
            (
                Kept::Key,
                0o600,
                8,
                "the file of our key belongs to the user 8, who may read the key or replace it, and so stand for us; expected it to belong to 7, whom mantlet runs as",
                "chown 7 /state, if what is in it is ours",
            ),
            (
                Kept::File,
                0o666,
                7,
                "anyone may write to it, and so decide what we believe: the mode of the file is 0666",
                "remove /state: mantlet gets it anew; or chmod 644 /state, if what is in it is right",
            ),
            (
                Kept::File,
                0o644,
                8,
                "the file belongs to the user 8, who may write to it, and so decide what we believe; expected it to belong to 7, whom mantlet runs as",
                "remove /state: mantlet gets it anew",
            ),
        ] {
            assert_eq!(fault(kept, mode, owner), Some((message.to_owned(), remedy.to_owned())));
        }
    }

    #[test]
    fn a_file_is_judged_where_it_is_opened_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().expect("folder");
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "x").expect("allowed");
        symlink(&file, &link).expect("allowed");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("allowed");
        Kept::File.open(&file).expect("allowed");
        assert!(matches!(Kept::Key.open(&file), Err(OpenError::Reached(_))));
        for not_regular in [&*link, folder.path()] {
            assert!(matches!(Kept::File.open(not_regular), Err(OpenError::Reached(_))), "{not_regular:?}");
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("allowed");
        assert!(matches!(Kept::File.open(&file), Err(OpenError::Reached(_))));
        assert!(matches!(Kept::File.open(&folder.path().join("none")), Err(OpenError::Io(_))));
    }
}
