use std::collections::{BTreeMap, HashSet};

use clap::ValueEnum;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::parked::parked_submit;
use super::*;
use crate::calendar::DAY_MS;

#[derive(Clone, Debug)]
enum Step {
    Submit(TaskRecord),
    Learn(TaskRecord),
    Intend,
    /// Of an account that is never full.
    IntendWithin,
    Claim(u8, u8, i64),
    Answered(usize, usize),
    ForgetClaims(i64, usize),
    Forget(usize),
    Uncertain(usize),
    Resolve(usize, TaskRecord),
    Touch(TaskKey, i64, TaskState),
    ForgetTasks(i64),
    ForgetUncertain(i64),
    BadKey(i64),
    GoodKey(u8, i64),
    NoGoodKey(u8),
    Park(u8),
    ParkClaimed(u8, u8),
    SendParked(usize),
    AcceptParked(usize, TaskRecord),
    UncertainParked(usize),
    ResolveParked(usize, TaskRecord),
    ForgetParkedIntent(usize),
    EndParked(usize, ParkedState),
    TouchParked(usize, i64),
    ForgetParked(i64),
    Settle(Box<UsageRow>),
    Refused(Refused),
    Audit(AuditRow),
    ForgetUsage(i64, usize),
    ForgetAudit(i64, usize),
}

fn any_task() -> impl Strategy<Value = TaskRecord> {
    let state = prop_oneof![Just(TaskState::Running), Just(TaskState::Final)];
    (any_key(), 0..3_u8, 0..50_i64, state, any::<Option<i64>>()).prop_map(
        |(key, owner, at, state, price)| TaskRecord {
            key,
            owner_name: Arc::from(format!("key-{owner}")),
            owner_identity: Identity([owner; 32]),
            kind: Arc::from("image"),
            project: (owner == 0).then(|| Arc::from("p")),
            price_micro_usd: price,
            charge_micro_usd: None,
            state,
            submitted_at_ms: at,
            used_at_ms: at,
        },
    )
}

/// Few ids, so that they meet again; also text that a database might take for something else.
fn any_key() -> impl Strategy<Value = TaskKey> {
    let ids = vec!["1", "2", "01", "1 ", "1e3", "é", "a\0b", "', ''); --"];
    (prop::sample::select(ids), 0..2_u8)
        .prop_map(|(id, tenant)| key(["", "acme"][usize::from(tenant)], id))
}

/// Of tasks that there are, and of others; some twice.
fn any_usage() -> impl Strategy<Value = UsageRow> {
    let ended = prop::sample::select(Ended::ALL.to_vec());
    (any_key(), 0..3_u8, 0..50_i64, 0..50_i64, ended).prop_map(
        |(task, of, submitted, at, ended)| {
            let price = i64::from(ended == Ended::Solved) * (1 + at);
            UsageRow {
                task,
                submitted_at_ms: submitted,
                ended_at_ms: at * DAY_MS / 3,
                ended,
                project: (of > 0).then(|| Arc::from(format!("p{of}"))),
                kind: Arc::from(["image", "other"][usize::from(of % 2)]),
                owner_name: Arc::from(format!("key-{of}")),
                cost_micro_usd: price,
                charge_micro_usd: price * 2,
            }
        },
    )
}

fn any_refused() -> impl Strategy<Value = Refused> {
    (0..2_u8, 0..20_i64, 0..2_u8, 1..9_i64).prop_map(|(tenant, day, reason, count)| Refused {
        tenant: Arc::from(["acme", "zoo"][usize::from(tenant)]),
        day,
        reason: Arc::from(["daily_limit", "max_tasks"][usize::from(reason)]),
        count,
    })
}

