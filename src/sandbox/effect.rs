//! What a call does at the vendor, and what the vendor means to answer.

use std::sync::Arc;

use tokio::time::Instant;

use super::answer::{Answer, dollars};
use super::calls::Call;
use super::config::{Dialect, IdShape};
use super::hub::Hub;
use super::params::Params;

/// What a call came to, before any fault.
pub(super) struct Effect {
    pub(super) answer: Answer,
    /// The id that was asked for or given out.
    pub(super) task: Option<String>,
    /// The task that this call made.
    pub(super) made: Option<Arc<str>>,
    pub(super) foreign: bool,
    /// When the answer may go out: `solve.php` waits for the task.
    pub(super) not_before: Option<Instant>,
    /// An HTTP 429, with so many seconds in its `Retry-After`.
    pub(super) retry_after: Option<u64>,
    /// The limits that the call broke.
    pub(super) violations: Vec<&'static str>,
}

pub(super) fn take_effect(hub: &Hub, call: &Call<'_>) -> Effect {
    if call.endpoint == "load.php" {
        return Effect::of(Answer::Verbatim(LOAD.to_owned()));
    }
    let key = call.params.key();
    let is_submit = call.endpoint != "res.php";
    let admitted = hub
        .vendor()
        .admit(key.as_deref(), call.origin.address, is_submit, call.now);
    match admitted {
        Ok(account) if is_submit => submit(hub, &account, call),
        Ok(account) => result(hub, &account, call),
        Err(stop) => Effect {
            task: call.params.text("id").map(str::to_owned),
            retry_after: stop.retry_after.map(|time| hub.clock.real_seconds(time)),
            violations: stop.violation.into_iter().collect(),
            ..Effect::of(Answer::code(stop.code))
        },
    }
}

fn submit(hub: &Hub, account: &Arc<str>, call: &Call<'_>) -> Effect {
    if let Some(code) = fault_of_request(call.params) {
        return Effect::of(Answer::code(code));
    }
    let mut vendor = hub.vendor();
    let made = match vendor.submit(account, call.content_hash.clone(), call.now) {
        Ok(made) => made,
        Err(refusal) => {
            return Effect {
                violations: refusal.violations,
                ..Effect::of(Answer::code(refusal.code))
            };
        }
    };
    let is_solve = call.endpoint == "solve.php";
    let answer = if is_solve {
        vendor.final_answer(&made.id)
    } else {
        Answer::Task {
            id: made.id.to_string(),
            as_number: hub.config.numeric_ids
                && hub.config.ids == IdShape::Decimal
                && call.params.text("method") == Some("userrecaptcha"),
        }
    };
    Effect {
        task: Some(made.id.to_string()),
        not_before: is_solve.then_some(made.ready_at),
        made: Some(made.id),
        ..Effect::of(answer)
    }
}

/// The few checks that let a client's mistake show as the vendor would show it.
fn fault_of_request(params: &Params) -> Option<&'static str> {
    let is_empty = |name: &str| params.bytes(name).is_none_or(<[u8]>::is_empty);
    match params.text("method") {
        None if is_empty("textcaptcha") && is_empty("module") => Some("ERROR_BAD_PARAMETERS"),
        Some("userrecaptcha") if is_empty("googlekey") => Some("ERROR_GOOGLEKEY"),
        Some("userrecaptcha") if is_empty("pageurl") => Some("ERROR_PAGEURL"),
        Some("base64") if is_empty("body") && is_empty("image") && is_empty("image_base64_1") => {
            Some("ERROR_ZERO_CAPTCHA_FILESIZE")
        }
        _ => None,
    }
}

fn result(hub: &Hub, account: &Arc<str>, call: &Call<'_>) -> Effect {
    let (action, params, now) = (call.action, call.params, call.now);
    let captchaai = hub.config.dialect == Dialect::Captchaai;
    let takes_ids = hub.config.joined_ids.unwrap_or(!captchaai);
    match action {
        "get" if params.text("ids").is_some() && takes_ids => {
            joined(hub, account, params.text("ids").unwrap_or_default(), now)
        }
        "get" | "get2" => about_task(params, |id| {
            hub.vendor().poll(account, id, action == "get2", now)
        }),
        "" if captchaai && params.text("id").is_some() => {
            about_task(params, |id| hub.vendor().poll(account, id, false, now))
        }
        "" => Effect::of(Answer::code("ERROR_EMPTY_ACTION")),
        "reportgood" | "reportbad" => about_task(params, |id| {
            hub.vendor()
                .report(account, id, action == "reportgood", now)
        }),
        "getbalance" => {
            let balance = hub
                .vendor()
                .account(account, now)
                .map_or(0, |state| state.balance_micros);
            Effect::of(Answer::Plain(dollars(balance)))
        }
        "threadsinfo" if captchaai => {
            let state = hub.vendor().account(account, now);
            let working = state.as_ref().map_or(0, |state| state.working);
            // No limit still needs a number: clients read an integer.
            let threads = state.and_then(|state| state.threads).unwrap_or(1000);
            Effect::of(Answer::Verbatim(format!(
                "{{\"threads\":\"{threads}\",\"working_threads\":\"{working}\"}}"
            )))
        }
        _ => Effect::of(Answer::code("ERROR_BAD_PARAMETERS")),
    }
}

fn about_task(params: &Params, ask: impl FnOnce(&str) -> Result<Answer, ()>) -> Effect {
    let Some(id) = params.text("id").filter(|id| !id.is_empty()) else {
        return Effect::of(Answer::code("ERROR_WRONG_ID_FORMAT"));
    };
    let asked = ask(id);
    let foreign = asked.is_err();
    let answer = asked.unwrap_or_else(|()| Answer::code("ERROR_WRONG_CAPTCHA_ID"));
    Effect {
        task: Some(id.to_owned()),
        foreign,
        ..Effect::of(answer)
    }
}

/// `ids=1,2,3`: answers joined by `|`, without `OK|`.
fn joined(hub: &Hub, account: &Arc<str>, ids: &str, now: Instant) -> Effect {
    let mut foreign = false;
    let mut vendor = hub.vendor();
    let answers: Vec<String> = ids
        .split(',')
        .map(|id| match vendor.poll(account, id, false, now) {
            Ok(Answer::Solved { text, .. } | Answer::Code(text)) => text,
            Ok(other) => other.render(false, false),
            Err(()) => {
                foreign = true;
                "ERROR_WRONG_CAPTCHA_ID".to_owned()
            }
        })
        .collect();
    Effect {
        task: Some(ids.to_owned()),
        foreign,
        ..Effect::of(Answer::Plain(answers.join("|")))
    }
}

impl Effect {
    fn of(answer: Answer) -> Self {
        Self {
            answer,
            task: None,
            made: None,
            foreign: false,
            not_before: None,
            retry_after: None,
            violations: Vec::new(),
        }
    }
}

const LOAD: &str =
    "<?xml version=\"1.0\"?>\n<response><load>12</load><minbid>0.00085</minbid></response>";
