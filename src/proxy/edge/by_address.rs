//! How many connections each client address has open.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use crate::buckets::AddressKey;

/// Open connections by client address. It holds no address without a connection, so that the listener's limit bounds it.
#[derive(Debug, Default)]
pub struct ConnectionsByAddress(Mutex<HashMap<AddressKey, u32>>);

/// One open connection, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    all: Arc<ConnectionsByAddress>,
    key: AddressKey,
}

impl ConnectionsByAddress {
    /// Counts one more, unless there are `most` already.
    pub(super) fn count(self: &Arc<Self>, key: AddressKey, most: u32) -> Option<Counted> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key).or_default();
        // A count of 0 was made just now, and `most` is never 0.
        (*count < most).then(|| {
            *count += 1;
            Counted { all: Arc::clone(self), key }
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = counts.entry(self.key) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_connection_leaves_nothing_behind() {
        let all = Arc::new(ConnectionsByAddress::default());
        let key = AddressKey::of(Some("192.0.2.1".parse().expect("an address")));
        let first = all.count(key, 2);
        let second = all.count(key, 2);
        assert!(first.is_some() && second.is_some() && all.count(key, 2).is_none());
        drop(first);
        let third = all.count(key, 2);
        assert!(third.is_some());
        drop((second, third));
        assert!(all.0.lock().expect("whole").is_empty());
    }
}
