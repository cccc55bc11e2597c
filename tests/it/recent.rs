//! What the admin port remembers of the last minutes: events, calls, and the course of the balances.

use serde_json::Value;
use sidekey::sandbox::Dialect;

use crate::support::{TASK, World, key, keys, name, until, vendor, write};

fn rows<'a>(answer: &'a Value, list: &str) -> &'a Vec<Value> {
    answer[list].as_array().unwrap()
}

/// `kind subject`, the newest first.
async fn events(world: &World) -> Vec<String> {
    let answer = world.api("/api/events").await;
    let event = |event: &Value| {
        assert!(event["at"].as_str().unwrap().ends_with('Z'), "{event}");
        assert!(!event["text"].as_str().unwrap().is_empty(), "{event}");
        let text = |field: &str| event[field].as_str().unwrap().to_owned();
        format!("{} {}", text("kind"), text("subject"))
    };
    rows(&answer, "events").iter().map(event).collect()
}

#[tokio::test]
async fn events_tell_what_happened_to_keys_and_what_was_done_by_hand() {
    let world = World::start(vendor(Dialect::Captchaai, 2), "").await;
    let happened = async |wanted: &str| {
        until(wanted, async || {
            events(&world).await.iter().any(|event| event == wanted)
        })
        .await;
    };
    assert_eq!(events(&world).await.last().unwrap(), "start ");
    happened("key-healthy account-1").await;
    world.change("/api/keys/account-1/disable").await;
    assert_eq!(events(&world).await[0], "by-hand account-1");
    happened("key-disabled account-1").await;
    world.change("/api/keys/account-9/disable").await;
    write(&world.keys_path(), "[[key]\n");
    happened("reload-refused ").await;
    world.write_keys(&keys([(name(1), key(1))]));
    happened("reload ").await;
    happened("key-draining account-2").await;
    world
        .sandbox
        .change_account(&name(1), |account| account.key = key(9))
        .unwrap();
    world.change("/api/keys/account-1/enable").await;
    world.change("/api/keys/account-1/probe").await;
    happened("key-revoked account-1").await;
    happened("alert-key-revoked account-1").await;
    let all = events(&world).await;
    assert!(
        !all.iter().any(|event| event.contains("account-9")),
        "{all:?}"
    );
    let one = world.api("/api/events?limit=1").await;
    assert_eq!(rows(&one, "events").len(), 1);
    world.end().await;
}

#[tokio::test]
async fn the_last_calls_say_what_the_log_says_and_no_more() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    let id = world.submit().await;
    let answer = world.poll(&id).await;
    world
        .get("/res.php?key={}&action=nonsense&secret=hush")
        .await;
    let calls = world.api("/api/calls").await;
    let text = calls.to_string();
    for hidden in [&*key(1), crate::support::PLACEHOLDER, "hush", &answer, TASK] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    let calls = rows(&calls, "calls");
    assert_eq!(calls.len(), 3);
    let (refused, poll, submit) = (&calls[0], &calls[1], &calls[2]);
    assert_eq!(
        (&refused["task"], &refused["key"]),
        (&Value::Null, &Value::Null)
    );
    for (call, what) in [(poll, "poll"), (submit, "submit")] {
        assert_eq!(call["call"], what);
        assert_eq!(call["task"], *id);
        assert_eq!(call["key"], "account-1");
        assert_eq!(call["outcome"], "relayed");
        assert_eq!(call["tries"], 1);
        assert_eq!(call["tenant"], Value::Null);
        assert!(
            call["vendor_ms"].is_u64() && call["own_us"].is_u64(),
            "{call}"
        );
        assert!(call["at"].as_str().unwrap().ends_with('Z'), "{call}");
    }
    for _ in 0..300 {
        world.poll("unknown-task").await;
    }
    let calls = world.api("/api/calls").await;
    assert_eq!(rows(&calls, "calls").len(), 200);
    world.end().await;
}

#[tokio::test]
async fn calls_of_tenants_carry_their_names() {
    let world = World::start_for(vendor(Dialect::Captchaai, 1), "", &[("alice", "")]).await;
    world.submit_as("alice").await;
    let calls = world.api("/api/calls?limit=1").await;
    assert_eq!(calls["calls"][0]["tenant"], "alice", "{calls}");
    world.end().await;
}

#[tokio::test]
async fn the_course_of_a_balance_ends_with_the_vendors_last_word() {
    let world = World::start(vendor(Dialect::Twocaptcha, 2), "balance.refresh = \"1s\"").await;
    let last = async |account: &str| {
        let answer = world.api("/api/balances?hours=1").await;
        let rows = rows(&answer, "balances");
        let row = rows.iter().find(|row| row["account"] == account).unwrap();
        row["points"].as_array().unwrap().last().map(|point| {
            assert!(point["at"].as_str().unwrap().ends_with('Z'), "{point}");
            point["usd"].as_f64().unwrap()
        })
    };
    until("it was asked for", async || {
        last("account-2").await.is_some()
    })
    .await;
    let set = |usd: i64| {
        let change = world
            .sandbox
            .change_account(&name(1), |account| account.balance_micros = usd * 1_000_000);
        change.unwrap();
    };
    for usd in [7, 3] {
        set(usd);
        until("the new balance is the last point", async || {
            last("account-1").await == Some(usd as f64)
        })
        .await;
    }
    world.end().await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_what_can() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    for (target, takes) in [
        ("/api/events?limit=0", "limit=N, from 1 to 500"),
        ("/api/calls?limit=201", "limit=N, from 1 to 200"),
        ("/api/balances?hours=25", "hours=N, from 1 to 24"),
        ("/api/balances?days=1", "hours=N, from 1 to 24"),
    ] {
        let refused = world.api(target).await;
        assert!(
            refused["error"].as_str().unwrap().contains(takes),
            "{target}: {refused}"
        );
    }
    world.end().await;
}
