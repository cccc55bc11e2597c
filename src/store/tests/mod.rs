//! What every store does, shown for each of them. `file` and `trouble` are about the file, `shared` about Redis.

mod bills;
mod emptied;
mod file;
mod limits;
mod parked;
#[path = "../../../tests/support/redis_server.rs"]
mod redis_server;
mod same;
mod shared;
mod together;
mod trouble;
mod versions;

use redis_server::RedisServer;

use std::path::Path;

use super::*;
use crate::config::settings::Sync;
use crate::keys::secret::Identity;

/// Pages of a disk that is not full: the most that SQLite allows.
pub(super) const NO_LIMIT: i64 = 4_294_967_294;

/// Every kind of store, with what must outlive it.
fn stores() -> Vec<(Store, Box<dyn std::any::Any>)> {
    let (full, process) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = RedisServer::start();
    vec![
        (Store::memory(), Box::new(())),
        (open(&full, Sync::Full), Box::new(full)),
        (open(&process, Sync::Process), Box::new(process)),
        (connect(&server), Box::new(server)),
    ]
}

fn connect(server: &RedisServer) -> Store {
    Store::connect(&Address::parse(&server.url()).unwrap()).unwrap()
}

fn open(directory: &tempfile::TempDir, sync: Sync) -> Store {
    Store::open(&file_in(directory.path()), sync).unwrap().0
}

fn file_in(directory: &Path) -> PathBuf {
    directory.join("sidekey.db")
}

fn key(tenant: &str, id: &str) -> TaskKey {
    TaskKey {
        profile: Arc::from("captchaai"),
        tenant: Arc::from(tenant),
        id: Arc::from(id),
    }
}

fn task(id: &str, owner: &str) -> TaskRecord {
    TaskRecord {
        key: key("", id),
        owner_name: Arc::from(owner),
        owner_identity: Identity([owner.len() as u8; 32]),
        kind: Arc::from("userrecaptcha"),
        project: None,
        price_micro_usd: Some(1_200),
        charge_micro_usd: Some(1_500),
        state: TaskState::Running,
        submitted_at_ms: 1_000,
        used_at_ms: 1_000,
    }
}

fn slots(slots: Option<u32>) -> Within {
    Within {
        slots,
        ..Within::default()
    }
}

impl Store {
    /// Within nothing, as where nobody shares the store.
    pub(crate) fn intend(&self, intent: Intent, claim: Option<Claim>) -> (IntentId, Written) {
        self.intend_within(intent, claim, Within::default())
    }

    fn intend_parked(&self, parked: OwnId, intent: Intent) -> (IntentId, Written) {
        self.intend_parked_within(parked, intent, Within::default())
    }
}

fn intent(owner: &str) -> Intent {
    Intent {
        profile: Arc::from("captchaai"),
        tenant: Arc::from("acme"),
        project: Some(Arc::from("shop")),
        kind: Arc::from("image"),
        endpoint: Endpoint::Solve,
        owner_name: Arc::from(owner),
        owner_identity: Identity([9; 32]),
        at_ms: 5_000,
    }
}

fn uncertain(id: IntentId, intent: Intent, why: &str) -> UncertainRow {
    UncertainRow {
        id,
        intent,
        why: Arc::from(why),
        parameters_hash: None,
        resolved: None,
    }
}

fn used(id: &str, ended: Ended) -> UsageRow {
    UsageRow {
        task: key("acme", id),
        submitted_at_ms: 1_000,
        ended_at_ms: 2_000,
        ended,
        project: Some(Arc::from("shop")),
        kind: Arc::from("image"),
        owner_name: Arc::from("main"),
        cost_micro_usd: i64::from(ended == Ended::Solved) * 1_000,
        charge_micro_usd: i64::from(ended == Ended::Solved) * 1_500,
    }
}

fn claim(of: u8, asks: u8) -> Claim {
    Claim {
        scope: [of; 32],
        parameters: [asks; 32],
    }
}

async fn came_to(store: &Store, of: u8) -> Option<CameTo> {
    let found = store.find_claim(&[of; 32]).await.unwrap();
    found.map(|found| found.came_to)
}

async fn submit(store: &Store, task: TaskRecord) -> u64 {
    let (id, written) = store.intend(intent(&task.owner_name), None);
    written.await.unwrap();
    store.accept(id, task).await.unwrap()
}

#[tokio::test]
async fn an_accepted_task_is_found_as_it_was() {
    for (store, _directory) in stores() {
        let mut wanted = task("7", "main");
        wanted.project = Some(Arc::from("p"));
        submit(&store, wanted.clone()).await;
        assert_eq!(store.find_task(&wanted.key).await.unwrap(), Some(wanted));
    }
}

