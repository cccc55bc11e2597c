//! Every metric moves when what it is about happens, goes with what it is about, and is documented; rules and board name
//! nothing else.

use std::collections::BTreeSet;
use std::fs;

use sidekey::sandbox::{Dialect, Fault, FaultRule, SandboxConfig};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::http::{Connection, send};
use crate::support::series::{Series, text};
use crate::support::team::{tenants, token};
use crate::support::{TASK, World, key, keys, name, until, vendor, write};

/// What needs a process or a collector of its own, and the test that has it.
const MOVED_ELSEWHERE: [(&str, &str); 8] = [
    ("sidekey_config_file_static", "process/static_mount.rs"),
    ("sidekey_log_lines_dropped_total", "process/logs.rs"),
    ("sidekey_store_errors_total", "process/store_trouble.rs"),
    ("sidekey_store_lost_total", "process/store_trouble.rs"),
    ("sidekey_store_queued", "process/store_trouble.rs"),
    ("sidekey_store_writing", "process/store_trouble.rs"),
    ("sidekey_traces_lost_total", "it/traces.rs"),
    ("sidekey_traces_sent_total", "it/traces.rs"),
];

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_is_documented_and_moves_when_what_it_is_about_happens() {
    let lines = "balance.refresh = \"1s\"\nsubmit.wait = \"1s\"\nsubmit.deadline = \"2s\"\npoll.pace = \"100ms\"";
    let (_place, tls) = tls_files();
    let lines = &format!("{lines}\n{tls}");
    let alice = "daily_limit = 100\nmonthly_budget = 5\nmax_tasks = 50";
    let mut world = World::start_for(prepaid(), lines, &[("alice", alice)]).await;
    let mut series = Series::default();
    series.look(&world).await;

    solve(&world, &mut series).await;
    repeat_and_leave(&world, &mut series).await;
    wait_and_fail_over(&world, &mut series).await;
    reload(&mut world, &mut series).await;
    let change = "sidekey_key_unexplained_spend_usd_total";
    world.sandbox.set_balance(&name(1), 400_000).unwrap();
    until(
        "money is missing, and somebody is told in vain",
        async || {
            series.look(&world).await;
            [change, "sidekey_alerts_lost_total"]
                .iter()
                .all(|name| series.moved.contains(*name))
        },
    )
    .await;
    strike(&world, "IP_BANNED");
    submit(&world).await;
    series.look(&world).await;
    for _ in 0..3 {
        world.running().server.outage.unreached(Instant::now(), 0.5);
    }
    series.look(&world).await;

    let all: BTreeSet<_> = series.families.keys().cloned().collect();
    let unmoved: BTreeSet<_> = all.difference(&series.moved).map(String::as_str).collect();
    let elsewhere = BTreeSet::from(MOVED_ELSEWHERE.map(|(name, _)| name));
    let never: Vec<_> = unmoved.difference(&elsewhere).collect();
    assert!(never.is_empty(), "never moved: {never:?}");
    for (name, test) in MOVED_ELSEWHERE {
        let text = fs::read_to_string(format!("tests/{test}")).unwrap();
        assert!(
            text.contains(&format!("\"{name}")),
            "{test} asks for no {name}"
        );
    }
    documented(&series);
    named_outside(&all);
    world.sandbox.clear_faults();
    world.end().await;
}

#[tokio::test]
async fn series_go_with_their_key_their_pool_and_their_tenant() {
    let world = World::start_for(
        prepaid(),
        "balance.refresh = \"1s\"",
        &[("alice", ""), ("bob", "")],
    )
    .await;
    let id = world.submit_as("alice").await;
    world.poll_as("alice", &id).await;
    let of_team =
        keys([(name(1), key(1)), (name(2), key(2))]).replacen("value", "pool = \"team\"\nvalue", 1);
    world.adopts(|| world.write_keys(&of_team)).await;
    let before = text(&world).await;
    for label in ["key=\"account-1\"", "pool=\"team\"", "tenant=\"alice\""] {
        assert!(before.contains(label), "{label}");
    }
    world.write_tenants(&tenants(&[("bob", "")]));
    world
        .adopts(|| world.write_keys(&keys([(name(2), key(2))])))
        .await;
    let after = text(&world).await;
    for label in ["account-1", "team", "alice"] {
        assert!(!after.contains(label), "{label} is still there");
    }
    for label in ["key=\"account-2\"", "pool=\"default\"", "tenant=\"bob\""] {
        assert!(after.contains(label), "{label}");
    }
    world.end().await;
}

