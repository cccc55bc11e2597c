//! Tenants: who is let in, by which file, by which hand, and what each may see over the admin port.

use std::fs;
use std::time::Duration;

use sidekey::sandbox::Dialect;

use crate::support::http;
use crate::support::team::{tenants, token};
use crate::support::{ADMIN_TOKEN, TASK, World, key, until, vendor, within};

/// Below the 5 s of the look that comes anyway: a deaf watch fails the test.
const SOON: Duration = Duration::from_secs(4);
const SUBMIT: &str =
    "/in.php?key={}&method=userrecaptcha&googlekey=SITEKEY&pageurl=http://example.com";

#[tokio::test]
async fn a_token_that_nobody_has_is_refused_as_the_vendor_refuses_a_key() {
    let world = World::start_for(vendor(Dialect::Twocaptcha, 1), "", &[("alice", "")]).await;
    let unknown = "f".repeat(32);
    for (sent, expected) in [
        (&*unknown, "ERROR_KEY_DOES_NOT_EXIST"),
        ("short", "ERROR_WRONG_USER_KEY"),
        ("", "ERROR_WRONG_USER_KEY"),
    ] {
        for target in [
            format!("/in.php?key={sent}&{TASK}"),
            format!("/res.php?key={sent}&action=get&id=1"),
            format!("/res.php?key={sent}&action=getbalance"),
            format!("/res.php?key={sent}&action=reportbad&id=1"),
        ] {
            assert_eq!(world.get(&target).await, expected, "{target}");
        }
    }
    assert_eq!(world.sandbox.tasks().len(), 0);
    world.end().await;
}

#[tokio::test]
async fn tenants_are_added_replaced_and_withdrawn_while_it_runs() {
    let world = World::start_for(vendor(Dialect::Twocaptcha, 1), "", &[("alice", "")]).await;
    let alices = world.submit_as("alice").await;
    let is_let_in = async |tenant: &str| world.try_as(tenant, SUBMIT).await.starts_with("OK|");

    world.write_tenants(&tenants(&[("alice", ""), ("bob", "")]));
    within(SOON, "bob is let in", async || is_let_in("bob").await).await;

    // A new token under the name: its tasks are still its own.
    let renewed = tenants(&[("alice", "")]).replace(&token("alice"), &token("renewed"));
    world.write_tenants(&renewed);
    within(SOON, "the old token is refused", async || {
        !is_let_in("alice").await
    })
    .await;
    assert!(!is_let_in("bob").await);
    assert_eq!(
        world.poll_as("renewed", &alices).await,
        format!("OK|solved-{alices}")
    );
    world.end().await;
}

#[tokio::test]
async fn a_broken_tenants_file_leaves_the_old_one_until_it_is_mended() {
    let world = World::start_for(vendor(Dialect::Twocaptcha, 1), "", &[("alice", "")]).await;
    let refused = "sidekey_config_reloads_total{result=\"refused\"}";
    let twice = tenants(&[("alice", ""), ("alice", "")]);
    for broken in ["", "[[tenant]\n", "[[tenant]]\nname = \"bob\"\n", &twice] {
        let before = world.metric(refused).await;
        world.write_tenants(broken);
        within(SOON, "it is refused", async || {
            world.metric(refused).await > before
        })
        .await;
        world.submit_as("alice").await;
    }
    let before = world.metric(refused).await;
    fs::remove_file(world.place.path().join("tenants.toml")).unwrap();
    within(SOON, "its loss is told", async || {
        world.metric(refused).await > before
    })
    .await;
    world.submit_as("alice").await;
    world
        .adopts(|| world.write_tenants(&tenants(&[("bob", "")])))
        .await;
    assert_eq!(
        world.try_as("alice", SUBMIT).await,
        "ERROR_KEY_DOES_NOT_EXIST"
    );
    world.submit_as("bob").await;
    world.end().await;
}

#[tokio::test]
async fn a_tenant_that_the_file_deactivates_submits_nothing_and_polls_to_the_end() {
    let world = World::start_for(vendor(Dialect::Twocaptcha, 1), "", &[("alice", "")]).await;
    let id = world.submit_as("alice").await;
    world
        .adopts(|| world.write_tenants(&tenants(&[("alice", "active = false")])))
        .await;
    assert_eq!(
        world.try_as("alice", SUBMIT).await,
        "ERROR_KEY_DOES_NOT_EXIST"
    );
    assert_eq!(world.poll_as("alice", &id).await, format!("OK|solved-{id}"));
    let answer = world
        .try_as(
            "alice",
            &format!("/res.php?key={{}}&action=reportgood&id={id}"),
        )
        .await;
    assert_eq!(answer, "OK_REPORT_RECORDED");
    let (status, told) = world.change("/api/tenants/alice/activate").await;
    assert_eq!(status, 409);
    assert!(
        told["error"].as_str().unwrap().contains("tenants file"),
        "{told}"
    );
    world
        .adopts(|| world.write_tenants(&tenants(&[("alice", "")])))
        .await;
    world.submit_as("alice").await;
    world.end().await;
}

