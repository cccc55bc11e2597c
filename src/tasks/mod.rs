//! Which key owns which task.
//!
//! The store is the truth. What is in memory here only spares asking it at every poll, and may forget; the store may not.

pub mod company;
pub mod course;
mod kept;
pub mod kind;
pub mod parked;
pub mod unknown;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::HashMap;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::settings::Poll as Rules;
use crate::store::{self, Store, StoreError, TaskKey, TaskRecord, TaskState};
use course::{Course, FollowUp, Heard, News, Poll, View, Word};
use kept::{Answer, Kept, LONGEST_ANSWER};

pub struct Tasks {
    store: Store,
    shards: [Shard; SHARDS],
    /// Never held together with a lock of a task.
    kept: Mutex<Kept>,
}

/// A std lock with sections of one map operation; never held over an await. The ids are the vendor's: clients only look
/// them up, so a quick hash is enough.
type Shard = Mutex<HashMap<TaskKey, Arc<Task>>>;

const SHARDS: usize = 16;
/// A third of the time after which a task counts as abandoned: other replicas must not take it for that.
const NOTED_FOR_OTHERS: Duration = Duration::from_secs(10);
/// A task in memory that was not polled for this long is looked up in the store again when it is.
const REMEMBER: Duration = Duration::from_secs(600);
/// SECURITY: bounds the memory of clients that submit and never come back, about 400 bytes a task.
const MOST_IN_A_SHARD: usize = 200_000 / SHARDS;
/// Tasks that are followed again after a start, and hold what their tenants reserved: more than all accounts together can
/// have running.
pub const MOST_RESUMED: usize = 100_000;

/// A task that is in memory.
#[derive(Debug)]
pub struct Task {
    pub record: TaskRecord,
    /// A std lock with sections of a few instructions; never held over an await.
    course: Mutex<Course>,
}

/// What to do with a poll now.
pub enum Step {
    /// A final answer, repeated.
    Kept(Heard),
    /// What the vendor said less than a pace ago.
    Say(Word),
    Join(course::Flight),
    Wait(Instant),
    Ask(Pilot),
}

/// The side of a call that works. Dropped without landing, one of those that wait takes over.
#[derive(Debug)]
pub struct Pilot {
    task: Arc<Task>,
    view: View,
    tell: watch::Sender<Option<Heard>>,
    has_landed: bool,
}

impl Tasks {
    pub fn new(store: Store) -> Self {
        Self {
            store,
            shards: Default::default(),
            kept: Mutex::default(),
        }
    }

    /// A task that was accepted just now and stands in the store, or will when the store is back. Of two with one id the
    /// second wins, as in the store.
    pub fn remember(&self, record: TaskRecord, now: Instant) -> Arc<Task> {
        let now_ms = record.used_at_ms;
        self.insert(record, now, now, now_ms, true)
    }

    /// Tasks that ran when the program ended: those of pingbacks, and those whose clients are gone, are followed again.
    pub async fn resume(&self, now: Instant, now_ms: i64) -> Result<usize, StoreError> {
        let since = now_ms - millis(course::LONGEST_FOLLOWED);
        let running = self.store.running_tasks(since, MOST_RESUMED).await?;
        let resumed = running.len();
        for record in running {
            let used = before(now, now_ms - record.used_at_ms);
            self.insert_found(record, used, now, now_ms);
        }
        Ok(resumed)
    }

    /// What the other replicas did: tasks that they follow no more, those that clients poll there, those that ended there.
    pub async fn compare(&self, now: Instant, now_ms: i64) -> Result<(), StoreError> {
        let since = now_ms - millis(course::LONGEST_FOLLOWED);
        let known = self.running();
        let running = self.store.running_tasks(since, MOST_RESUMED).await?;
        let is_all = running.len() < MOST_RESUMED;
        let mut run: HashSet<TaskKey> = HashSet::with_capacity(running.len());
        for record in running {
            let used = before(now, now_ms - record.used_at_ms);
            run.insert(record.key.clone());
            let task = self.insert_found(record, used, now, now_ms);
            task.course().used_elsewhere(used);
        }
        if is_all {
            let ended = |task: &&Arc<Task>| !run.contains(&task.record.key);
            known.iter().filter(ended).for_each(|task| {
                task.course().ended_elsewhere();
            });
        }
        Ok(())
    }

