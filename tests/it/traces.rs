//! Traces reach a real collector, say no more than the log, and cost a request nothing when the collector is in trouble.

use std::time::Duration;

use serde_json::Value;
use sidekey::background::Background;
use sidekey::sandbox::Dialect;
use tokio::time::Instant;

use crate::receiver::{Mood, Receiver};
use crate::support::http::send;
use crate::support::{PLACEHOLDER, TASK, World, key, name, until, vendor};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

async fn world(collector: &Receiver) -> World {
    let mut config = vendor(Dialect::Twocaptcha, 1);
    config.forbidden.push(TRACE.to_owned());
    let lines = format!("log.otlp = \"http://{}\"", collector.address);
    World::start(config, &lines).await
}

fn spans(collector: &Receiver) -> Vec<Value> {
    let of = |body: Value| body["resourceSpans"][0]["scopeSpans"][0]["spans"].clone();
    let bodies = collector.bodies().into_iter();
    bodies
        .flat_map(|body| of(body).as_array().unwrap().clone())
        .collect()
}

fn attribute<'a>(span: &'a Value, name: &str) -> Option<&'a str> {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|found| found["key"] == name)?;
    let value = &found["value"];
    let number = || value["intValue"].as_str();
    value["stringValue"].as_str().or_else(number)
}

/// Returns the request's id.
async fn get(world: &World, target: &str, headers: &str) -> String {
    let answer = send(world.http(), "GET", target, headers, "").await;
    assert_eq!(answer.status, 200);
    let mut lines = answer.head.lines();
    let id = lines.find_map(|line| line.strip_prefix("x-sidekey-request: "));
    id.unwrap().to_owned()
}

#[tokio::test]
async fn a_request_is_a_span_below_its_clients_with_one_for_each_call_to_the_vendor() {
    let background = Background::new();
    let collector = Receiver::start(Mood::Takes, &background).await;
    let world = world(&collector).await;
    let parent = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n");
    let target = format!("/in.php?key={PLACEHOLDER}&{TASK}");
    let id = get(&world, &target, &parent).await;
    let unsampled = format!("traceparent: 00-{TRACE}-{SPAN}-00\r\n");
    get(&world, &target, &unsampled).await;
    let other = get(&world, &target, "").await;
    until("both came", async || spans(&collector).len() == 4).await;

    let spans = spans(&collector);
    let root = |id: &str| spans.iter().find(|span| span["spanId"] == id).unwrap();
    let below = |id: &str| {
        spans
            .iter()
            .find(|span| span["parentSpanId"] == id)
            .unwrap()
    };
    let (first, call) = (root(&id), below(&id));
    assert_eq!(
        (&first["traceId"], &call["traceId"]),
        (&TRACE.into(), &TRACE.into())
    );
    assert_eq!(first["parentSpanId"], SPAN);
    assert_eq!(
        (&first["name"], &first["kind"]),
        (&"submit".into(), &2.into())
    );
    assert_eq!(
        (&call["name"], &call["kind"]),
        (&"vendor submit".into(), &3.into())
    );
    assert_eq!(attribute(first, "sidekey.key"), Some(&*name(1)));
    assert_eq!(attribute(first, "sidekey.outcome"), Some("relayed"));
    assert_eq!(attribute(first, "sidekey.tries"), Some("1"));
    assert_eq!(attribute(call, "sidekey.class"), Some("accepted"));
    let time = |span: &Value, name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
    assert!(time(first, "startTimeUnixNano") <= time(call, "startTimeUnixNano"));
    assert!(time(call, "startTimeUnixNano") < time(call, "endTimeUnixNano"));
    assert!(time(call, "endTimeUnixNano") <= time(first, "endTimeUnixNano"));
    let second = root(&other);
    assert!(second["traceId"].as_str().unwrap().ends_with(&other));
    assert_eq!(second.get("parentSpanId"), None);

    for request in collector.taken() {
        let text = String::from_utf8(request).unwrap();
        for secret in [PLACEHOLDER, &key(1), "SITEKEY", "example.com"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    assert_eq!(world.metric("sidekey_traces_sent_total").await, 2.0);
    // Nor did the vendor hear of the client's trace.
    assert_eq!(world.sandbox.counts().forbidden, 0);
    world.end().await;
    background.ask_to_stop();
}

#[tokio::test]
async fn a_collector_in_trouble_slows_nobody_and_what_it_missed_is_counted() {
    let background = Background::new();
    let collector = Receiver::start(Mood::Hangs, &background).await;
    let world = world(&collector).await;
    let id = world.submit().await;
    for _ in 0..50 {
        let began = Instant::now();
        world.poll(&id).await;
        assert!(began.elapsed() < Duration::from_secs(1));
    }
    collector.becomes(Mood::Gone);
    world.poll(&id).await;
    let began = Instant::now();
    let server = std::sync::Arc::clone(&world.running().server);
    world.end().await;
    assert!(began.elapsed() < Duration::from_secs(10));
    let traces = server.traces.as_ref().unwrap();
    assert_eq!((traces.sent(), traces.lost()), (0, 52));
    background.ask_to_stop();
}

#[tokio::test]
async fn what_a_collector_refuses_is_lost_at_once_and_counted() {
    let background = Background::new();
    let collector = Receiver::start(Mood::Refuses, &background).await;
    let world = world(&collector).await;
    world.submit().await;
    until("it is lost", async || {
        world.metric("sidekey_traces_lost_total").await == 1.0
    })
    .await;
    assert_eq!(collector.tries(), 1);
    world.end().await;
    background.ask_to_stop();
}

#[tokio::test]
async fn a_collector_that_hangs_holds_the_end_up_for_seconds_at_most() {
    let background = Background::new();
    let collector = Receiver::start(Mood::Hangs, &background).await;
    let world = world(&collector).await;
    world.submit().await;
    until("it was tried", async || collector.tries() > 0).await;
    let began = Instant::now();
    let server = std::sync::Arc::clone(&world.running().server);
    world.end().await;
    assert!(began.elapsed() < Duration::from_secs(6));
    assert_eq!(server.traces.as_ref().unwrap().lost(), 1);
    background.ask_to_stop();
}

#[tokio::test]
async fn a_collector_that_comes_back_gets_every_trace_once_and_the_last_ones_at_the_end() {
    let background = Background::new();
    let collector = Receiver::start(Mood::Fails, &background).await;
    let world = world(&collector).await;
    let id = world.submit().await;
    until("it was tried", async || collector.tries() > 0).await;
    assert!(collector.taken().is_empty());
    collector.becomes(Mood::Takes);
    until("the first came", async || spans(&collector).len() == 2).await;
    world.poll(&id).await;
    world.end().await;
    let names: Vec<Value> = spans(&collector)
        .iter()
        .map(|span| span["name"].clone())
        .collect();
    assert_eq!(names, ["submit", "vendor submit", "poll", "vendor poll"]);
    background.ask_to_stop();
}
