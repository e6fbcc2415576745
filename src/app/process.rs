//! What the process asks of the system for itself.

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
