//! The folder in which what the authority gave outlives a restart.
//!
//! Key and chain are one file, so that they are replaced in one step: whenever the process is killed, the folder holds a pair
//! that belongs together. What is new is written beside it, judged as it will be used, and only then put in its place.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::PathBuf;

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::config::Enrolment;
use crate::durable::{Audience, FileError, rename_durably, write_durably};
use crate::kept::Kept;
use crate::x509::{MaterialPart, MaterialProblem, read_kept_certificates};

/// Most octets that are read of the digest of a secret.
const MAX_USED: u64 = 1024;

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
        let state = Self::at(settings);
        let findings = state.judge_access()?;
        let probe = folder.join(".probe");
        write_durably(&probe, b"", Audience::Owner)
            .and_then(|()| fs::remove_file(&probe).map_err(crate::durable::io_error("remove", &probe)))
            .map_err(|error| {
                fatal(format!("{shown}: the state folder cannot be written to: {}", cause(&error)), usable)
            })?;
        Ok((state, findings))
    }

    /// The folder as it is, made or not.
    pub(super) fn at(settings: &Enrolment) -> Self {
        let folder = settings.state_dir.value.clone();
        Self { credential: settings.credential_file(), anchors: settings.anchors_file(), folder }
    }

    /// Who else reaches it, or what is worth knowing of that.
    pub(super) fn access_problems(&self) -> Vec<MaterialProblem> {
        self.judge_access().unwrap_or_else(|problem| vec![problem])
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

    /// The anchors that the authority served; none before it was first asked, nor where others may have written them.
    pub(super) fn held_anchors(&self) -> Vec<CertificateDer<'static>> {
        read_kept_certificates(&self.anchors).unwrap_or_default()
    }

    /// Whether a one-time secret has brought a certificate already.
    pub(super) fn is_used(&self, secret: &str) -> bool {
        let used = Kept::File.open(&self.used()).ok().and_then(|file| io::read_to_string(file.take(MAX_USED)).ok());
        used.is_some_and(|used| used.trim() == sha256_hex(secret))
    }

    /// Notes that a one-time secret has brought a certificate. Its digest tells nobody the secret, and is good for nothing.
    pub(super) fn note_used(&self, secret: &str) -> Result<(), FileError> {
        write_durably(&self.used(), sha256_hex(secret).as_bytes(), Audience::Owner)
    }

    fn used(&self) -> PathBuf {
        self.folder.join("secret.used")
    }

    /// Whoever can write to the folder, or to what is in it, decides whom we believe, and whoever can read the key is us to
    /// everyone else. The value holds what is worth knowing. Files are judged again where they are opened.
    ///
    /// # Errors
    /// The first thing that is no good.
    fn judge_access(&self) -> Result<Vec<MaterialProblem>, MaterialProblem> {
        let problem = |fatal, message: String, remedy: String| MaterialProblem {
            part: MaterialPart::State,
            fatal,
            message,
            remedy,
        };
        let (folder, used) = (&self.folder, self.used());
        for (path, kept) in
            [(folder, Kept::Folder), (&self.credential, Kept::Key), (&self.anchors, Kept::File), (&used, Kept::File)]
        {
            kept.look(path).map_err(|reached| problem(true, reached.message(path), reached.remedy))?;
        }
        // Its names are no secret, and the key has a mode of its own.
        let mode = folder.metadata().map_or(0, |metadata| metadata.mode() & 0o7777);
        let shown = folder.display();
        let message = format!("{shown}: the state folder is open to group or others: its mode is {mode:04o}");
        let open = (mode & 0o077 != 0).then(|| problem(false, message, format!("chmod 700 {shown}")));
        Ok(open.into_iter().collect())
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
