//! The commands that ask a running program, and the series about keys.
//!
//! `UPDATE_GOLDEN=1 cargo test --test it status` writes the screens anew; read the difference before committing it.

use std::fs;

use clap::Parser;
use serde_json::Value;
use sidekey::cli::look::Look;
use sidekey::cli::status::draw;
use sidekey::cli::{Arguments, Command, estimate, healthcheck, status};
use sidekey::config::environment::Environment;
use sidekey::sandbox::Dialect;
use unicode_width::UnicodeWidthStr;

use crate::support::{ADMIN_TOKEN, World, key, keys, name, until, vendor};

#[test]
fn screens_are_as_written_beside_the_answers() {
    let update = Environment::of_this_process()
        .get("UPDATE_GOLDEN")
        .is_some();
    let mut wrong = String::new();
    let mut count = 0;
    for entry in fs::read_dir("tests/golden/status").unwrap() {
        let case = entry.unwrap().path();
        let json = |name: &str| -> Value {
            let text = fs::read_to_string(case.join(name)).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        let (status, keys) = (json("status.json"), json("keys.json"));
        let tenants = json("tenants.json");
        let audit = json("audit.json");
        let screen = [None, Some(80), Some(40)].map(|width| {
            let look = Look {
                width,
                ..Look::default()
            };
            let screen = draw(&status, &keys, &tenants, &audit, look);
            let Some(width) = width else {
                return screen;
            };
            for line in screen.lines() {
                assert!(line.width() <= width, "{line}");
            }
            format!("--- in {width} columns\n{screen}")
        });
        let screen = screen.concat();
        let expected = case.join("expected.txt");
        if update {
            fs::write(&expected, &screen).unwrap();
        }
        if fs::read_to_string(&expected).ok().as_deref() != Some(&screen) {
            wrong += &format!("=== {}\n{screen}\n", case.display());
        }
        count += 1;
    }
    assert!(count >= 2, "only {count} cases were found");
    assert!(wrong.is_empty(), "other than written:\n{wrong}");
}

#[tokio::test]
async fn status_shows_the_keys_of_a_running_program() {
    let world = World::start(vendor(Dialect::Captchaai, 2), "").await;
    let id = world.submit().await;
    until("it is solved", async || {
        world.poll(&id).await.starts_with("OK|")
    })
    .await;
    world.change("/api/keys/account-2/disable").await;
    let (code, out, err) = ask(&world, &["status"], &[]).await;
    assert_eq!((code, &*err), (0, ""));
    let version = env!("CARGO_PKG_VERSION");
    assert!(out.starts_with(&format!(
        "sidekey {version}, profile captchaai, ready, 0 submits wait"
    )));
    let line = |name: &str| out.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line("account-1").contains("healthy"), "{out}");
    assert!(line("account-2").contains("disabled by hand"), "{out}");
    assert!(!out.contains(&key(1)), "{out}");
    let (code, out, _) = ask(&world, &["status", "--format", "json"], &[]).await;
    let object: Value = serde_json::from_str(&out).unwrap();
    let done: u64 = object["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["solves"]["done"].as_u64().unwrap())
        .sum();
    assert_eq!((code, done), (0, 1));
    let solves = "sidekey_solves_total{key=\"account-";
    assert_eq!(world.metric(solves).await, 1.0);
    assert_eq!(
        world
            .metric("sidekey_solve_seconds_count{type=\"recaptcha_v2\"}")
            .await,
        1.0
    );
    assert_eq!(world.metric("sidekey_tasks{state=\"ended\"}").await, 1.0);
    let (code, _, err) = ask(&world, &["healthcheck"], &[]).await;
    assert_eq!((code, &*err), (0, ""));
    world.end().await;
}

#[tokio::test]
async fn the_series_of_a_key_go_with_it() {
    let world = World::start(vendor(Dialect::Captchaai, 2), "").await;
    for _ in 0..2 {
        let id = world.submit().await;
        until("it is solved", async || {
            world.poll(&id).await.starts_with("OK|")
        })
        .await;
    }
    let of_first = "sidekey_solves_total{key=\"account-1\"";
    assert_eq!(world.metric(of_first).await, 1.0);
    world.write_keys(&keys([(name(2), key(2))]));
    assert_eq!(world.change("/api/reload").await.0, 200);
    assert_eq!(world.metric(of_first).await, 0.0);
    assert_eq!(
        world.metric("sidekey_solves_total{key=\"account-2\"").await,
        1.0
    );
    world.end().await;
}

#[tokio::test]
async fn the_admin_token_is_taken_from_the_configuration_or_the_environment() {
    let world = World::start_with_token(Dialect::Captchaai).await;
    let config = world.config_path().display().to_string();
    let by_file = ["status", "--config", &*config];
    assert_eq!(ask(&world, &by_file, &[]).await.0, 0);
    let variable = "SIDEKEY_ADMIN_TOKEN";
    assert_eq!(
        ask(&world, &["status"], &[(variable, ADMIN_TOKEN)]).await.0,
        0
    );
    for wrong in [&[][..], &[(variable, "a-wrong-one")]] {
        let (code, out, err) = ask(&world, &["status"], wrong).await;
        assert_eq!((code, &*out), (69, ""));
        assert!(err.contains("set SIDEKEY_ADMIN_TOKEN"), "{err}");
        assert!(!err.contains("a-wrong-one"), "{err}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_said_so_with_what_to_do() {
    let mut world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    let gone = format!("http://{}", world.admin());
    world.stop().await;
    world.start_again().await;
    for (command, expected) in [
        (&["status"][..], 69),
        (&["estimate", "--type", "image", "--count", "5"], 69),
        (&["healthcheck"], 1),
    ] {
        let arguments = [command, &["--admin", &gone]].concat();
        let (code, out, err) = ask(&world, &arguments, &[]).await;
        assert_eq!((code, &*out), (expected, ""), "{command:?}");
        assert!(
            err.contains("sidekey run") && err.contains("--admin"),
            "{err}"
        );
    }
    world.end().await;
}

#[tokio::test]
async fn another_program_at_that_address_is_not_taken_for_one_that_drains() {
    let world = World::start(vendor(Dialect::Captchaai, 1), "").await;
    let clients = format!("http://{}", world.http());
    let (code, _, err) = ask(&world, &["healthcheck", "--admin", &clients], &[]).await;
    assert_eq!(code, 1);
    assert!(err.contains("not the admin port"), "{err}");
    world.end().await;
}

#[tokio::test]
async fn estimates_are_made_from_what_the_running_program_knows() {
    let mut config = vendor(Dialect::Twocaptcha, 2);
    for account in &mut config.accounts {
        account.balance_micros = 6_000_000;
    }
    let world = World::start(config, "prices.image = 0.002").await;
    until("the balances are known", async || {
        let all = world.api("/api/keys").await;
        all["keys"]
            .as_array()
            .unwrap()
            .iter()
            .all(|key| key["balance"].is_number())
    })
    .await;
    let estimate = ["estimate", "--type", "image", "--count"];
    let (code, out, _) = ask(&world, &[&estimate[..], &["6000"]].concat(), &[]).await;
    assert_eq!(code, 0, "{out}");
    assert!(out.ends_with("covers about 6000\n"), "{out}");
    let (code, out, _) = ask(&world, &[&estimate[..], &["6001"]].concat(), &[]).await;
    assert_eq!(code, 1, "{out}");
    assert!(out.ends_with("need $0.002 more\n"), "{out}");
    let (code, _, err) = ask(
        &world,
        &[&estimate[..], &["1", "--pool", "x"]].concat(),
        &[],
    )
    .await;
    assert_eq!(code, 64, "{err}");
    assert!(err.contains("default"), "{err}");
    world.end().await;
}

/// Exit code, output and errors of a command. Without `--admin` and `--config` it asks this world's program.
async fn ask(
    world: &World,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> (u8, String, String) {
    let listens = world.admin().to_string();
    let mut all = vec!["sidekey"];
    all.extend(arguments);
    if !arguments.contains(&"--admin") {
        all.extend(["--admin", &listens]);
    }
    let environment: Environment = variables.iter().copied().collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let done = match Arguments::try_parse_from(all).unwrap().command {
        Command::Status(args) => status::run(&args, environment, &mut out, &mut err).await,
        Command::Estimate(args) => estimate::run(&args, environment, &mut out, &mut err).await,
        Command::Healthcheck(args) => healthcheck::run(&args, environment, &mut err).await,
        other => panic!("{other:?}"),
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.unwrap(), text(out), text(err))
}
