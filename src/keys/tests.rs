//! Choosing, over whole key sets.

mod money;
mod reloads;
mod slots;
mod strategies;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::egress::{BAD_KEY_ANSWERS, Egress};
use super::health::{Accepted, Evidence, Health};
use super::key::Standing;
use super::pool::NoKey;
use super::secret::{Identity, Salt, Secret};
use super::set::{DEFAULT_POOL, KeySet, Members, PoolRule, Remembered, Rules};
use super::state::State;

use crate::config::settings::{Balance, KeyEntry, Strategy};
use crate::vendor::profile::{Billing, Class, CodeRule, Rates};

const SALT: Salt = Salt([7; 32]);
const KEEP: Duration = Duration::from_secs(3600);
const BAD: CodeRule = CodeRule {
    class: Class::KeyBad,
    cooldown: Duration::from_secs(60),
    polls: false,
};
const BUSY: CodeRule = CodeRule {
    class: Class::KeyBusy,
    cooldown: Duration::from_secs(5),
    polls: false,
};
const EMPTY: CodeRule = CodeRule {
    class: Class::KeyEmpty,
    cooldown: Duration::from_secs(60),
    polls: false,
};

fn remembered() -> Remembered {
    Remembered {
        salt: SALT,
        good_keys: HashSet::new(),
    }
}

fn entry(name: &str, weight: u32, priority: i32) -> KeyEntry {
    let value = Secret::new(format!("{name}-value-0123456789abcdef"));
    KeyEntry {
        name: name.to_owned(),
        value,
        pool: None,
        weight,
        priority,
        disabled: false,
        max_tasks: None,
        max_requests_per_second: None,
        billing: None,
    }
}

fn rules(strategy: Strategy) -> Rules {
    Rules {
        pools: vec![PoolRule {
            name: DEFAULT_POOL.into(),
            strategy,
            members: Members::Default {
                except: HashSet::new(),
            },
        }],
        rates: Rates {
            submits: 0,
            submits_in: Duration::from_secs(1),
            polls: 0,
            polls_per_task: 0,
        },
        billing: Billing::Balance,
        balance: Balance {
            refresh: Duration::from_secs(300),
            minimum_micro_usd: 10_000,
            low_micro_usd: 1_000_000,
        },
        keep: KEEP,
        shared: false,
    }
}

fn after(old: &KeySet, entries: &[KeyEntry]) -> KeySet {
    let rules = rules(Strategy::RoundRobin);
    old.next(entries, &remembered(), &rules, Instant::now(), || 0.0)
}

fn proven(entries: &[KeyEntry]) -> KeySet {
    let set = after(&KeySet::default(), entries);
    for key in set.keys() {
        key.accepted(Accepted::Submit, Instant::now(), Instant::now());
    }
    set
}

fn pick(set: &KeySet, egress: &Egress) -> Result<String, NoKey> {
    set.pool(DEFAULT_POOL)
        .ok_or(NoKey::None)?
        .choose(egress, set.events(), Instant::now())
        .map(|(key, _slot)| key.name.to_string())
}

