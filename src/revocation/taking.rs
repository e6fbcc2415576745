//! Taking what a source gave into the CRLs in use.

use std::sync::Arc;

use tracing::info;

use crate::x509::{Instant, NotTaken, RevocationIndex, VerifiedCrl};

use super::reading::{Read, Reading, not_taken};
use super::source::Source;

/// The CRLs in use as they will be, and what follows from the change.
#[derive(Debug)]
pub(super) struct Taking {
    pub(super) index: RevocationIndex,
    pub(super) changed: bool,
    /// To be kept on the disk.
    pub(super) keep: Vec<(Arc<VerifiedCrl>, Vec<u8>)>,
    /// Where delta CRLs are said to be had, and the branch below an anchor that says so.
    pub(super) freshest: Vec<(String, [u8; 32])>,
    /// What was taken here, so that it is told where something newer takes its place at once.
    taken: Vec<[u8; 32]>,
}

/// Something that a source gave and that is not used.
#[derive(Debug)]
pub(super) struct Problem {
    /// The file or address.
    pub(super) place: Arc<str>,
    pub(super) message: String,
    pub(super) remedy: &'static str,
    pub(super) kind: ProblemKind,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProblemKind {
    /// It cannot be used at all.
    Unusable,
    /// Something newer is in use.
    Older,
}

impl Taking {
    pub(super) fn new(index: RevocationIndex) -> Self {
        Self { index, changed: false, keep: Vec::new(), freshest: Vec::new(), taken: Vec::new() }
    }

    /// Takes it, and notes in the source what it gave.
    pub(super) fn take(&mut self, source: &mut Source, reading: Reading) -> Vec<Problem> {
        source.has_unknown_issuer = reading.has_unknown_issuer;
        let unusable = reading.problems.into_iter().map(|problem| Problem {
            place: problem.place,
            message: problem.message,
            remedy: problem.remedy,
            kind: ProblemKind::Unusable,
        });
        let mut problems: Vec<Problem> = unusable.collect();
        let (mut supplied, mut refused) = (Vec::new(), Vec::new());
        source.lacks_base = false;
        for Read { crl, der } in reading.crls {
            let verdict = self.index.with(&crl);
            if !matches!(verdict, Err(NotTaken::NoBase { .. } | NotTaken::TooMany | NotTaken::TooLarge)) {
                supplied.push(crl.stem.clone());
            }
            match verdict {
                Ok(index) => {
                    problems.extend(self.displaced_by(&crl));
                    tell_taken(&crl);
                    self.index = index;
                    self.changed = true;
                    self.taken.push(crl.digest);
                    let branch = source.branch.unwrap_or(crl.issuer_key);
                    self.freshest.extend(crl.freshest.iter().map(|url| (url.clone(), branch)));
                    self.keep.extend(der.map(|der| (crl, der)));
                }
                Err(reason) => {
                    source.lacks_base |= matches!(reason, NotTaken::NoBase { .. });
                    let is_older = matches!(reason, NotTaken::Older { .. });
                    if is_older && !source.refused.contains(&crl.digest) {
                        source.rollbacks += 1;
                    }
                    if is_older {
                        refused.push(crl.digest);
                    }
                    problems.extend(not_taken(&crl, &reason).map(|message| Problem {
                        place: Arc::clone(&crl.info.source),
                        message,
                        remedy: "have the source give the CA's present CRL",
                        kind: if is_older { ProblemKind::Older } else { ProblemKind::Unusable },
                    }));
                }
            }
        }
        // What it gave before stays in use where it gives something else in its place that cannot be.
        if problems.iter().any(|problem| problem.kind == ProblemKind::Unusable) {
            let before = std::mem::take(&mut source.supplied).into_iter();
            let kept: Vec<String> = before.filter(|stem| !supplied.contains(stem)).collect();
            supplied.extend(kept);
        }
        (source.supplied, source.refused) = (supplied, refused);
        problems
    }

    /// Where another source gave an older CRL a moment ago.
    fn displaced_by(&self, crl: &VerifiedCrl) -> Option<Problem> {
        let older = self.index.crls().find(|held| held.stem == crl.stem && self.taken.contains(&held.digest))?;
        Some(Problem {
            place: Arc::clone(&older.info.source),
            message: format!("a newer CRL of {:?} is loaded, so this one is not used", older.info.issuer),
            remedy: "remove the older one",
            kind: ProblemKind::Older,
        })
    }
}

pub(super) fn tell_taken(crl: &VerifiedCrl) {
    let info = &crl.info;
    info!(
        issuer = info.issuer,
        number = %info.number,
        delta = info.base_number.is_some(),
        entries = info.entries,
        next_update = %Instant(info.next_update),
        source = &*info.source,
        "a CRL is in use"
    );
}
