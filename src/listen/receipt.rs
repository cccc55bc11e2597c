//! For answers that cost money: whether the client was there when they went out.

use std::sync::Arc;

/// Put among the extensions of an answer by who made it. Signed when its first byte is written; dropped unsigned if the
/// client was gone by then.
#[derive(Clone)]
pub struct Receipt(Arc<dyn Fn() + Send + Sync>);

impl Receipt {
    pub fn new(signed: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(signed))
    }

    pub(super) fn sign(self) {
        (self.0)();
    }
}
