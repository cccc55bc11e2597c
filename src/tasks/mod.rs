//! Which key owns which task.
//!
//! The store is the truth. What is in memory here only spares asking it at every poll, and may forget; the store may not.

pub mod kind;
pub mod unknown;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::{Store, StoreError, TaskKey, TaskRecord, TaskState};

pub struct Tasks {
    store: Store,
    shards: [Shard; SHARDS],
    hasher: RandomState,
}

/// A std lock with sections of one map operation; never held over an await.
type Shard = Mutex<HashMap<TaskKey, Arc<Task>>>;

const SHARDS: usize = 16;
/// A task in memory that was not polled for this long is looked up in the store again when it is.
const REMEMBER: Duration = Duration::from_secs(600);
/// SECURITY: bounds the memory of clients that submit and never come back, about 300 bytes a task.
const MOST_IN_A_SHARD: usize = 200_000 / SHARDS;

/// A task that is in memory.
pub struct Task {
    pub record: TaskRecord,
    course: Mutex<Course>,
}

#[derive(Clone, Copy)]
struct Course {
    used: Instant,
    /// When the store was told last that the task is in use.
    noted: Instant,
    finished: bool,
    trouble_since: Option<Instant>,
}

impl Tasks {
    pub fn new(store: Store) -> Self {
        Self {
            store,
            shards: Default::default(),
            hasher: RandomState::new(),
        }
    }

    /// A task that was accepted just now and stands in the store, or will when the store is back.
    pub fn remember(&self, record: TaskRecord, now: Instant) -> Arc<Task> {
        let finished = record.state == TaskState::Final;
        let course = Course {
            used: now,
            noted: now,
            finished,
            trouble_since: None,
        };
        let task = Arc::new(Task {
            record,
            course: Mutex::new(course),
        });
        let mut shard = self.shard(&task.record.key);
        if shard.len() >= MOST_IN_A_SHARD {
            forget(&mut shard, now);
        }
        shard.insert(task.record.key.clone(), Arc::clone(&task));
        task
    }

    pub async fn find(&self, key: &TaskKey, now: Instant) -> Result<Option<Arc<Task>>, StoreError> {
        let known = self.shard(key).get(key).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let record = self.store.find_task(key).await?;
        Ok(record.map(|record| self.remember(record, now)))
    }

    /// The task was polled or reported. The store is told seldom: its own time only has to be right within a part of `keep`.
    pub fn used(&self, task: &Task, finished: bool, keep: Duration, now: Instant, now_ms: i64) {
        let (tell, state) = {
            let mut course = task.course();
            let news = finished && !course.finished;
            course.finished |= finished;
            course.used = now;
            let tell = news || now.duration_since(course.noted) >= keep / 8;
            if tell {
                course.noted = now;
            }
            (
                tell,
                if course.finished {
                    TaskState::Final
                } else {
                    TaskState::Running
                },
            )
        };
        if tell {
            self.store.touch(&task.record.key, now_ms, state);
        }
    }

    /// Forgets what was not used for a while; the store still has it.
    pub fn sweep(&self, now: Instant) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, task| now.duration_since(task.course().used) < REMEMBER);
        }
    }

    pub fn in_memory(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }

    fn shard(&self, key: &TaskKey) -> MutexGuard<'_, HashMap<TaskKey, Arc<Task>>> {
        let index = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task {
    /// The vendor gave no usable answer to a poll: since when that has been so.
    pub fn trouble(&self, now: Instant) -> Instant {
        *self.course().trouble_since.get_or_insert(now)
    }

    pub fn no_trouble(&self) {
        self.course().trouble_since = None;
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room: the half that was used longest ago goes.
fn forget(shard: &mut HashMap<TaskKey, Arc<Task>>, now: Instant) {
    let mut idle: Vec<_> = shard
        .values()
        .map(|task| now.duration_since(task.course().used))
        .collect();
    let middle = idle.len() / 2;
    let (_, median, _) = idle.select_nth_unstable(middle);
    let median = *median;
    shard.retain(|_, task| now.duration_since(task.course().used) < median);
}
