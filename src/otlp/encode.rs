//! Ended requests as OTLP in JSON, one of the two encodings that every collector must take over HTTP.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Call, Ended};
use crate::log::request_id::RequestId;
use crate::request::trace::Said;

/// A body for `/v1/traces`. `run` tells processes apart that run side by side.
pub(super) fn body(requests: &[Ended], run: RequestId) -> String {
    let spans: Vec<Value> = requests.iter().flat_map(spans).collect();
    let resource = [
        text("service.name", "sidekey"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", &run.to_string()),
    ];
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{
            "scope": { "name": "sidekey", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans,
        }],
    }]})
    .to_string()
}

fn spans(request: &Ended) -> Vec<Value> {
    let trace = match &request.parent {
        Some(parent) => format!("{:032x}", parent.trace),
        // So that the id in the log finds the trace as well.
        None => format!("{}{}", RequestId::next(), request.id),
    };
    let at = request.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut root = json!({
        "traceId": trace,
        "spanId": request.id.to_string(),
        "name": request.said.call,
        "kind": SERVER,
        "startTimeUnixNano": nanos(at.saturating_sub(request.took)),
        "endTimeUnixNano": nanos(at),
        "attributes": attributes(&request.said),
        "status": status(request.said.outcome),
    });
    if let Some(parent) = &request.parent {
        root["parentSpanId"] = format!("{:016x}", parent.span).into();
    }
    let call = |call: &Call| {
        let ago = request.at_instant.saturating_duration_since(call.ended);
        let ended = at.saturating_sub(ago);
        let mut attributes = vec![text("sidekey.class", call.came_to)];
        attributes.extend(call.key.as_deref().map(|key| text("sidekey.key", key)));
        json!({
            "traceId": trace,
            "spanId": RequestId::next().to_string(),
            "parentSpanId": request.id.to_string(),
            "name": format!("vendor {}", call.what),
            "kind": CLIENT,
            "startTimeUnixNano": nanos(ended.saturating_sub(call.took)),
            "endTimeUnixNano": nanos(ended),
            "attributes": attributes,
            "status": status(call.came_to),
        })
    };
    [root]
        .into_iter()
        .chain(request.calls.iter().map(call))
        .collect()
}

/// By the names of the log's fields.
fn attributes(said: &Said) -> Vec<Value> {
    let optional = [
        ("sidekey.tenant", said.tenant.as_deref()),
        ("sidekey.task", said.task.as_deref()),
        ("sidekey.key", said.key.as_deref()),
    ];
    let optional = optional
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| text(name, value)));
    let flags = [
        ("sidekey.unheard", said.unheard),
        ("sidekey.repeat", said.repeat),
    ];
    let flags = flags
        .into_iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(name, _)| json!({ "key": name, "value": { "boolValue": true } }));
    [
        text("sidekey.endpoint", said.endpoint),
        text("sidekey.call", said.call),
        text("sidekey.outcome", said.outcome),
        number("sidekey.vendor_ms", said.vendor.as_millis()),
        number("sidekey.own_us", said.own.as_micros()),
        number("sidekey.tries", said.tries.into()),
    ]
    .into_iter()
    .chain(optional)
    .chain(flags)
    .collect()
}

/// An error is what somebody should look at: refusals by limits and full keys are daily life.
fn status(came_to: &str) -> Value {
    const ERRORS: [&str; 7] = [
        "internal",
        "uncertain",
        "vendor_trouble",
        "vendor_unreachable",
        "poll_trouble",
        "trouble",
        "no_answer",
    ];
    match ERRORS.contains(&came_to) {
        true => json!({ "code": 2, "message": came_to }),
        false => json!({}),
    }
}

fn text(name: &str, value: &str) -> Value {
    json!({ "key": name, "value": { "stringValue": value } })
}

/// 64-bit numbers are text in this encoding.
fn number(name: &str, value: u128) -> Value {
    json!({ "key": name, "value": { "intValue": value.to_string() } })
}

fn nanos(since_1970: Duration) -> String {
    since_1970.as_nanos().to_string()
}

/// `SPAN_KIND_SERVER` and `SPAN_KIND_CLIENT`.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
