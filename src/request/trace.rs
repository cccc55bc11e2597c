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
use crate::keys::key::Key;
use crate::otlp::{self, Draft};
use crate::tenants::Tenant;
use crate::vendor::answer::Asked;
use crate::wire::Endpoint;

pub struct Trace {
    /// `None` for a part of a request, whose sums go into the whole.
    server: Option<Arc<Server>>,
    began: Instant,
    said: Said,
    /// For the collector, if there is one.
    draft: Option<Box<Draft>>,
}

/// All that is said of a request: in the log, among the last calls, to the collector.
#[derive(Clone, Debug)]
pub struct Said {
    pub endpoint: &'static str,
    pub call: &'static str,
    /// None in open mode.
    pub tenant: Option<Arc<str>>,
    pub task: Option<String>,
    pub key: Option<Arc<str>>,
    /// Stays `client_left` when the client hangs up and nothing goes on without it.
    pub outcome: &'static str,
    pub vendor: Duration,
    /// What else it took, known at its end.
    pub own: Duration,
    pub tries: u32,
    pub unheard: bool,
    pub repeat: bool,
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
        self.said.call = call.label();
    }

    pub fn tenant(&mut self, tenant: &Tenant) {
        self.said.tenant = (!tenant.is_everybody()).then(|| Arc::clone(&tenant.name));
    }

    pub fn task(&mut self, id: &str) {
        self.said.task = Some(id.to_owned());
    }

    pub fn uses(&mut self, key: &Key) {
        self.said.key = Some(Arc::clone(&key.name));
    }

    /// One more call to the vendor, which ends now.
    pub fn asked_vendor(
        &mut self,
        asked: Asked,
        key: Option<&Key>,
        took: Duration,
        came_to: &'static str,
    ) {
        self.said.vendor += took;
        self.said.tries += 1;
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
        self.said.vendor += took;
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
        self.said.unheard = true;
    }

    /// The answer belongs to an earlier submit with the same idempotency key.
    pub fn repeat(&mut self) {
        self.said.repeat = true;
    }

    pub fn end(&mut self, outcome: &Outcome) {
        self.said.outcome = match outcome {
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
            said: Said {
                endpoint,
                call: "unread",
                tenant: None,
                task: None,
                key: None,
                outcome: "client_left",
                vendor: Duration::ZERO,
                own: Duration::ZERO,
                tries: 0,
                unheard: false,
                repeat: false,
            },
            draft: None,
        }
    }

    /// For one of several calls that run at the same time.
    pub fn part(&self) -> Self {
        let mut part = Self::own();
        part.draft = self.draft.as_ref().map(|draft| Box::new(draft.part()));
        part
    }

    /// Calls side by side cost the longest of them.
    pub fn add(&mut self, part: &Self) {
        self.said.vendor = self.said.vendor.max(part.said.vendor);
        self.said.tries += part.said.tries;
        if part.said.key.is_some() {
            self.said.key.clone_from(&part.said.key);
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
        let said = &mut self.said;
        said.own = took.saturating_sub(said.vendor);
        server
            .metrics
            .request(said.endpoint, said.call, said.outcome, took, said.vendor);
        tracing::info!(
            target: "sidekey::request",
            // Our own words need no quotes, and to look for what to escape is dear.
            call = %said.call,
            tenant = said.tenant.as_deref(),
            task = said.task.as_deref(),
            key = said.key.as_deref(),
            outcome = %said.outcome,
            vendor_ms = said.vendor.as_millis() as u64,
            own_us = said.own.as_micros() as u64,
            tries = said.tries,
            unheard = said.unheard.then_some(true),
            repeat = said.repeat.then_some(true),
            "request"
        );
        if let Some(draft) = self.draft.take() {
            draft.end(said.clone(), took);
        }
        let said = Said {
            tenant: said.tenant.take(),
            task: said.task.take(),
            key: said.key.take(),
            ..*said
        };
        server.calls.ended(said, clock::now_ms());
    }
}
