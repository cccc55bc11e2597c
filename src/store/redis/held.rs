//! What this process holds of the tenants' limits on the server, to be written back should the server lose it. Tasks that run
//! hold their own; those are remembered with the tasks.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::parked::{OwnId, ParkedState};
use super::super::rows::Change;
use super::super::usage::Settled;
use crate::calendar::DAY_MS;
use crate::tenants::meter::Day;

#[derive(Debug, Default)]
pub(super) struct Held(Mutex<Inner>);

#[derive(Clone, Debug, Default)]
pub(super) struct Inner {
    pub(super) submits: HashMap<i64, Hold>,
    pub(super) parked: HashMap<OwnId, Hold>,
    /// As the server said last.
    pub(super) used: HashMap<Arc<str>, (Day, Settled)>,
    /// When the submits of the last minute came, of tenants whose rate is limited.
    pub(super) rates: HashMap<Arc<str>, VecDeque<(i64, i64)>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) tenant: Arc<str>,
    pub(super) price_micro_usd: i64,
    /// Nobody knows whether there is a task; it counts until then.
    pub(super) uncertain_until_ms: Option<i64>,
}

impl Held {
    pub(super) fn copy(&self) -> Inner {
        self.lock().clone()
    }

    pub(super) fn reserved(&self, submit: i64, hold: Hold, rate_at_ms: Option<i64>) {
        let mut held = self.lock();
        if let Some(at_ms) = rate_at_ms {
            let rate = held.rates.entry(Arc::clone(&hold.tenant)).or_default();
            while rate
                .front()
                .is_some_and(|(then, _)| *then <= at_ms - MINUTE_MS)
            {
                rate.pop_front();
            }
            rate.push_back((at_ms, submit));
        }
        held.submits.insert(submit, hold);
    }

    /// Of a parked submit that this process has taken over.
    pub(super) fn parked(&self, id: OwnId, tenant: Arc<str>, price_micro_usd: i64) {
        let hold = Hold {
            tenant,
            price_micro_usd,
            uncertain_until_ms: None,
        };
        self.lock().parked.insert(id, hold);
    }

    pub(super) fn used(&self, tenant: &Arc<str>, day: Day, used: Settled) {
        self.lock().used.insert(Arc::clone(tenant), (day, used));
    }

    /// As the server said at the tenant's last submit here, if that was today.
    pub(super) fn used_by(&self, tenant: &str, today: Day) -> Option<Settled> {
        let held = self.lock();
        let (day, used) = held.used.get(tenant)?;
        (*day == today).then_some(*used)
    }

    pub(super) fn apply(&self, change: &Change) {
        let mut held = self.lock();
        match change {
            Change::GiveBack {
                submit,
                uncertain_until_ms: None,
                ..
            } => {
                held.submits.remove(submit);
            }
            Change::GiveBack {
                submit,
                uncertain_until_ms: Some(until_ms),
                ..
            } => {
                if let Some(hold) = held.submits.get_mut(submit) {
                    hold.uncertain_until_ms = Some(*until_ms);
                    held.forget_the_oldest(*until_ms);
                }
            }
            Change::HoldParked { submit, parked } => {
                if let Some(hold) = held.submits.remove(submit) {
                    held.parked.insert(*parked, hold);
                }
            }
            Change::Turn {
                id, state, at_ms, ..
            } => match state {
                ParkedState::Waiting | ParkedState::Sending => {}
                ParkedState::Uncertain => {
                    if let Some(hold) = held.parked.get_mut(id) {
                        hold.uncertain_until_ms = Some((at_ms.div_euclid(DAY_MS) + 1) * DAY_MS);
                    }
                }
                ParkedState::Submitted(_) | ParkedState::Refused(_) | ParkedState::Unsent(_) => {
                    held.parked.remove(id);
                }
            },
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// SECURITY: a vendor that breaks off makes uncertain submits as fast as clients submit. Each was an alarm.
    fn forget_the_oldest(&mut self, until_ms: i64) {
        if self.submits.len() <= MOST_HELD {
            return;
        }
        let today = until_ms - DAY_MS;
        let counts = |hold: &Hold| hold.uncertain_until_ms.is_none_or(|until| until > today);
        self.submits.retain(|_, hold| counts(hold));
        self.parked.retain(|_, hold| counts(hold));
    }
}

const MINUTE_MS: i64 = 60_000;
/// From here on those of days that are over go.
const MOST_HELD: usize = 10_000;
