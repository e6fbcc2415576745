//! Files that are either there as a whole or not at all, also after a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A file operation failed.
#[derive(Debug, Error)]
#[error("cannot {action} {path}")]
pub struct FileError {
    /// What was tried, such as `read`.
    pub action: &'static str,
    /// On which file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Its owner: mode 0600.
    Owner,
    /// Anyone: mode 0644.
    Anyone,
}

impl Audience {
    fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Anyone => 0o644,
        }
    }
}

/// Replaces a file as a whole: written beside it, synced, renamed over it, and the folder synced. Missing folders are made.
pub fn write_durably(path: &Path, contents: &[u8], audience: Audience) -> Result<(), FileError> {
    let folder = folder_of(path);
    create_folder(folder)?;
    let staged = Staged::write(path, contents, audience)?;
    staged.publish()?;
    sync_folder(folder)
}

/// Replaces two files of one folder with the least time between the two: both are on the disk before the first is renamed.
pub fn write_pair_durably(first: (&Path, &[u8], Audience), second: (&Path, &[u8], Audience)) -> Result<(), FileError> {
    let folder = folder_of(first.0);
    create_folder(folder)?;
    let staged_first = Staged::write(first.0, first.1, first.2)?;
    let staged_second = Staged::write(second.0, second.1, second.2)?;
    staged_first.publish()?;
    staged_second.publish()?;
    sync_folder(folder)
}

/// Puts a file that was written durably in the place of another of the same folder.
pub fn rename_durably(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(io_error("write", to))?;
    sync_folder(folder_of(to))
}

/// Makes a folder and its parents; one that is there already is left as it is.
pub fn create_folder(folder: &Path) -> Result<(), FileError> {
    fs::create_dir_all(folder).map_err(io_error("make the folder", folder))
}

/// Makes a folder that only its owner can enter; one that is there already is an error.
pub fn create_private_folder(folder: &Path) -> Result<(), FileError> {
    fs::DirBuilder::new().mode(0o700).create(folder).map_err(io_error("make the folder", folder))
}

/// Makes the names in a folder as durable as the files' contents.
pub fn sync_folder(folder: &Path) -> Result<(), FileError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("sync the folder", folder))
}

/// For `map_err`: what was tried on which file.
pub fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { action, path, source }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A file that is complete on the disk under another name. Dropped unpublished, it goes.
struct Staged<'a> {
    target: &'a Path,
    staging: std::path::PathBuf,
    published: bool,
}

impl<'a> Staged<'a> {
    fn write(target: &'a Path, contents: &[u8], audience: Audience) -> Result<Self, FileError> {
        // The name is fixed so that the next write clears away what a crash left behind. Writers of one name exclude each
        // other by the ledger's lock; `create_new` stops those that do not, and whoever put a link there.
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(".tmp");
        let staging = folder_of(target).join(name);
        match fs::remove_file(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("replace", &staging)(error)),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(audience.mode())
            .open(&staging)
            .map_err(io_error("create", &staging))?;
        let staged = Self { target, staging, published: false };
        file.write_all(contents).and_then(|()| file.sync_all()).map_err(io_error("write", &staged.staging))?;
        Ok(staged)
    }

    fn publish(mut self) -> Result<(), FileError> {
        fs::rename(&self.staging, self.target).map_err(io_error("write", self.target))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if !self.published {
            // Nothing was handed out, and the next write removes it if this does not.
            let _ = fs::remove_file(&self.staging);
        }
    }
}
