//! Who gets how much of the work.

use std::collections::VecDeque;

use super::*;
use crate::keys::account::{Bill, Slot};
use crate::keys::key::Key;

const PICKS: usize = 100_000;

fn set(strategy: Strategy, entries: &[KeyEntry]) -> KeySet {
    let set = KeySet::default().next(
        entries,
        &remembered(),
        &rules(strategy),
        Instant::now(),
        || 0.5,
    );
    for key in set.keys() {
        key.accepted(Accepted::Submit, Instant::now(), Instant::now());
    }
    set
}

fn choose(set: &KeySet) -> (std::sync::Arc<Key>, Slot) {
    let egress = Egress::new([]);
    set.pool(DEFAULT_POOL)
        .unwrap()
        .choose(&egress, set.events(), Instant::now())
        .unwrap()
}

/// 100,000 picks, of which so many run at the same time, ending in no order.
fn distribution(set: &KeySet, at_once: usize) -> HashMap<String, u64> {
    let mut picked = HashMap::new();
    let mut running: VecDeque<Slot> = VecDeque::new();
    let mut seed = 7_u64;
    for _ in 0..PICKS {
        if running.len() >= at_once {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let index = (seed >> 33) as usize % running.len();
            drop(running.swap_remove_back(index));
        }
        let (key, slot) = choose(set);
        *picked.entry(key.name.to_string()).or_default() += 1;
        running.push_back(slot);
    }
    picked
}

/// Pearson's statistic. `shares` need not sum to one.
fn chi_square(picked: &HashMap<String, u64>, shares: &[(&str, f64)]) -> f64 {
    let total: f64 = shares.iter().map(|(_, share)| share).sum();
    let terms = shares.iter().map(|(name, share)| {
        let expected = PICKS as f64 * share / total;
        let seen = picked.get(*name).copied().unwrap_or_default() as f64;
        (seen - expected).powi(2) / expected
    });
    terms.sum()
}

/// Of four keys, three degrees of freedom: a fair source exceeds this once in a thousand runs.
const CRITICAL: f64 = 16.27;

#[tokio::test(start_paused = true)]
async fn round_robin_follows_the_weights() {
    let weights = [("a", 1_u32), ("b", 2), ("c", 3), ("d", 10)];
    let entries = weights.map(|(name, weight)| entry(name, weight, 0));
    let picked = distribution(&set(Strategy::RoundRobin, &entries), 50);
    let chi = chi_square(&picked, &weights.map(|(name, w)| (name, f64::from(w))));
    assert!(chi < CRITICAL, "{chi} {picked:?}");
}

