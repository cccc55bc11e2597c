//! A request's body, whole, within its own bound and within what all bodies together may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::{Instant, timeout_at};

use super::Limits;

/// A body in memory. Its share of the budget is given back when it is dropped.
#[derive(Debug)]
pub struct HeldBody {
    pub bytes: Bytes,
    _grant: Grant,
}

impl HeldBody {
    /// Of bytes that are there already. None: no budget is left.
    pub fn of(bytes: Bytes, budget: &Arc<BodyBudget>) -> Option<Self> {
        let mut grant = Grant {
            budget: Arc::clone(budget),
            bytes: 0,
        };
        grant.take(bytes.len()).ok()?;
        Some(Self {
            bytes,
            _grant: grant,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than max_body")]
    TooBig,
    #[error("all bodies in flight together have reached max_body_total")]
    NoBudget,
    #[error("the body came too slowly")]
    TooSlow,
    #[error("the body is malformed or was cut off")]
    Broken,
}

/// How many bytes all bodies in flight may take together.
#[derive(Debug)]
pub struct BodyBudget {
    free: AtomicUsize,
}

impl BodyBudget {
    pub fn new(bytes: usize) -> Self {
        Self {
            free: AtomicUsize::new(bytes),
        }
    }

    pub fn free(&self) -> usize {
        self.free.load(Ordering::Relaxed)
    }
}

/// Reads a body to its end. Trailers are dropped: nothing in them may count as a header or a parameter.
///
/// hyper sends `100 Continue` when the body is first asked for, so a client that waits for it sends nothing that would
/// be refused by its length or for want of budget.
pub async fn read_body<B>(
    mut body: B,
    max_body: usize,
    budget: &Arc<BodyBudget>,
    limits: &Limits,
) -> Result<HeldBody, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut grant = Grant {
        budget: Arc::clone(budget),
        bytes: 0,
    };
    if body.is_end_stream() {
        return Ok(HeldBody {
            bytes: Bytes::new(),
            _grant: grant,
        });
    }
    let announced = body.size_hint().exact();
    let most = announced.map_or(max_body, |length| {
        usize::try_from(length).unwrap_or(usize::MAX)
    });
    if most > max_body {
        return Err(BodyError::TooBig);
    }
    let mut bytes = Vec::new();
    // SECURITY: a length that was only announced takes no more than this. A small call costs one allocation.
    grant.grow(
        &mut bytes,
        most.min(if announced.is_some() {
            FIRST_GRANT
        } else {
            FIRST_UNANNOUNCED
        }),
    )?;
    let mut pace = Pace::new(limits, Instant::now());
    loop {
        let frame = match timeout_at(pace.deadline(bytes.len()), body.frame()).await {
            Err(_) => return Err(BodyError::TooSlow),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(BodyError::Broken),
            Ok(Some(Ok(frame))) => frame,
        };
        pace.last_read = Instant::now();
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let length = bytes.len() + data.len();
        if length > max_body {
            return Err(BodyError::TooBig);
        }
        if length > bytes.capacity() {
            // Doubling, so that each byte is moved about once.
            let room = length.max(bytes.capacity() * 2).min(most);
            grant.grow(&mut bytes, room)?;
        }
        bytes.extend_from_slice(&data);
    }
    Ok(HeldBody {
        bytes: Bytes::from(bytes),
        _grant: grant,
    })
}

/// What one body has taken of the budget.
#[derive(Debug)]
struct Grant {
    budget: Arc<BodyBudget>,
    bytes: usize,
}

impl Grant {
    /// Makes room for `capacity` bytes. Never waits: a body that waits for another's room holds its own meanwhile.
    fn grow(&mut self, bytes: &mut Vec<u8>, capacity: usize) -> Result<(), BodyError> {
        self.take(capacity)?;
        bytes.reserve_exact(capacity - bytes.len());
        Ok(())
    }

    fn take(&mut self, capacity: usize) -> Result<(), BodyError> {
        let more = capacity - self.bytes;
        let take = |free: usize| free.checked_sub(more);
        self.budget
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .map_err(|_| BodyError::NoBudget)?;
        self.bytes = capacity;
        Ok(())
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.budget.free.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// SECURITY: a client that sends a byte now and then would hold its connection and its share of the budget for ever.
/// The cost: a line slower than `body_rate` cannot submit.
struct Pace<'a> {
    limits: &'a Limits,
    start: Instant,
    last_read: Instant,
}

impl<'a> Pace<'a> {
    fn new(limits: &'a Limits, now: Instant) -> Self {
        Self {
            limits,
            start: now,
            last_read: now,
        }
    }

    /// When a body of which `received` bytes are there has failed if no more come.
    fn deadline(&self, received: usize) -> Instant {
        let earned = Duration::from_secs_f64(received as f64 / self.limits.body_rate.max(1) as f64);
        let by_rate = self.start + self.limits.body_grace + earned;
        let whole = self.start + self.limits.body;
        let idle = self.last_read + self.limits.body_read;
        by_rate.min(whole).min(idle)
    }
}

/// A call without an image fits many times; an image grows from here.
const FIRST_GRANT: usize = 64 * 1024;
/// Chunked, of unknown length.
const FIRST_UNANNOUNCED: usize = 8 * 1024;

#[cfg(test)]
mod tests;
