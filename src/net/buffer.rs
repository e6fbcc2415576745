//! Buffers for bytes on the move. Each worker keeps a few, and a connection borrows one for as long as there is something in it.

use std::cell::RefCell;
use std::mem::take;

/// Room for one of the largest TLS records: its header and 2^14 + 256 bytes (RFC 8446 section 5.2).
const RECORD: usize = 5 + (1 << 14) + 256;
/// Where bytes begin in a lent buffer. Large memory begins at a page, and copies between two places that lie a few bytes further in
/// their pages from each other are many times slower than others on some processors (see `tls/stream.rs`).
const FRONT: usize = 64;
/// Room for four records, so that one call of the kernel moves 64 KiB.
const CAPACITY: usize = FRONT + 4 * RECORD;
/// Buffers that a worker keeps for the next connection that needs one.
const KEPT: usize = 8;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes in the order in which they came. An empty one takes no memory of its own.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// What is in it.
    pub(crate) fn filled(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Where the next bytes go, with room for 16 KiB at least unless as much is unread already. [`Self::fill`] says how many came.
    pub(crate) fn free(&mut self) -> &mut [u8] {
        if self.bytes.len() < CAPACITY {
            self.borrow();
        } else if self.end > CAPACITY - RECORD {
            self.move_to_front();
        }
        &mut self.bytes[self.end..]
    }

    /// The same with room for `length` bytes, however many there are. For bytes of our own alone.
    pub(crate) fn free_for(&mut self, length: usize) -> &mut [u8] {
        if self.free().len() < length {
            self.move_to_front();
            self.bytes.resize(CAPACITY.max(self.end + length), 0);
        }
        &mut self.bytes[self.end..]
    }

    pub(crate) fn fill(&mut self, length: usize) {
        self.end += length;
    }

    /// Drops bytes from the front.
    pub(crate) fn discard(&mut self, length: usize) {
        self.start += length;
        if self.is_empty() {
            let front = if self.bytes.len() < CAPACITY { 0 } else { FRONT };
            (self.start, self.end) = (front, front);
        }
    }

    /// Keeps no more memory than what is in it needs, until more comes.
    pub(crate) fn settle(&mut self) {
        if self.bytes.len() < CAPACITY && !self.is_empty() {
            return;
        }
        let rest = self.filled().to_vec();
        (self.start, self.end) = (0, rest.len());
        give_back(std::mem::replace(&mut self.bytes, rest));
    }

    fn borrow(&mut self) {
        let mut large = SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; CAPACITY]);
        let length = self.end - self.start;
        large[FRONT..FRONT + length].copy_from_slice(self.filled());
        self.bytes = large;
        (self.start, self.end) = (FRONT, FRONT + length);
    }

    fn move_to_front(&mut self) {
        self.bytes.copy_within(self.start..self.end, FRONT);
        (self.start, self.end) = (FRONT, FRONT + self.end - self.start);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give_back(take(&mut self.bytes));
    }
}

fn give_back(buffer: Vec<u8>) {
    if buffer.len() != CAPACITY {
        return;
    }
    // A thread that ends has no use for it.
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < KEPT {
            spare.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spare() -> usize {
        SPARE.with_borrow(Vec::len)
    }

    fn put(buffer: &mut Buffer, bytes: &[u8]) {
        buffer.free()[..bytes.len()].copy_from_slice(bytes);
        buffer.fill(bytes.len());
    }

    #[test]
    fn an_empty_buffer_gives_its_memory_back_to_the_next() {
        let mut buffer = Buffer::default();
        put(&mut buffer, b"some");
        buffer.discard(4);
        buffer.settle();
        assert_eq!((buffer.bytes.capacity(), spare()), (0, 1));
        put(&mut buffer, b"more");
        assert_eq!(spare(), 0);
        drop(buffer);
        assert_eq!(spare(), 1);
    }

    #[test]
    fn what_is_left_keeps_memory_for_itself_alone() {
        let mut buffer = Buffer::default();
        put(&mut buffer, b"gone, left");
        buffer.discard(6);
        buffer.settle();
        assert_eq!((buffer.filled().to_vec(), buffer.bytes.capacity()), (b"left".to_vec(), 4));
        put(&mut buffer, b" over");
        assert_eq!(buffer.filled(), b"left over");
    }

    #[test]
    fn what_was_left_keeps_no_memory_once_it_is_gone() {
        let mut buffer = Buffer::default();
        put(&mut buffer, b"left");
        buffer.settle();
        buffer.discard(4);
        buffer.settle();
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    #[test]
    fn a_peer_cannot_make_it_grow() {
        let mut buffer = Buffer::default();
        loop {
            let room = buffer.free().len();
            if room == 0 {
                break;
            }
            buffer.fill(room);
        }
        assert_eq!(buffer.filled().len(), CAPACITY - FRONT);
    }

    #[test]
    fn there_is_always_room_for_our_own_bytes() {
        let mut buffer = Buffer::default();
        let room = buffer.free().len();
        buffer.fill(room);
        assert!(buffer.free_for(RECORD).len() >= RECORD);
        assert_eq!(buffer.filled().len(), CAPACITY - FRONT);
    }
}
