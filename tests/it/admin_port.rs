//! What the admin port bears, and whom it tells what.

use std::time::Duration;

use serde_json::Value;
use sidekey::sandbox::Dialect;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::team::token;
use crate::support::{ADMIN_TOKEN, World, http, key, keys, name, until, vendor, within};

/// A probe of Kubernetes that fails three times, ten seconds apart, ends the program.
const SOON: Duration = Duration::from_secs(6);

#[tokio::test]
async fn every_answer_keeps_browsers_from_guessing_keeping_framing_and_telling() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    for (method, target, headers, status) in [
        ("GET", "/livez", "", 200),
        ("GET", "/metrics", "", 200),
        ("GET", "/api/keys", "", 200),
        ("GET", "/api/keys?x", "", 400),
        ("GET", "/api/keys", "Authorization: Bearer nobodys\r\n", 401),
        ("POST", "/api/reload", "", 403),
        ("GET", "/nowhere", "", 404),
        ("GET", "/api/nowhere", "", 404),
        ("POST", "/api/keys/nobody/enable", "X-Sidekey: 1\r\n", 404),
        ("OPTIONS", "/livez", "", 405),
        ("PROPFIND", "/api/keys", "", 405),
    ] {
        let answer = http::send(world.admin(), method, target, headers, "").await;
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
        for header in [
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
            "content-security-policy: default-src 'none'; frame-ancestors 'none'",
            "x-frame-options: deny",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(
                answer.head.contains(header),
                "{target}: {header}: {answer:?}"
            );
        }
        if (400..500).contains(&status) && target.starts_with("/api/") {
            let told: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            assert!(told["error"].is_string(), "{answer:?}");
        }
        assert_eq!(answer.head.contains("allow: get\r\n"), status == 405);
        assert_eq!(
            answer.head.contains("www-authenticate: bearer"),
            status == 401
        );
    }
    world.end().await;
}

#[tokio::test]
async fn metrics_are_read_over_loopback_by_address_or_with_a_token() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    for (headers, status) in [
        ("Host: localhost:9090\r\n", 200),
        ("Host: [::1]:9090\r\n", 200),
        ("Host: 10.1.2.3:9090\r\n", 200),
        ("Host: rebound.example:9090\r\n", 403),
        ("Host: rebound.example\r\nAuthorization: Bearer x\r\n", 403),
    ] {
        let answer = http::send(world.admin(), "GET", "/metrics", headers, "").await;
        assert_eq!(answer.status, status, "{headers}: {}", answer.head);
    }
    world.end().await;
}

#[tokio::test]
async fn json_ends_with_its_line() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    for target in ["/api/keys", "/api/status", "/api/nowhere"] {
        let answer = http::send(world.admin(), "GET", target, "", "").await;
        assert!(
            answer.body.ends_with("}\n") || answer.body.ends_with("]\n"),
            "{answer:?}"
        );
    }
    world.end().await;
}

#[tokio::test]
async fn what_a_browser_says_comes_from_another_site_is_refused() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    for (site, status) in [
        ("cross-site", 403),
        ("same-site", 403),
        ("same-origin", 200),
        ("none", 200),
    ] {
        let header = format!("Sec-Fetch-Site: {site}\r\n");
        let answer = http::send(world.admin(), "GET", "/api/keys", &header, "").await;
        assert_eq!(answer.status, status, "{site}: {answer:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn probes_are_answered_soon_while_others_hold_all_connections_and_say_nothing() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    let mut held = Vec::new();
    for n in 0..300 {
        let mut stream = TcpStream::connect(world.admin()).await.unwrap();
        // Some send nothing, some half a head, and some ask once and stay.
        let said: &[u8] = match n % 3 {
            0 => b"",
            1 => b"GET /livez HTTP/1.1\r\nHost: loc",
            _ => b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
        };
        stream.write_all(said).await.unwrap();
        held.push(stream);
    }
    let answer = timeout(SOON, http::send(world.admin(), "GET", "/readyz", "", "")).await;
    assert_eq!(answer.expect("not within six seconds").status, 200);
    drop(held);
    world.end().await;
}

#[tokio::test]
async fn heads_are_bounded_and_bodies_are_not_read() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    let long = "x".repeat(70_000);
    let header = format!("X-Long: {long}\r\n");
    let answer = http::send(world.admin(), "GET", "/livez", &header, "").await;
    assert_eq!(answer.status, 431);
    let target = format!("/api/events?{long}");
    let answer = http::send(world.admin(), "GET", &target, "", "").await;
    assert!([414, 431].contains(&answer.status), "{answer:?}");

    let mut stream = TcpStream::connect(world.admin()).await.unwrap();
    let head = "POST /api/keys/account-1/disable HTTP/1.1\r\nHost: localhost\r\nX-Sidekey: 1\r\n\
        Content-Length: 1000000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut said = String::new();
    // To the end of the connection, though most of the body is yet to come.
    let read = stream.read_to_string(&mut said);
    timeout(SOON, read).await.unwrap().unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    world.end().await;
}

