//! CRLs on the disk, so that a restart while the CA is silent finds the last ones.
//!
//! A file is named by issuer key and scope and replaced as a whole. Nothing in the folder is believed: what is read from it is
//! verified like everything else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use tracing::warn;

use crate::durable::{self, Audience};
use crate::x509::{MAX_CRLS, VerifiedCrl};

const EXTENSION: &str = "crl";

/// The folder, and the task that writes to it.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    write: mpsc::UnboundedSender<(PathBuf, Vec<u8>)>,
}

impl Cache {
    /// Makes the folder where there is none, and proves that it can be written to.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let probe = folder.join(".probe");
        // One may be left of a start that was cut short; what it links to is not ours to write.
        match fs::remove_file(&probe) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::File::create_new(&probe)?,
        };
        fs::remove_file(&probe)?;
        // Each write is waited for before the next, so that the last one wins; what waits was fetched, and fetches are few.
        let (write, mut writes) = mpsc::unbounded_channel::<(PathBuf, Vec<u8>)>();
        tokio::spawn(async move {
            while let Some((path, der)) = writes.recv().await {
                let shown = path.display().to_string();
                let written =
                    tokio::task::spawn_blocking(move || durable::write_durably(&path, &der, Audience::Anyone)).await;
                if let Ok(Err(error)) = written {
                    warn!(file = shown, %error, "the CRL is in use, but could not be kept for the next start");
                }
            }
        });
        Ok(Self { folder: folder.to_owned(), write })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files of CRLs, and the names of what does not belong here.
    pub(super) fn files(&self) -> io::Result<(Vec<PathBuf>, Vec<String>)> {
        let (mut files, mut foreign) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if is_ours(&name) && files.len() < MAX_CRLS {
                files.push(path);
            } else if !name.starts_with('.') && foreign.len() < 16 {
                foreign.push(name);
            }
        }
        // Complete ones before their deltas.
        files.sort();
        Ok((files, foreign))
    }

    /// Keeps a CRL for the next start.
    pub(super) fn keep(&self, crl: &VerifiedCrl, der: Vec<u8>) {
        let path = self.folder.join(file_name(crl));
        // The task ends with the cache alone.
        let _ = self.write.send((path, der));
    }
}

/// The name of the file that a CRL is kept in.
pub(super) fn file_name(crl: &VerifiedCrl) -> String {
    format!("{}.{EXTENSION}", crl.stem)
}

/// `KEY-SCOPE-complete.crl` or `KEY-SCOPE-delta.crl`, as [`VerifiedCrl::stem`] makes it.
fn is_ours(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".crl") else { return false };
    let parts: Vec<&str> = stem.split('-').collect();
    let is_hex = |text: &str, len| text.len() == len && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    matches!(parts[..], [key, scope, "complete" | "delta"] if is_hex(key, 32) && is_hex(scope, 16))
}
