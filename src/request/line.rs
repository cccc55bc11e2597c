//! Submits that wait for a key stand in line, one line for each pool. Within a tenant who came first is served first; the
//! tenants take turns, so that the flood of one holds up another by one place and no more. Only the first one looks.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::room::{Room, Slots, Standing};

#[derive(Debug, Default)]
pub struct Lines {
    by_pool: Mutex<HashMap<Arc<str>, Arc<Line>>>,
    waiting: Arc<AtomicUsize>,
}

/// The line for one pool.
#[derive(Debug)]
pub struct Line {
    state: Mutex<State>,
    /// Likewise. Never held together with the other.
    room: Mutex<Room>,
    here: AtomicUsize,
    /// In all lines.
    waiting: Arc<AtomicUsize>,
}

/// A std lock with sections of a few instructions; never held over an await.
#[derive(Debug, Default)]
struct State {
    is_taken: bool,
    /// By tenant.
    queues: HashMap<Arc<str>, VecDeque<oneshot::Sender<()>>>,
    /// Tenants that have somebody waiting, each once.
    turns: VecDeque<Arc<str>>,
}

/// A place in the line, and once its turn came the front of it, until it is dropped.
#[derive(Debug)]
pub struct Place {
    line: Arc<Line>,
    /// None: it is in front.
    turn: Option<oneshot::Receiver<()>>,
}

/// A slot that its tenant is about to take, or has taken and no task holds yet.
#[derive(Debug)]
pub struct Taking {
    line: Arc<Line>,
    tenant: Arc<str>,
}

/// SECURITY: bounds what a flood of submits can make us keep, a few kB each. Who has less than an even share of them may
/// still join, so that one tenant cannot shut the others out.
const LONGEST: usize = 10_000;
const MANY: usize = 64;

impl Lines {
    pub fn of(&self, pool: &Arc<str>) -> Arc<Line> {
        let mut lines = self.by_pool.lock().unwrap_or_else(PoisonError::into_inner);
        // Pools of configurations that are long gone.
        if lines.len() > 2 * LONGEST {
            lines.retain(|_, line| Arc::strong_count(line) > 1);
        }
        let line = lines.entry(Arc::clone(pool)).or_insert_with(|| {
            Arc::new(Line {
                state: Mutex::default(),
                room: Mutex::default(),
                here: AtomicUsize::new(0),
                waiting: Arc::clone(&self.waiting),
            })
        });
        Arc::clone(line)
    }

    /// How many submits wait, those in front included.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl Line {
    pub fn is_empty(&self) -> bool {
        self.here.load(Ordering::Relaxed) == 0
    }

    /// Whether somebody of another tenant waits for a turn.
    pub fn has_others(&self, tenant: &Arc<str>) -> bool {
        self.state().turns.iter().any(|waiting| waiting != tenant)
    }

    pub fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a tenant stands in this pool. See `Room::standing`.
    pub fn stand(
        self: &Arc<Self>,
        tenant: &Arc<str>,
        held: impl Fn(&Arc<str>) -> usize,
        look: impl FnOnce() -> Option<Slots>,
        now: Instant,
    ) -> (Standing, Option<Taking>) {
        let standing = self.room().standing(tenant, held, look, now);
        let taking = (standing != Standing::MustWait).then(|| Taking {
            line: Arc::clone(self),
            tenant: Arc::clone(tenant),
        });
        (standing, taking)
    }