#[tokio::test]
async fn no_request_makes_a_series_of_its_own() {
    let world = World::start_for(prepaid(), "", &[("alice", "")]).await;
    let token = token("alice");
    let odd = async |n: usize| {
        for target in [
            format!("/in.php?key=stranger-{n}&method=m{n}&{TASK}"),
            format!("/in.php?key={token}&method=m{n}&pageurl={n}"),
            format!("/res.php?key={token}&action=a{n}&id={n}"),
            format!("/res.php?key={token}&action=get&id={n}"),
            format!("/project/p{n}/res.php?key={token}&action=get&ids={n},{n}1"),
            format!("/load.php?n{n}={n}"),
            format!("/n{n}.php?key={token}"),
        ] {
            send(
                world.http(),
                "GET",
                &target,
                &format!("X-N{n}: {n}\r\n"),
                "",
            )
            .await;
        }
    };
    let count = async || {
        text(&world)
            .await
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count()
    };
    odd(0).await;
    let before = count().await;
    for n in 1..30 {
        odd(n).await;
    }
    assert_eq!(count().await, before);
    world.end().await;
}

#[tokio::test]
async fn each_reader_gets_the_format_that_it_asks_for() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    let id = world.submit().await;
    world.poll(&id).await;
    for (accept, content_type, end) in [
        ("", "text/plain; version=0.0.4; charset=utf-8", "\n"),
        (
            "Accept: application/openmetrics-text; version=1.0.0\r\n",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "\n# EOF\n",
        ),
    ] {
        let answer = send(world.admin(), "GET", "/metrics", accept, "").await;
        assert!(
            answer
                .head
                .contains(&format!("content-type: {content_type}\r\n")),
            "{}",
            answer.head
        );
        assert!(answer.head.contains("vary: accept\r\n"), "{}", answer.head);
        assert!(answer.body.ends_with(end));
        assert_eq!(answer.body.contains("# EOF"), end.contains("EOF"));
        let mut seen = BTreeSet::new();
        for line in answer
            .body
            .lines()
            .filter(|line| !line.starts_with("# EOF"))
        {
            let about = match line.starts_with('#') {
                true => line.split(' ').take(3).collect::<Vec<_>>().join(" "),
                false => line.rsplit_once(' ').unwrap().0.to_owned(),
            };
            assert!(seen.insert(about), "twice: {line}");
        }
    }
    world.end().await;
}

/// A certificate, and the lines that serve it.
fn tls_files() -> (TempDir, String) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let place = tempfile::tempdir().unwrap();
    let (cert, key) = (place.path().join("cert.pem"), place.path().join("key.pem"));
    write(&cert, &pair.cert.pem());
    write(&key, &pair.signing_key.serialize_pem());
    let lines = format!(
        "listen.https = [\"127.0.0.1:0\"]\nlisten.tls_cert = {cert:?}\nlisten.tls_key = {key:?}"
    );
    (place, lines)
}

fn prepaid() -> SandboxConfig {
    let mut config = vendor(Dialect::Twocaptcha, 2);
    for account in &mut config.accounts {
        account.balance_micros = 2_000_000;
        account.price_micros = 2_000;
    }
    config
}

async fn submit(world: &World) -> String {
    world
        .try_as("alice", &format!("/in.php?key={{}}&{TASK}"))
        .await
}

fn strike(world: &World, code: &str) {
    let code = Fault::Code { code: code.into() };
    let rule = FaultRule::new(code).endpoint("in.php");
    world.sandbox.set_fault(rule).unwrap();
}

fn hold(world: &World) {
    let held = FaultRule::new(Fault::Slow)
        .endpoint("in.php")
        .delay_ms(600_000);
    world.sandbox.set_fault(held).unwrap();
}

fn submits(world: &World) -> u64 {
    let calls = world.sandbox.record().counts.endpoints;
    calls.get("in.php").copied().unwrap_or_default()
}

async fn solve(world: &World, series: &mut Series) {
    let id = world.submit_as("alice").await;
    series.look(world).await;
    until("it is solved", async || {
        world.poll_as("alice", &id).await.starts_with("OK|")
    })
    .await;
    world.poll_as("alice", &id).await;
    series.look(world).await;
    // The vendor uses the id again.
    let rule = FaultRule::new(Fault::Id { template: id }).endpoint("in.php");
    world.sandbox.set_fault(rule).unwrap();
    submit(world).await;
    world.sandbox.clear_faults();
    series.look(world).await;
}

async fn repeat_and_leave(world: &World, series: &mut Series) {
    let target = format!("/in.php?key={{}}&{TASK}&x_idempotency_key=one");
    let first = world.try_as("alice", &target).await;
    assert_eq!(world.try_as("alice", &target).await, first);

    hold(world);
    let sent = submits(world);
    let body = format!("key={}&{TASK}&left", token("alice"));
    let mut client = Connection::open(world.http()).await.unwrap();
    client.write("POST", "/in.php", FORM, &body).await.unwrap();
    until("it is sent", async || submits(world) > sent).await;
    series.look(world).await;
    drop(client);
    until("its client has left", async || {
        series.look(world).await;
        series.moved.contains("sidekey_unheard_submits")
    })
    .await;
    world.sandbox.clear_faults();
    let heard = send(world.http(), "POST", "/in.php", FORM, &body).await;
    assert!(heard.body.starts_with("OK|"), "{heard:?}");

    hold(world);
    assert_eq!(submit(world).await, "ERROR_SUBMIT_UNCERTAIN");
    world.sandbox.clear_faults();
    until("its id comes late", async || {
        series.look(world).await;
        series.moved.contains("sidekey_late_answers_total")
    })
    .await;
}