#[tokio::test]
async fn a_hand_deactivates_at_once_and_until_it_activates_or_the_program_ends() {
    let mut world = World::start_for(
        vendor(Dialect::Twocaptcha, 1),
        "",
        &[("alice", ""), ("bob", "")],
    )
    .await;
    let id = world.submit_as("alice").await;
    let (status, told) = world.change("/api/tenants/alice/deactivate").await;
    assert_eq!((status, &told["tenant"]["active"]), (200, &false.into()));
    assert_eq!(told["tenant"]["why"], "deactivated by hand");
    assert_eq!(
        world.try_as("alice", SUBMIT).await,
        "ERROR_KEY_DOES_NOT_EXIST"
    );
    world.submit_as("bob").await;
    assert_eq!(world.poll_as("alice", &id).await, format!("OK|solved-{id}"));
    // A reload does not undo it, nor does another token.
    let renewed =
        tenants(&[("alice", ""), ("bob", "")]).replace(&token("alice"), &token("renewed"));
    world.adopts(|| world.write_tenants(&renewed)).await;
    assert_eq!(
        world.try_as("renewed", SUBMIT).await,
        "ERROR_KEY_DOES_NOT_EXIST"
    );
    assert_eq!(world.change("/api/tenants/alice/activate").await.0, 200);
    world.submit_as("renewed").await;

    world.change("/api/tenants/alice/deactivate").await;
    world.stop().await;
    world.start_again().await;
    world.submit_as("renewed").await;
    let (status, told) = world.change("/api/tenants/carol/deactivate").await;
    assert_eq!(
        (status, &told["names"]),
        (404, &serde_json::json!(["alice", "bob"]))
    );
    world.end().await;
}

#[tokio::test]
async fn the_list_of_tenants_says_what_each_may_and_did_and_no_token() {
    let world = World::start_for(
        vendor(Dialect::Twocaptcha, 2),
        "",
        &[
            ("alice", "daily_limit = 500\nmonthly_budget = 2.5\nrate_per_minute = 10\nmax_tasks = 4\nproject = \"checkout\""),
            ("bob", "keys = [\"account-2\"]\nfallback_pool = \"default\"\nrole = \"service\""),
        ],
    )
    .await;
    let id = world.submit_as("alice").await;
    until("it is solved", async || {
        world.poll_as("alice", &id).await.starts_with("OK|")
    })
    .await;
    let all = world.api("/api/tenants").await;
    assert!(!all.to_string().contains("token-of"), "{all}");
    let (alice, bob) = (&all["tenants"][0], &all["tenants"][1]);
    for (field, value) in [
        ("name", "\"alice\""),
        ("role", "\"user\""),
        ("active", "true"),
        ("project", "\"checkout\""),
        ("pool", "\"default\""),
        ("keys", "null"),
        ("solves_today", "1"),
        ("spent_this_month", "0.003"),
        ("running", "0"),
        ("uncertain_today", "0"),
    ] {
        assert_eq!(alice[field].to_string(), value, "{field}");
    }
    let limits = serde_json::json!({
        "daily_limit": 500, "monthly_budget": 2.5, "monthly_budget_micro_usd": 2_500_000,
        "rate_per_minute": 10, "max_tasks": 4,
    });
    assert_eq!(alice["limits"], limits);
    assert!(alice["last_use"].is_string());
    assert_eq!(
        (&bob["last_use"], &bob["role"]),
        (&serde_json::Value::Null, &"service".into())
    );
    assert_eq!(bob["keys"], serde_json::json!(["account-2"]));
    assert_eq!(bob["fallback_pool"], "default");
    world.end().await;
}

