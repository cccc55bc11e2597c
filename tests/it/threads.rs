//! Thread plans: "no free thread" is one word with "no plan", and `threadsinfo` tells them apart.

use std::time::Duration;

use sidekey::sandbox::{Dialect, Fault, FaultRule, SandboxConfig};
use tokio::time::{Instant, sleep};

use crate::support::{TASK, World, name, until, vendor};

const SUBMIT: &str = "/in.php?key={}&method=userrecaptcha&googlekey=SITEKEY&pageurl=http://e.com";

#[tokio::test]
async fn a_plan_that_has_expired_is_found_out_by_one_question() {
    let config = SandboxConfig {
        expired_code: Some("ERROR_ZERO_BALANCE".into()),
        ..plan()
    };
    let world = World::start(config, "submit.wait = \"0s\"").await;
    world.submit().await;
    world.sandbox.set_threads(&name(1), Some(0)).unwrap();
    let before = questions(&world);
    assert_eq!(world.get(SUBMIT).await, "ERROR_NO_SLOT_AVAILABLE");
    until("the plan is asked about", async || {
        world.state_of(&name(1)).await.as_deref() == Some("empty")
    })
    .await;
    assert_eq!(questions(&world), before + 1);
    let submits = world.sandbox.counts().endpoints["in.php"];
    assert_eq!(world.get(SUBMIT).await, "ERROR_ZERO_BALANCE");
    assert_eq!(world.sandbox.counts().endpoints["in.php"], submits);
    world.end().await;
}

#[tokio::test]
async fn a_plan_without_a_free_thread_is_busy_and_seldom_asked_about() {
    let world = World::start(plan(), "submit.wait = \"0s\"").await;
    let full = FaultRule::new(Fault::Code {
        code: "ERROR_ZERO_BALANCE".into(),
    });
    world.sandbox.set_fault(full.endpoint("in.php")).unwrap();
    let (before, began) = (questions(&world), Instant::now());
    while questions(&world) < before + 2 {
        world.get(SUBMIT).await;
        let state = world.state_of(&name(1)).await;
        assert!(
            matches!(state.as_deref(), Some("cooling" | "healthy")),
            "{state:?}"
        );
        sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() > Duration::from_secs(5));
    world.sandbox.clear_faults();
    until("it serves again", async || {
        world.get(SUBMIT).await.starts_with("OK|")
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn a_json_client_hears_the_profiles_word_also_when_the_vendor_refused_every_key() {
    let world = World::start(vendor(Dialect::Captchaai, 2), "submit.wait = \"0s\"").await;
    let full = FaultRule::new(Fault::Code {
        code: "ERROR_NO_SLOT_AVAILABLE".into(),
    });
    world.sandbox.set_fault(full.endpoint("in.php")).unwrap();
    // The first is refused by the vendor, with both keys; the others find both at rest.
    for _ in 0..2 {
        let answer = world.get(&format!("/in.php?key={{}}&json=1&{TASK}")).await;
        assert!(
            answer.contains("\"request\":\"ERROR_ZERO_BALANCE\""),
            "{answer}"
        );
        let answer = world.get(&format!("/in.php?key={{}}&{TASK}")).await;
        assert_eq!(answer, "ERROR_NO_SLOT_AVAILABLE");
    }
    assert_eq!(world.sandbox.counts().endpoints["in.php"], 2);
    world.end().await;
}

#[tokio::test]
async fn it_hears_that_word_too_when_no_more_keys_may_be_tried() {
    let world = World::start(vendor(Dialect::Captchaai, 2), "submit.max_keys = 1").await;
    let full = FaultRule::new(Fault::Code {
        code: "ERROR_ZERO_BALANCE".into(),
    });
    world.sandbox.set_fault(full.endpoint("in.php")).unwrap();
    let answer = world.get(&format!("{SUBMIT}&json=1")).await;
    assert!(
        answer.contains("\"request\":\"ERROR_ZERO_BALANCE\"") && answer.contains("sidekey: "),
        "{answer}"
    );
    assert_eq!(world.sandbox.counts().endpoints["in.php"], 1);
    world.end().await;
}

fn plan() -> SandboxConfig {
    let mut config = vendor(Dialect::Captchaai, 1);
    config.accounts[0].threads = Some(5);
    config
}

fn questions(world: &World) -> usize {
    let calls = world.sandbox.record().calls;
    calls
        .iter()
        .filter(|call| call.action == "threadsinfo")
        .count()
}
