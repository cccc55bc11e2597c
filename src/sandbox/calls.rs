//! One call: read it, let it take effect, record it, and let a fault strike the answer.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::http::{Method, header};
use hyper::{Request, Response};
use memchr::memmem;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::effect::{Effect, take_effect};
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

/// A request, understood.
pub(super) struct Call<'a> {
    pub(super) origin: Origin,
    pub(super) now: Instant,
    pub(super) method: &'a str,
    pub(super) endpoint: &'static str,
    pub(super) action: &'a str,
    pub(super) params: &'a Params,
    pub(super) content_hash: String,
    pub(super) forbidden: Vec<String>,
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
    let query = head.uri.query().unwrap_or_default();
    let params = Params::read(head.method == Method::POST, query, content_type, &body);
    let call = Call {
        origin,
        endpoint,
        // On in.php, `action` is data of the task.
        action: match endpoint {
            "res.php" => params.text("action").unwrap_or_default(),
            _ => "",
        },
        content_hash: content_hash(&params),
        forbidden: forbidden(&hub.config.forbidden, &head, &body),
        method: head.method.as_str(),
        now: hub.clock.now(),
        params: &params,
    };
    let reply = respond(hub, &call).await;
    match reply {
        Struck::Http(reply) => reply.into_response(),
        Struck::Raw(take_over) => {
            script.take_over(take_over);
            Response::new(Full::default())
        }
    }
}

async fn respond(hub: &Hub, call: &Call<'_>) -> Struck {
    let params = call.params;
    let key = params.key();
    let account = hub.vendor().owner_of(key.as_deref());
    let mut cleared = hub.faults.cleared();
    let rule = hub
        .faults
        .for_call(call.endpoint, call.action, account.as_deref());
    let done = rule.as_ref().is_none_or(|rule| rule.takes_effect());
    let effect = done.then(|| take_effect(hub, call));
    if matches!(call.endpoint, "in.php" | "solve.php")
        && let Some(account) = &account
    {
        match &effect {
            None => hub.vendor().struck(account),
            Some(effect) if effect.made.is_none() => hub.vendor().refused(account),
            Some(_) => {}
        }
    }
    hub.recorder.push(RecordedCall {
        n: 0,
        at_ms: hub.millis_since_start(call.now),
        connection: call.origin.connection,
        endpoint: call.endpoint.to_owned(),
        method: call.method.to_owned(),
        action: call.action.to_owned(),
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
        content_hash: call.content_hash.clone(),
        forbidden: call.forbidden.clone(),
        foreign: effect.as_ref().is_some_and(|effect| effect.foreign),
        violations: effect
            .as_ref()
            .map(|effect| effect.violations.clone())
            .unwrap_or_default(),
        key,
    });

    if let Some(not_before) = effect.as_ref().and_then(|effect| effect.not_before) {
        hub.clock.sleep_until(not_before).await;
    }
    if let Some(delay) = rule.as_ref().map(|rule| rule.delay_ms).filter(|ms| *ms > 0) {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(delay)) => {}
            // The sender lives as long as the hub.
            _ = cleared.changed() => {}
        }
    }
    let made = effect.as_ref().and_then(|effect| effect.made.as_deref());
    if let Some(made) = made
        && rule.as_ref().is_none_or(|rule| !rule.fault.hides_answer())
    {
        hub.vendor().told(made);
    }
    let json = params.is_set("json");
    let reply = reply(hub, effect.as_ref(), params, json);
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

fn reply(hub: &Hub, effect: Option<&Effect>, params: &Params, json: bool) -> Reply {
    let mut text = effect
        .map(|effect| effect.answer.render(json, hub.config.error_text))
        .unwrap_or_default();
    if params.is_set("debug_dump") {
        text.insert_str(0, &dump::var_dump(params));
    }
    let reply = match effect.and_then(|effect| effect.retry_after) {
        Some(seconds) => Reply::new(429, text).with("retry-after", seconds.to_string()),
        None => Reply::new(200, text),
    };
    if params.is_set("header_acao") {
        reply.with("access-control-allow-origin", "*".to_owned())
    } else {
        reply
    }
}

/// Which of `texts` arrived, in the target, in a header or in the body.
fn forbidden(texts: &[String], head: &Parts, body: &[u8]) -> Vec<String> {
    let arrived = |text: &&String| {
        let holds = |place: &[u8]| memmem::find(place, text.as_bytes()).is_some();
        holds(head.uri.to_string().as_bytes())
            || head.headers.values().any(|value| holds(value.as_bytes()))
            || holds(body)
    };
    texts.iter().filter(arrived).cloned().collect()
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
