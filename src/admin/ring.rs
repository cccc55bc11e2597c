//! The latest of something, for people to look at: a fixed number of entries in memory.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

#[derive(Debug)]
pub(super) struct Ring<T> {
    most: usize,
    /// A std lock with sections of a few instructions, but for a look.
    entries: Mutex<VecDeque<T>>,
}

impl<T: Clone> Ring<T> {
    pub(super) fn new(most: usize) -> Self {
        let entries = Mutex::new(VecDeque::with_capacity(most));
        Self { most, entries }
    }

    pub(super) fn push(&self, entry: T) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = match entries.len() < self.most {
            true => None,
            false => entries.pop_front(),
        };
        entries.push_back(entry);
        drop(entries);
        // What it held is freed outside the lock.
        drop(oldest);
    }

    /// The newest first.
    pub(super) fn newest(&self, most: usize) -> Vec<T> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().rev().take(most).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_come_first_and_the_oldest_make_room() {
        let ring = Ring::new(3);
        assert_eq!(ring.newest(9), [0; 0]);
        (1..=5).for_each(|entry| ring.push(entry));
        assert_eq!(ring.newest(9), [5, 4, 3]);
        assert_eq!(ring.newest(2), [5, 4]);
    }
}
