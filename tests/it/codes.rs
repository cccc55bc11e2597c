//! Every error code that vendors document, and what it does to a submit, a poll and an account call: what becomes of the
//! key, of the vendor's breaker and of our address, and what the client hears, in text and in JSON.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use sidekey::sandbox::{Dialect, Fault, FaultRule};
use sidekey::vendor::profile::{Class, Profile};
use tokio::time::Instant;

use crate::support::{TASK, World, until, vendor};

use Hears::{Its, NoSlot, Own};

/// What a vendor may answer, with its class at CaptchaAI. The order is that of the vendors' error tables.
const ROWS: &[(&str, Means)] = &[
    ("ERROR_WRONG_USER_KEY", Means::Code(Class::KeyBad)),
    ("ERROR_KEY_DOES_NOT_EXIST", Means::Code(Class::KeyBad)),
    ("ERROR_ZERO_BALANCE", Means::Code(Class::KeyBusy)),
    ("ERROR_NO_SLOT_AVAILABLE", Means::Code(Class::KeyBusy)),
    ("MAX_USER_TURN", Means::Code(Class::KeyBusy)),
    ("ERROR: 1001", Means::Code(Class::KeyBusy)),
    ("ERROR: 1002", Means::Code(Class::KeyBusy)),
    ("ERROR: 1003", Means::Code(Class::KeyBusy)),
    ("ERROR: 1004", Means::Code(Class::EgressIp)),
    ("ERROR: 1005", Means::Code(Class::KeyBusy)),
    ("IP_BANNED", Means::Code(Class::EgressIp)),
    ("ERROR_IP_BANNED", Means::Code(Class::EgressIp)),
    ("ERROR_IP_NOT_ALLOWED", Means::Code(Class::KeyBad)),
    ("HTTP 429", Means::Code(Class::KeyBusy)),
    ("ERROR_TOO_MUCH_REQUESTS", Means::Code(Class::KeyBusy)),
    ("ERROR_SERVER_ERROR", Means::Code(Class::Server)),
    ("ERROR_INTERNAL_SERVER_ERROR", Means::Code(Class::Server)),
    ("HTTP 503", Means::Trouble),
    ("HTML", Means::Trouble),
    ("nothing", Means::Trouble),
    ("reset", Means::Trouble),
    ("ERROR_PAGEURL", Means::Code(Class::Request)),
    ("ERROR_GOOGLEKEY", Means::Code(Class::Request)),
    ("ERROR_WRONG_GOOGLEKEY", Means::Code(Class::Request)),
    ("ERROR_BAD_TOKEN_OR_PAGEURL", Means::Code(Class::Request)),
    ("ERROR_BAD_PARAMETERS", Means::Code(Class::Request)),
    ("ERROR_DOMAIN_NOT_ALLOWED", Means::Code(Class::Request)),
    ("ERROR_ZERO_CAPTCHA_FILESIZE", Means::Code(Class::Request)),
    (
        "ERROR_TOO_BIG_CAPTCHA_FILESIZE",
        Means::Code(Class::Request),
    ),
    ("ERROR_WRONG_FILE_EXTENSION", Means::Code(Class::Request)),
    (
        "ERROR_IMAGE_TYPE_NOT_SUPPORTED",
        Means::Code(Class::Request),
    ),
    (
        "ERROR_IMAGE_DIMENSIONS_TOO_LARGE",
        Means::Code(Class::Request),
    ),
    ("ERROR_UPLOAD", Means::Code(Class::Request)),
    ("ERROR_CAPTCHAIMAGE_BLOCKED", Means::Code(Class::Request)),
    ("TOO_MANY_BAD_IMAGES", Means::Code(Class::Request)),
    ("ERROR_EMPTY_CAPTCHA", Means::Code(Class::Request)),
    ("ERROR_BAD_PROXY", Means::Code(Class::Request)),
    ("ERROR_PROXY_FORMAT", Means::Code(Class::Request)),
    ("CAPCHA_NOT_READY", Means::NotReady),
    ("ERROR_CAPTCHA_UNSOLVABLE", Means::Code(Class::Task)),
    ("ERROR_BAD_DUPLICATES", Means::Code(Class::Task)),
    ("ERROR_TOKEN_EXPIRED", Means::Code(Class::Task)),
    ("ERROR_PROXY_CONNECTION_FAILED", Means::Code(Class::Task)),
    ("ERROR_WRONG_ID_FORMAT", Means::Code(Class::NoTask)),
    ("ERROR_WRONG_CAPTCHA_ID", Means::Code(Class::NoTask)),
    ("ERROR_NO_SUCH_CAPCHA_ID", Means::Code(Class::NoTask)),
    ("ERROR_EMPTY_ACTION", Means::Code(Class::Request)),
    ("ERROR_REPORT_NOT_RECORDED", Means::Code(Class::Task)),
    ("ERROR_DUPLICATE_REPORT", Means::Code(Class::Task)),
    ("ERROR_IP_ADDRES", Means::Code(Class::Request)),
    ("ERROR", Means::Code(Class::Request)),
    // cap.guru's, which only the profile `custom` has.
    ("notpic", Means::Code(Class::Request)),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Means {
    Code(Class),
    NotReady,
    /// Nothing that can be understood.
    Trouble,
}

/// What one call comes to.
#[derive(Clone, Copy)]
struct Effect {
    /// The state of every key that the call was made with, once our own probe has judged a suspect one.
    key: &'static str,
    banned: bool,
    uncertain: bool,
    hears: Hears,
}

#[derive(Clone, Copy)]
enum Hears {
    /// The vendor's own code.
    Its,
    Own(&'static str),
    /// ERROR_NO_SLOT_AVAILABLE; in JSON the profile's own word when the vendor said that no slot is free.
    NoSlot,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Called {
    Submit,
    Poll,
    Account,
}

/// Exhaustive on purpose: a new class needs its line here.
fn effects(means: Means) -> [Effect; 3] {
    const NOT_READY: Hears = Own("CAPCHA_NOT_READY");
    const TROUBLE: Hears = Own("ERROR_SERVER_ERROR");
    let uncertain = Effect {
        uncertain: true,
        ..effect("healthy", Own("ERROR_SUBMIT_UNCERTAIN"))
    };
    match means {
        // Its probe passes: what one call's answer says is no proof.
        Means::Code(Class::KeyBad) => [
            effect("healthy", Its),
            effect("healthy", NOT_READY),
            effect("healthy", Its),
        ],
        Means::Code(Class::KeyEmpty) => [
            effect("empty", Own("ERROR_ZERO_BALANCE")),
            effect("empty", NOT_READY),
            effect("empty", Its),
        ],
        Means::Code(Class::KeyBusy) => [
            effect("cooling", NoSlot),
            effect("cooling", NOT_READY),
            effect("cooling", Its),
        ],
        Means::Code(Class::EgressIp) => [
            banned(Own("ERROR_NO_SLOT_AVAILABLE")),
            banned(NOT_READY),
            banned(Its),
        ],
        Means::Code(Class::Request) => [effect("healthy", Its); 3],
        Means::Code(Class::NoTask) => [effect("healthy", Its); 3],
        Means::Code(Class::Task) => [effect("healthy", Its); 3],
        Means::Code(Class::Server) => [
            uncertain,
            effect("healthy", NOT_READY),
            effect("healthy", Its),
        ],
        Means::NotReady | Means::Trouble => [
            uncertain,
            effect("healthy", NOT_READY),
            effect("healthy", TROUBLE),
        ],
    }
}

fn effect(key: &'static str, hears: Hears) -> Effect {
    Effect {
        key,
        banned: false,
        uncertain: false,
        hears,
    }
}

fn banned(hears: Hears) -> Effect {
    Effect {
        banned: true,
        ..effect("healthy", hears)
    }
}

#[test]
fn every_code_of_every_profile_has_its_row() {
    let rows: BTreeSet<_> = ROWS.iter().map(|(code, _)| *code).collect();
    assert_eq!(rows.len(), ROWS.len(), "a code has two rows");
    for name in Profile::NAMES {
        let profile = Profile::builtin(name).unwrap();
        for (code, rule) in &profile.codes {
            let row = ROWS.iter().find(|(known, _)| known == code);
            let Some((_, means)) = row else {
                panic!("{code} of {name} has no row")
            };
            // The one code that vendors disagree about.
            let class = match (code.as_str(), profile.takes.threadsinfo) {
                ("ERROR_ZERO_BALANCE", false) => Means::Code(Class::KeyEmpty),
                _ => *means,
            };
            assert_eq!(Means::Code(rule.class), class, "{code} of {name}");
        }
    }
}

#[tokio::test]
async fn what_each_code_does_to_a_submit() {
    at_every_row(Called::Submit).await;
}

#[tokio::test]
async fn what_each_code_does_to_a_poll() {
    at_every_row(Called::Poll).await;
}

#[tokio::test]
async fn what_each_code_does_to_an_account_call() {
    at_every_row(Called::Account).await;
}

#[tokio::test]
async fn where_a_balance_is_paid_from_zero_is_empty_and_no_slot_is_one_word() {
    for called in [Called::Submit, Called::Poll] {
        for (code, class) in [
            ("ERROR_ZERO_BALANCE", Class::KeyEmpty),
            ("ERROR_NO_SLOT_AVAILABLE", Class::KeyBusy),
        ] {
            check(Dialect::Twocaptcha, code, Means::Code(class), called, false).await;
            check(Dialect::Twocaptcha, code, Means::Code(class), called, true).await;
        }
    }
}

#[tokio::test]
async fn an_account_whose_polls_are_refused_is_not_asked_until_its_rest_is_over() {
    let with_retry_after = Fault::Status {
        status: 429,
        retry_after: Some(2),
    };
    let rests = "poll.pace = \"0s\"\npoll.hide_outage = \"0s\"\nbalance.refresh = \"1h\"\n";
    for (refused, code) in [
        (fault("ERROR: 1005"), "ERROR: 1005"),
        (fault("HTTP 429"), "HTTP 429"),
        (with_retry_after, ""),
        (fault("ERROR_TOO_MUCH_REQUESTS"), "ERROR_TOO_MUCH_REQUESTS"),
    ] {
        let mut config = rests.to_owned();
        if !code.is_empty() {
            config += &format!("vendor.codes.{code:?} = {{ cooldown = \"2s\" }}\n");
        }
        let world = World::start(vendor(Dialect::Twocaptcha, 1), &config).await;
        let ids = [world.submit().await, world.submit().await];
        let rule = FaultRule::new(refused).action("get").times(1);
        world.sandbox.set_fault(rule).unwrap();
        let began = Instant::now();
        assert_eq!(world.poll(&ids[0]).await, "CAPCHA_NOT_READY", "{code}");
        let calls = world.sandbox.counts().calls;
        let many = format!("/res.php?key={{}}&action=get&ids={},{}", ids[0], ids[1]);
        until("its rest is over", async || {
            let answer = world.poll(&ids[1]).await;
            if began.elapsed() < Duration::from_secs(2) {
                assert_eq!(answer, "CAPCHA_NOT_READY", "{code}");
                let both = world.get(&many).await;
                if began.elapsed() < Duration::from_secs(2) {
                    assert_eq!(both, "CAPCHA_NOT_READY|CAPCHA_NOT_READY", "{code}");
                    assert_eq!(world.sandbox.counts().calls, calls, "{code}");
                }
            }
            answer.starts_with("OK|")
        })
        .await;
        assert!(began.elapsed() >= Duration::from_secs(2), "{code}");
        world.end().await;
    }
}

async fn at_every_row(called: Called) {
    for (code, means) in ROWS {
        for json in [false, true] {
            check(Dialect::Captchaai, code, *means, called, json).await;
        }
    }
}

/// From the start each time, because most answers leave something behind.
async fn check(dialect: Dialect, code: &str, means: Means, called: Called, json: bool) {
    let keys = if called == Called::Submit { 2 } else { 1 };
    let mut config = "submit.wait = \"0s\"\npoll.pace = \"0s\"\n".to_owned();
    if code == "notpic" {
        config += "vendor.codes.notpic = { class = \"request\" }\n";
    }
    let world = World::start(vendor(dialect, keys), &config).await;
    let flag = if json { "&json=1" } else { "" };
    let (fault, target) = match called {
        Called::Submit => (
            FaultRule::new(fault(code)).endpoint("in.php"),
            format!("/in.php?key={{}}&{TASK}{flag}"),
        ),
        Called::Poll => (
            FaultRule::new(fault(code)).action("get"),
            format!(
                "/res.php?key={{}}&action=get&id={}{flag}",
                world.submit().await
            ),
        ),
        Called::Account => (
            FaultRule::new(fault(code)).action("getbalance"),
            format!("/res.php?key={{}}&action=getbalance{flag}"),
        ),
    };
    world.sandbox.set_fault(fault).unwrap();
    let answer = world.get(&target).await;
    let what = format!("{code} to {called:?}, json {json}, {dialect:?}");
    let states = || -> Vec<&str> {
        let server = &world.running().server;
        let snapshot = server.live.load();
        let states = snapshot.keys.listed();
        states
            .map(|key| key.describe(Instant::now()).state.as_str())
            .collect()
    };
    let expected = effects(means)[called as usize];
    if means == Means::Code(Class::KeyBad) {
        until("the probe has decided", async || {
            !states().contains(&"suspect")
        })
        .await;
        let blamed = world.metric("sidekey_key_failures_total").await;
        assert!(blamed >= 1.0, "{what}");
    }
    assert!(
        states().iter().all(|state| *state == expected.key),
        "{what}: {:?}",
        states()
    );
    let server = &world.running().server;
    assert_eq!(server.outage.open_until(), None, "{what}");
    let is_banned = server.egress.banned_until(Instant::now()).is_some();
    assert_eq!(is_banned, expected.banned, "{what}");
    let uncertain = world.metric("sidekey_uncertain_submits_total").await;
    assert_eq!(uncertain, f64::from(u8::from(expected.uncertain)), "{what}");

    let profile = &server.live.load().settings.vendor.profile.clone();
    let hears = match expected.hears {
        // A status has no word of its own.
        Its if code.starts_with("HTTP ") => "ERROR_SERVER_ERROR",
        Its => code,
        Own(own) => own,
        NoSlot if json && profile.is_no_slot(code) => &profile.no_slot_json,
        NoSlot => "ERROR_NO_SLOT_AVAILABLE",
    };
    if json {
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["status"], 0, "{what}");
        assert_eq!(answer["request"], hears, "{what}");
    } else {
        assert_eq!(answer, hears, "{what}");
    }
    world.end().await;
}

fn fault(code: &str) -> Fault {
    let status = |status| Fault::Status {
        status,
        retry_after: None,
    };
    match code {
        "HTTP 429" => status(429),
        "HTTP 503" => status(503),
        "HTML" => Fault::Html { status: 200 },
        "nothing" => Fault::Empty,
        "reset" => Fault::Reset,
        code => Fault::Code { code: code.into() },
    }
}
