//! What a caller holds while its change is on its way.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::StoreError;

/// The change is on its way already. Resolves when it is durable, with the number of rows that it replaced
/// or forgot. Whoever loses patience may drop it: the change is still made.
#[must_use = "a change is durable only when this resolved"]
#[derive(Debug)]
pub struct Written(pub(super) State);

#[derive(Debug)]
pub(super) enum State {
    Known(Result<u64, StoreError>),
    Waiting(oneshot::Receiver<Result<u64, StoreError>>),
}

impl Future for Written {
    type Output = Result<u64, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Known(result) => Poll::Ready(result.clone()),
            State::Waiting(answer) => Pin::new(answer)
                .poll(context)
                .map(|answer| answer.unwrap_or(Err(StoreError::Closed))),
        }
    }
}
