//! What the process asks of the system for itself.

use std::hint::black_box;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tracing::warn;

/// Keeps keys out of core dumps and out of the reach of other processes of the same user, and raises the limit of open
/// descriptors to what the system allows.
pub fn harden() {
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, no_core) {
        warn!(%error, "core dumps cannot be turned off; a crash may write keys to disk");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!(%error, "the process cannot be closed to debuggers");
    }
    let files = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }) {
        warn!(%error, "the limit of open files stays at {:?}", files.current);
    }
}

/// More than the allocator takes from a page that it keeps.
const OWN_PAGE: usize = 1 << 20;

/// Lets memory go that was not used for a while. The allocator gives it back to the system when a page is freed after that while, and
/// a process whose connections have gone frees none any more. The one that is freed here is never touched.
pub(super) fn let_memory_go() {
    drop(black_box(Vec::<u8>::with_capacity(OWN_PAGE)));
}