#[tokio::test(start_paused = true)]
async fn least_busy_fills_every_key_to_the_same_part_of_its_slots() {
    let slots = [("a", 5_u32), ("b", 10), ("c", 20), ("d", 40)];
    let entries = slots.map(|(name, slots)| KeyEntry {
        max_tasks: Some(slots),
        ..entry(name, 1, 0)
    });
    let set = set(Strategy::LeastBusy, &entries);
    let picked = distribution(&set, 60);
    let chi = chi_square(&picked, &slots.map(|(name, s)| (name, f64::from(s))));
    assert!(
        chi < PICKS as f64 / 100.0,
        "no more than a tenth off: {chi} {picked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn least_busy_takes_the_key_with_the_most_room() {
    let slots = [("a", 2_u32), ("b", 4)];
    let entries = slots.map(|(name, slots)| KeyEntry {
        max_tasks: Some(slots),
        ..entry(name, 1, 0)
    });
    let set = set(Strategy::LeastBusy, &entries);
    let mut running: Vec<_> = (0..6).map(|_| choose(&set)).collect();
    let of_a = running.iter().filter(|(key, _)| &*key.name == "a").count();
    assert_eq!(of_a, 2);
    running.retain(|(key, _)| &*key.name != "a");
    assert_eq!(&*choose(&set).0.name, "a");
    running.pop();
    running.pop();
    running.pop();
    let (_on_b, on_a) = (running, choose(&set));
    assert_eq!(&*on_a.0.name, "a", "0 of 2 before 1 of 4");
    assert_eq!(&*choose(&set).0.name, "b", "1 of 4 before 1 of 2");
}

#[tokio::test(start_paused = true)]
async fn least_busy_keys_without_a_limit_are_equal_by_their_weights() {
    let weights = [("a", 1_u32), ("b", 1), ("c", 2), ("d", 4)];
    let entries = weights.map(|(name, weight)| entry(name, weight, 0));
    let set = set(Strategy::LeastBusy, &entries);
    let running: Vec<_> = (0..80).map(|_| choose(&set)).collect();
    let on = |name: &str| running.iter().filter(|(key, _)| &*key.name == name).count();
    assert_eq!([on("a"), on("b"), on("c"), on("d")], [10, 10, 20, 40]);
}

#[tokio::test(start_paused = true)]
async fn balance_follows_the_money_and_takes_an_unknown_balance_for_the_mean() {
    let dollars = [("a", 10_i64), ("b", 30), ("c", 20)];
    let entries = ["a", "b", "c", "d"].map(|name| entry(name, 1, 0));
    let set = set(Strategy::Balance, &entries);
    for (name, dollars) in dollars {
        let account = set.account(name).unwrap();
        account.learn_balance(dollars * 1_000_000, Instant::now());
    }
    let picked = distribution(&set, 50);
    let shares = [("a", 10.0), ("b", 30.0), ("c", 20.0), ("d", 20.0)];
    let chi = chi_square(&picked, &shares);
    assert!(chi < CRITICAL, "{chi} {picked:?}");
}

#[tokio::test(start_paused = true)]
async fn what_runs_and_what_was_settled_lowers_the_virtual_balance_and_time_forgets_it() {
    let set = set(Strategy::Balance, &[entry("a", 1, 0)]);
    let account = set.account("a").unwrap();
    let limits = &set.keys()[0].limits;
    assert_eq!(account.virtual_balance(limits, Instant::now()), None);
    account.learn_balance(1_000_000, Instant::now());
    let task = |id: &str| crate::store::TaskKey {
        profile: "captchaai".into(),
        tenant: "".into(),
        id: id.into(),
    };
    for (id, price) in [("1", 1_000), ("2", 2_000), ("3", 4_000)] {
        let (key, slot) = choose(&set);
        slot.give_to(task(id), price, &key.limits, Instant::now());
    }
    assert_eq!(
        account.virtual_balance(limits, Instant::now()),
        Some(993_000)
    );
    account.task_ended(&task("1"), Bill::AsExpected);
    account.task_ended(&task("2"), Bill::Nothing);
    assert_eq!(
        account.virtual_balance(limits, Instant::now()),
        Some(995_000)
    );
    assert_eq!(account.balance(limits, Instant::now()), Some(999_000));
    account.learn_balance(999_000, Instant::now());
    assert_eq!(
        account.virtual_balance(limits, Instant::now()),
        Some(995_000)
    );
    account.task_ended(&task("3"), Bill::Said(500));
    assert_eq!(
        account.virtual_balance(limits, Instant::now()),
        Some(998_500)
    );
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(
        account.virtual_balance(limits, Instant::now()),
        None,
        "stale is not zero"
    );
}

#[tokio::test(start_paused = true)]
async fn every_strategy_keeps_to_the_tiers() {
    for strategy in [Strategy::RoundRobin, Strategy::LeastBusy, Strategy::Balance] {
        let main = KeyEntry {
            max_tasks: Some(2),
            ..entry("main", 1, 0)
        };
        let set = set(strategy, &[entry("spare", 100, 10), main]);
        let spare = set.account("spare").unwrap();
        spare.learn_balance(1_000_000_000, Instant::now());
        let running = [choose(&set), choose(&set)];
        assert!(running.iter().all(|(key, _)| &*key.name == "main"));
        assert_eq!(&*choose(&set).0.name, "spare");
        drop(running);
        assert_eq!(&*choose(&set).0.name, "main");
    }
}

/// Run by hand: `cargo test --profile quick-release --lib what_a_pick_costs -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "a measurement says what it measured")]
async fn what_a_pick_costs() {
    for strategy in [Strategy::RoundRobin, Strategy::LeastBusy, Strategy::Balance] {
        for (keys, max_tasks) in [(3, None), (10_000, None), (10_000, Some(3))] {
            let entries: Vec<_> = (0..keys)
                .map(|i| KeyEntry {
                    max_tasks,
                    ..entry(&format!("k{i}"), 1, 0)
                })
                .collect();
            let set = set(strategy, &entries);
            for account in set.accounts() {
                account.learn_balance(1_000_000, Instant::now());
            }
            let at_once = max_tasks.map_or(1000, |_| 29_990);
            let began = Instant::now();
            distribution(&set, at_once);
            let each = began.elapsed().as_nanos() / PICKS as u128;
            println!("{strategy:?}, {keys} keys, {at_once} tasks at once: {each} ns");
        }
    }
}
