//! The folder in which what the authority gave outlives a restart.
//!
//! Key and chain are one file, so that they are replaced in one step: whenever the process is killed, the folder holds a pair
//! that belongs together. What is new is written beside it, judged as it will be used, and only then put in its place.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use rustix::process::geteuid;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::config::Enrolment;
use crate::durable::{Audience, FileError, rename_durably, write_durably};
use crate::x509::{MaterialPart, MaterialProblem, read_certificates};

/// The folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateDir {
    folder: PathBuf,
    /// Key and chain in use.
    pub(super) credential: PathBuf,
    /// The authority's anchors in use.
    pub(super) anchors: PathBuf,
}

impl StateDir {
    /// Makes the folder where there is none, for its owner alone, and proves that it can be written to. The second value holds
    /// what is worth knowing.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn open(settings: &Enrolment) -> Result<(Self, Vec<MaterialProblem>), MaterialProblem> {
        let folder = settings.state_dir.value.clone();
        let shown = folder.display();
        let fatal = |message: String, remedy: &str| MaterialProblem {
            part: MaterialPart::State,
            fatal: true,
            message,
            remedy: remedy.to_owned(),
        };
        let usable = "name a folder that the user that mantlet runs as may make and write to";
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| fatal(format!("{shown}: the state folder cannot be made: {error}"), usable))?;
        let findings = judge_access(&folder, &settings.credential_file())?;
        let probe = folder.join(".probe");
        write_durably(&probe, b"", Audience::Owner)
            .and_then(|()| fs::remove_file(&probe).map_err(crate::durable::io_error("remove", &probe)))
            .map_err(|error| {
                fatal(format!("{shown}: the state folder cannot be written to: {}", cause(&error)), usable)
            })?;
        Ok((Self::at(settings), findings))
    }

    /// The folder as it is, made or not.
    pub(super) fn at(settings: &Enrolment) -> Self {
        let folder = settings.state_dir.value.clone();
        Self { credential: settings.credential_file(), anchors: settings.anchors_file(), folder }
    }

    /// Who else reaches it, or what is worth knowing of that.
    pub(super) fn access_problems(&self) -> Vec<MaterialProblem> {
        judge_access(&self.folder, &self.credential).unwrap_or_else(|problem| vec![problem])
    }

    /// Where a pair waits to be judged.
    pub(super) fn candidate(&self) -> PathBuf {
        self.folder.join("candidate.pem")
    }

    /// Where anchors wait to be judged.
    pub(super) fn candidate_anchors(&self) -> PathBuf {
        self.folder.join("candidate-anchors.pem")
    }

    /// Writes key and chain beside those in use.
    pub(super) fn propose(&self, key_pem: &str, chain: &[CertificateDer<'static>]) -> Result<(), FileError> {
        let text = Zeroizing::new(format!("{key_pem}{}", pem_of(chain)));
        write_durably(&self.candidate(), text.as_bytes(), Audience::Owner)
    }

    /// Puts what was proposed, and judged, to use.
    pub(super) fn publish(&self) -> Result<(), FileError> {
        rename_durably(&self.candidate(), &self.credential)
    }

    /// Writes anchors beside those in use.
    pub(super) fn propose_anchors(&self, anchors: &[CertificateDer<'static>]) -> Result<(), FileError> {
        write_durably(&self.candidate_anchors(), pem_of(anchors).as_bytes(), Audience::Anyone)
    }

    /// Replaces the anchors.
    pub(super) fn keep_anchors(&self, anchors: &[CertificateDer<'static>]) -> Result<(), FileError> {
        write_durably(&self.anchors, pem_of(anchors).as_bytes(), Audience::Anyone)
    }

    /// The anchors that the authority served; none before it was first asked.
    pub(super) fn held_anchors(&self) -> Vec<CertificateDer<'static>> {
        read_certificates(&self.anchors).unwrap_or_default()
    }

    /// Whether a one-time secret has brought a certificate already.
    pub(super) fn is_used(&self, secret: &str) -> bool {
        fs::read_to_string(self.used()).is_ok_and(|used| used.trim() == sha256_hex(secret))
    }

    /// Notes that a one-time secret has brought a certificate. Its digest tells nobody the secret, and is good for nothing.
    pub(super) fn note_used(&self, secret: &str) -> Result<(), FileError> {
        write_durably(&self.used(), sha256_hex(secret).as_bytes(), Audience::Owner)
    }

    fn used(&self) -> PathBuf {
        self.folder.join("secret.used")
    }
}

/// Whoever can write to the folder decides whom we believe, and whoever can read the key is us to everyone else. The value holds
/// what is worth knowing.
///
/// # Errors
/// The first thing that is no good.
fn judge_access(folder: &Path, credential: &Path) -> Result<Vec<MaterialProblem>, MaterialProblem> {
    let problem =
        |fatal, message: String, remedy: String| MaterialProblem { part: MaterialPart::State, fatal, message, remedy };
    let us = geteuid().as_raw();
    for (path, kept) in [(folder, Kept::Folder), (credential, Kept::Key)] {
        let Ok(metadata) = path.metadata() else { continue };
        if let Some((message, remedy)) = kept.fault(path, metadata.mode() & 0o7777, metadata.uid(), us) {
            return Err(problem(true, message, remedy));
        }
    }
    // Its names are no secret, and the key has a mode of its own.
    let mode = folder.metadata().map_or(0, |metadata| metadata.mode() & 0o7777);
    let message = format!("{}: the state folder is open to group or others: its mode is {mode:04o}", folder.display());
    let open = (mode & 0o077 != 0).then(|| problem(false, message, format!("chmod 700 {}", folder.display())));
    Ok(open.into_iter().collect())
}

/// What is kept, by whom it must not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Nobody else may write to it.
    Folder,
    /// Nobody else may read it, or write to it.
    Key,
}

