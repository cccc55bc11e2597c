//! What an operator can change over the admin port, and who cannot.

use sidekey::sandbox::Dialect;

use crate::support::http::{self, Answer};
use crate::support::{World, key, keys, name, until, vendor, write};

const HEADER: &str = "X-Sidekey: 1\r\n";
const DISABLE: &str = "/api/keys/account-1/disable";
const PROBE: &str = "/api/keys/account-1/probe";

#[tokio::test]
async fn a_probe_by_hand_brings_a_revoked_key_back_once_its_account_is_repaired() {
    let mut world = World::prepare(vendor(Dialect::Captchaai, 1), "").await;
    let repaired = key(9);
    world.write_keys(&keys([(name(1), repaired.clone())]));
    world.start_again().await;
    let state = async || world.state_of(&name(1)).await.unwrap();
    until("it is revoked", async || state().await == "revoked").await;
    let (status, told) = world.change(PROBE).await;
    assert_eq!(
        (status, &told["probe"]),
        (200, &"refused: ERROR_KEY_DOES_NOT_EXIST".into())
    );
    world
        .sandbox
        .change_account(&name(1), |account| account.key.clone_from(&repaired))
        .unwrap();
    let (status, told) = world.change(PROBE).await;
    assert_eq!((status, &told["probe"]), (200, &"passed".into()), "{told}");
    assert_eq!(told["key"]["state"], "healthy");
    world.submit().await;
    world.end().await;
}

#[tokio::test]
async fn probes_by_hand_stay_within_the_budget_of_bad_key_answers() {
    let mut world = World::prepare(vendor(Dialect::Captchaai, 0), "").await;
    world.write_keys(&keys([(name(1), key(1))]));
    world.start_again().await;
    let unknown = || world.sandbox.counts().unknown_key;
    until("it is probed", async || unknown() == 1).await;
    until("it is revoked", async || {
        world.state_of(&name(1)).await.as_deref() == Some("revoked")
    })
    .await;
    for _ in 0..2 {
        assert_eq!(world.change(PROBE).await.0, 200);
    }
    let (status, told) = world.change(PROBE).await;
    assert_eq!((status, &told["probe"]), (202, &"waits".into()));
    assert!(told["key"]["next_probe"].is_string(), "{told}");
    assert_eq!(unknown(), 3);
    world.end().await;
}

#[tokio::test]
async fn a_key_that_the_file_disables_is_enabled_there() {
    let mut world = World::prepare(vendor(Dialect::Captchaai, 1), "").await;
    let file = keys([(name(1), key(1))]).replacen("[[key]]", "[[key]]\ndisabled = true", 1);
    world.write_keys(&file);
    world.start_again().await;
    let (status, told) = world.change("/api/keys/account-1/enable").await;
    assert_eq!(status, 409);
    assert!(told["error"].as_str().unwrap().contains("keys file"));
    world.end().await;
}

#[tokio::test]
async fn a_name_that_no_key_has_is_answered_with_those_that_there_are() {
    let world = World::start(vendor(Dialect::Captchaai, 2), "").await;
    let (status, told) = world.change("/api/keys/account%2D3/disable").await;
    assert_eq!(status, 404);
    assert_eq!(told["names"], serde_json::json!(["account-1", "account-2"]));
    assert_eq!(world.change("/api/keys/account%2D2/disable").await.0, 200);
    world.end().await;
}

#[tokio::test]
async fn a_reload_by_hand_says_how_it_ended() {
    let world = World::start(vendor(Dialect::Captchaai, 2), "").await;
    world.write_keys(&keys([(name(1), key(1))]));
    let (status, told) = world.change("/api/reload").await;
    assert_eq!((status, told["keys"].as_u64()), (200, Some(1)));
    write(&world.keys_path(), "[[key]\n");
    let (status, told) = world.change("/api/reload").await;
    assert_eq!(status, 422);
    assert!(
        told["error"].as_str().unwrap().contains("keys.toml"),
        "{told}"
    );
    world.end().await;
}

#[tokio::test]
async fn no_web_page_changes_anything_and_none_reads_under_another_name() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    let own = format!(
        "Origin: http://{}\r\nHost: {}\r\n",
        world.admin(),
        world.admin()
    );
    for (method, target, headers, status) in [
        ("POST", DISABLE, "", 403),
        ("POST", DISABLE, "Origin: http://evil.example\r\n", 403),
        ("POST", DISABLE, "Origin: null\r\nX-Sidekey: 1\r\n", 403),
        (
            "POST",
            DISABLE,
            "Origin: http://localhost:1\r\nX-Sidekey: 1\r\n",
            403,
        ),
        (
            "POST",
            DISABLE,
            "Content-Type: application/x-www-form-urlencoded\r\n",
            403,
        ),
        (
            "POST",
            DISABLE,
            "Host: evil.example\r\nX-Sidekey: 1\r\n",
            403,
        ),
        ("POST", DISABLE, &own, 403),
        ("GET", DISABLE, HEADER, 405),
        ("OPTIONS", DISABLE, "Origin: http://evil.example\r\n", 405),
        ("GET", "/api/keys", "Host: evil.example\r\n", 403),
        ("GET", "http://evil.example/api/keys", "", 403),
        (
            "GET",
            "http://evil.example/api/keys",
            "Host: evil.example\r\n",
            403,
        ),
        ("GET", "http://localhost/api/keys", "", 200),
        ("GET", "/api/keys", &own, 200),
    ] {
        let answer = http::send(world.admin(), method, target, headers, "").await;
        assert_eq!(
            answer.status, status,
            "{method} {target} {headers}: {answer:?}"
        );
    }
    assert_eq!(world.state_of(&name(1)).await.as_deref(), Some("healthy"));
    let answer = http::send(world.admin(), "POST", DISABLE, &(own + HEADER), "").await;
    assert_eq!(answer.status, 200);
    world.end().await;
}

#[tokio::test]
async fn where_there_is_a_token_nothing_else_opens_the_api() {
    let world = World::start_with_token(Dialect::Captchaai).await;
    let send = async |method: &str, target: &str, headers: &str| -> Answer {
        http::send(world.admin(), method, target, headers, "").await
    };
    let right = "Authorization: Bearer the-right-admin-token-0123456789\r\n";
    let wrong = "Authorization: Bearer the-wrong-admin-token-0123456789\r\nX-Sidekey: 1\r\n";
    for headers in ["", HEADER, wrong] {
        assert_eq!(send("GET", "/api/keys", headers).await.status, 401);
        assert_eq!(send("POST", DISABLE, headers).await.status, 401);
    }
    assert_eq!(send("GET", "/api/keys", right).await.status, 200);
    assert_eq!(send("POST", DISABLE, right).await.status, 200);
    assert_eq!(send("GET", "/readyz", "").await.status, 200);
    world.end().await;
}