#[tokio::test]
async fn every_change_by_hand_is_audited_with_whose_hand_it_was() {
    let of = [("alice", ""), ("root", "role = \"admin\"")];
    let config = "submit.when_busy = \"park\"";
    let mut accounts = vendor(Dialect::Twocaptcha, 1);
    accounts.accounts[0].solve_ms = 3_600_000;
    let mut world = World::start_for(accounts, config, &of).await;
    // The only slot is taken, so that what comes next is parked.
    let file = keys([(name(1), key(1))]) + "max_tasks = 1\n";
    world.adopts(|| world.write_keys(&file)).await;
    world.submit_as("alice").await;
    let changes = async |world: &World, who: &str, headers: &str| {
        let send = async |method: &str, target: &str| {
            let answer = http::send(world.admin(), method, target, headers, "").await;
            assert_eq!(answer.status, 200, "{who}: {target}: {answer:?}");
        };
        let parked = world.submit_as("alice").await;
        send("DELETE", &format!("/api/parked/{parked}")).await;
        send("POST", "/api/keys/account-1/disable").await;
        send("POST", "/api/keys/account-1/enable").await;
        send("POST", "/api/keys/account-1/probe").await;
        send("POST", "/api/tenants/alice/deactivate").await;
        send("POST", "/api/tenants/alice/activate").await;
        send("POST", "/api/reload").await;
        // What is refused changes nothing.
        let refused = http::send(world.admin(), "DELETE", "/api/parked/1", headers, "").await;
        assert_eq!(refused.status, 404);
        let expected = [
            ("reload", ""),
            ("activate", "alice"),
            ("deactivate", "alice"),
            ("probe", "account-1"),
            ("enable", "account-1"),
            ("cancel", &parked),
            ("disable", "account-1"),
        ];
        let query = "/api/audit?limit=1000";
        let headers = format!("{headers}Authorization: Bearer {}\r\n", token("root"));
        let by_them = async || -> Vec<(String, String)> {
            let answer = http::send(world.admin(), "GET", query, &headers, "").await;
            let rows: Value = serde_json::from_str(&answer.body).unwrap();
            let rows = rows["audit"].as_array().unwrap();
            let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
            let theirs = rows.iter().filter(|row| text(row, "who") == who);
            theirs
                .map(|row| (text(row, "what"), text(row, "subject")))
                .collect()
        };
        until("all are in the audit log", async || {
            let mut rows = by_them().await;
            // Within a millisecond their order is any.
            rows.sort();
            let mut expected = expected.map(|(what, on)| (what.to_owned(), on.to_owned()));
            expected.sort();
            rows == expected
        })
        .await;
    };
    changes(&world, "loopback", "X-Sidekey: 1\r\n").await;
    let root = format!("Authorization: Bearer {}\r\n", token("root"));
    changes(&world, "tenant root", &root).await;
    world.stop().await;
    world.want_token();
    world.start_again().await;
    within(SOON, "the key is there", async || {
        let answer = world.admin_as(ADMIN_TOKEN, "GET", "/api/keys").await;
        answer.body.contains("\"healthy\"")
    })
    .await;
    let admin = format!("Authorization: Bearer {ADMIN_TOKEN}\r\n");
    changes(&world, "admin token", &admin).await;
    world.end().await;
}

#[tokio::test]
async fn users_and_services_see_their_own_bill_and_nothing_of_what_others_do() {
    let of = [("alice", ""), ("robot", "role = \"service\"")];
    let world = World::start_for(vendor(Dialect::Twocaptcha, 1), "", &of).await;
    for tenant in ["alice", "robot"] {
        let id = world.submit_as(tenant).await;
        until("it is solved", async || {
            world.poll_as(tenant, &id).await.starts_with("OK|")
        })
        .await;
    }
    for (tenant, other) in [("alice", "robot"), ("robot", "alice")] {
        for query in ["", "?by=tenant", &format!("?tenant={other}"), "?tenant=-"] {
            let bill = async || -> Value {
                let target = format!("/api/usage{query}");
                let answer = world.admin_as(&token(tenant), "GET", &target).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                serde_json::from_str(&answer.body).unwrap()
            };
            until("its solve is on its bill", async || {
                bill().await["total"]["solves"] == 1
            })
            .await;
            let bill = bill().await;
            assert_eq!(bill["lines"].as_array().unwrap().len(), 1, "{bill}");
            assert_eq!(bill["lines"][0]["tenant"], tenant, "{bill}");
            assert!(bill["total"].get("cost_usd").is_none(), "{bill}");
        }
        for path in [
            "events",
            "calls",
            "balances",
            "audit",
            "config",
            "parked",
            "uncertain",
            "keys",
            "status",
        ] {
            let target = format!("/api/{path}");
            let answer = world.admin_as(&token(tenant), "GET", &target).await;
            assert_eq!(answer.status, 403, "{target}: {answer:?}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn what_is_not_taken_is_said_so() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    world.write_keys(&keys([(name(1), key(1))]));
    for (target, says) in [
        ("/api/keys?limit=1", "no parameters"),
        ("/api/audit?limit=x", "limit=N"),
        ("/api/usage?by=moon", "by=tenant|project"),
        ("/api/usage?month=2026-13", "month=2026-11"),
    ] {
        let answer = http::send(world.admin(), "GET", target, "", "").await;
        assert_eq!(answer.status, 400, "{target}: {answer:?}");
        assert!(answer.body.contains(says), "{target}: {answer:?}");
    }
    // Probes may carry what they like.
    let answer = http::send(world.admin(), "GET", "/readyz?from=somewhere", "", "").await;
    assert_eq!(answer.status, 200);
    world.end().await;
}
