//! One call: read it, let it take effect, record it, and let a fault strike the answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::http::{Method, header};
use hyper::{Request, Response};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::answer::{Answer, dollars};
use super::config::{Dialect, IdShape};
use super::hub::Hub;
use super::params::{Params, Value};
use super::record::RecordedCall;
use super::strike::{Reply, Struck, strike};
use super::wire_io::Script;
use super::{control, dump};

/// SECURITY: a body is held in memory; no vendor takes one that big.
const MOST_BODY: usize = 64 << 20;

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) connection: u64,
    pub(super) address: IpAddr,
}

/// What a call came to, before any fault.
struct Effect {
    answer: Answer,
    /// The id that was asked for or given out.
    task: Option<String>,
    /// The task that this call made.
    made: Option<Arc<str>>,
    foreign: bool,
    /// When the answer may go out: `solve.php` waits for the task.
    not_before: Option<Instant>,
}

pub(super) async fn answer(
    hub: &Hub,
    origin: Origin,
    script: &Script,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MOST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Reply::page(413).into_response(),
    };
    let path = head.uri.path();
    if path == "/sandbox" || path.starts_with("/sandbox/") {
        return control::answer(
            hub,
            &head.method,
            path,
            head.uri.query().unwrap_or_default(),
            &body,
        );
    }
    let endpoint = match path.strip_prefix(hub.config.prefix.as_str()) {
        Some("/in.php") => "in.php",
        Some("/res.php") => "res.php",
        Some("/solve.php") => "solve.php",
        Some("/load.php") => "load.php",
        _ => return Reply::page(404).into_response(),
    };
    if head.method != Method::GET && head.method != Method::POST {
        return Reply::page(405).into_response();
    }
    let content_type = head
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let params = Params::read(head.uri.query().unwrap_or_default(), content_type, &body);
    let reply = call(hub, origin, head.method.as_str(), endpoint, &params).await;
    match reply {
        Struck::Http(reply) => reply.into_response(),
        Struck::Raw(take_over) => {
            script.take_over(take_over);
            Response::new(Full::default())
        }
    }
}

