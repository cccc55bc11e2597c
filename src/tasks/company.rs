//! Polls that travel together: where the vendor takes `ids=`, one call asks for many tasks of one account.
//!
//! A poll that is due waits a moment for others. The first poll of a task waits longer, for a part of the pace, unless one
//! that is due boards meanwhile: many clients begin within a second, and few of their first polls would meet. Tasks that will be due soon ride along, the longest unasked first, so
//! that the tasks of an account come to be asked at the same time and their calls are full.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Task;
use crate::config::settings::Poll as Rules;
use crate::keys::secret::Identity;

/// Ids in one call to the vendor.
const MOST_IDS: usize = 100;
/// Of a URL, whose lines common servers cut at 8 KiB.
const MOST_ID_BYTES: usize = 4096;
/// SECURITY: bounds what is looked through for one call. Tasks beyond it travel only when they are due.
const MOST_TRAVELLERS: usize = 20_000;

/// So few are looked through at every boarding: the only task of an account must not wait for those before it.
const FEW: usize = 4;

/// Whose tasks they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    identity: Identity,
    name: Arc<str>,
}

#[derive(Debug, Default)]
pub struct Companies {
    /// A std lock; taken before the lock of a task and never after it.
    accounts: Mutex<HashMap<Account, Company>>,
}

#[derive(Debug, Default)]
struct Company {
    /// Those that have been polled, the longest unasked first.
    travellers: VecDeque<Arc<Task>>,
    boarding: Option<Arc<Boarding>>,
}

/// A call that waits for its passengers.
#[derive(Debug)]
pub struct Boarding {
    account: Account,
    due: Mutex<Load>,
    /// Somebody boarded who must not wait long, or it is full.
    hurry: CancellationToken,
    landed: CancellationToken,
}

#[derive(Debug, Default)]
struct Load {
    tasks: Vec<Arc<Task>>,
    id_bytes: usize,
}

/// Tasks that a call asks for. When this is dropped they have arrived, whatever came of it.
#[derive(Debug)]
pub struct Passengers {
    pub tasks: Vec<Arc<Task>>,
    landed: CancellationToken,
}

#[derive(Debug)]
pub enum Boarded {
    /// No other task of this account is polled, or this one must be asked for by itself.
    Alone,
    /// To be waited for. Whoever is given a boarding sends it on its way.
    Aboard(CancellationToken, Option<Arc<Boarding>>),
}

impl Companies {
    pub fn board(&self, task: &Arc<Task>, now: Instant) -> Boarded {
        let account = Account::of(task);
        let mut accounts = self.accounts();
        let company = accounts.entry(account.clone()).or_default();
        if company.travellers.len() <= FEW {
            company.leave(now);
        }
        let mut course = task.course();
        if course.must_ask_alone() {
            return Boarded::Alone;
        }
        if let Some(landed) = course.travel() {
            return Boarded::Aboard(landed, None);
        }
        if !mem::replace(&mut course.is_listed, true) {
            if company.travellers.len() < MOST_TRAVELLERS {
                company.travellers.push_back(Arc::clone(task));
            } else {
                course.is_listed = false;
            }
        }
        let others = company.travellers.iter().take(2).count() > 1;
        if !others && company.boarding.is_none() {
            return Boarded::Alone;
        }
        let (boarding, is_new) = match &company.boarding {
            Some(boarding) if boarding.load().has_room_for(task) => (Arc::clone(boarding), false),
            full => {
                if let Some(boarding) = full {
                    boarding.hurry.cancel();
                }
                let boarding = Arc::new(Boarding {
                    account,
                    due: Mutex::default(),
                    hurry: CancellationToken::new(),
                    landed: CancellationToken::new(),
                });
                company.boarding = Some(Arc::clone(&boarding));
                (boarding, true)
            }
        };
        let landed = boarding.landed.clone();
        boarding.load().add(Arc::clone(task));
        if !course.is_fresh() {
            boarding.hurry.cancel();
        }
        course.set_travel(Some(landed.clone()));
        Boarded::Aboard(landed, is_new.then_some(boarding))
    }

    /// Nobody boards any more. Fills the free places.
    pub fn depart(&self, boarding: &Arc<Boarding>, rules: &Rules, now: Instant) -> Passengers {
        let mut accounts = self.accounts();
        let mut load = mem::take(&mut *boarding.load());
        if let Some(company) = accounts.get_mut(&boarding.account) {
            let is_this = |current: &Arc<Boarding>| Arc::ptr_eq(current, boarding);
            if company.boarding.as_ref().is_some_and(is_this) {
                company.boarding = None;
            }
            company.leave(now);
            company.ride_along(&mut load, &boarding.landed, rules, now);
        }
        Passengers {
            tasks: load.tasks,
            landed: boarding.landed.clone(),
        }
    }

    /// Lets go of tasks that are not polled any more, and of accounts without tasks.
    pub fn sweep(&self, now: Instant) {
        self.accounts().retain(|_, company| {
            company.leave(now);
            !company.travellers.is_empty() || company.boarding.is_some()
        });
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<Account, Company>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Company {
    fn leave(&mut self, now: Instant) {
        self.travellers.retain(|task| {
            let mut course = task.course();
            course.is_listed = course.is_polled(now);
            course.is_listed
        });
    }

    /// Those that are asked now go to the end.
    fn ride_along(
        &mut self,
        load: &mut Load,
        landed: &CancellationToken,
        rules: &Rules,
        now: Instant,
    ) {
        let mut asked = VecDeque::new();
        self.travellers.retain(|task| {
            let mut course = task.course();
            let rides = course.rides_along(rules, now) && load.has_room_for(task);
            if rides {
                load.add(Arc::clone(task));
                course.set_travel(Some(landed.clone()));
            }
            let is_aboard = course.travel().is_some();
            if is_aboard {
                asked.push_back(Arc::clone(task));
            }
            !is_aboard
        });
        self.travellers.append(&mut asked);
    }
}

impl Load {
    fn has_room_for(&self, task: &Task) -> bool {
        self.tasks.len() < MOST_IDS && self.id_bytes + id_bytes(task) <= MOST_ID_BYTES
    }

    fn add(&mut self, task: Arc<Task>) {
        self.id_bytes += id_bytes(&task);
        self.tasks.push(task);
    }
}

/// As it is written in a URL, with its comma.
fn id_bytes(task: &Task) -> usize {
    let bytes = task.record.key.id.bytes();
    let written = bytes.map(|b| if b.is_ascii_alphanumeric() { 1 } else { 3 });
    3 + written.sum::<usize>()
}

impl Boarding {
    /// Returns when it should not wait for first polls any longer.
    pub async fn hurries(&self) {
        self.hurry.cancelled().await;
    }

    fn load(&self) -> MutexGuard<'_, Load> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Passengers {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.course().set_travel(None);
        }
        self.landed.cancel();
    }
}

impl Account {
    pub fn of(task: &Task) -> Self {
        Self {
            identity: task.record.owner_identity,
            name: Arc::clone(&task.record.owner_name),
        }
    }
}

/// `ids=` with so many tasks that one call takes them.
pub fn calls(tasks: &[Arc<Task>]) -> Vec<Vec<Arc<Task>>> {
    let mut calls = Vec::new();
    let mut load = Load::default();
    for task in tasks {
        if !load.has_room_for(task) {
            calls.push(mem::take(&mut load).tasks);
        }
        load.add(Arc::clone(task));
    }
    calls.push(load.tasks);
    calls.retain(|call| !call.is_empty());
    calls
}
