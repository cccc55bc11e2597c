//! What the dashboard is made from: its files, and what it asks that nobody else does. tests/browser looks at it with a
//! browser.

use serde_json::json;
use sidekey::sandbox::Dialect;

use crate::support::http;
use crate::support::{World, key, keys, name, until, vendor, write};

#[tokio::test]
async fn the_page_is_there_for_everybody_with_its_files_and_nothing_may_be_added_to_it() {
    let world = World::start_with_token(Dialect::Twocaptcha).await;
    for (path, content_type) in [
        ("/", "text/html"),
        ("/dashboard/style.css", "text/css"),
        ("/dashboard/main.js", "text/javascript"),
    ] {
        let answer = http::send(world.admin(), "GET", path, "", "").await;
        assert_eq!(answer.status, 200, "{path}");
        let type_line = format!("content-type: {content_type}; charset=utf-8");
        for line in [type_line.as_str(), "default-src 'none'", "nosniff"] {
            assert!(answer.head.contains(line), "{path}: {line}");
        }
        for forbidden in ["unsafe", "*"] {
            assert!(!answer.head.contains(forbidden), "{path}: {forbidden}");
        }
    }
    for (path, status) in [
        ("/dashboard/", 404),
        ("/dashboard/../keys.toml", 404),
        ("/api/pools", 401),
    ] {
        let answer = http::send(world.admin(), "GET", path, "", "").await;
        assert_eq!(answer.status, status, "{path}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_pool_is_the_sum_of_its_keys_without_the_money_of_those_that_are_out() {
    let mut sandbox = vendor(Dialect::Twocaptcha, 3);
    for (account, micro_usd) in sandbox.accounts.iter_mut().zip([2_000_000, 3_000_000, 0]) {
        account.balance_micros = micro_usd;
    }
    let world = World::start(sandbox, "[pool.spare]\n").await;
    let pools = async || world.api("/api/pools").await["pools"].clone();
    until("all are judged", async || {
        pools().await[0]["states"] == json!({ "healthy": 2, "empty": 1 })
    })
    .await;
    let pool = pools().await[0].clone();
    assert_eq!(
        (&pool["name"], &pool["keys"]),
        (&json!("default"), &json!(3))
    );
    assert_eq!(
        (&pool["usable"], &pool["left_micro_usd"]),
        (&json!(2), &json!(5_000_000))
    );
    assert_eq!(pool["slots"], json!({ "used": 0, "max": null }));
    assert_eq!(pool["hours_left"], json!(null));

    let spare = pools().await[1].clone();
    assert_eq!(
        (&spare["name"], &spare["keys"]),
        (&json!("spare"), &json!(0))
    );
    assert_eq!(spare["left_micro_usd"], json!(null));

    assert_eq!(world.change("/api/keys/account-2/disable").await.0, 200);
    let pool = pools().await[0].clone();
    assert_eq!(
        (&pool["usable"], &pool["left_micro_usd"]),
        (&json!(1), &json!(2_000_000))
    );
    world.end().await;
}

#[tokio::test]
async fn what_became_of_the_last_look_at_the_files_is_told() {
    let world = World::start(vendor(Dialect::Twocaptcha, 2), "").await;
    let reload = async || world.api("/api/status").await["reload"].clone();
    let first = reload().await;
    assert!(first["adopted"].is_string());
    assert_eq!(first["refused"], json!(null));

    write(&world.keys_path(), "[[key]\nvalue = \"a secret\"\n");
    assert_eq!(world.change("/api/reload").await.0, 422);
    let refused = reload().await;
    assert_eq!(refused["adopted"], first["adopted"]);
    let why = refused["refused"]["why"].as_str().unwrap();
    assert!(
        why.contains("keys.toml:1") && !why.contains("a secret"),
        "{why}"
    );

    world.write_keys(&keys([(name(1), key(1))]));
    assert_eq!(world.change("/api/reload").await.0, 200);
    assert_eq!(reload().await["refused"], json!(null));
    world.end().await;
}
