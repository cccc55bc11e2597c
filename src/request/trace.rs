//! One log line and one metric for every request, and one entry among the last calls, however it ends: all are written
//! when the trace is dropped.
//!
//! Never in here: a key, a token, a query string, a header's value, an answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::call::Call;
use super::respond::Outcome;
use super::{Server, clock};
use crate::admin::calls::Ended;
use crate::keys::key::Key;
use crate::otlp::{self, Draft};
use crate::tenants::Tenant;
use crate::vendor::answer::Asked;
use crate::wire::Endpoint;

pub struct Trace {
    /// `None` for a part of a request, whose sums go into the whole.
    server: Option<Arc<Server>>,
    began: Instant,
    endpoint: &'static str,
    call: &'static str,
    /// None in open mode.
    tenant: Option<Arc<str>>,
    task: Option<String>,
    key: Option<Arc<str>>,
    vendor: Duration,
    tries: u32,
    unheard: bool,
    repeat: bool,
    /// Stays so when the client hangs up and nothing goes on without it.
    outcome: &'static str,
    /// For the collector, if there is one.
    draft: Option<Box<Draft>>,
}

impl Trace {
    pub fn new(server: &Arc<Server>, endpoint: Endpoint) -> Self {
        let endpoint = match endpoint {
            Endpoint::Submit => "in",
            Endpoint::Solve => "solve",
            Endpoint::Result => "res",
            Endpoint::Load => "load",
        };
        Self::with(Some(Arc::clone(server)), endpoint)
    }

    /// For calls that no client asked for: nothing is logged as a request.
    pub fn own() -> Self {
        Self::with(None, "own")
    }

    pub fn draw(&mut self, draft: Option<Draft>) {
        self.draft = draft.map(Box::new);
    }

    pub fn call(&mut self, call: &Call) {
        self.call = call.label();
    }

    pub fn tenant(&mut self, tenant: &Tenant) {
        self.tenant = (!tenant.is_everybody()).then(|| Arc::clone(&tenant.name));
    }

    pub fn task(&mut self, id: &str) {
        self.task = Some(id.to_owned());
    }

    pub fn uses(&mut self, key: &Key) {
        self.key = Some(Arc::clone(&key.name));
    }

    /// One more call to the vendor, which ends now.
    pub fn asked_vendor(
        &mut self,
        asked: Asked,
        key: Option<&Key>,
        took: Duration,
        came_to: &'static str,
    ) {
        self.vendor += took;
        self.tries += 1;
        if let Some(draft) = &mut self.draft {
            draft.call(otlp::Call {
                what: asked.name(),
                came_to,
                key: key.map(|key| Arc::clone(&key.name)),
                ended: Instant::now(),
                took,
            });
        }
    }

    /// For a call that others share, or for its turn.
    pub fn waited(&mut self, took: Duration) {
        self.vendor += took;
        if let Some(draft) = &mut self.draft
            && took >= SHOWN_WAIT
        {
            draft.call(otlp::Call {
                what: "shared call",
                came_to: "waited",
                key: None,
                ended: Instant::now(),
                took,
            });
        }
    }

    /// The answer belongs to an earlier, identical submit whose client had hung up.
    pub fn unheard(&mut self) {
        self.unheard = true;
    }

    /// The answer belongs to an earlier submit with the same idempotency key.
    pub fn repeat(&mut self) {
        self.repeat = true;
    }

    pub fn end(&mut self, outcome: &Outcome) {
        self.outcome = match outcome {
            Outcome::Relay(_) => "relayed",
            Outcome::Code(_) => "code",
            Outcome::NotReady => "not_ready",
            Outcome::Value(_) | Outcome::Bare(_) | Outcome::Threads { .. } => "answered",
            Outcome::Refused(refusal) => refusal.outcome(),
        };
    }

    fn with(server: Option<Arc<Server>>, endpoint: &'static str) -> Self {
        Self {
            server,
            began: Instant::now(),
            endpoint,
            call: "unread",
            tenant: None,
            task: None,
            key: None,
            vendor: Duration::ZERO,
            tries: 0,
            unheard: false,
            repeat: false,
            outcome: "client_left",
            draft: None,
        }
    }

    /// For one of several calls that run at the same time.
    pub fn part(&self) -> Self {
        Self {
            server: None,
            began: self.began,
            tenant: None,
            task: None,
            key: None,
            vendor: Duration::ZERO,
            tries: 0,
            unheard: false,
            repeat: false,
            endpoint: self.endpoint,
            call: self.call,
            outcome: self.outcome,
            draft: self.draft.as_ref().map(|draft| Box::new(draft.part())),
        }
    }

    /// Calls side by side cost the longest of them.
    pub fn add(&mut self, part: &Self) {
        self.vendor = self.vendor.max(part.vendor);
        self.tries += part.tries;
        if part.key.is_some() {
            self.key.clone_from(&part.key);
        }
        if let (Some(draft), Some(part)) = (&mut self.draft, &part.draft) {
            draft.add(part);
        }
    }
}

/// In a trace. A look at whether there is anything to wait for is none.
const SHOWN_WAIT: Duration = Duration::from_millis(1);

impl Drop for Trace {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        let took = self.began.elapsed();
        server
            .metrics
            .request(self.endpoint, self.call, self.outcome, took, self.vendor);
        let own = took.saturating_sub(self.vendor);
        tracing::info!(
            target: "sidekey::request",
            // Our own words need no quotes, and to look for what to escape is dear.
            call = %self.call,
            tenant = self.tenant.as_deref(),
            task = self.task.as_deref(),
            key = self.key.as_deref(),
            outcome = %self.outcome,
            vendor_ms = self.vendor.as_millis() as u64,
            own_us = own.as_micros() as u64,
            tries = self.tries,
            unheard = self.unheard.then_some(true),
            repeat = self.repeat.then_some(true),
            "request"
        );
        if let Some(draft) = self.draft.take() {
            let said = otlp::Said {
                endpoint: self.endpoint,
                call: self.call,
                outcome: self.outcome,
                tenant: self.tenant.clone(),
                task: self.task.clone(),
                key: self.key.clone(),
                vendor: self.vendor,
                own,
                tries: self.tries,
                unheard: self.unheard,
                repeat: self.repeat,
            };
            draft.end(said, took);
        }
        server.calls.ended(Ended {
            at_ms: clock::now_ms(),
            tenant: self.tenant.take(),
            call: self.call,
            task: self.task.take(),
            key: self.key.take(),
            outcome: self.outcome,
            vendor: self.vendor,
            own,
            tries: self.tries,
        });
    }
}
