//! The two steps in which listening ends.

use tokio_util::sync::CancellationToken;

/// One for each port that ends on its own. Cheap to clone; all clones are the same drain.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    leaving: CancellationToken,
    finishing: CancellationToken,
}

impl Drain {
    pub fn new() -> Self {
        Self::default()
    }

    /// Go on accepting, and say `Connection: close` with every answer, so that clients move on by themselves.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    /// Stop accepting, close idle connections, let running requests finish.
    pub fn finish(&self) {
        self.leaving.cancel();
        self.finishing.cancel();
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    pub(super) async fn finishing(&self) {
        self.finishing.cancelled().await;
    }
}
