//! Accounts that run out of money, and come back.

use super::*;

async fn later(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

fn choose(set: &KeySet) -> Result<String, NoKey> {
    let chosen = set.pool(DEFAULT_POOL).ok_or(NoKey::None)?.choose(
        &Egress::new([]),
        set.events(),
        Instant::now(),
    );
    chosen.map(|(key, _)| key.name.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_key_below_the_minimum_gets_no_submits_until_it_is_refilled() {
    for strategy in [Strategy::RoundRobin, Strategy::LeastBusy, Strategy::Balance] {
        let set = KeySet::default().next(
            &[entry("a", 1, 0), entry("b", 1, 0)],
            &remembered(),
            &rules(strategy),
            Instant::now(),
            || 0.0,
        );
        for key in set.keys() {
            key.accepted(Accepted::Submit, Instant::now(), Instant::now());
        }
        let poor = set.account("a").unwrap();
        poor.learn_balance(9_999, Instant::now());
        for _ in 0..10 {
            assert_eq!(choose(&set).as_deref(), Ok("b"), "{strategy:?}");
        }
        let key = set.by_name("a").unwrap();
        let described = key.describe(Instant::now());
        assert_eq!(described.state, State::Empty);
        let why = described.why.unwrap();
        assert_eq!(why, "balance 0.009999 is below balance.minimum");
        assert!(described.until.is_some(), "every bad state has a way back");

        later(60).await;
        let since = key.describe(Instant::now()).since;
        assert_eq!(since, Instant::now() - Duration::from_secs(60));
        // A refresh that shows less changes nothing, one that shows more does.
        poor.learn_balance(0, Instant::now());
        assert_eq!(choose(&set).as_deref(), Ok("b"));
        poor.learn_balance(10_000, Instant::now());
        let picked: HashSet<_> = (0..10).map(|_| choose(&set).unwrap()).collect();
        assert_eq!(picked.len(), 2, "{strategy:?}");
        assert_eq!(key.describe(Instant::now()).state, State::Healthy);
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_are_below_the_minimum_the_pool_is_empty_and_not_busy() {
    let set = proven(&[entry("a", 1, 0), entry("b", 1, 0)]);
    for account in set.accounts() {
        account.learn_balance(0, Instant::now());
    }
    assert_eq!(choose(&set), Err(NoKey::Empty));
    // One that only rests will be back.
    set.account("b")
        .unwrap()
        .learn_balance(1_000_000, Instant::now());
    set.by_name("b")
        .unwrap()
        .refused("NO", BUSY, None, Instant::now());
    assert!(matches!(choose(&set), Err(NoKey::Busy { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_thread_plan_is_not_judged_by_its_balance() {
    let threads = KeyEntry {
        billing: Some(Billing::Threads),
        ..entry("a", 1, 0)
    };
    let set = proven(&[threads]);
    set.account("a").unwrap().learn_balance(0, Instant::now());
    assert_eq!(choose(&set).as_deref(), Ok("a"));
    assert_eq!(set.keys()[0].describe(Instant::now()).state, State::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_new_minimum_judges_what_is_known() {
    let set = proven(&[entry("a", 1, 0)]);
    set.account("a")
        .unwrap()
        .learn_balance(500_000, Instant::now());
    assert_eq!(choose(&set).as_deref(), Ok("a"));
    let mut rules = rules(Strategy::RoundRobin);
    rules.balance.minimum_micro_usd = 1_000_000;
    let next = set.next(
        &[entry("a", 1, 0)],
        &remembered(),
        &rules,
        Instant::now(),
        || 0.0,
    );
    assert_eq!(choose(&next), Err(NoKey::Empty));
}
