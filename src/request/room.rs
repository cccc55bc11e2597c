//! Room in a pool for those who use little of it. Pure: `now` and what each tenant holds are parameters.
//!
//! Turns alone are not fair to them: where one tenant holds every slot, another waits for a task to end at each of its
//! submits, also when it only puts the next task in the place of its last. So each tenant has a share, the slots over the
//! tenants that came of late. Below its share it stands in no line. At its share it leaves free what others below theirs
//! had at the same time of late: a slot that a worker frees is still there when it comes back. Who does not come back
//! is forgotten within a minute, and with that all slots are everybody's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Default)]
pub struct Room {
    tenants: HashMap<Arc<str>, Recent>,
    /// When the window began in which `peak` is counted.
    window: Option<Instant>,
    slots: Option<(Instant, Slots)>,
}

/// One tenant of late.
#[derive(Debug, Default)]
struct Recent {
    /// The most that it had or wanted at the same time, in this window and in the one before.
    peak: usize,
    before: usize,
    /// Slots that it is about to take, or has taken and no task holds yet.
    taking: usize,
}

/// Of all keys of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    pub all: usize,
    pub free: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It need not stand in line. Counts as taking a slot.
    Below,
    /// It stands in line, and may take a slot when its turn comes. Counts as taking one.
    InTurn,
    /// The slots that are free are others'.
    MustWait,
}

/// Two windows: longer than a worker needs between a task and the next one.
const WINDOW: Duration = Duration::from_secs(30);
/// A look at ten thousand keys takes a third of a millisecond.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Room {
    /// A submit of this tenant, which holds so many slots.
    pub fn came(&mut self, tenant: &Arc<str>, held: usize, now: Instant) {
        let began = *self.window.get_or_insert(now);
        let windows = now.duration_since(began).as_secs() / WINDOW.as_secs();
        if windows > 0 {
            self.window = Some(now);
            self.tenants.retain(|_, recent| {
                let peak = std::mem::take(&mut recent.peak);
                recent.before = if windows == 1 { peak } else { 0 };
                recent.before + recent.taking > 0
            });
        }
        let recent = self.tenants.entry(Arc::clone(tenant)).or_default();
        recent.peak = recent.peak.max(held + recent.taking + 1);
    }

    /// `look` counts the slots; None where the vendor does not say how many there are.
    pub fn standing(
        &mut self,
        tenant: &Arc<str>,
        held: impl Fn(&Arc<str>) -> usize,
        look: impl FnOnce() -> Option<Slots>,
        now: Instant,
    ) -> Standing {
        let standing = match self.tenants.len() {
            0 | 1 => Standing::InTurn,
            _ => self.among_others(tenant, held, look, now),
        };
        if standing != Standing::MustWait {
            self.tenants.entry(Arc::clone(tenant)).or_default().taking += 1;
            if let Some((_, slots)) = &mut self.slots {
                // What is freed is seen at the next look.
                slots.free = slots.free.saturating_sub(1);
            }
        }
        standing
    }

    fn among_others(
        &mut self,
        tenant: &Arc<str>,
        held: impl Fn(&Arc<str>) -> usize,
        look: impl FnOnce() -> Option<Slots>,
        now: Instant,
    ) -> Standing {
        let is_new = |(at, _): &(Instant, Slots)| now.duration_since(*at) < LOOK_EVERY;
        if !self.slots.as_ref().is_some_and(is_new) {
            self.slots = look().map(|slots| (now, slots));
        }
        let Some((_, slots)) = self.slots else {
            return Standing::InTurn;
        };
        let share = slots.all / self.tenants.len();
        let has = |name, recent: &Recent| held(name) + recent.taking;
        let own = self.tenants.get(tenant);
        if own.map_or(0, |recent| has(tenant, recent)) < share {
            return Standing::Below;
        }
        let others = self.tenants.iter().filter(|(name, _)| *name != tenant);
        let kept: usize = others
            .map(|(name, recent)| {
                let wants = recent.peak.max(recent.before).min(share);
                wants.saturating_sub(has(name, recent))
            })
            .sum();
        match kept == 0 || slots.free > kept {
            true => Standing::InTurn,
            false => Standing::MustWait,
        }
    }

    /// The slot is a task's, or was not taken.
    pub fn took(&mut self, tenant: &Arc<str>) {
        if let Some(recent) = self.tenants.get_mut(tenant) {
            recent.taking = recent.taking.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: usize = 10;

    /// Who holds how many.
    struct Pool {
        room: Room,
        held: HashMap<Arc<str>, usize>,
        now: Instant,
    }

    impl Pool {
        fn new() -> Self {
            Self {
                room: Room::default(),
                held: HashMap::new(),
                now: Instant::now(),
            }
        }

        fn submit(&mut self, tenant: &str) -> Standing {
            let tenant: Arc<str> = tenant.into();
            // So that each submit looks anew.
            self.now += LOOK_EVERY;
            let held = self.held.clone();
            let of = |name: &Arc<str>| held.get(name).copied().unwrap_or_default();
            let used: usize = held.values().sum();
            let look = || {
                Some(Slots {
                    all: SLOTS,
                    free: SLOTS - used,
                })
            };
            self.room.came(&tenant, of(&tenant), self.now);
            let standing = self.room.standing(&tenant, of, look, self.now);
            if standing != Standing::MustWait {
                self.room.took(&tenant);
                if used < SLOTS {
                    *self.held.entry(tenant).or_default() += 1;
                }
            }
            standing
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_is_alone_may_take_every_slot() {
        let mut pool = Pool::new();
        for _ in 0..2 * SLOTS {
            assert_eq!(pool.submit("flood"), Standing::InTurn);
        }
        assert_eq!(pool.held["flood"], SLOTS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_leaves_what_another_used_of_late_and_takes_it_when_that_one_is_gone() {
        let mut pool = Pool::new();
        for _ in 0..3 {
            pool.submit("other");
        }
        pool.held.insert("other".into(), 0);
        let flood: Vec<_> = (0..SLOTS).map(|_| pool.submit("flood")).collect();
        assert_eq!(flood[..5], [Standing::Below; 5]);
        assert_eq!(flood[5..7], [Standing::InTurn; 2]);
        assert_eq!(flood[7..], [Standing::MustWait; 3]);
        for _ in 0..3 {
            assert_eq!(pool.submit("other"), Standing::Below);
        }
        assert_eq!(pool.held["other"], 3);
        pool.held.insert("other".into(), 0);
        assert_eq!(pool.submit("flood"), Standing::MustWait);
        pool.now += 2 * WINDOW;
        for _ in 0..3 {
            assert_eq!(pool.submit("flood"), Standing::InTurn);
        }
        assert_eq!(pool.held["flood"], SLOTS);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_where_there_are_more_tenants_than_slots() {
        let mut pool = Pool::new();
        for n in 0..=SLOTS {
            pool.submit(&format!("tenant-{n}"));
        }
        pool.held.insert("tenant-0".into(), 0);
        assert_eq!(pool.submit("tenant-1"), Standing::InTurn);
    }
}
