//! What memory keeps of tasks beside the store.

use super::*;
use crate::config::settings::UnknownTask;
use crate::keys::secret::Identity;
use crate::tasks::course::{Action, LEASE};

fn record(owner: &str, submitted_at_ms: i64) -> TaskRecord {
    TaskRecord {
        key: TaskKey {
            profile: "2captcha".into(),
            tenant: "".into(),
            id: "7".into(),
        },
        owner_name: owner.into(),
        owner_identity: Identity([1; 32]),
        kind: "image".into(),
        project: None,
        price_micro_usd: None,
        charge_micro_usd: None,
        state: TaskState::Running,
        submitted_at_ms,
        used_at_ms: submitted_at_ms,
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_an_id_was_given_again_does_not_hide_the_newer_task() {
    let tasks = Tasks::new(Store::memory());
    let now = Instant::now();
    let newer = tasks.remember(record("newer", 2_000), now);
    // As a look-up does that read the store before the newer task was there.
    let found = tasks.insert_found(record("older", 1_000), now, now, 2_000);
    assert!(Arc::ptr_eq(&newer, &found));
    let key = record("", 0).key;
    let found = tasks.find(&key, now, 2_000).await.unwrap().unwrap();
    assert_eq!(&*found.record.owner_name, "newer");
    let newest = tasks.remember(record("newest", 3_000), now);
    assert_eq!(&*newest.record.owner_name, "newest");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_polled_still_stands_in_the_store_as_running_when_a_restart_asks_for_slots()
{
    let (store, start) = (Store::memory(), Instant::now());
    let tasks = Tasks::new(store.clone());
    let record = record("owner", 0);
    store.learn(record.clone()).await.unwrap();
    let task = tasks.remember(record, start);
    let rules = Rules {
        pace: Duration::from_secs(2),
        first: Duration::ZERO,
        hide_outage: Duration::from_secs(60),
        unknown_task: UnknownTask::Refuse,
        keep: Duration::from_secs(3600),
    };
    let view = View {
        action: Action::Get,
        json: false,
        header_acao: false,
    };
    for _ in 0..60 {
        tokio::time::advance(Duration::from_secs(20)).await;
        let now_ms = millis(start.elapsed());
        tasks.polled(&task, view, &rules, Instant::now(), now_ms);
        let held = store.running_tasks(now_ms - millis(LEASE), 1).await;
        assert_eq!(held.unwrap().len(), 1, "after {:?}", start.elapsed());
    } // It has ended. Its settlement says so in the store; a poll that comes before that must not.
    let now = Instant::now();
    assert!(tasks.heard(&task, News::Final(None), None, &rules, now));
    for _ in 0..60 {
        tokio::time::advance(Duration::from_secs(20)).await;
        let now_ms = millis(start.elapsed());
        tasks.polled(&task, view, &rules, Instant::now(), now_ms);
    }
    let held = store.find_task(&task.record.key).await.unwrap();
    assert_eq!(held.unwrap().state, TaskState::Running);
}
