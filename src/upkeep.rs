//! What is done now and then: forgetting what nobody needs any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::keys::account::LEASE;
use crate::request::{Server, clock};
use crate::tenants::meter::LONGEST_HELD;

const EVERY: Duration = Duration::from_secs(30);
const LEASES: Duration = Duration::from_secs(1);
const REFUSALS: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Uncertain submits are held against the vendor's bill, which comes once a month, and stand in the report of the last.
const UNCERTAIN_KEPT: Duration = DAY.saturating_mul(62);
/// A bill can be held against that of the same month a year ago. 200,000 solves a month are 400 MB then.
const USAGE_KEPT: Duration = DAY.saturating_mul(400);
const AUDIT_KEPT: Duration = DAY.saturating_mul(400);
/// Repeats under one idempotency key come within minutes; a day covers a queue that was stopped over night.
const CLAIMS_KEPT: Duration = DAY;
/// A wall clock that runs away from the monotonic one by more was set.
const DRIFT: Duration = Duration::from_secs(60);

pub(crate) async fn run(server: Arc<Server>) {
    let for_ever = async {
        let mut clocks = Clocks::new(Instant::now(), clock::now_ms());
        loop {
            look_after(&server, &mut clocks).await;
            sleep(EVERY).await;
        }
    };
    // Also in the middle: a store in trouble keeps whoever waits for it, and must not keep the shutdown.
    tokio::select! {
        () = for_ever => {}
        () = server.background.stopping() => {}
    }
}

/// A lease ends also while nobody asks, and somebody may wait for its slot.
pub(crate) async fn end_leases(server: Arc<Server>) {
    loop {
        tokio::select! {
            () = sleep(LEASES) => {}
            () = server.background.stopping() => return,
        }
        let now = Instant::now();
        for account in server.live.load().keys.accounts() {
            account.expire(now);
        }
    }
}

/// How often limits refused whom. A flood of refusals must not be a flood of changes: the store is told once a second, and
/// a `kill -9` forgets that second's.
pub(crate) async fn note_refusals(server: Arc<Server>) {
    loop {
        let ends = tokio::select! {
            () = sleep(REFUSALS) => false,
            () = server.background.stopping() => true,
        };
        for refused in server.tenants.new_refusals() {
            server.store.note_refused(refused);
        }
        if ends {
            return;
        }
    }
}

async fn look_after(server: &Server, clocks: &mut Clocks) {
    let (now, now_ms) = (Instant::now(), clock::now_ms());
    server.companies.sweep(now);
    server.tasks.sweep(now);
    // Who settles a task at another replica tells the store, which counts for all.
    let longest = match server.replicas.are_there() {
        true => LEASE,
        false => LONGEST_HELD,
    };
    server.tenants.sweep(longest, now);
    server.live.end_drains();
    let keep = server.live.load().settings.poll.keep;
    if clocks.may_forget(keep, now, now_ms) {
        let unused_since = now_ms - milliseconds(keep);
        if let Err(error) = server.store.forget_tasks_unused_since(unused_since).await {
            tracing::warn!(%error, "old tasks could not be forgotten");
        }
        if let Err(error) = server.store.forget_parked_unused_since(unused_since).await {
            tracing::warn!(%error, "old parked submits could not be forgotten");
        }
    }
    if clocks.may_forget(CLAIMS_KEPT, now, now_ms) {
        let before = now_ms - milliseconds(CLAIMS_KEPT);
        if let Err(error) = server.store.forget_claims_before(before).await {
            tracing::warn!(%error, "old idempotency keys could not be forgotten");
        }
    }
    if clocks.may_forget(DAY, now, now_ms) {
        forget_history(server, now_ms).await;
    }
    let before = now_ms - milliseconds(UNCERTAIN_KEPT);
    if let Err(error) = server.store.forget_uncertain_before(before).await {
        tracing::warn!(%error, "old uncertain submits could not be forgotten");
    }
}

/// What is kept for so long that a clock which was set wrong must not decide: not while it is in doubt.
async fn forget_history(server: &Server, now_ms: i64) {
    let store = &server.store;
    let before = now_ms - milliseconds(USAGE_KEPT);
    if let Err(error) = store.forget_usage_before(before).await {
        tracing::warn!(%error, "old rows of bills could not be forgotten");
    }
    let before = now_ms - milliseconds(AUDIT_KEPT);
    if let Err(error) = store.forget_audit_before(before).await {
        tracing::warn!(%error, "old rows of the audit log could not be forgotten");
    }
}

/// Tasks on the disk carry wall-clock times. When that clock is set forward they all look old at once, running ones too.
struct Clocks {
    seen: (Instant, i64),
    set_at: Option<Instant>,
}

impl Clocks {
    fn new(now: Instant, now_ms: i64) -> Self {
        Self {
            seen: (now, now_ms),
            set_at: None,
        }
    }

    /// False for `keep` after the wall clock was set: until then every task in use has been written with the new time.
    fn may_forget(&mut self, keep: Duration, now: Instant, now_ms: i64) -> bool {
        let (then, then_ms) = std::mem::replace(&mut self.seen, (now, now_ms));
        let passed = milliseconds(now.duration_since(then));
        if (now_ms - then_ms).abs_diff(passed) > DRIFT.as_millis() as u64 {
            tracing::warn!("the wall clock was set: old tasks are kept for a while longer");
            self.set_at = Some(now);
        }
        self.set_at
            .is_none_or(|set_at| now.duration_since(set_at) >= keep)
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn after_the_wall_clock_was_set_nothing_is_forgotten_for_keep() {
        let start = Instant::now();
        let mut clocks = Clocks::new(start, 0);
        let half_a_minute = Duration::from_secs(30);
        assert!(clocks.may_forget(HOUR, start + half_a_minute, 30_000));
        let jumped = 2 * 3_600_000;
        assert!(!clocks.may_forget(HOUR, start + half_a_minute * 2, 60_000 + jumped));
        assert!(!clocks.may_forget(HOUR, start + HOUR, 3_600_000 + jumped));
        let later = start + half_a_minute * 2 + HOUR;
        assert!(clocks.may_forget(HOUR, later, 3_660_000 + jumped));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_drifts_a_little_changes_nothing() {
        let start = Instant::now();
        let mut clocks = Clocks::new(start, 0);
        assert!(clocks.may_forget(HOUR, start + Duration::from_secs(30), 31_000));
    }
}