async fn wait_and_fail_over(world: &World, series: &mut Series) {
    strike(world, "ERROR_NO_SLOT_AVAILABLE");
    assert_eq!(submit(world).await, "ERROR_NO_SLOT_AVAILABLE");
    series.look(world).await;
    world.sandbox.clear_faults();
    let all = keys([(name(1), key(1)), (name(2), key(2))]);
    let few = all.replace("value", "max_tasks = 1\nvalue");
    world.adopts(|| world.write_keys(&few)).await;
    let waits = until("a submit waits in line", async || {
        series.look(world).await;
        series.moved.contains("sidekey_waiting_submits")
    });
    tokio::join!(submit(world), submit(world), submit(world), waits);
    world.adopts(|| world.write_keys(&all)).await;
}

/// A limit that is reached, a file that is broken, a park that takes one, and a webhook that takes nothing.
async fn reload(world: &mut World, series: &mut Series) {
    world.write_tenants(&tenants(&[("alice", "daily_limit = 1")]));
    assert_eq!(world.change("/api/reload").await.0, 200);
    assert_eq!(submit(world).await, "ERROR_ZERO_BALANCE");
    series.look(world).await;
    world.write_tenants("[[tenant]]");
    assert_eq!(world.change("/api/reload").await.0, 422);
    series.look(world).await;
    world.write_tenants(&tenants(&[("alice", "")]));
    let path = world.config_path();
    let lines = fs::read_to_string(&path).unwrap();
    let nowhere = format!("http://{}/livez", world.admin());
    let lines = format!(
        "submit.when_busy = \"park\"\nsubmit.park_max = 7\nalerts.webhook = {nowhere:?}\n{lines}"
    );
    write(&path, &lines);
    assert_eq!(world.change("/api/reload").await.0, 200);
    strike(world, "ERROR_NO_SLOT_AVAILABLE");
    assert!(submit(world).await.starts_with("OK|9"));
    series.look(world).await;
    world.sandbox.clear_faults();
    until("it is sent", async || {
        world.metric("sidekey_parked_submits ").await == 0.0
    })
    .await;
    series.look(world).await;
}

/// `| `name` | type | labels | meaning | when to worry |`, one row each, both ways.
fn documented(series: &Series) {
    let page = fs::read_to_string("docs/metrics.md").unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `sidekey_"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let mut wrong = Vec::new();
    for row in &rows {
        let name = row[0].trim_matches('`');
        let Some((kind, labels)) = series.families.get(name) else {
            wrong.push(format!("{name} is documented and not there"));
            continue;
        };
        let said: BTreeSet<_> = row[2]
            .split(", ")
            .map(|label| label.trim_matches('`').to_owned())
            .collect();
        let said = said.into_iter().filter(|label| label != "-").collect();
        if row[1] != kind
            || *labels != said
            || row.len() != 5
            || row[3..].iter().any(|cell| cell.is_empty())
        {
            wrong.push(format!(
                "{name} is a {kind} with {labels:?}, not as in {row:?}"
            ));
        }
    }
    for name in series.families.keys() {
        if rows
            .iter()
            .filter(|row| row[0].trim_matches('`') == name)
            .count()
            != 1
        {
            wrong.push(format!("{name} has not one row in docs/metrics.md"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every name in the alert rules and on the board is that of a metric.
fn named_outside(all: &BTreeSet<String>) {
    for (path, at_least) in [
        ("deploy/prometheus/alerts.yaml", 20),
        ("deploy/prometheus/alerts_test.yaml", 20),
        ("deploy/grafana/sidekey.json", 30),
    ] {
        let text = fs::read_to_string(path).unwrap();
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let names: BTreeSet<_> = text
            .split(|c| !is_of_name(c))
            .filter(|word| word.starts_with("sidekey_"))
            .collect();
        for name in &names {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or(name);
            assert!(
                all.contains(family),
                "{path} names {name}, which is not there"
            );
        }
        assert!(names.len() >= at_least, "{path} names only {names:?}");
    }
}

#[test]
fn every_alert_rule_says_what_to_do_and_where_to_read_on() {
    let rules = fs::read_to_string("deploy/prometheus/alerts.yaml").unwrap();
    let tests = fs::read_to_string("deploy/prometheus/alerts_test.yaml").unwrap();
    let page = fs::read_to_string("docs/alerts.md").unwrap();
    let names: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(names.len() > 20, "{names:?}");
    let sections: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    let mut expected = Vec::new();
    for name in names {
        let anchor = kebab(name);
        for (text, line) in [
            (&rules, format!("runbook: docs/alerts.md#{anchor}\n")),
            (&tests, format!("- name: {name}\n")),
        ] {
            assert!(text.contains(&line), "{name} lacks `{}`", line.trim());
        }
        expected.push(anchor);
    }
    assert_eq!(
        sections, expected,
        "a section for each rule, in the same order"
    );
}

/// `SidekeyKeyRevoked` as `sidekey-key-revoked`.
fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(c.to_ascii_lowercase());
    }
    kebab
}
