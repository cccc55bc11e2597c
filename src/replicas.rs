//! Several processes behind one service that share a store. They meet a few times a second: one of them leads, and does
//! alone what costs calls to the vendor that no client asked for (probes, balances, tasks that nobody polls); what it
//! learns it tells the others. A process without replicas always leads.
//!
//! The lead ends by itself, at the leader before it does on the server: a process that stands still or is cut off does
//! not lead on beside the next. While the server is gone nobody can be asked, and after some seconds each leads itself.

mod by_hand;
mod news;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

pub use by_hand::Subject;
pub use news::{News, Verdict};

use crate::keys::egress::BAD_KEY_WINDOW;
use crate::live::Snapshot;
use crate::request::{Server, clock};
use crate::store::{Brought, Met, Redis};
use by_hand::ByHand;

pub struct Replicas {
    /// None: there are none.
    state: Option<Mutex<State>>,
    /// The others should hear at once.
    hurry: Notify,
}

#[derive(Default)]
struct State {
    leads_until: Option<Instant>,
    /// The last time that the server answered, and since when it always has.
    met: Option<Instant>,
    meeting_since: Option<Instant>,
    telling: Vec<News>,
    by_hand: ByHand,
    heard: Option<String>,
    /// Bad-key answers that count here already, by number.
    counted: Option<HashSet<i64>>,
    /// Parked submits of replicas that ended may have been taken over in the store only.
    adopting: bool,
    /// Where the next look at taken slots begins.
    looked: usize,
}

/// Also how soon the others take over. Four meetings may fail before the lead is lost for nothing.
const LEAD: Duration = Duration::from_secs(3);
const EVERY: Duration = Duration::from_millis(250);
/// The lead of whoever had it when the server went is over long before.
const ALONE: Duration = Duration::from_secs(10);
/// Without a sign for so long a replica is dead, and its open submits are uncertain.
const DEAD: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(2);
/// Whose slots are looked at in one meeting, in turn.
const ACCOUNTS: usize = 500;
/// SECURITY: a bound, should the server be gone for long.
const MOST_TELLING: usize = 10_000;

impl Replicas {
    pub fn new(store: &crate::store::Store) -> Self {
        let state = store.replicas().map(|_| Mutex::default());
        Self {
            state,
            hurry: Notify::new(),
        }
    }

    pub fn are_there(&self) -> bool {
        self.state.is_some()
    }

    /// Whether what is done once for all replicas is this one's to do.
    pub fn leads(&self) -> bool {
        let Some(state) = self.state() else {
            return true;
        };
        let now = Instant::now();
        let leads = state.leads_until.is_some_and(|until| now < until);
        leads || state.is_alone(now)
    }

    /// Nobody can be asked, and has not been for a while.
    pub fn is_alone(&self) -> bool {
        self.state().is_none_or(|it| it.is_alone(Instant::now()))
    }

    /// At the next meeting.
    pub fn tell(&self, news: News) {
        if let Some(mut state) = self.state()
            && state.telling.len() < MOST_TELLING
        {
            state.telling.push(news);
        }
    }

    /// A hand switches this name off, or on again, at all replicas. To be called before it is done here: meetings do likewise.
    pub fn switch(&self, subject: Subject, off: bool, now_ms: i64) {
        if let Some(mut state) = self.state() {
            state.by_hand.switch(subject, off, now_ms);
            drop(state);
            self.hurry.notify_one();
        }
    }

    fn has_news(&self) -> bool {
        self.state()
            .is_some_and(|state| !state.telling.is_empty() || state.by_hand.has_unwritten())
    }