impl Kept {
    /// Who else reaches it, and what to do. `us` is the user that mantlet runs as. What belongs to root is root's, as everything is.
    fn fault(self, path: &Path, mode: u32, owner: u32, us: u32) -> Option<(String, String)> {
        let shown = path.display();
        let (thing, closed, forbidden, may) = match self {
            Self::Folder => ("the state folder", "700", 0o022, "write to it, and so decide whom we believe"),
            Self::Key => ("the file of our key", "600", 0o066, "read the key or replace it, and so stand for us"),
        };
        if owner != us && owner != 0 {
            let message = format!(
                "{shown}: {thing} belongs to the user {owner}, who may {may}; expected it to belong to {us}, whom mantlet runs as"
            );
            return Some((message, format!("chown {us} {shown}, if what is in it is ours")));
        }
        let who = match mode & forbidden {
            0 => return None,
            open if open & 0o007 != 0 => "anyone",
            _ => "its group",
        };
        Some((
            format!("{shown}: {who} may {may}: the mode of {thing} is {mode:04o}"),
            format!("chmod {closed} {shown}"),
        ))
    }
}

fn pem_of(certificates: &[CertificateDer<'static>]) -> String {
    use base64::Engine as _;
    let mut text = String::new();
    for certificate in certificates {
        let base64 = base64::engine::general_purpose::STANDARD.encode(certificate);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in base64.as_bytes().chunks(64) {
            text.extend(line.iter().map(|byte| char::from(*byte)));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

fn sha256_hex(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let mut hex = String::new();
    for octet in digest.as_ref() {
        let _ = write!(hex, "{octet:02x}");
    }
    hex
}

/// What the system said, behind what was tried.
pub(super) fn cause(error: &FileError) -> String {
    format!("{error}: {}", error.source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_user_or_a_group_reaches_is_refused_by_name() {
        let fault = |kept: Kept, mode, owner| kept.fault(Path::new("/state"), mode, owner, 7);
        for (kept, mode) in [(Kept::Folder, 0o700), (Kept::Folder, 0o755), (Kept::Key, 0o600), (Kept::Key, 0o400)] {
            assert_eq!((fault(kept, mode, 7), fault(kept, mode, 0)), (None, None), "{kept:?} {mode:o}");
        }
        for (kept, mode, owner, message, remedy) in [
            (
                Kept::Folder,
                0o770,
                7,
                "/state: its group may write to it, and so decide whom we believe: the mode of the state folder is 0770",
                "chmod 700 /state",
            ),
            (
                Kept::Folder,
                0o757,
                7,
                "/state: anyone may write to it, and so decide whom we believe: the mode of the state folder is 0757",
                "chmod 700 /state",
            ),
            (
                Kept::Folder,
                0o700,
                8,
                "/state: the state folder belongs to the user 8, who may write to it, and so decide whom we believe; expected it to belong to 7, whom mantlet runs as",
                "chown 7 /state, if what is in it is ours",
            ),
            (
                Kept::Key,
                0o640,
                7,
                "/state: its group may read the key or replace it, and so stand for us: the mode of the file of our key is 0640",
                "chmod 600 /state",
            ),
            (
                Kept::Key,
                0o604,
                7,
                "/state: anyone may read the key or replace it, and so stand for us: the mode of the file of our key is 0604",
                "chmod 600 /state",
            ),
            (
                Kept::Key,
                0o600,
                8,
                "/state: the file of our key belongs to the user 8, who may read the key or replace it, and so stand for us; expected it to belong to 7, whom mantlet runs as",
                "chown 7 /state, if what is in it is ours",
            ),
        ] {
            assert_eq!(fault(kept, mode, owner), Some((message.to_owned(), remedy.to_owned())));
        }
    }
}
