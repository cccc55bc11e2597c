//! The control API: what the handle does, over HTTP and JSON, below `/sandbox/`.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::http::{HeaderValue, Method, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::config::{AccountConfig, Later, Mistake};
use super::faults::FaultRule;
use super::hub::Hub;
use super::limits::Ban;
use super::record::RecordedCall;

/// What may be said of an account. What is left out stays; for a new account it has its default.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AccountChange {
    key: Option<String>,
    balance_micros: Option<i64>,
    price_micros: Option<i64>,
    /// `null` means no limit, so that left out and `null` differ.
    #[serde(deserialize_with = "present")]
    threads: Option<Option<u32>>,
    solve_ms: Option<u64>,
    #[serde(deserialize_with = "present")]
    answer: Option<Option<String>>,
    #[serde(deserialize_with = "present")]
    answer_json: Option<Option<String>>,
    enabled: Option<bool>,
    /// Added to what is already to come.
    later: Vec<Later>,
}

/// What is left out stays.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LimitsChange {
    bans: Option<Vec<Ban>>,
    requests_per_second: Option<u32>,
    ban_after: Option<u32>,
    ban_ms: Option<u64>,
}

fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    value: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// Calls in one answer where the question does not say how many.
const CALLS_A_PAGE: usize = 1000;

type Outcome = Result<Value, (u16, String)>;

