//! What somebody should be told: looked for every few seconds, told once, and told again when it returns.
//!
//! ```text
//! look      the state of keys, pool, vendor and tenants, as plain values     look
//! find      what holds in it: a cause, whose it is, what to do      findings, tenants
//! compare   with what was told before, here and by other replicas     machine, once
//! deliver   a log line, a metric, and the webhook in its own time   delivery, webhook
//! ```
//! Nothing waits for a webhook: what finds no room in the outbox is dropped, oldest first, and counted.

pub mod cause;
pub mod delivery;
pub mod findings;
mod look;
pub mod machine;
mod once;
pub mod outbox;
pub mod tenants;
pub mod webhook;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::request::{Server, clock};
use cause::Cause;
use findings::Finding;
use machine::Machine;
use outbox::{Alert, Outbox};

/// What is shared with those who look and those who deliver.
#[derive(Debug, Default)]
pub struct Alerts {
    machine: Mutex<Machine>,
    pub outbox: Outbox,
}

/// Short beside every time after which something is told, long beside a look at ten thousand keys (a millisecond).
const EVERY: Duration = Duration::from_secs(2);

impl Alerts {
    /// How many subjects a cause holds for, and was told of.
    pub fn active(&self, cause: Cause) -> usize {
        self.machine().active(cause)
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until shutdown.
pub async fn run(server: Arc<Server>) {
    let mut undecided = Vec::new();
    loop {
        tokio::select! {
            () = sleep(EVERY) => {}
            () = server.background.stopping() => return,
        }
        let (told, mut due) = find(&server, Instant::now());
        due.append(&mut undecided);
        match once::ours(&server, told, due).await {
            Ok(ours) => ours.into_iter().for_each(|finding| tell(&server, finding)),
            Err(unknown) => undecided = unknown,
        }
    }
}

/// What was told before and holds on, and what is due.
fn find(server: &Server, now: Instant) -> (Vec<String>, Vec<Finding>) {
    let view = look::look(server, now);
    let near = look::tenants(server, clock::now_ms());
    let mut machine = server.alerts.machine();
    let told = machine.told();
    let told = told.map(|(cause, subject)| once::name(cause, subject));
    let told = told.collect();
    let found = findings::find(&view, |cause, subject| machine.is_active(cause, subject));
    let found = [found, tenants::find(&near)].concat();
    (told, machine.step(found, now))
}

fn tell(server: &Server, finding: Finding) {
    let cause = finding.cause.name();
    tracing::warn!(cause, subject = %finding.subject, text = finding.text, "alert");
    server.metrics.alert(finding.cause);
    let kind = format!("alert-{}", cause.replace('_', "-"));
    server.events.add(kind, &finding.subject, &*finding.text);
    if server.live.load().settings.alerts.webhook.is_some() {
        let alert = Alert {
            finding,
            at_ms: clock::now_ms(),
            since: Instant::now(),
        };
        if server.alerts.outbox.push(alert) {
            server.metrics.alert_lost("no_room");
        }
    }
}