    fn state(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.state.as_ref()?;
        Some(state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn is_alone(&self, now: Instant) -> bool {
        self.met.is_some_and(|met| now >= met + ALONE)
    }
}

/// Runs until shutdown.
pub async fn run(server: Arc<Server>) {
    let Some(redis) = server.store.replicas() else {
        return;
    };
    let (mut led, mut was_alone) = (server.replicas.leads(), false);
    loop {
        tokio::select! {
            () = sleep(EVERY) => {}
            () = server.replicas.hurry.notified() => {}
            () = server.background.stopping() => break,
        }
        meet(&server, redis).await;
        // Also what is remembered is held against what the server has.
        server.store.beat();
        let leads = server.replicas.leads();
        if leads != led {
            tracing::info!(leads, "the lead of the replicas has passed on");
            let kind = if leads {
                "lead-taken"
            } else {
                "lead-passed-on"
            };
            let text = "the leader alone probes keys and asks for balances";
            server.events.add(kind, "", text);
            server.live.load().keys.events().happened();
        }
        led = leads;
        let is_alone = server.replicas.is_alone();
        match (was_alone, is_alone) {
            (false, true) => tracing::warn!(
                "no meeting on the Redis server for ten seconds: this replica leads itself, and counts slots and limits of tenants alone"
            ),
            (true, false) => {
                tracing::info!("the replicas meet again, and count slots and limits together");
            }
            _ => {}
        }
        was_alone = is_alone;
    }
    // Or whoever leads next would ask the vendor again.
    if server.replicas.has_news() {
        meet(&server, redis).await;
    }
}

/// The first one is waited for before anything is served.
pub async fn begin(server: &Server) {
    if let Some(redis) = server.store.replicas() {
        meet(server, redis).await;
    }
}

async fn meet(server: &Server, redis: &Redis) {
    let snapshot = server.live.load();
    let (began, now_ms) = (Instant::now(), clock::now_ms());
    let window_ms = i64::try_from(BAD_KEY_WINDOW.as_millis()).unwrap_or(i64::MAX);
    let suspects = news::suspects(&snapshot, began);
    let accounts: Vec<Arc<str>>;
    let by_hand;
    let brought = {
        let Some(mut state) = server.replicas.state() else {
            return;
        };
        state.met.get_or_insert(began);
        let all = snapshot.keys.accounts().count();
        let from = if state.looked < all { state.looked } else { 0 };
        let names = snapshot.keys.accounts().skip(from).take(ACCOUNTS);
        accounts = names.map(|account| Arc::clone(&account.name)).collect();
        state.looked = from + ACCOUNTS;
        by_hand = state.by_hand.unwritten();
        let news = suspects.iter().chain(&state.telling);
        Brought {
            lead_for: LEAD,
            accounts: accounts.clone(),
            news: news.map(News::to_text).collect(),
            heard: state.heard.clone(),
            heard_within: snapshot.settings.balance.refresh,
            bad_since_ms: now_ms - window_ms,
            by_hand: by_hand.clone(),
            by_hand_version: state.by_hand.version().cloned(),
            dead_after: state
                .meeting_since
                .is_some_and(|since| began >= since + DEAD)
                .then_some(DEAD),
        }
    };
    let told = brought.news.len() - suspects.len();
    // Longer is as good as nothing: the next meeting begins anew.
    let Ok(Ok(mut met)) = timeout(PATIENCE, redis.meet(brought)).await else {
        if let Some(mut state) = server.replicas.state() {
            state.meeting_since = None;
        }
        return;
    };
    if let Some(mut state) = server.replicas.state() {
        state.met = Some(began);
        state.meeting_since.get_or_insert(began);
        // Counted from before it was asked for: here it ends first.
        state.leads_until = met.leads.then_some(began + LEAD);
        state.telling.drain(..told);
        state.heard = Some(met.heard.clone());
        state.by_hand.met(&by_hand, met.by_hand.take());
        state.by_hand.apply(&snapshot, Instant::now());
    }
    adopt(server, &snapshot, &met).await;
    take_in(server, &snapshot, redis, &accounts, &met, now_ms);
}

/// The leader sends what replicas that ended had parked.
async fn adopt(server: &Server, snapshot: &Snapshot, met: &Met) {
    let adopting = |now: bool| {
        let state = server.replicas.state();
        state.is_some_and(|mut state| std::mem::replace(&mut state.adopting, now))
    };
    let goes = adopting(false) || (met.leads && met.orphans);
    if !goes {
        return;
    }
    let resumed = server.parked.resume(
        |record| snapshot.price_of(record),
        Instant::now(),
        clock::now_ms(),
    );
    match timeout(PATIENCE, resumed).await {
        Ok(Ok(0)) => {}
        Ok(Ok(submits)) => {
            tracing::info!(submits, "parked submits of another replica wait here now");
        }
        Ok(Err(_)) | Err(_) => {
            adopting(true);
        }
    }
}

fn take_in(
    server: &Server,
    snapshot: &Snapshot,
    redis: &Redis,
    accounts: &[Arc<str>],
    met: &Met,
    now_ms: i64,
) {
    let now = Instant::now();
    for (name, used) in accounts.iter().zip(&met.used) {
        if let Some(account) = snapshot.keys.account(name) {
            account.used_together(*used, now);
        }
    }
    for text in &met.news {
        // Of a newer version, which the next one to lead may be.
        if let Some(news) = News::from_text(text) {
            news::take_in(server, snapshot, news, now);
        }
    }
    if met.taken_over > 0 {
        server.metrics.uncertain_submits(met.taken_over);
        tracing::warn!(
            submits = met.taken_over,
            "another replica ended in mid-submit: these are uncertain, see /api/uncertain"
        );
    }
    let Some(mut state) = server.replicas.state() else {
        return;
    };
    // What was there at the start was counted then.
    let is_first = state.counted.is_none();
    let counted = state.counted.take().unwrap_or_default();
    for (id, at_ms) in &met.bad_key_answers {
        if !is_first && !redis.is_own(*id) && !counted.contains(id) {
            let ago = u64::try_from(now_ms - at_ms).unwrap_or_default();
            let at = now.checked_sub(Duration::from_millis(ago));
            server.egress.bad_answer(at.unwrap_or(now));
        }
    }
    state.counted = Some(met.bad_key_answers.iter().map(|(id, _)| *id).collect());
}
