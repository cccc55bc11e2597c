//! Large answers, a few at a time.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// SECURITY: an answer about ten thousand keys or tenants is 8 to 14 MB. Without a bound a hundred clients that ask and do
/// not read would take more than a gigabyte.
#[derive(Debug)]
pub(super) struct Places(Arc<Semaphore>);

/// Of one answer, from before it is written until its last byte is sent or its client is gone.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }

    /// Never waits: who asks later finds room, and who waits would be one more connection that is held.
    pub(super) fn take(&self) -> Option<Place> {
        let permit = Arc::clone(&self.0).try_acquire_owned().ok();
        permit.map(|permit| Place { _permit: permit })
    }
}

impl Place {
    pub(super) fn hold(self, text: String) -> Bytes {
        Bytes::from_owner(Held { text, _place: self })
    }
}

struct Held {
    text: String,
    _place: Place,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_nobody_reads_are_few_and_one_that_was_read_makes_room() {
        let places = Places::new(2);
        let answer = || Some(places.take()?.hold("a 1\n".to_owned()));
        let mut unread = vec![answer().unwrap(), answer().unwrap()];
        assert_eq!(answer(), None);
        unread.pop();
        assert_eq!(answer().unwrap(), "a 1\n");
    }
}
