//! How many sources are still waited for, on a terminal.

use std::io::{Write, stderr};

/// One line that is written over and taken away at the end. Without a terminal nothing is written.
pub(super) struct Progress {
    is_shown: bool,
}

impl Progress {
    pub(super) fn new(is_shown: bool) -> Self {
        Self { is_shown }
    }

    pub(super) fn tell(&self, answered: usize, all: usize) {
        self.write(&format!("\r{answered} of {all} sources have answered\x1b[K"));
    }

    fn write(&self, text: &str) {
        if self.is_shown {
            // Who cannot see it misses nothing.
            let _ = stderr().write_all(text.as_bytes());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.write("\r\x1b[K");
    }
}