#[tokio::test]
async fn a_task_is_found_only_below_its_own_tenant_and_profile() {
    for (store, _directory) in stores() {
        submit(&store, task("7", "main")).await;
        let mut other_vendor = key("", "7");
        other_vendor.profile = Arc::from("2captcha");
        for stranger in [key("acme", "7"), key("", "07"), key("", "8"), other_vendor] {
            assert_eq!(store.find_task(&stranger).await.unwrap(), None);
        }
    }
}

#[tokio::test]
async fn the_second_task_of_one_id_wins_and_is_counted() {
    for (store, _directory) in stores() {
        assert_eq!(submit(&store, task("7", "first")).await, 0);
        assert_eq!(
            submit(&store, task("7", "first")).await,
            0,
            "the same again"
        );
        assert_eq!(submit(&store, task("7", "second")).await, 1);
        let found = store.find_task(&key("", "7")).await.unwrap().unwrap();
        assert_eq!(&*found.owner_name, "second");
        assert_eq!(store.health().replaced, 1);
    }
}

#[tokio::test]
async fn a_final_task_stays_final_and_its_time_only_moves_on() {
    for (store, _directory) in stores() {
        submit(&store, task("7", "main")).await;
        store.touch(&key("", "7"), 9_000, TaskState::Final);
        store.touch(&key("", "7"), 8_000, TaskState::Running);
        store.touch(&key("", "unknown"), 8_000, TaskState::Final);
        store.flush().await.unwrap();
        let found = store.find_task(&key("", "7")).await.unwrap().unwrap();
        assert_eq!((found.state, found.used_at_ms), (TaskState::Final, 9_000));
        assert_eq!(store.find_task(&key("", "unknown")).await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_nobody_waits_for_is_written_all_the_same() {
    for (store, _directory) in stores() {
        submit(&store, task("7", "main")).await;
        store.touch(&key("", "7"), 2_000, TaskState::Final);
        let written = async {
            while !store.running_tasks(0, 10).await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        let patience = Duration::from_secs(20);
        timeout(patience, written).await.unwrap();
    }
}

#[tokio::test]
async fn an_uncertain_submit_is_listed_and_a_late_id_resolves_it() {
    for (store, _directory) in stores() {
        let (id, written) = store.intend(intent("main"), None);
        written.await.unwrap();
        let hash = Some([3; 32]);
        let mut row = UncertainRow {
            parameters_hash: hash,
            ..uncertain(id, intent("main"), "reset after the request")
        };
        store.uncertain(row.clone()).await.unwrap();
        assert_eq!(store.uncertain_list(10).await.unwrap(), [row.clone()]);
        assert_eq!(store.uncertain_open().await.unwrap(), 1);

        store
            .resolve_uncertain(id, task("7", "main"))
            .await
            .unwrap();
        row.resolved = Some(Resolved {
            task_id: Arc::from("7"),
            at_ms: 1_000,
        });
        assert_eq!(store.uncertain_list(10).await.unwrap(), [row]);
        assert_eq!(store.uncertain_open().await.unwrap(), 0);
        assert!(store.find_task(&key("", "7")).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn uncertain_submits_come_newest_first_and_old_ones_can_be_forgotten() {
    for (store, _directory) in stores() {
        for at_ms in [1, 2, 3] {
            let mut intent = intent("main");
            intent.at_ms = at_ms;
            let (id, _) = store.intend(intent.clone(), None);
            let row = uncertain(id, intent, "timeout");
            store.uncertain(row).await.unwrap();
        }
        let times = |rows: Vec<UncertainRow>| -> Vec<i64> {
            rows.iter().map(|row| row.intent.at_ms).collect()
        };
        assert_eq!(times(store.uncertain_list(2).await.unwrap()), [3, 2]);
        assert_eq!(store.forget_uncertain_before(3).await.unwrap(), 2);
        assert_eq!(times(store.uncertain_list(9).await.unwrap()), [3]);
    }
}

#[tokio::test]
async fn tasks_unused_for_long_are_forgotten_and_no_others() {
    for (store, _directory) in stores() {
        for number in 0..2_500 {
            let mut task = task(&number.to_string(), "main");
            task.used_at_ms = number;
            drop(store.learn(task));
        }
        store.touch(&key("", "3"), 9_000, TaskState::Running);
        assert_eq!(store.forget_tasks_unused_since(2_400).await.unwrap(), 2_399);
        for (id, known) in [("3", true), ("4", false), ("2399", false), ("2400", true)] {
            let found = store.find_task(&key("", id)).await.unwrap();
            assert_eq!(found.is_some(), known, "{id}");
        }
    }
}

#[tokio::test]
async fn bad_key_answers_are_remembered_by_their_time() {
    for (store, _directory) in stores() {
        for at_ms in 0..150 {
            store.note_bad_key_answer(at_ms);
        }
        store.flush().await.unwrap();
        assert_eq!(
            store.bad_key_answers_since(147).await.unwrap(),
            [147, 148, 149]
        );
        assert_eq!(store.bad_key_answers_since(0).await.unwrap().len(), 100);
    }
}

#[tokio::test]
async fn running_tasks_are_found_the_latest_first() {
    for (store, _directory) in stores() {
        for id in ["1", "2", "3"] {
            submit(&store, task(id, "main")).await;
        }
        store.touch(&key("", "1"), 3_000, TaskState::Running);
        store.touch(&key("", "2"), 2_000, TaskState::Running);
        store.touch(&key("", "3"), 4_000, TaskState::Final);
        store.flush().await.unwrap();
        let ids = async |since, limit| {
            let running = store.running_tasks(since, limit).await.unwrap();
            running
                .iter()
                .map(|task| task.key.id.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(0, 10).await, ["1", "2"]);
        assert_eq!(ids(2_001, 10).await, ["1"]);
        assert_eq!(ids(0, 1).await, ["1"]);
    }
}

#[tokio::test]
async fn a_thousand_callers_at_once_are_all_answered() {
    for (store, _directory) in stores() {
        let background = crate::background::Background::new();
        let submits: Vec<_> = (0..1_000)
            .map(|number| {
                let store = store.clone();
                background
                    .spawn(async move { submit(&store, task(&number.to_string(), "main")).await })
            })
            .collect();
        for submit in submits {
            assert_eq!(submit.await.unwrap(), 0);
        }
        assert_eq!(store.running_tasks(0, 2_000).await.unwrap().len(), 1_000);
        background.spawn(store.close()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_claim_comes_to_what_its_submit_comes_to() {
    for (store, _directory) in stores() {
        let intend = async |of| {
            let (id, written) = store.intend(intent("main"), Some(claim(of, 9)));
            written.await.unwrap();
            id
        };
        assert!(store.find_claim(&[1; 32]).await.unwrap().is_none());
        let accepted = intend(1).await;
        assert!(came_to(&store, 1).await == Some(CameTo::Unknown));
        let found = store.find_claim(&[1; 32]).await.unwrap().unwrap();
        assert_eq!(found.parameters, [9; 32]);
        store.accept(accepted, task("7", "main")).await.unwrap();
        assert!(came_to(&store, 1).await == Some(CameTo::Task("7".into())));

        let refused = intend(2).await;
        store.forget(refused);
        store.flush().await.unwrap();
        assert!(came_to(&store, 2).await.is_none());
        // The next key in line.
        let again = intend(2).await;
        store.accept(again, task("8", "main")).await.unwrap();
        assert!(came_to(&store, 2).await == Some(CameTo::Task("8".into())));

        let lost = intend(3).await;
        let uncertain = store.uncertain(uncertain(lost, intent("main"), "reset"));
        uncertain.await.unwrap();
        assert!(came_to(&store, 3).await == Some(CameTo::Unknown));
        let late = store.resolve_uncertain(lost, task("9", "main"));
        late.await.unwrap();
        assert!(came_to(&store, 3).await == Some(CameTo::Task("9".into())));

        let answer = Bytes::from_static(b"OK|solved");
        let solved = intend(4).await;
        store
            .answered(solved, &answer, used("solve-1", Ended::Solved))
            .await
            .unwrap();
        assert!(came_to(&store, 4).await == Some(CameTo::Answer(answer)));
        let solved = intend(5).await;
        let long = Bytes::from(vec![b'a'; LONGEST_ANSWER + 1]);
        store
            .answered(solved, &long, used("solve-1", Ended::Solved))
            .await
            .unwrap();
        assert!(came_to(&store, 5).await == Some(CameTo::Unknown));
        assert_eq!(store.uncertain_list(10).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn old_claims_are_forgotten_and_of_too_many_the_oldest() {
    for (store, _directory) in stores() {
        for at_ms in 1..=6_u8 {
            let mut intent = intent("main");
            intent.at_ms = at_ms.into();
            drop(store.intend(intent, Some(claim(at_ms, 0))).1);
        }
        assert_eq!(store.forget_claims_before(3).await.unwrap(), 2);
        assert!(came_to(&store, 2).await.is_none() && came_to(&store, 3).await.is_some());
        let change = Change::ForgetClaims {
            before_ms: 0,
            most: 2,
            limit: 10,
        };
        assert_eq!(store.change(change).await.unwrap(), 2);
        assert!(came_to(&store, 4).await.is_none() && came_to(&store, 5).await.is_some());
    }
}