    fn running(&self) -> Vec<Arc<Task>> {
        let mut running = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let runs = |task: &&Arc<Task>| !task.course().is_finished();
            running.extend(shard.values().filter(runs).cloned());
        }
        running
    }

    /// From the store. Whatever came into memory while it was read is newer.
    fn insert_found(
        &self,
        record: TaskRecord,
        used: Instant,
        now: Instant,
        now_ms: i64,
    ) -> Arc<Task> {
        self.insert(record, used, now, now_ms, false)
    }

    /// Returns the task that is in memory then.
    fn insert(
        &self,
        record: TaskRecord,
        used: Instant,
        now: Instant,
        now_ms: i64,
        replaces: bool,
    ) -> Arc<Task> {
        let submitted = before(now, now_ms - record.submitted_at_ms);
        let finished = record.state == TaskState::Final;
        let task = Arc::new(Task {
            record,
            course: Mutex::new(Course::new(submitted, used, now, finished)),
        });
        let mut shard = self.shard(&task.record.key);
        if let Some(known) = shard.get(&task.record.key)
            && !replaces
        {
            return Arc::clone(known);
        }
        if shard.len() >= MOST_IN_A_SHARD {
            forget(&mut shard, now);
        }
        shard.insert(task.record.key.clone(), Arc::clone(&task));
        task
    }

    pub async fn find(
        &self,
        key: &TaskKey,
        now: Instant,
        now_ms: i64,
    ) -> Result<Option<Arc<Task>>, StoreError> {
        let known = self.shard(key).get(key).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let record = store::in_time(self.store.find_task(key)).await?;
        Ok(record.map(|record| self.insert_found(record, now, now, now_ms)))
    }

    /// A poll has come, for its answer in this view.
    pub fn polled(
        &self,
        task: &Arc<Task>,
        view: View,
        rules: &Rules,
        now: Instant,
        now_ms: i64,
    ) -> (Poll, Step) {
        let mut course = task.course();
        let poll = course.arrive(rules, now);
        let step = course.step(view, poll, rules, now);
        self.note(task, course, rules.keep, now, now_ms);
        (poll, task.with_pilot(view, step))
    }

    /// A poll of many has come; what memory has for this one.
    pub fn recalled(
        &self,
        task: &Task,
        view: View,
        rules: &Rules,
        now: Instant,
        now_ms: i64,
    ) -> Option<Heard> {
        let mut course = task.course();
        let poll = course.arrive(rules, now);
        let heard = course.recall(view, poll, rules, now);
        self.note(task, course, rules.keep, now, now_ms);
        heard
    }

    /// The task was reported.
    pub fn used(&self, task: &Task, keep: Duration, now: Instant, now_ms: i64) {
        let mut course = task.course();
        course.use_now(now);
        self.note(task, course, keep, now, now_ms);
    }

    fn note(
        &self,
        task: &Task,
        mut course: MutexGuard<'_, Course>,
        keep: Duration,
        now: Instant,
        now_ms: i64,
    ) {
        let every = match self.store.replicas() {
            Some(_) => NOTED_FOR_OTHERS.min(keep / 8),
            None => keep / 8,
        };
        if !course.is_to_be_noted(every, now) {
            return;
        }
        drop(course);
        // Also when it has ended: only its settlement, which may come behind this, ends it in the store. Else its tenant's place
        // would be free before its solve is counted.
        self.store
            .touch(&task.record.key, now_ms, TaskState::Running);
    }

    /// The vendor has answered. `heard` is that answer as one view gives it, to be kept if it is final. True for the
    /// answer that ends the task, which is to be settled: once, whoever else hears it.
    pub fn heard(
        &self,
        task: &Arc<Task>,
        news: News,
        heard: Option<(View, &Heard)>,
        rules: &Rules,
        now: Instant,
    ) -> bool {
        let is_final = matches!(news, News::Final(_));
        let keep = match heard {
            Some((view, Heard::Relay(relay))) if is_final && relay.body.len() <= LONGEST_ANSWER => {
                Some((view, relay.detached()))
            }
            _ => None,
        };
        let kept = keep.as_ref().map(|(view, relay)| (*view, relay.body.len()));
        let ended = {
            let mut course = task.course();
            if let Some((view, relay)) = keep {
                course.keep(view, relay);
            }
            course.hear(news, now)
        };
        if let Some((view, bytes)) = kept {
            let weak = Arc::downgrade(task);
            let gone = self.kept().add(weak, view, bytes, now + rules.keep);
            let_go(gone);
        }
        ended
    }

    /// Tasks that no client asks for and that are due to be asked for, the longest unasked first; and those whose lease is
    /// over, which end here and are to be settled.
    pub fn abandoned(&self, between: Duration, now: Instant) -> (Vec<Arc<Task>>, Vec<Arc<Task>>) {
        let (mut due, mut expired) = (Vec::new(), Vec::new());
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for task in shard.values() {
                let mut course = task.course();
                match course.follow_up(between, now) {
                    FollowUp::No => {}
                    FollowUp::Ask(asked) => due.push((asked, Arc::clone(task))),
                    FollowUp::End => {
                        course.expire();
                        expired.push(Arc::clone(task));
                    }
                }
            }
        }
        due.sort_by_key(|(asked, _)| *asked);
        (due.into_iter().map(|(_, task)| task).collect(), expired)
    }

    /// Forgets what was not used for a while; the store still has it.
    pub fn sweep(&self, now: Instant) {
        let outdated = self.kept().outdated(now);
        let_go(outdated);
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, task| !task.course().is_forgettable(REMEMBER, now));
        }
    }

    /// Of those in memory: how many run, and how many have ended.
    pub fn in_memory(&self) -> (u64, u64) {
        let (mut running, mut ended) = (0, 0);
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for task in shard.values() {
                match task.course().is_finished() {
                    true => ended += 1,
                    false => running += 1,
                }
            }
        }
        (running, ended)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, key: &TaskKey) -> MutexGuard<'_, HashMap<TaskKey, Arc<Task>>> {
        // Ids of a vendor differ in their last digits; the map below is what hashes them.
        let sum = key.id.bytes().fold(0, u8::wrapping_add);
        self.shards[usize::from(sum) % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task {
    /// What to do with a poll that has waited.
    pub fn step(self: &Arc<Self>, view: View, poll: Poll, rules: &Rules, now: Instant) -> Step {
        let step = self.course().step(view, poll, rules, now);
        self.with_pilot(view, step)
    }

    fn with_pilot(self: &Arc<Self>, view: View, step: course::Step) -> Step {
        match step {
            course::Step::Kept(heard) => Step::Kept(heard),
            course::Step::Say(word) => Step::Say(word),
            course::Step::Join(flight) => Step::Join(flight),
            course::Step::Wait(until) => Step::Wait(until),
            course::Step::Ask(tell) => Step::Ask(Pilot {
                task: Arc::clone(self),
                view,
                tell,
                has_landed: false,
            }),
        }
    }

    /// Whether a client waits for it.
    pub fn is_polled(&self, now: Instant) -> bool {
        self.course().is_polled(now)
    }

    /// The vendor's last word, if it came after `since`.
    pub fn word_since(&self, since: Instant) -> Option<Word> {
        self.course().word_since(since)
    }

    /// The vendor gave no usable answer to a poll: since when that has been so.
    pub fn trouble(&self, now: Instant) -> Instant {
        self.course().trouble(now)
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pilot {
    /// All who wait hear it.
    pub fn land(mut self, heard: Heard) {
        // Out of the way first: who comes from now on begins anew, or finds it in memory.
        self.task.course().land(self.view);
        self.has_landed = true;
        // Mostly nobody waits.
        let _ = self.tell.send(Some(heard));
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        if !self.has_landed {
            self.task.course().land(self.view);
        }
    }
}

fn let_go(answers: Vec<Answer>) {
    for answer in answers {
        if let Some(task) = answer.task.upgrade() {
            task.course().let_go(answer.view);
        }
    }
}

/// So many milliseconds before `now`. A clock that was set back must not put anything into the future.
fn before(now: Instant, ago_ms: i64) -> Instant {
    let ago = Duration::from_millis(u64::try_from(ago_ms).unwrap_or_default());
    now.checked_sub(ago).unwrap_or(now)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Makes room: the half that was used longest ago goes.
fn forget(shard: &mut HashMap<TaskKey, Arc<Task>>, now: Instant) {
    let mut idle: Vec<_> = shard
        .values()
        .map(|task| task.course().unused_for(now))
        .collect();
    let middle = idle.len() / 2;
    let (_, median, _) = idle.select_nth_unstable(middle);
    let median = *median;
    shard.retain(|_, task| task.course().unused_for(now) < median);
}

#[cfg(test)]
mod tests;
