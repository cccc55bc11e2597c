//! What somebody should be told: looked for every few seconds, told once, and told again when it returns.
//!
//! ```text
//! look      the state of keys, pool, vendor and tenants, as plain values     look
//! find      what holds in it: a cause, whose it is, what to do      findings, tenants
//! compare   with what was told before                               machine
//! deliver   a log line, a metric, and the webhook in its own time   delivery, webhook
//! ```
//! Nothing waits for a webhook: what finds no room in the outbox is dropped, oldest first, and counted.

pub mod cause;
pub mod delivery;
pub mod findings;
mod look;
pub mod machine;
pub mod outbox;
pub mod tenants;
pub mod webhook;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::request::{Server, clock};
use cause::Cause;
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
    loop {
        tokio::select! {
            () = sleep(EVERY) => {}
            () = server.background.stopping() => return,
        }
        tell(&server, Instant::now());
    }
}

fn tell(server: &Server, now: Instant) {
    let view = look::look(server, now);
    let near = look::tenants(server, clock::now_ms());
    let due = {
        let mut machine = server.alerts.machine();
        let found = findings::find(&view, |cause, subject| machine.is_active(cause, subject));
        let found = [found, tenants::find(&near)].concat();
        machine.step(found, now)
    };
    let has_webhook = server.live.load().settings.alerts.webhook.is_some();
    for finding in due {
        let cause = finding.cause.name();
        tracing::warn!(cause, subject = %finding.subject, text = finding.text, "alert");
        server.metrics.alert(finding.cause);
        let kind = format!("alert-{}", cause.replace('_', "-"));
        server.events.add(kind, &finding.subject, &*finding.text);
        if has_webhook {
            let alert = Alert {
                finding,
                at_ms: clock::now_ms(),
                since: now,
            };
            if server.alerts.outbox.push(alert) {
                server.metrics.alert_lost("no_room");
            }
        }
    }
}
