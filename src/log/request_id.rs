//! Which request a line belongs to: 16 hex digits, in every line that is written while it is answered.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

tokio::task_local! {
    static CURRENT: RequestId;
}

/// Differs from all others of this process, and from those of other processes as random numbers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(u64);

impl RequestId {
    pub fn next() -> Self {
        static NEXT: LazyLock<AtomicU64> =
            LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(std::process::id())));
        Self(spread(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Of the work that runs now, if it is a request's.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|id| *id).ok()
    }

    /// While `work` runs, it is the current one.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// As it is written.
    pub fn hex(self) -> [u8; 16] {
        let mut hex = [0; 16];
        for (place, digit) in hex.iter_mut().enumerate() {
            let nibble = (self.0 >> (60 - 4 * place)) & 0xf;
            *digit = DIGITS[nibble as usize];
        }
        hex
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

/// The finalizer of SplitMix64: neighbours come far apart, and since it is one to one, none comes twice.
fn spread(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::background::Background;

    #[test]
    fn ids_are_16_hex_digits_and_differ() {
        assert_eq!(RequestId(0xab).to_string(), "00000000000000ab");
        let (one, other) = (RequestId::next(), RequestId::next());
        assert_ne!(one, other);
        assert_eq!(one.to_string().len(), 16);
    }

    #[tokio::test]
    async fn what_a_request_spawns_belongs_to_it() {
        let (id, background) = (RequestId::next(), Background::new());
        let inside = id.scope(async {
            let spawned = background.spawn(async { RequestId::current() });
            (RequestId::current(), spawned.await.unwrap())
        });
        assert_eq!(inside.await, (Some(id), Some(id)));
        let outside = background.spawn(async { RequestId::current() });
        assert_eq!((RequestId::current(), outside.await.unwrap()), (None, None));
    }
}
