//! Which paths had a large answer the last time. The size of an answer is not known when the hop for its request is chosen.

use std::sync::atomic::{AtomicU64, Ordering};

use http::Uri;

/// A body from this size on costs less over HTTP/1.1 than over HTTP/2.
pub(super) const LARGE_BODY: u64 = 1024 * 1024;
/// Paths remembered at a time; two that fall on one place take it from each other.
const PLACES: usize = 64;

/// A few paths whose last answer was large. A path that is taken for another costs time and nothing else.
#[derive(Debug)]
pub(super) struct LargeAnswers([AtomicU64; PLACES]);

impl Default for LargeAnswers {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; PLACES])
    }
}

impl LargeAnswers {
    /// Whether the last answer for this path was large.
    pub(super) fn expects(&self, path: PathKey) -> bool {
        self.place(path).load(Ordering::Relaxed) == path.0
    }

    /// Notes how many bytes the body of an answer had.
    pub(super) fn note(&self, path: PathKey, bytes: u64) {
        let is_large = bytes >= LARGE_BODY;
        if is_large != self.expects(path) {
            self.place(path).store(if is_large { path.0 } else { 0 }, Ordering::Relaxed);
        }
    }

    fn place(&self, PathKey(key): PathKey) -> &AtomicU64 {
        let place = usize::try_from(key % PLACES as u64).expect("less than the number of places");
        &self.0[place]
    }
}

/// Stands for a path, without its query.
#[derive(Debug, Clone, Copy)]
pub(super) struct PathKey(u64);

impl PathKey {
    /// FNV-1a; never 0, which stands for no path.
    pub(super) fn of(uri: &Uri) -> Self {
        let hash = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
        Self(uri.path().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, hash).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_expected_to_answer_as_it_did_the_last_time() {
        let (large, query) = (Uri::from_static("/film"), Uri::from_static("/film?part=2"));
        let answers = LargeAnswers::default();
        assert!(!answers.expects(PathKey::of(&large)));
        answers.note(PathKey::of(&large), LARGE_BODY);
        assert!(answers.expects(PathKey::of(&query)));
        assert!(!answers.expects(PathKey::of(&Uri::from_static("/"))));
        answers.note(PathKey::of(&query), LARGE_BODY - 1);
        assert!(!answers.expects(PathKey::of(&large)));
    }
}