    /// Waits for its turn. `None` when that takes too long, or too many wait already.
    pub async fn join(self: Arc<Self>, tenant: &Arc<str>, until: Instant) -> Option<Place> {
        let turn = self.queue(tenant)?;
        self.here.fetch_add(1, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let mut place = Place { line: self, turn };
        if let Some(turn) = place.turn.as_mut() {
            timeout_at(until, turn).await.ok()?.ok()?;
            place.turn = None;
        }
        Some(place)
    }

    /// None: too many wait. Some(None): nobody does.
    fn queue(&self, tenant: &Arc<str>) -> Option<Option<oneshot::Receiver<()>>> {
        let mut state = self.state();
        if !state.is_taken {
            state.is_taken = true;
            return Some(None);
        }
        let share = LONGEST / state.turns.len().max(1);
        let queue = state.queues.entry(Arc::clone(tenant)).or_default();
        // Those who gave up keep their place until the line moves on.
        if queue.len() >= share.min(MANY) {
            queue.retain(|waiter| !waiter.is_closed());
        }
        if self.waiting.load(Ordering::Relaxed) >= LONGEST && queue.len() >= share {
            return None;
        }
        let (tell, turn) = oneshot::channel();
        queue.push_back(tell);
        let is_first = queue.len() == 1;
        if is_first && !state.turns.contains(tenant) {
            state.turns.push_back(Arc::clone(tenant));
        }
        Some(Some(turn))
    }

    /// Whose turn it is next.
    fn pass(&self) {
        let mut state = self.state();
        while let Some(tenant) = state.turns.pop_front() {
            let mut queue = state.queues.remove(&tenant).unwrap_or_default();
            // Who gave up cannot be told.
            let told = std::iter::from_fn(|| queue.pop_front()).any(|next| next.send(()).is_ok());
            if !queue.is_empty() {
                state.queues.insert(Arc::clone(&tenant), queue);
                state.turns.push_back(tenant);
            }
            if told {
                return;
            }
        }
        state.is_taken = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.line.room().took(&self.tenant);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.line.here.fetch_sub(1, Ordering::Relaxed);
        self.line.waiting.fetch_sub(1, Ordering::Relaxed);
        let is_in_front = self.turn.as_mut().is_none_or(|turn| {
            turn.close();
            // The turn may have come in the instant in which the place was given up.
            turn.try_recv().is_ok()
        });
        if is_in_front {
            self.line.pass();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::poll;

    use super::*;

    fn line() -> (Lines, Arc<Line>, Instant) {
        let lines = Lines::default();
        let line = lines.of(&"default".into());
        (lines, line, Instant::now() + Duration::from_secs(2))
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_to_come_is_served_first() {
        let (lines, line, until) = line();
        let tenant: Arc<str> = "".into();
        let first = Arc::clone(&line).join(&tenant, until).await.unwrap();
        let mut second = Box::pin(Arc::clone(&line).join(&tenant, until));
        let mut third = Box::pin(Arc::clone(&line).join(&tenant, until));
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        assert_eq!(lines.waiting(), 3);
        drop(first);
        assert!(poll!(&mut third).is_pending());
        drop(second.await.unwrap());
        assert!(third.await.is_some());
        assert!(lines.waiting() == 0 && line.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_too_long_leaves_the_line() {
        let (lines, line, until) = line();
        let tenant: Arc<str> = "".into();
        let _first = Arc::clone(&line).join(&tenant, until).await.unwrap();
        assert!(Arc::clone(&line).join(&tenant, until).await.is_none());
        assert_eq!((Instant::now(), lines.waiting()), (until, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn tenants_take_turns_whatever_one_of_them_floods() {
        let (_, line, until) = line();
        let (flood, other): (Arc<str>, Arc<str>) = ("flood".into(), "other".into());
        let front = Arc::clone(&line).join(&flood, until).await.unwrap();
        let mut crowd: Vec<_> = (0..100)
            .map(|_| Box::pin(Arc::clone(&line).join(&flood, until)))
            .collect();
        for waiting in &mut crowd {
            assert!(poll!(waiting).is_pending());
        }
        let mut single = Box::pin(Arc::clone(&line).join(&other, until));
        assert!(poll!(&mut single).is_pending());
        drop(front);
        let next = crowd.remove(0).await.unwrap();
        assert!(poll!(&mut single).is_pending());
        drop(next);
        assert!(poll!(&mut single).is_ready(), "one place behind the flood");
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_nobody_takes_is_passed_on() {
        let (_, line, until) = line();
        let tenant: Arc<str> = "".into();
        let front = Arc::clone(&line).join(&tenant, until).await.unwrap();
        let mut gone = Box::pin(Arc::clone(&line).join(&tenant, until));
        let mut next = Box::pin(Arc::clone(&line).join(&tenant, until));
        assert!(poll!(&mut gone).is_pending() && poll!(&mut next).is_pending());
        drop(front);
        // Its turn has come, and it leaves without a look.
        drop(gone);
        assert!(poll!(&mut next).is_ready());
    }
}
