//! Each solve stands on the bill once, whatever is repeated, and for ever at the price that it had.

use super::*;
use crate::calendar::{DAY_MS, Month};

/// A month with a day of every kind in it.
fn asked(by: By) -> Asked {
    Asked {
        by,
        from_ms: 0,
        until_ms: 31 * DAY_MS,
        today_ms: 0,
        tenant: None,
        project: None,
    }
}

async fn bill(store: &Store, by: By) -> Vec<Line> {
    store.flush().await.unwrap();
    store.bill(asked(by)).await.unwrap()
}

async fn only_line(store: &Store) -> Line {
    let mut lines = bill(store, By::Tenant).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

#[tokio::test]
async fn a_solve_that_is_settled_again_is_billed_once_at_its_first_price() {
    for (store, _directory) in stores() {
        let first = used("7", Ended::Solved);
        store.settle(first.clone());
        for ended in Ended::ALL {
            store.settle(UsageRow {
                ended_at_ms: 9_000,
                cost_micro_usd: 77,
                charge_micro_usd: 88,
                ended,
                ..first.clone()
            });
        }
        let line = only_line(&store).await;
        assert_eq!((line.solves, line.cost, line.charged), (1, 1_000, 1_500));
        assert_eq!((line.failed, line.expired), (0, 0));
    }
}

#[tokio::test]
async fn a_task_that_expired_and_was_solved_after_all_is_solved_also_after_a_restart() {
    for (store, directory) in stores() {
        let mut record = task("7", "main");
        record.key = key("acme", "7");
        submit(&store, record.clone()).await;
        store.settle(used("7", Ended::Expired));
        let line = only_line(&store).await;
        assert_eq!((line.solves, line.expired, line.charged), (0, 1, 0));
        // It may still be asked for, and what is heard then counts.
        let found = store.find_task(&record.key).await.unwrap().unwrap();
        assert_eq!(found.state, TaskState::Running);
        let store = again(store, &*directory).await;
        let late = UsageRow {
            ended_at_ms: 3_000,
            ..used("7", Ended::Solved)
        };
        store.settle(late);
        store.settle(used("7", Ended::Expired));
        let line = only_line(&store).await;
        assert_eq!((line.solves, line.expired, line.charged), (1, 0, 1_500));
        let found = store.find_task(&record.key).await.unwrap();
        if let Some(found) = found {
            assert_eq!(found.state, TaskState::Final);
        }
    }
}

#[tokio::test]
async fn the_end_of_an_older_task_is_not_that_of_a_newer_one_with_its_id() {
    for (store, _directory) in stores() {
        let mut newer = task("7", "main");
        newer.key = key("acme", "7");
        newer.submitted_at_ms = 5_000;
        submit(&store, newer.clone()).await;
        store.settle(used("7", Ended::Solved));
        store.flush().await.unwrap();
        let found = store.find_task(&newer.key).await.unwrap();
        assert_eq!(found, Some(newer.clone()));
        store.settle(UsageRow {
            submitted_at_ms: 5_000,
            ..used("7", Ended::Solved)
        });
        assert_eq!(only_line(&store).await.solves, 2);
        let found = store.find_task(&newer.key).await.unwrap().unwrap();
        assert_eq!(found.state, TaskState::Final);
    }
}

#[tokio::test]
async fn an_answer_of_solve_php_is_billed_or_uncertain_and_not_both() {
    for (store, _directory) in stores() {
        let answer = Bytes::from_static(b"OK|text");
        let (heard, written) = store.intend(intent("main"), None);
        written.await.unwrap();
        let row = used("solve-1", Ended::Solved);
        store.answered(heard, &answer, row.clone()).await.unwrap();
        let (late, written) = store.intend(intent("main"), None);
        written.await.unwrap();
        let why = "the deadline passed";
        let uncertain = store.uncertain(uncertain(late, intent("main"), why));
        uncertain.await.unwrap();
        assert_eq!(only_line(&store).await.uncertain, 1);
        let row = used("solve-2", Ended::Solved);
        store.answered(late, &answer, row).await.unwrap();
        let line = only_line(&store).await;
        assert_eq!((line.solves, line.uncertain), (2, 0));
    }
}

#[tokio::test]
async fn failures_refusals_and_uncertain_submits_stand_apart() {
    for (store, _directory) in stores() {
        for (id, ended) in ["1", "2", "3"].into_iter().zip(Ended::ALL) {
            store.settle(used(id, ended));
        }
        for count in 1..=3 {
            store.note_refused(Refused {
                tenant: Arc::from("acme"),
                day: 2,
                reason: Arc::from("daily_limit"),
                count,
            });
        }
        let (id, written) = store.intend(intent("main"), None);
        written.await.unwrap();
        let uncertain = store.uncertain(uncertain(id, intent("main"), "reset"));
        uncertain.await.unwrap();
        let wanted = Line {
            of: "acme".to_owned(),
            solves: 1,
            charged: 1_500,
            cost: 1_000,
            today: 1,
            failed: 1,
            expired: 1,
            refused: Some(3),
            uncertain: 1,
        };
        assert_eq!(only_line(&store).await, wanted);
        let days: Vec<_> = bill(&store, By::Day).await;
        let days: Vec<_> = days.iter().map(|line| (&*line.of, line.refused)).collect();
        assert_eq!(days, [("1970-01-01", Some(0)), ("1970-01-03", Some(3))]);
        let types = bill(&store, By::Type).await;
        assert_eq!((&*types[0].of, types[0].refused), ("image", None));
        let months = bill(&store, By::Month).await;
        assert_eq!(months[0].of, Month::of(0).to_string());
        // The first of its day is in the audit log, the others are not.
        let audited = store.audit_list(10).await.unwrap();
        let said: Vec<_> = audited
            .iter()
            .map(|row| (&*row.who, &*row.what, &*row.subject, &*row.detail))
            .collect();
        assert_eq!(said, [("sidekey", "limit_reached", "acme", "daily_limit")]);
    }
}

#[tokio::test]
async fn the_audit_log_forgets_by_age_and_by_number_and_nothing_else() {
    for (store, _directory) in stores() {
        for at_ms in 0..5 {
            store.audit(AuditRow {
                at_ms,
                who: Arc::from("admin token"),
                what: Arc::from("disable"),
                subject: Arc::from("main"),
                detail: Arc::from(""),
            });
        }
        let times = async || {
            let rows = store.audit_list(10).await.unwrap();
            rows.iter().map(|row| row.at_ms).collect::<Vec<_>>()
        };
        store.forget_audit_before(1).await.unwrap();
        assert_eq!(times().await, [4, 3, 2, 1]);
        let change = Change::ForgetAudit {
            before_ms: 0,
            most: 2,
        };
        assert_eq!(store.change(change).await.unwrap(), 2);
        assert_eq!(times().await, [4, 3]);
        assert_eq!(store.audit_list(1).await.unwrap().len(), 1);
    }
}

/// A file is closed and opened, a server connected to again; what is in memory goes on.
async fn again(store: Store, place: &dyn std::any::Any) -> Store {
    if let Store::Memory(_) = store {
        return store;
    }
    store.close().await.unwrap();
    match (
        place.downcast_ref::<RedisServer>(),
        place.downcast_ref::<tempfile::TempDir>(),
    ) {
        (Some(server), _) => connect(server),
        (None, Some(directory)) => open(directory, Sync::Process),
        (None, None) => panic!("no place"),
    }
}