pub(super) fn answer(
    hub: &Hub,
    method: &Method,
    path: &str,
    query: &str,
    body: &Bytes,
) -> Response<Full<Bytes>> {
    let parts: Vec<&str> = path
        .split('/')
        .skip(2)
        .filter(|part| !part.is_empty())
        .collect();
    let outcome = match (method, parts.as_slice()) {
        (&Method::GET, ["record"]) => record(hub, query),
        (&Method::GET, ["accounts"]) => {
            Ok(json!({ "accounts": hub.vendor().accounts(hub.clock.now()) }))
        }
        (&Method::POST, ["accounts", name]) => change_account(hub, name, body),
        (&Method::DELETE, ["accounts", name]) => {
            let removed = hub.vendor().remove_account(name);
            if removed {
                Ok(json!({}))
            } else {
                Err((404, Mistake::UnknownAccount((*name).to_owned()).to_string()))
            }
        }
        (&Method::GET, ["limits"]) => Ok(json!(hub.vendor().limits())),
        (&Method::POST, ["limits"]) => change_limits(hub, body),
        (&Method::GET, ["ledger"]) => Ok(ledger(hub, query)),
        (&Method::GET, ["faults"]) => Ok(json!({ "faults": hub.faults.list() })),
        (&Method::POST, ["faults"]) => add_fault(hub, body),
        (&Method::DELETE, ["faults"]) => {
            hub.faults.clear();
            Ok(json!({}))
        }
        (&Method::DELETE, ["faults", id]) => match id.parse().map(|id| hub.faults.remove(id)) {
            Ok(true) => Ok(json!({})),
            _ => Err((
                404,
                format!("there is no fault `{id}`: GET /sandbox/faults lists them"),
            )),
        },
        (&Method::POST, ["connections", "close"]) => {
            hub.close_idle.send_modify(|n| *n += 1);
            Ok(json!({}))
        }
        (&Method::POST, ["reset"]) => {
            hub.reset();
            Ok(json!({}))
        }
        _ => Err((404, format!("the control API has no {method} {path}"))),
    };
    let (status, value) = match outcome {
        Ok(value) => (200, value),
        Err((status, error)) => (status, json!({ "error": error })),
    };
    let mut response = super::strike::Reply::new(status, format!("{value}\n")).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

fn add_fault(hub: &Hub, body: &[u8]) -> Outcome {
    let rule: FaultRule = serde_json::from_slice(body).map_err(|error| (400, error.to_string()))?;
    let id = hub
        .faults
        .add(rule)
        .map_err(|mistake| (400, mistake.to_string()))?;
    Ok(json!({ "id": id }))
}

fn change_limits(hub: &Hub, body: &[u8]) -> Outcome {
    let change: LimitsChange = read(body)?;
    let mut vendor = hub.vendor();
    let mut limits = vendor.limits().clone();
    limits.bans = change.bans.unwrap_or(limits.bans);
    limits.requests_per_second = change
        .requests_per_second
        .unwrap_or(limits.requests_per_second);
    limits.ban_after = change.ban_after.unwrap_or(limits.ban_after);
    limits.ban_ms = change.ban_ms.unwrap_or(limits.ban_ms);
    vendor.set_limits(limits);
    Ok(json!(vendor.limits()))
}

/// No body is an empty object.
fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, (u16, String)> {
    let body = if body.trim_ascii().is_empty() {
        b"{}"
    } else {
        body
    };
    serde_json::from_slice(body).map_err(|error| (400, error.to_string()))
}

fn change_account(hub: &Hub, name: &str, body: &[u8]) -> Outcome {
    let change: AccountChange = read(body)?;
    let now = hub.clock.now();
    let mut vendor = hub.vendor();
    let mut config = vendor
        .account_config(name, now)
        .unwrap_or_else(|| AccountConfig::new(name, ""));
    let AccountChange {
        key,
        balance_micros,
        price_micros,
        threads,
        solve_ms,
        answer,
        answer_json,
        enabled,
        later,
    } = change;
    config.key = key.unwrap_or(config.key);
    config.balance_micros = balance_micros.unwrap_or(config.balance_micros);
    config.price_micros = price_micros.unwrap_or(config.price_micros);
    config.threads = threads.unwrap_or(config.threads);
    config.solve_ms = solve_ms.unwrap_or(config.solve_ms);
    config.answer = answer.unwrap_or(config.answer);
    config.answer_json = answer_json.unwrap_or(config.answer_json);
    config.enabled = enabled.unwrap_or(config.enabled);
    config.later = later;
    vendor
        .put_account(config, now)
        .map_err(|mistake| (400, mistake.to_string()))?;
    Ok(json!(vendor.account(name, now)))
}

fn ledger(hub: &Hub, query: &str) -> Value {
    let now = hub.clock.now();
    let mut vendor = hub.vendor();
    let accounts = vendor.totals(now);
    if parameter(query, "tasks") == Some("1") {
        return json!({ "accounts": accounts, "tasks": vendor.tasks(now) });
    }
    json!({ "accounts": accounts })
}

/// `?after=N` calls after number N, `&limit=N` how many, `&account=NAME`, `&endpoint=in.php`, `&foreign=1`.
fn record(hub: &Hub, query: &str) -> Outcome {
    let number = |name: &'static str| match parameter(query, name).map(str::parse::<u64>) {
        Some(Err(_)) => Err((400, format!("`{name}` is not a number"))),
        Some(Ok(number)) => Ok(Some(number)),
        None => Ok(None),
    };
    let after = number("after")?.unwrap_or(0);
    let limit = number("limit")?.map_or(CALLS_A_PAGE, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    let (account, endpoint) = (parameter(query, "account"), parameter(query, "endpoint"));
    let foreign = parameter(query, "foreign") == Some("1");
    let wanted = |call: &RecordedCall| {
        call.n > after
            && account.is_none_or(|account| call.account.as_deref() == Some(account))
            && endpoint.is_none_or(|endpoint| call.endpoint == endpoint)
            && (!foreign || call.foreign)
    };
    let (counts, calls) = hub.recorder.look(|record| {
        let calls: Vec<_> = record
            .calls
            .iter()
            .filter(|call| wanted(call))
            .take(limit)
            .cloned()
            .collect();
        (record.counts.clone(), calls)
    });
    let calls: Vec<&RecordedCall> = calls.iter().map(AsRef::as_ref).collect();
    Ok(json!({ "counts": counts, "calls": calls }))
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(n, _)| *n == name)
        .map(|(_, value)| value)
}