fn picks(set: &KeySet, egress: &Egress, count: usize) -> Vec<String> {
    (0..count).map(|_| pick(set, egress).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn turns_follow_the_weights_and_are_spread_evenly() {
    let set = proven(&[entry("a", 5, 0), entry("b", 1, 0), entry("c", 1, 0)]);
    let egress = Egress::new([]);
    let round = picks(&set, &egress, 70);
    let count = |name| round.iter().filter(|picked| *picked == name).count();
    assert_eq!((count("a"), count("b"), count("c")), (50, 10, 10));
    let gaps = round.split(|picked| picked == "b").map(<[_]>::len);
    assert!(gaps.max().unwrap() <= 7, "{round:?}");
}

#[tokio::test(start_paused = true)]
async fn a_higher_tier_is_used_only_while_every_lower_one_rests() {
    let set = proven(&[entry("spare", 1, 10), entry("main", 1, 0)]);
    let egress = Egress::new([]);
    assert_eq!(picks(&set, &egress, 3), ["main", "main", "main"]);
    set.by_name("main")
        .unwrap()
        .refused("ERROR_NO_SLOT_AVAILABLE", BUSY, None, Instant::now());
    assert_eq!(picks(&set, &egress, 2), ["spare", "spare"]);
    tokio::time::advance(BUSY.cooldown * 2).await;
    assert_eq!(picks(&set, &egress, 2), ["main", "main"]);
}

#[tokio::test(start_paused = true)]
async fn a_resting_key_is_not_chosen_and_does_not_catch_up_afterwards() {
    let set = proven(&[entry("a", 1, 0), entry("b", 1, 0)]);
    let egress = Egress::new([]);
    set.by_name("a")
        .unwrap()
        .refused("ERROR_NO_SLOT_AVAILABLE", BUSY, None, Instant::now());
    assert!(picks(&set, &egress, 10).iter().all(|name| name == "b"));
    tokio::time::advance(BUSY.cooldown * 2).await;
    let next = picks(&set, &egress, 10);
    let turns = next.iter().filter(|name| *name == "a").count();
    assert!(
        turns <= 6,
        "half of them, and at most the one turn it is due: {next:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn while_the_address_is_banned_no_key_is_chosen() {
    let set = proven(&[entry("a", 1, 0)]);
    let egress = Egress::new([]);
    let until = Instant::now() + Duration::from_secs(300);
    egress.banned(until);
    assert_eq!(pick(&set, &egress), Err(NoKey::Busy { until }));
}

#[tokio::test(start_paused = true)]
async fn unproven_keys_are_waited_for_while_they_may_be_probed() {
    let set = after(&KeySet::default(), &[entry("a", 1, 0)]);
    let egress = Egress::new([]);
    assert_eq!(pick(&set, &egress), Err(NoKey::Learning));
    for _ in 0..BAD_KEY_ANSWERS {
        egress.bad_answer(Instant::now());
    }
    assert_eq!(pick(&set, &egress), Err(NoKey::None));
    let key = set.by_name("a").unwrap();
    assert!(key.begin_probe(Instant::now()));
    key.end_probe(Evidence::Passed, Instant::now());
    assert_eq!(
        pick(&set, &egress),
        Ok("a".to_owned()),
        "a proven key serves whatever the budget"
    );
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_brings_nothing_is_waited_for_as_a_busy_key_is() {
    let set = after(&KeySet::default(), &[entry("a", 1, 0)]);
    let key = set.by_name("a").unwrap();
    key.begin_probe(Instant::now());
    key.end_probe(Evidence::Nothing, Instant::now());
    let until = key
        .look(|health| health.next_change(Instant::now()))
        .unwrap();
    assert_eq!(pick(&set, &Egress::new([])), Err(NoKey::Busy { until }));
}

#[tokio::test(start_paused = true)]
async fn it_is_told_apart_why_no_key_can_be_chosen() {
    let egress = Egress::new([]);
    let now = Instant::now();
    assert_eq!(pick(&KeySet::default(), &egress), Err(NoKey::None));
    let revoke = |key: &super::key::Key| {
        key.refused("ERROR_KEY_DOES_NOT_EXIST", BAD, None, now);
        assert!(key.begin_probe(now));
        key.end_probe(
            Evidence::Refused {
                code: "ERROR_KEY_DOES_NOT_EXIST".to_owned(),
                rule: BAD,
            },
            now,
        );
    };
    let set = proven(&[entry("a", 1, 0), entry("b", 1, 0)]);
    revoke(set.by_name("a").unwrap());
    set.by_name("b")
        .unwrap()
        .refused("ERROR_ZERO_BALANCE", EMPTY, None, now);
    assert_eq!(pick(&set, &egress), Err(NoKey::Empty));
    let set = proven(&[entry("a", 1, 0), entry("b", 1, 0)]);
    set.by_name("a")
        .unwrap()
        .refused("ERROR_ZERO_BALANCE", EMPTY, None, now);
    set.by_name("b")
        .unwrap()
        .refused("ERROR_NO_SLOT_AVAILABLE", BUSY, None, now);
    assert!(
        matches!(pick(&set, &egress), Err(NoKey::Busy { until }) if until >= now + BUSY.cooldown)
    );
    let set = proven(&[entry("a", 1, 0)]);
    set.by_name("a")
        .unwrap()
        .refused("ERROR_KEY_DOES_NOT_EXIST", BAD, None, now);
    assert_eq!(
        pick(&set, &egress),
        Err(NoKey::Learning),
        "suspect: the probe decides"
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_that_comes_back_by_a_probe_is_chosen_again() {
    let set = proven(&[entry("a", 1, 0), entry("b", 1, 0)]);
    let egress = Egress::new([]);
    let a = set.by_name("a").unwrap();
    a.refused("ERROR_KEY_DOES_NOT_EXIST", BAD, None, Instant::now());
    assert!(picks(&set, &egress, 4).iter().all(|name| name == "b"));
    a.begin_probe(Instant::now());
    a.end_probe(Evidence::Passed, Instant::now());
    tokio::time::advance(Duration::from_millis(10)).await;
    assert!(picks(&set, &egress, 4).contains(&"a".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_an_earlier_run_proved_needs_no_probe() {
    let first = after(&KeySet::default(), &[entry("a", 1, 0)]);
    let remembered = Remembered {
        salt: SALT,
        good_keys: first.keys().iter().map(|key| key.identity).collect(),
    };
    let set = KeySet::default().next(
        &[entry("a", 1, 0)],
        &remembered,
        &rules(Strategy::RoundRobin),
        Instant::now(),
        || 0.0,
    );
    assert_eq!(pick(&set, &Egress::new([])), Ok("a".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_disabled_key_gets_no_submits_but_is_known_by_its_name() {
    let set = proven(&[
        KeyEntry {
            disabled: true,
            ..entry("a", 1, 0)
        },
        entry("b", 1, 0),
    ]);
    assert!(
        picks(&set, &Egress::new([]), 4)
            .iter()
            .all(|name| name == "b")
    );
    assert_eq!(set.by_name("a").unwrap().standing, Standing::Disabled);
}

#[tokio::test(start_paused = true)]
async fn processes_that_submit_once_spread_over_the_keys_by_weight() {
    let entries = [entry("a", 1, 0), entry("b", 2, 0), entry("c", 1, 0)];
    let mut first: HashMap<String, u32> = HashMap::new();
    let mut seed = 1_u64;
    let mut random = move || {
        // A small generator is enough here and repeats: Knuth's MMIX constants.
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        f64::from((seed >> 40) as u32) / f64::from(1_u32 << 24)
    };
    let rules = rules(Strategy::RoundRobin);
    for _ in 0..4000 {
        let set =
            KeySet::default().next(&entries, &remembered(), &rules, Instant::now(), &mut random);
        for key in set.keys() {
            key.accepted(Accepted::Submit, Instant::now(), Instant::now());
        }
        *first
            .entry(pick(&set, &Egress::new([])).unwrap())
            .or_default() += 1;
    }
    // Expected 1000, 2000, 1000; five standard deviations of the binomial are below 160.
    for (name, expected) in [("a", 1000_u32), ("b", 2000), ("c", 1000)] {
        assert!(first[name].abs_diff(expected) < 160, "{first:?}");
    }
}

#[test]
fn the_set_prints_no_value() {
    let set = KeySet::default().next(
        &[entry("a", 1, 0)],
        &remembered(),
        &rules(Strategy::RoundRobin),
        Instant::now(),
        || 0.5,
    );
    assert!(!format!("{set:?}").contains("0123456789abcdef"));
}

proptest! {
    #[test]
    fn a_key_is_chosen_whenever_one_is_free_and_never_one_that_rests(
        weights in proptest::collection::vec((1_u32..20, -1_i32..2), 1..12),
        steps in proptest::collection::vec((0_usize..12, 0_u64..8, 0_u8..4), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let entries: Vec<_> =
                weights.iter().enumerate().map(|(i, (weight, priority))| entry(&format!("k{i}"), *weight, *priority)).collect();
            let mut set = proven(&entries);
            let egress = Egress::new([]);
            for (index, seconds, what) in steps {
                let key = &set.keys()[index % entries.len()];
                match what {
                    0 => key.refused("ERROR_NO_SLOT_AVAILABLE", BUSY, None, Instant::now()),
                    1 => tokio::time::advance(Duration::from_secs(seconds)).await,
                    2 => set = after(&set, &entries),
                    _ => {}
                }
                let free: Vec<Identity> =
                    set.keys().iter().filter(|key| key.look(|health| health.may_submit(Instant::now()))).map(|key| key.identity).collect();
                match set.pool(DEFAULT_POOL).unwrap().choose(&egress, set.events(), Instant::now()) {
                    Ok((chosen, _slot)) => assert!(free.contains(&chosen.identity)),
                    Err(NoKey::Busy { until }) => assert!(free.is_empty() && until > Instant::now()),
                    Err(other) => panic!("{other:?}"),
                }
            }
        });
    }
}