fn audited(at_ms: i64, of: u8) -> AuditRow {
    AuditRow {
        at_ms,
        who: Arc::from("file"),
        what: Arc::from("reload"),
        subject: Arc::from(format!("key-{of}")),
        detail: Arc::from(""),
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let state = prop_oneof![Just(TaskState::Running), Just(TaskState::Final)];
    prop_oneof![
        any_task().prop_map(Step::Submit),
        any_task().prop_map(Step::Learn),
        Just(Step::Intend),
        Just(Step::IntendWithin),
        (0..4_u8, 0..3_u8, 0..50_i64).prop_map(|(of, asks, at)| Step::Claim(of, asks, at)),
        ((0..9_usize), (0..2_usize)).prop_map(|(id, long)| Step::Answered(id, long)),
        ((0..60_i64), (1..4_usize)).prop_map(|(before, most)| Step::ForgetClaims(before, most)),
        (0..9_usize).prop_map(Step::Forget),
        (0..9_usize).prop_map(Step::Uncertain),
        ((0..9_usize), any_task()).prop_map(|(id, task)| Step::Resolve(id, task)),
        (any_key(), 0..60_i64, state).prop_map(|(key, at, state)| Step::Touch(key, at, state)),
        (0..60_i64).prop_map(Step::ForgetTasks),
        (4_990..5_020_i64).prop_map(Step::ForgetUncertain),
        (0..60_i64).prop_map(Step::BadKey),
        (0..4_u8, 0..60_i64).prop_map(|(of, at)| Step::GoodKey(of, at)),
        (0..4_u8).prop_map(Step::NoGoodKey),
        any_parked_step(),
        any_usage().prop_map(|row| Step::Settle(Box::new(row))),
        any_usage().prop_map(|row| Step::Settle(Box::new(row))),
        any_refused().prop_map(Step::Refused),
        (0..60_i64, 0..3_u8).prop_map(|(at, of)| Step::Audit(audited(at, of))),
        ((0..60_i64), (1..4_usize)).prop_map(|(before, most)| Step::ForgetUsage(before, most)),
        ((0..60_i64), (1..4_usize)).prop_map(|(before, most)| Step::ForgetAudit(before, most)),
    ]
}

fn any_parked_step() -> impl Strategy<Value = Step> {
    let number = 0..9_usize;
    let end = prop_oneof![
        Just(ParkedState::Refused(Arc::from("ERROR_PAGEURL"))),
        Just(ParkedState::Unsent(Unsent::Expired)),
        Just(ParkedState::Unsent(Unsent::Dropped)),
        Just(ParkedState::Unsent(Unsent::Cancelled)),
    ];
    prop_oneof![
        3 => any::<u8>().prop_map(Step::Park),
        1 => (any::<u8>(), 0..4_u8).prop_map(|(byte, of)| Step::ParkClaimed(byte, of)),
        2 => number.clone().prop_map(Step::SendParked),
        1 => (number.clone(), any_task()).prop_map(|(n, task)| Step::AcceptParked(n, task)),
        1 => number.clone().prop_map(Step::UncertainParked),
        1 => (number.clone(), any_task()).prop_map(|(n, task)| Step::ResolveParked(n, task)),
        1 => number.clone().prop_map(Step::ForgetParkedIntent),
        1 => (number.clone(), end).prop_map(|(n, end)| Step::EndParked(n, end)),
        1 => (number, 0..60_i64).prop_map(|(n, at)| Step::TouchParked(n, at)),
        1 => (0..60_i64).prop_map(Step::ForgetParked),
    ]
}

/// Everything that can be asked, after all steps. Apart what is asked for at a start only: a store that ends with the process
/// does not keep it.
async fn carry_out(
    store: &Store,
    steps: &[Step],
) -> (
    impl PartialEq + fmt::Debug + use<>,
    impl PartialEq + fmt::Debug + use<>,
) {
    let mut ids = vec![IntentId(1_000_000)];
    let mut told = Vec::new();
    let mut parked = vec![store.next_own_id()];
    let first = parked[0].0;
    for (at, step) in steps.iter().enumerate() {
        let pick = |number: &usize| ids[number % ids.len()];
        let own = |number: usize| parked[number % parked.len()];
        let at_ms = at as i64;
        match step.clone() {
            Step::Submit(task) => told.push(submit(store, task).await),
            Step::Learn(task) => told.push(store.learn(task).await.unwrap()),
            Step::Intend => {
                let (id, written) = store.intend(intent("main"), None);
                told.push(written.await.unwrap());
                ids.push(id);
            }
            Step::IntendWithin => {
                let (id, written) = store.intend_within(intent("main"), None, slots(Some(1_000)));
                told.push(written.await.unwrap());
                ids.push(id);
            }
            Step::Claim(of, asks, at_ms) => {
                let mut intent = intent("main");
                intent.at_ms = at_ms;
                let (id, written) = store.intend(intent, Some(claim(of, asks)));
                told.push(written.await.unwrap());
                ids.push(id);
            }
            Step::Answered(number, long) => {
                let answer = Bytes::from(vec![b'a'; 4 + long * LONGEST_ANSWER]);
                let row = used(&format!("solve-{number}"), Ended::Solved);
                told.push(store.answered(pick(&number), &answer, row).await.unwrap());
            }
            Step::ForgetClaims(before_ms, most) => {
                let change = Change::ForgetClaims {
                    before_ms,
                    most,
                    limit: 2,
                };
                told.push(store.change(change).await.unwrap());
            }
            Step::Forget(number) => store.forget(pick(&number)),
            Step::Uncertain(number) => {
                let mut intent = intent("main");
                intent.at_ms += at as i64;
                let row = uncertain(pick(&number), intent, "reset");
                told.push(store.uncertain(row).await.unwrap());
            }
            Step::Resolve(number, task) => {
                told.push(store.resolve_uncertain(pick(&number), task).await.unwrap());
            }
            Step::Touch(key, at_ms, state) => store.touch(&key, at_ms, state),
            Step::ForgetTasks(before) => {
                told.push(store.forget_tasks_unused_since(before).await.unwrap());
            }
            Step::ForgetUncertain(before) => {
                told.push(store.forget_uncertain_before(before).await.unwrap());
            }
            Step::BadKey(at_ms) => store.note_bad_key_answer(at_ms),
            Step::GoodKey(of, at_ms) => store.note_good_key(Identity([of; 32]), at_ms),
            Step::NoGoodKey(of) => store.note_no_good_key(Identity([of; 32])),
            Step::ParkClaimed(byte, of) => {
                let (record, request) = parked_submit(store.next_own_id(), byte);
                parked.push(record.id);
                let (number, written) = store.park(record, request, Some(claim(of, byte)));
                told.push(written.await.unwrap());
                ids.push(number);
            }
            Step::Park(byte) => {
                let (record, request) = parked_submit(store.next_own_id(), byte);
                parked.push(record.id);
                told.push(store.park(record, request, None).1.await.unwrap());
            }
            Step::SendParked(number) => {
                let (id, written) = store.intend_parked(own(number), intent("main"));
                told.push(written.await.unwrap());
                ids.push(id);
            }
            Step::AcceptParked(number, task) => {
                let written = store.accept_parked(own(number), pick(&number), task);
                told.push(written.await.unwrap());
            }
            Step::UncertainParked(number) => {
                let row = uncertain(pick(&number), intent("main"), "reset");
                let written = store.uncertain_parked(own(number), row, at_ms);
                told.push(written.await.unwrap());
            }
            Step::ResolveParked(number, task) => {
                let written = store.resolve_parked(own(number), pick(&number), task);
                told.push(written.await.unwrap());
            }
            Step::ForgetParkedIntent(number) => {
                store.forget_parked_intent(own(number), pick(&number), at_ms);
            }
            Step::EndParked(number, end) => store.end_parked(own(number), end, at_ms),
            Step::TouchParked(number, at_ms) => store.touch_parked(own(number), at_ms),
            Step::ForgetParked(before) => {
                told.push(store.forget_parked_unused_since(before).await.unwrap());
            }
            Step::Settle(row) => store.settle(*row),
            // The time of the change is the clock's; here it must be the same in both.
            Step::Refused(refused) => store.note(Change::Refused(refused, at as i64)),
            Step::Audit(row) => store.audit(row),
            Step::ForgetUsage(before, limit) => {
                let before_ms = before * DAY_MS / 3;
                let change = Change::ForgetUsage { before_ms, limit };
                told.push(store.change(change).await.unwrap());
            }
            Step::ForgetAudit(before_ms, most) => {
                let change = Change::ForgetAudit { before_ms, most };
                told.push(store.change(change).await.unwrap());
            }
        }
    }
    store.flush().await.unwrap();
    let mut claims = Vec::new();
    for of in 0..4 {
        let claimed = store.find_claim(&claim(of, 0).scope).await.unwrap();
        claims.push(claimed.map(|claimed| (claimed.parameters, told_of(&claimed, first))));
    }
    let mut found = Vec::new();
    for step in steps {
        if let Step::Submit(task) | Step::Learn(task) | Step::Resolve(_, task) = step {
            found.push(store.find_task(&task.key).await.unwrap());
        }
    }
    let mut refusals = Vec::new();
    for day in 0..20 {
        let mut of_day = store.refusals(day).await.unwrap();
        of_day.sort_by(|a, b| (&a.tenant, &a.reason).cmp(&(&b.tenant, &b.reason)));
        refusals.push(of_day);
    }
    let mut all_parked = Vec::new();
    for id in parked {
        let mut record = store.find_parked(id, "acme").await.unwrap();
        if let Some(record) = &mut record {
            // Stores begin at different numbers.
            record.id.0 -= first;
        }
        all_parked.push((record, store.parked_request(id).await.unwrap()));
    }
    let mut waiting = Vec::new();
    for record in store.waiting_parked().await.unwrap() {
        waiting.push((record.id.0 - first, record.state));
    }
    let last_end = store.last_end(10 * DAY_MS).await.unwrap();
    let at_a_start = (
        sorted_keys(store.good_keys().await.unwrap()),
        last_end,
        waiting,
    );
    let settled = store.settled(8 * DAY_MS, 5 * DAY_MS).await.unwrap();
    let settled: BTreeMap<_, _> = settled.into_iter().collect();
    let at_any_time = (
        (told, refusals, store.audit_list(100).await.unwrap()),
        (found, bills(store).await, settled),
        all_parked,
        claims,
        by_number(store.uncertain_list(100).await.unwrap()),
        store.bad_key_answers_since(20).await.unwrap(),
        sorted(store.running_tasks(10, 1_000).await.unwrap()),
        store.health().replaced,
    );
    (at_any_time, at_a_start)
}

/// Every way to add them up.
async fn bills(store: &Store) -> Vec<Vec<Line>> {
    let mut bills = Vec::new();
    for by in By::value_variants() {
        for (tenant, project) in [(None, None), (Some("acme"), None), (None, Some("p1"))] {
            let asked = Asked {
                by: *by,
                from_ms: DAY_MS,
                until_ms: 15 * DAY_MS,
                today_ms: 8 * DAY_MS,
                tenant: tenant.map(Arc::from),
                project: project.map(Arc::from),
            };
            bills.push(store.bill(asked).await.unwrap());
        }
    }
    bills
}

fn sorted_keys(keys: HashSet<Identity>) -> Vec<[u8; 32]> {
    let mut keys: Vec<_> = keys.into_iter().map(|key| key.0).collect();
    keys.sort_unstable();
    keys
}

fn told_of(claimed: &Claimed, first: i64) -> String {
    match &claimed.came_to {
        // Of a parked submit.
        CameTo::Task(id) if id.len() == 16 => {
            format!("task {}", id.parse::<i64>().unwrap() - first)
        }
        CameTo::Task(id) => format!("task {id}"),
        CameTo::Answer(answer) => format!("{} bytes", answer.len()),
        CameTo::Unknown => "unknown".to_owned(),
    }
}

/// Where replicas write, the newest is the one with the latest time, not with the highest number.
fn by_number(mut rows: Vec<UncertainRow>) -> Vec<UncertainRow> {
    rows.sort_by_key(|row| row.id);
    rows
}

/// Tasks used at the same time have no order.
fn sorted(mut tasks: Vec<TaskRecord>) -> Vec<TaskRecord> {
    tasks.sort_by(|a, b| a.key.cmp(&b.key));
    tasks
}

#[test]
fn memory_file_and_server_tell_the_same() {
    let server = RedisServer::start();
    let config = ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let steps = prop::collection::vec(any_step(), 1..40);
    let told = TestRunner::new(config).run(&steps, |steps| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let memory = carry_out(&Store::memory(), &steps).await;
            let directory = tempfile::tempdir().unwrap();
            let store = open(&directory, Sync::Process);
            let file = carry_out(&store, &steps).await;
            store.close().await.unwrap();
            prop_assert_eq!(&memory.0, &file.0);
            server.flush_all();
            let store = connect(&server);
            let shared = carry_out(&store, &steps).await;
            store.close().await.unwrap();
            prop_assert_eq!(&file, &shared);
            Ok(())
        })
    });
    told.unwrap_or_else(|failure| panic!("{failure}"));
}
