//! From octets to verified CRLs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use thiserror::Error;

use crate::config::{CrlSource, Revocation};
use crate::x509::{
    CrlError, CrlFileError, CrlIssuers, MaterialPart, MaterialProblem, NotTaken, RevocationIndex, VerifiedCrl, digest,
    read_crl_file, split_crls,
};

use super::preparing::overdue;

/// What the names of files of CRLs end with in a folder of them.
const EXTENSIONS: [&str; 3] = ["crl", "pem", "der"];
/// Most files of a folder that are read.
const MAX_FILES: usize = 1024;

/// What a source gave: each CRL in it, good or not.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) crls: Vec<Read>,
    pub(super) problems: Vec<ReadProblem>,
    /// It holds CRLs of CAs that are not known here, though they may be learnt from a certificate that leads to an anchor.
    pub(super) has_unknown_issuer: bool,
}

/// One CRL of a source.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) crl: Arc<VerifiedCrl>,
    /// To be kept on the disk; absent where it was in use already.
    pub(super) der: Option<Vec<u8>>,
}

/// Something of a source that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadProblem {
    /// The file or address.
    pub(super) place: Arc<str>,
    pub(super) message: String,
    pub(super) remedy: &'static str,
    is_issuer_unknown: bool,
}

/// Why a source gave nothing new.
#[derive(Debug, Error)]
enum Unusable {
    #[error("{0}")]
    File(#[from] CrlFileError),
    #[error("{0}")]
    Crl(#[from] CrlError),
    #[error("cannot be read: {0}")]
    Folder(std::io::Error),
}

impl Unusable {
    fn at(self, place: &Arc<str>) -> ReadProblem {
        let (remedy, is_issuer_unknown) = match &self {
            Self::File(_) | Self::Folder(_) => ("check that it exists, is readable by this user and is whole", false),
            Self::Crl(error) => (error.remedy(), matches!(error, CrlError::UnknownIssuer { .. })),
        };
        ReadProblem { place: Arc::clone(place), message: self.to_string(), remedy, is_issuer_unknown }
    }
}

/// What CRLs are read with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) max_size: u64,
    pub(super) issuers: &'a CrlIssuers,
    /// What is in here already is not verified once more.
    pub(super) held: &'a RevocationIndex,
    pub(super) now: SystemTime,
}

/// How one CRL is read and verified.
type Verify = fn(&[u8], &CrlIssuers, &Arc<str>, SystemTime) -> Result<VerifiedCrl, CrlError>;

impl Reader<'_> {
    /// Reads a file, or the files of a folder.
    pub(super) fn path(self, path: &Path) -> Reading {
        if !path.is_dir() {
            return self.file(path, VerifiedCrl::read);
        }
        let mut reading = Reading::default();
        match crl_files(path) {
            Ok(files) => files.iter().for_each(|file| self.take_file(&mut reading, file, VerifiedCrl::read)),
            Err(error) => reading.problems.push(Unusable::Folder(error).at(&place_of(path))),
        }
        let mut reading = reading.sorted();
        // A folder may be shared with others, who trust other CAs.
        reading.problems.retain(|problem| !problem.is_issuer_unknown);
        reading
    }

    /// Reads a file of our own cache: what it holds was read before.
    pub(super) fn kept(self, path: &Path) -> Reading {
        self.file(path, VerifiedCrl::read_again)
    }

    /// Reads what an address answered.
    pub(super) fn bytes(self, bytes: Vec<u8>, place: &Arc<str>) -> Reading {
        let mut reading = Reading::default();
        self.take(&mut reading, split_crls(bytes), place, VerifiedCrl::read);
        reading.sorted()
    }

    /// Reads CRLs in DER.
    pub(super) fn ders(self, ders: Vec<Vec<u8>>, place: &Arc<str>) -> Reading {
        let mut reading = Reading::default();
        self.take(&mut reading, Ok(ders), place, VerifiedCrl::read);
        reading.sorted()
    }

    fn file(self, path: &Path, verify: Verify) -> Reading {
        let mut reading = Reading::default();
        self.take_file(&mut reading, path, verify);
        reading.sorted()
    }

    fn take_file(self, reading: &mut Reading, path: &Path, verify: Verify) {
        self.take(reading, read_crl_file(path, self.max_size), &place_of(path), verify);
    }

