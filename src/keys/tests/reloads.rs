//! What a reload changes, and what it carries over.

use super::*;

#[tokio::test(start_paused = true)]
async fn health_follows_the_value_through_reloads_and_renames() {
    let set = proven(&[entry("a", 1, 0)]);
    set.by_name("a")
        .unwrap()
        .refused("ERROR_NO_SLOT_AVAILABLE", BUSY, None, Instant::now());
    let renamed = KeyEntry {
        name: "z".to_owned(),
        ..entry("a", 1, 0)
    };
    let next = after(&set, &[renamed]);
    let key = next.by_name("z").unwrap();
    assert!(key.look(Health::is_proven));
    assert_eq!(key.describe(Instant::now()).state, State::Cooling);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_left_the_files_drains_until_it_is_unused_for_keep() {
    let set = proven(&[entry("a", 1, 0), entry("b", 1, 0)]);
    let a = set.by_name("a").unwrap().identity;
    let next = after(&set, &[entry("b", 1, 0)]);
    assert_eq!(next.by_identity(&a).unwrap().standing, Standing::Draining);
    assert!(next.by_name("a").is_none());
    assert!(
        picks(&next, &Egress::new([]), 4)
            .iter()
            .all(|name| name == "b")
    );
    tokio::time::advance(KEEP / 2).await;
    next.by_identity(&a).unwrap().touch(Instant::now());
    tokio::time::advance(KEEP / 2).await;
    let next = after(&next, &[entry("b", 1, 0)]);
    assert!(next.by_identity(&a).is_some(), "used since");
    tokio::time::advance(KEEP / 2).await;
    assert!(after(&next, &[entry("b", 1, 0)]).by_identity(&a).is_none());
    let back = after(&next, &[entry("a", 1, 0), entry("b", 1, 0)]);
    assert_eq!(back.by_identity(&a).unwrap().standing, Standing::Active);
}

#[tokio::test(start_paused = true)]
async fn a_new_value_under_a_name_leaves_the_old_one_draining() {
    let set = proven(&[entry("a", 1, 0)]);
    let old = set.by_name("a").unwrap().identity;
    let next = after(
        &set,
        &[KeyEntry {
            value: Secret::new("another-value-0123456789"),
            ..entry("a", 1, 0)
        }],
    );
    assert_ne!(next.by_name("a").unwrap().identity, old);
    assert_eq!(next.by_identity(&old).unwrap().standing, Standing::Draining);
}

#[tokio::test(start_paused = true)]
async fn a_key_says_since_when_the_files_have_it_so() {
    let on = [entry("a", 1, 0), entry("b", 1, 0)];
    let off = [
        KeyEntry {
            disabled: true,
            ..entry("a", 1, 0)
        },
        entry("b", 1, 0),
    ];
    let start = Instant::now();
    let set = proven(&on);
    let a = set.by_name("a").unwrap().identity;
    let since = |set: &KeySet| set.by_identity(&a).unwrap().standing_since - start;
    let minute = Duration::from_secs(60);
    tokio::time::advance(minute).await;
    let set = after(&set, &off);
    assert_eq!(since(&set), minute);
    tokio::time::advance(minute).await;
    let set = after(&set, &off);
    assert_eq!(since(&set), minute, "another reload changes nothing");
    let set = after(&set, &[entry("b", 1, 0)]);
    assert_eq!(since(&set), 2 * minute, "it drains");
    tokio::time::advance(minute).await;
    let set = after(&set, &[entry("b", 1, 0)]);
    assert_eq!(since(&set), 2 * minute, "it still drains");
    let set = after(&set, &on);
    assert_eq!(since(&set), 3 * minute, "it is back");
}

#[tokio::test(start_paused = true)]
async fn turns_go_on_over_reloads() {
    let egress = Egress::new([]);
    let entries = ["a", "b", "c"].map(|name| entry(name, 1, 0));
    let mut set = proven(&entries);
    let mut seen: HashMap<String, u32> = HashMap::new();
    for _ in 0..99 {
        *seen.entry(pick(&set, &egress).unwrap()).or_default() += 1;
        set = after(&set, &entries);
    }
    assert_eq!(
        seen,
        ["a", "b", "c"].map(|name| (name.to_owned(), 33)).into()
    );
}