async fn call(
    hub: &Hub,
    origin: Origin,
    method: &str,
    endpoint: &'static str,
    params: &Params,
) -> Struck {
    let now = Instant::now();
    let key = params.key();
    // On in.php, `action` is data of the task.
    let action = if endpoint == "res.php" {
        params.text("action").unwrap_or_default()
    } else {
        ""
    };
    let account = hub.vendor().owner_of(key.as_deref());
    let rule = hub.faults.for_call(endpoint, action, account.as_deref());
    let done = rule.as_ref().is_none_or(|rule| rule.takes_effect());
    let content_hash = content_hash(params);
    let effect = done.then(|| {
        take_effect(
            hub,
            origin.address,
            endpoint,
            action,
            params,
            &content_hash,
            now,
        )
    });
    if !done
        && endpoint != "res.php"
        && let Some(account) = &account
    {
        hub.vendor().struck(account);
    }
    hub.recorder.push(RecordedCall {
        n: 0,
        at_ms: hub.millis_since_start(now),
        connection: origin.connection,
        endpoint: endpoint.to_owned(),
        method: method.to_owned(),
        action: action.to_owned(),
        account: account.as_deref().map(str::to_owned),
        keys: params.keys.clone(),
        task: effect.as_ref().map_or_else(
            || params.text("id").map(str::to_owned),
            |effect| effect.task.clone(),
        ),
        outcome: effect
            .as_ref()
            .map_or("STRUCK", |effect| effect.answer.outcome())
            .to_owned(),
        fault: rule.as_ref().map(|rule| rule.fault.kind()),
        done,
        names: params.iter().map(|(name, _)| name.to_owned()).collect(),
        content_hash,
        foreign: effect.as_ref().is_some_and(|effect| effect.foreign),
        key,
    });

    if let Some(not_before) = effect.as_ref().and_then(|effect| effect.not_before) {
        tokio::time::sleep_until(not_before).await;
    }
    if let Some(delay) = rule.as_ref().map(|rule| rule.delay_ms).filter(|ms| *ms > 0) {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let made = effect.as_ref().and_then(|effect| effect.made.as_deref());
    if let Some(made) = made
        && rule.as_ref().is_none_or(|rule| !rule.fault.hides_answer())
    {
        hub.vendor().told(made);
    }
    let json = params.is_set("json");
    let reply = reply(
        hub,
        effect.as_ref().map(|effect| &effect.answer),
        params,
        json,
    );
    match rule {
        Some(rule) => strike(
            &rule.fault,
            effect.as_ref().map(|effect| &effect.answer),
            reply,
            json,
            &params.key().unwrap_or_default(),
        ),
        None => Struck::Http(reply),
    }
}

fn reply(hub: &Hub, answer: Option<&Answer>, params: &Params, json: bool) -> Reply {
    let mut text = answer
        .map(|answer| answer.render(json, hub.config.error_text))
        .unwrap_or_default();
    if params.is_set("debug_dump") {
        text.insert_str(0, &dump::var_dump(params));
    }
    let reply = Reply::new(200, text);
    if params.is_set("header_acao") {
        reply.with("access-control-allow-origin", "*".to_owned())
    } else {
        reply
    }
}

fn take_effect(
    hub: &Hub,
    from: IpAddr,
    endpoint: &'static str,
    action: &str,
    params: &Params,
    content_hash: &str,
    now: Instant,
) -> Effect {
    if endpoint == "load.php" {
        return Effect::of(Answer::Verbatim(LOAD.to_owned()));
    }
    let account = match hub.vendor().admit(params.key().as_deref(), from, now) {
        Ok(account) => account,
        Err(code) => {
            return Effect {
                task: params.text("id").map(str::to_owned),
                ..Effect::of(Answer::code(code))
            };
        }
    };
    match endpoint {
        "res.php" => result(hub, &account, action, params, now),
        _ => submit(hub, &account, endpoint, params, content_hash, now),
    }
}

fn submit(
    hub: &Hub,
    account: &Arc<str>,
    endpoint: &str,
    params: &Params,
    content_hash: &str,
    now: Instant,
) -> Effect {
    if let Some(code) = fault_of_request(params) {
        return Effect::of(Answer::code(code));
    }
    let mut vendor = hub.vendor();
    let made = match vendor.submit(account, content_hash.to_owned(), now) {
        Ok(made) => made,
        Err(code) => return Effect::of(Answer::code(code)),
    };
    let task = Some(made.id.to_string());
    if endpoint == "solve.php" {
        let answer = vendor.final_answer(&made.id);
        return Effect {
            answer,
            task,
            made: Some(made.id),
            foreign: false,
            not_before: Some(made.ready_at),
        };
    }
    let as_number = hub.config.numeric_ids
        && hub.config.ids == IdShape::Decimal
        && params.text("method") == Some("userrecaptcha");
    let answer = Answer::Task {
        id: made.id.to_string(),
        as_number,
    };
    Effect {
        answer,
        task,
        made: Some(made.id),
        foreign: false,
        not_before: None,
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

fn result(hub: &Hub, account: &Arc<str>, action: &str, params: &Params, now: Instant) -> Effect {
    let captchaai = hub.config.dialect == Dialect::Captchaai;
    match action {
        "get" if params.text("ids").is_some() && !captchaai => {
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
        }
    }
}

fn content_hash(params: &Params) -> String {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    };
    for (name, value) in params.iter().filter(|(name, _)| *name != "key") {
        add(name.as_bytes());
        match value {
            Value::Text(bytes) | Value::File(bytes) => add(bytes),
            Value::Array => add(b"(array)"),
        }
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

const LOAD: &str =
    "<?xml version=\"1.0\"?>\n<response><load>12</load><minbid>0.00085</minbid></response>";