    fn take(self, reading: &mut Reading, ders: Result<Vec<Vec<u8>>, CrlFileError>, place: &Arc<str>, verify: Verify) {
        let ders = match ders {
            Ok(ders) => ders,
            Err(error) => return reading.problems.push(Unusable::from(error).at(place)),
        };
        for der in ders {
            let same = digest(&der);
            if let Some(crl) = self.held.crls().find(|crl| crl.digest == same) {
                reading.crls.push(Read { crl: Arc::clone(crl), der: None });
                continue;
            }
            match verify(&der, self.issuers, place, self.now) {
                Ok(crl) => reading.crls.push(Read { crl: Arc::new(crl), der: Some(der) }),
                Err(error) => reading.problems.push(Unusable::from(error).at(place)),
            }
        }
    }
}

impl Reading {
    /// Complete CRLs before the deltas that may need them.
    fn sorted(mut self) -> Self {
        self.has_unknown_issuer |= self.problems.iter().any(|problem| problem.is_issuer_unknown);
        self.crls.sort_by_key(|read| read.crl.info.base_number.is_some());
        self
    }
}

/// Reads files and folders of CRLs, for a tool that has no engine: the CRLs that would be in use, and every problem, each with the
/// index of its path.
pub fn read_paths(
    paths: &[PathBuf],
    max_size: u64,
    issuers: &CrlIssuers,
    now: SystemTime,
) -> (RevocationIndex, Vec<(usize, String, &'static str)>) {
    let (mut index, mut problems) = (RevocationIndex::default(), Vec::new());
    for (position, path) in paths.iter().enumerate() {
        let reading = Reader { max_size, issuers, held: &index, now }.path(path);
        problems.extend(
            reading.problems.into_iter().map(|one| (position, format!("{}: {}", one.place, one.message), one.remedy)),
        );
        for Read { crl, .. } in reading.crls {
            match index.with(&crl) {
                Ok(next) => index = next,
                Err(NotTaken::Unchanged | NotTaken::Older { .. }) => {}
                Err(reason) => problems.extend(
                    not_taken(&crl, &reason)
                        .map(|text| (position, format!("{}: {text}", crl.info.source), "give the complete CRL too")),
                ),
            }
        }
    }
    (index, problems)
}

/// Reads the files and folders that a configuration names, and nothing that is fetched.
pub fn read_files(
    settings: &Revocation,
    issuers: &CrlIssuers,
    now: SystemTime,
) -> (RevocationIndex, Vec<MaterialProblem>) {
    let paths = settings.sources.iter().enumerate().filter_map(|(position, source)| match &source.value {
        CrlSource::Path(path) => Some((position, path.clone())),
        CrlSource::Url(_) => None,
    });
    let (positions, paths): (Vec<usize>, Vec<PathBuf>) = paths.unzip();
    let (index, problems) = read_paths(&paths, settings.max_size, issuers, now);
    let problems = problems.into_iter().map(|(position, message, remedy)| MaterialProblem {
        part: MaterialPart::Crl(positions[position]),
        fatal: true,
        message,
        remedy: remedy.to_owned(),
    });
    let mut problems: Vec<MaterialProblem> = problems.collect();
    problems.extend(overdue(&index, now, |crl| {
        let given = paths.iter().position(|path| Path::new(&*crl.info.source).starts_with(path));
        given.map_or(MaterialPart::CrlCache, |given| MaterialPart::Crl(positions[given]))
    }));
    (index, problems)
}

/// Why a verified CRL of a source does not come into use, for people.
pub(super) fn not_taken(crl: &VerifiedCrl, reason: &NotTaken) -> Option<String> {
    let issuer = &crl.info.issuer;
    Some(match reason {
        NotTaken::Unchanged => return None,
        NotTaken::Older { held, this_update } => format!(
            "a newer CRL of {issuer:?} is loaded, so this one is not used: its number is {} and it was issued {}, \
             the one in use has {held} and {}",
            crl.info.number,
            crate::x509::Instant(crl.info.this_update),
            crate::x509::Instant(*this_update),
        ),
        NotTaken::NoBase { expected, held } => {
            let held = held.as_ref().map_or("none is loaded".to_owned(), |held| format!("{held} is loaded"));
            format!("is a delta CRL of {issuer:?} that starts from the complete CRL {expected}, and {held}")
        }
        NotTaken::TooMany => format!("is one more CRL of {issuer:?} than is kept beside those of other issuers"),
        NotTaken::TooLarge => format!(
            "makes the CRLs of {issuer:?} larger than the {} bytes of memory that one issuer's may take",
            crate::x509::MAX_ISSUER_BYTES
        ),
    })
}

/// A file as messages name it.
pub(super) fn place_of(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}

/// The files of CRLs in a folder, in the order of their names.
///
/// # Errors
/// Where the folder cannot be read.
pub fn crl_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_crl = path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known));
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_crl && !is_hidden && files.len() < MAX_FILES {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