#[tokio::test]
async fn over_the_admin_port_a_tenant_sees_itself_and_an_admin_everything() {
    let of = [
        ("alice", ""),
        ("robot", "role = \"service\""),
        ("root", "role = \"admin\""),
    ];
    let mut world = World::start_for(vendor(Dialect::Twocaptcha, 1), "", &of).await;
    // On loopback without an admin token, then with one.
    for round in 0..2 {
        if round == 1 {
            world.stop().await;
            world.want_token();
            world.start_again().await;
            assert_eq!(
                world.admin_as(ADMIN_TOKEN, "GET", "/api/keys").await.status,
                200
            );
            let without = http::send(world.admin(), "GET", "/api/tenants", "", "").await;
            assert_eq!(without.status, 401);
        }
        for tenant in ["alice", "robot"] {
            let own = world.admin_as(&token(tenant), "GET", "/api/tenants").await;
            assert_eq!(own.status, 200);
            let own: serde_json::Value = serde_json::from_str(&own.body).unwrap();
            let names: Vec<_> = own["tenants"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| &it["name"])
                .collect();
            assert_eq!(names, [tenant]);
            for (method, target) in [
                ("GET", "/api/keys"),
                ("GET", "/api/status"),
                ("GET", "/api/types"),
                ("GET", "/api/uncertain"),
                ("POST", "/api/keys/account-1/disable"),
                ("POST", "/api/tenants/alice/deactivate"),
                ("POST", "/api/tenants/alice/activate"),
                ("POST", "/api/reload"),
            ] {
                let answer = world.admin_as(&token(tenant), method, target).await;
                assert_eq!(answer.status, 403, "{method} {target}: {answer:?}");
            }
        }
        let all = world.admin_as(&token("root"), "GET", "/api/tenants").await;
        assert!(all.body.contains("robot"), "{all:?}");
        assert_eq!(
            world
                .admin_as(&token("root"), "POST", "/api/reload")
                .await
                .status,
            200
        );
        for unknown in ["", "x", &token("nobody"), &key(1)] {
            let answer = world.admin_as(unknown, "GET", "/api/tenants").await;
            assert_eq!(answer.status, 401, "{answer:?}");
        }
        // Who is deactivated administers nothing, not even itself back.
        let deactivate = "/api/tenants/root/deactivate";
        assert_eq!(
            world
                .admin_as(&token("root"), "POST", deactivate)
                .await
                .status,
            200
        );
        let back = world
            .admin_as(&token("root"), "POST", "/api/tenants/root/activate")
            .await;
        assert_eq!(back.status, 403);
    }
    world.end().await;
}

#[tokio::test]
async fn in_open_mode_there_are_no_tenants_and_no_token_opens_the_admin_port() {
    let world = World::start(vendor(Dialect::Twocaptcha, 1), "").await;
    assert_eq!(
        world.api("/api/tenants").await,
        serde_json::json!({ "tenants": [] })
    );
    assert_eq!(world.change("/api/tenants/x/deactivate").await.0, 404);
    assert_eq!(
        world
            .admin_as(&token("alice"), "GET", "/api/tenants")
            .await
            .status,
        401
    );
    world.end().await;
}

#[tokio::test]
async fn a_task_is_recorded_under_the_project_that_its_client_or_the_file_names() {
    for told_apart in [true, false] {
        let mut vendor = vendor(Dialect::Twocaptcha, 1);
        vendor
            .forbidden
            .extend(["x_project", "field", "shop"].map(str::to_owned));
        let world = match told_apart {
            true => World::start_for(vendor, "", &[("alice", "project = \"usual\"")]).await,
            false => World::start(vendor, "").await,
        };
        let usual = told_apart.then(|| "usual".to_owned());
        for (target, project) in [
            ("/in.php?key={}&", usual),
            ("/project/shop/in.php?key={}&", Some("shop".into())),
            ("/in.php?key={}&x_project=field&", Some("field".into())),
            (
                "/project/shop/in.php?key={}&x_project=field&",
                Some("shop".into()),
            ),
        ] {
            let answer = world.try_as("alice", &format!("{target}{TASK}")).await;
            let id = answer.strip_prefix("OK|").unwrap().to_owned();
            let query = format!("SELECT project FROM tasks WHERE id = '{id}'");
            assert_eq!(world.stored::<Option<String>>(&query), project, "{target}");
            until("it is solved", async || {
                world.poll_as("alice", &id).await.starts_with("OK|")
            })
            .await;
            let query = format!(
                "SELECT count(*) FROM usage WHERE id = '{id}' AND project IS (SELECT project FROM tasks WHERE id = '{id}')"
            );
            until("it is on the bill", async || {
                world.stored::<i64>(&query) == 1
            })
            .await;
        }
        world.end().await;
    }
}

#[tokio::test]
async fn the_file_may_hold_a_tokens_hash_in_its_place() {
    let world = World::start_for(vendor(Dialect::Twocaptcha, 1), "", &[("bob", "")]).await;
    // printf %s 000000000000000000token-of-alice | sha256sum
    let hash = "02d2ea18dbdd7022c0b106d3c76cff8ae78252a6daaf0619723a96e85a2c18a5";
    let text = format!("[[tenant]]\nname = \"alice\"\ntoken_sha256 = \"{hash}\"\n");
    world.adopts(|| world.write_tenants(&text)).await;
    world.submit_as("alice").await;
    assert_eq!(
        world.get(&SUBMIT.replace("{}", hash)).await,
        "ERROR_WRONG_USER_KEY"
    );
    world.end().await;
}
