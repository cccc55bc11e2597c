//! Slots used are tasks alive, whatever happens.

use std::collections::HashMap;

use futures_util::FutureExt;
use proptest::strategy::Strategy as _;

use super::*;
use crate::keys::account::{Bill, LEASE, Slot};
use crate::keys::key::Key;
use crate::store::TaskKey;
use crate::vendor::account::Threads;

const FULL: NoKey = NoKey::Full {
    again: None,
    until: None,
};

fn limited(name: &str, max_tasks: u32) -> KeyEntry {
    KeyEntry {
        max_tasks: Some(max_tasks),
        ..entry(name, 1, 0)
    }
}

fn task(id: usize) -> TaskKey {
    TaskKey {
        profile: "captchaai".into(),
        tenant: "".into(),
        id: id.to_string().as_str().into(),
    }
}

fn choose(set: &KeySet) -> Result<(std::sync::Arc<Key>, Slot), NoKey> {
    set.pool(DEFAULT_POOL)
        .unwrap()
        .choose(&Egress::new([]), set.events(), Instant::now())
}

fn used(set: &KeySet, name: &str) -> usize {
    let key = set.by_name(name).unwrap();
    key.account.slots(&key.limits, Instant::now()).used
}

/// Submits a task. Returns the name of its account.
fn submit(set: &KeySet, id: usize) -> Result<String, NoKey> {
    let (key, slot) = choose(set)?;
    slot.give_to(task(id), 0, &key.limits, Instant::now());
    Ok(key.name.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_full_key_is_skipped_until_one_of_its_tasks_ends() {
    let set = proven(&[limited("a", 1), limited("b", 2)]);
    let mut owners: Vec<_> = (0..3).map(|id| submit(&set, id).unwrap()).collect();
    let of_a = owners.iter().position(|owner| owner == "a").unwrap();
    owners.sort();
    assert_eq!(owners, ["a", "b", "b"]);
    assert_eq!(submit(&set, 3), Err(FULL));
    set.task_ended("a", &task(of_a), Bill::AsExpected);
    assert_eq!(submit(&set, 3), Ok("a".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_dropped_is_free_again() {
    let set = proven(&[limited("a", 1)]);
    let taken = choose(&set).unwrap();
    assert_eq!(submit(&set, 0), Err(FULL));
    drop(taken);
    assert_eq!(used(&set, "a"), 0);
    assert!(submit(&set, 0).is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_uncertain_submit_holds_its_slot_until_its_lease_ends() {
    let set = proven(&[limited("a", 1)]);
    choose(&set).unwrap().1.keep(Instant::now());
    tokio::time::advance(LEASE - Duration::from_millis(1)).await;
    assert_eq!(used(&set, "a"), 1);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(used(&set, "a"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_submit_on_its_way_and_a_task_that_is_not_ready_hold_their_slots_for_as_long_as_it_takes()
{
    let set = proven(&[limited("a", 2)]);
    submit(&set, 0).unwrap();
    let _on_its_way = choose(&set).unwrap();
    for _ in 0..3 {
        tokio::time::advance(LEASE / 2).await;
        set.task_runs("a", &task(0), Instant::now());
    }
    assert_eq!(used(&set, "a"), 2);
    tokio::time::advance(LEASE).await;
    assert_eq!(used(&set, "a"), 1, "nobody asked for the task any more");
}

#[tokio::test(start_paused = true)]
async fn the_vendors_count_of_threads_is_the_limit_unless_the_file_says_another() {
    let set = proven(&[limited("a", 1), entry("b", 1, 0)]);
    for name in ["a", "b"] {
        let threads = Threads {
            total: 3,
            working: 0,
        };
        let account = set.account(name).unwrap();
        account.learn_threads(threads, Instant::now());
    }
    let max = |name| {
        let key = set.by_name(name).unwrap();
        key.account.slots(&key.limits, Instant::now()).max
    };
    assert_eq!((max("a"), max("b")), (Some(1), Some(3)));
    let expired = Threads {
        total: 0,
        working: 0,
    };
    let account = set.account("b").unwrap();
    account.learn_threads(expired, Instant::now());
    assert_eq!(max("b"), None, "an expired plan is the health's to judge");
}

#[tokio::test(start_paused = true)]
async fn the_vendor_is_asked_for_its_count_when_it_contradicts_ours() {
    let set = proven(&[entry("a", 1, 0)]);
    let account = set.account("a").unwrap();
    let threads = Threads {
        total: 3,
        working: 3,
    };
    assert!(account.wants_count(Instant::now()), "no limit is known");
    account.learn_threads(threads, Instant::now());
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert!(!account.wants_count(Instant::now()));
    account.refused_for_slots();
    assert!(account.wants_count(Instant::now()));
    account.learn_threads(threads, Instant::now());
    account.refused_for_slots();
    assert!(!account.wants_count(Instant::now()), "not all the time");
}

#[tokio::test(start_paused = true)]
async fn a_key_over_its_rate_is_skipped_until_it_may_submit_again() {
    let fast = KeyEntry {
        max_requests_per_second: Some(2),
        ..entry("a", 1, 0)
    };
    let set = proven(&[fast]);
    let egress = Egress::new([]);
    assert!(pick(&set, &egress).is_ok() && pick(&set, &egress).is_ok());
    let Err(NoKey::Busy { until }) = pick(&set, &egress) else {
        panic!("over the limit");
    };
    assert!(
        !set.by_name("a").unwrap().take_call(Instant::now()),
        "polls count"
    );
    tokio::time::advance(until - Instant::now()).await;
    assert!(set.by_name("a").unwrap().take_call(Instant::now()));
    assert!(pick(&set, &egress).is_ok());
    assert!(pick(&set, &egress).is_err());
}

/// One account with one slot, which replicas share.
fn shared() -> KeySet {
    let rules = Rules {
        shared: true,
        ..rules(Strategy::RoundRobin)
    };
    let entries = [limited("a", 1)];
    let set = KeySet::default().next(&entries, &remembered(), &rules, Instant::now(), || 0.0);
    set.keys()[0].accepted(Accepted::Submit, Instant::now(), Instant::now());
    set
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_slot_of_all_replicas_is_told_when_another_frees_it_and_gets_it() {
    let set = shared();
    let account = &set.keys()[0].account;
    account.used_together(1, Instant::now());
    let told = set.events().next_freed();
    tokio::pin!(told);
    told.as_mut().enable();
    let again = Some(Instant::now() + Duration::from_millis(250));
    let full = NoKey::Full { again, until: None };
    assert_eq!(submit(&set, 0), Err(full));
    tokio::time::advance(Duration::from_millis(1)).await;
    account.used_together(0, Instant::now());
    assert!(told.now_or_never().is_some());
    assert!(submit(&set, 0).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_slot_of_all_replicas_is_tried_again_at_the_time_that_was_said() {
    let set = shared();
    let account = &set.keys()[0].account;
    account.used_together(1, Instant::now());
    let Err(NoKey::Full { again, .. }) = choose(&set) else {
        panic!("it is full");
    };
    tokio::time::advance(again.unwrap() - Instant::now()).await;
    let taken = choose(&set).unwrap();
    // It was in vain, and the reminder of the first time is not one of the second.
    account.used_together(1, Instant::now());
    drop(taken);
    assert!(matches!(choose(&set), Err(NoKey::Full { .. })));
    tokio::time::advance(Duration::from_millis(249)).await;
    assert!(matches!(choose(&set), Err(NoKey::Full { .. })));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(choose(&set).is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_waits_while_each_replica_counts_alone_is_told_when_all_are_counted_again() {
    let set = shared();
    let account = &set.keys()[0].account;
    account.used_together(0, Instant::now());
    submit(&set, 0).unwrap();
    // The store is gone, and that the task was polled to its end at another replica is not known here.
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(submit(&set, 1), Err(FULL));
    let told = set.events().next_freed();
    tokio::pin!(told);
    told.as_mut().enable();
    account.used_together(0, Instant::now());
    assert!(told.now_or_never().is_some());
    assert!(submit(&set, 1).is_ok());
}

#[tokio::test(start_paused = true)]
async fn slots_follow_the_name_through_new_values_and_absence() {
    let set = proven(&[limited("a", 1), limited("b", 1)]);
    let owners = [submit(&set, 0).unwrap(), submit(&set, 1).unwrap()];
    let of_a = owners.iter().position(|owner| owner == "a").unwrap();
    let replaced = KeyEntry {
        value: Secret::new("another-value-0123456789"),
        ..limited("a", 1)
    };
    let next = after(&set, &[replaced]);
    next.by_name("a")
        .unwrap()
        .accepted(Accepted::Submit, Instant::now(), Instant::now());
    assert_eq!(submit(&next, 2), Err(FULL));
    next.task_ended("a", &task(of_a), Bill::AsExpected);
    assert!(submit(&next, 2).is_ok());
    let back = after(&after(&next, &[]), &[limited("b", 1)]);
    assert_eq!(used(&back, "b"), 1, "while its task ran");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_slot_is_told_also_when_a_look_notices_the_end_of_its_lease() {
    let looks: [fn(&Key, Instant); 3] = [
        |key, now| _ = key.account.slots(&key.limits, now),
        |key, now| _ = key.account.threads(&key.limits, now),
        |key, now| _ = key.availability(now),
    ];
    for look in looks {
        let set = proven(&[limited("a", 1)]);
        let key = set.by_name("a").unwrap();
        let threads = Threads {
            total: 1,
            working: 0,
        };
        submit(&set, 0).unwrap();
        tokio::time::advance(LEASE - Duration::from_millis(1)).await;
        key.account.learn_threads(threads, Instant::now());
        assert!(submit(&set, 1).is_err());
        tokio::time::advance(Duration::from_millis(1)).await;
        let freed = set.events().next_freed();
        tokio::pin!(freed);
        freed.as_mut().enable();
        look(key, Instant::now());
        assert!(freed.now_or_never().is_some());
        assert!(submit(&set, 1).is_ok());
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Submit,
    Refused,
    Uncertain,
    NotReady(usize),
    Final(usize),
    /// Seconds. Afterwards the end of a lease is noticed by the clock, or else by the look that ends every step.
    Wait(u64, bool),
    Reload(u32),
    Restart,
}

fn step() -> impl proptest::strategy::Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Submit),
        1 => Just(Step::Refused),
        1 => Just(Step::Uncertain),
        2 => (0_usize..40).prop_map(Step::NotReady),
        3 => (0_usize..40).prop_map(Step::Final),
        2 => (0_u64..200, any::<bool>()).prop_map(|(seconds, by_clock)| Step::Wait(seconds, by_clock)),
        1 => (1_u32..4).prop_map(Step::Reload),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #[test]
    fn slots_used_are_tasks_alive_and_never_too_many(
        strategy in prop_oneof![
            Just(Strategy::RoundRobin), Just(Strategy::LeastBusy), Just(Strategy::Balance)
        ],
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut max = 2;
            let entries = |max| ["a", "b", "c"].map(|name| limited(name, max));
            let rules = rules(strategy);
            let reload = |set: &KeySet, max| {
                set.next(&entries(max), &remembered(), &rules, Instant::now(), || 0.5)
            };
            let mut set = reload(&KeySet::default(), max);
            for key in set.keys() {
                key.accepted(Accepted::Submit, Instant::now(), Instant::now());
            }
            // The model: which tasks live where, and until when.
            let mut alive: HashMap<usize, (String, Instant)> = HashMap::new();
            let mut last = 0;
            for step in steps {
                let now = Instant::now();
                alive.retain(|_, (_, until)| *until > now);
                let of = |alive: &HashMap<usize, (String, Instant)>, name: &str| {
                    alive.values().filter(|(owner, _)| owner == name).count()
                };
                match step {
                    Step::Submit | Step::Refused | Step::Uncertain => {
                        let free = ["a", "b", "c"].iter().any(|name| of(&alive, name) < max as usize);
                        let chosen = choose(&set);
                        assert_eq!(chosen.is_ok(), free, "{chosen:?}");
                        if let Ok((key, slot)) = chosen {
                            assert!(of(&alive, &key.name) < max as usize);
                            last += 1;
                            match step {
                                Step::Submit => slot.give_to(task(last), 0, &key.limits, now),
                                Step::Uncertain => slot.keep(now),
                                _ => drop(slot),
                            }
                            if !matches!(step, Step::Refused) {
                                alive.insert(last, (key.name.to_string(), now + LEASE));
                            }
                        }
                    }
                    Step::NotReady(id) => {
                        for name in ["a", "b", "c"] {
                            set.task_runs(name, &task(id), now);
                        }
                        let uncertain = set.accounts().all(|account| !account.holds(&task(id)));
                        if let Some((_, until)) = alive.get_mut(&id).filter(|_| !uncertain) {
                            *until = now + LEASE;
                        }
                    }
                    Step::Final(id) => {
                        let known = set.accounts().any(|account| account.holds(&task(id)));
                        for name in ["a", "b", "c"] {
                            set.task_ended(name, &task(id), Bill::AsExpected);
                        }
                        if known {
                            alive.remove(&id);
                        }
                    }
                    Step::Wait(seconds, by_clock) => {
                        tokio::time::advance(Duration::from_secs(seconds)).await;
                        if by_clock {
                            for account in set.accounts() {
                                account.expire(Instant::now());
                            }
                        }
                    }
                    Step::Reload(slots) => {
                        max = slots;
                        set = reload(&set, max);
                    }
                    // What the store says is what the model knows.
                    Step::Restart => {
                        let held: Vec<_> = alive
                            .iter()
                            .map(|(id, (owner, until))| {
                                let account = set.accounts().find(|a| *a.name == **owner).unwrap();
                                let task = account.holds(&task(*id)).then(|| (task(*id), 0));
                                (owner.clone(), task, *until)
                            })
                            .collect();
                        set = reload(&KeySet::default(), max);
                        for key in set.keys() {
                            key.accepted(Accepted::Submit, now, now);
                        }
                        for (owner, task, until) in held {
                            set.account(&owner).unwrap().restore(task, until);
                        }
                    }
                }
                let now = Instant::now();
                alive.retain(|_, (_, until)| *until > now);
                for name in ["a", "b", "c"] {
                    assert_eq!(used(&set, name), of(&alive, name), "{name} after {step:?}");
                }
            }
        });
    }
}
