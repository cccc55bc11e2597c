//! What is counted, by the names of the public contract. Label values come from the configuration and from code, never
//! from requests, so that nobody outside decides how many series there are.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::alerts::cause::Cause;
use crate::log::DroppedLines;
use crate::store::Store;
use crate::vendor::answer::Asked;
use crate::vendor::profile::Class;

pub struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    request_seconds: Family<Endpoint, Histogram, fn() -> Histogram>,
    vendor_requests: Family<VendorRequest, Counter>,
    vendor_seconds: Histogram,
    overhead_seconds: Histogram,
    failovers: Family<Reason, Counter>,
    /// In the order of `PollFrom::ALL`, so that a poll looks up no label.
    polls: [Counter; PollFrom::ALL.len()],
    uncertain_submits: Counter,
    unheard_answers: Counter,
    late_answers: Counter,
    repeated_submits: Counter,
    solve_seconds: Family<Type, Histogram, fn() -> Histogram>,
    solves: Mutex<BTreeMap<&'static str, Solved>>,
    store_errors: Counter,
    alerts: Family<Told, Counter>,
    alerts_lost: Family<Reason, Counter>,
    reloads: Family<Reload, Counter>,
    last_reload_successful: Gauge,
    last_reload: Gauge,
    /// Set where the process has a log.
    log_lines_dropped: OnceLock<DroppedLines>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    endpoint: &'static str,
    action: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Endpoint {
    endpoint: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VendorRequest {
    action: &'static str,
    class: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    from: &'static str,
}

/// What answered a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollFrom {
    /// A call of its own.
    Vendor,
    /// The call of another poll, at the same time or less than a pace ago.
    Pace,
    /// A call for several tasks.
    Batch,
    /// A final answer, repeated.
    Kept,
}

impl PollFrom {
    const ALL: [Self; 4] = [Self::Vendor, Self::Pace, Self::Batch, Self::Kept];

    fn name(self) -> &'static str {
        match self {
            Self::Vendor => "vendor",
            Self::Pace => "pace",
            Self::Batch => "batch",
            Self::Kept => "kept",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Type {
    r#type: &'static str,
}

/// Solves of one type since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Solved {
    pub count: u64,
    pub took: Duration,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Told {
    cause: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reload {
    result: &'static str,
}

impl Metrics {
    pub fn new(store: &Store) -> Self {
        let mut registry = Registry::with_prefix("sidekey");
        let polls = Family::<Answered, Counter>::default();
        let metrics = Self {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            vendor_requests: Family::default(),
            vendor_seconds: seconds(),
            // From memory answers (microseconds) to a submit that waited for its commit.
            overhead_seconds: Histogram::new([
                0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.1, 1.0,
            ]),
            failovers: Family::default(),
            polls: PollFrom::ALL.map(|from| {
                let from = from.name();
                polls.get_or_create_owned(&Answered { from })
            }),
            uncertain_submits: Counter::default(),
            unheard_answers: Counter::default(),
            late_answers: Counter::default(),
            repeated_submits: Counter::default(),
            solve_seconds: Family::new_with_constructor(solve_seconds),
            solves: Mutex::default(),
            store_errors: Counter::default(),
            alerts: Family::default(),
            alerts_lost: Family::default(),
            reloads: Family::default(),
            last_reload_successful: Gauge::default(),
            last_reload: Gauge::default(),
            log_lines_dropped: OnceLock::new(),
            registry: Registry::default(),
        };
        let m = &metrics;
        // The library appends `_total` to counters and a full stop to the help texts.
        registry.register(
            "requests",
            "Client requests by what they were and how they ended",
            m.requests.clone(),
        );
        registry.register(
            "request_seconds",
            "Time from the head to the answer",
            m.request_seconds.clone(),
        );
        registry.register(
            "vendor_requests",
            "Calls to the vendor by the class of answer",
            m.vendor_requests.clone(),
        );
        registry.register(
            "vendor_seconds",
            "Time of calls to the vendor",
            m.vendor_seconds.clone(),
        );
        registry.register(
            "overhead_seconds",
            "Time of a request spent in Sidekey itself",
            m.overhead_seconds.clone(),
        );
        registry.register(
            "failovers",
            "Submits that went on to another key, by the reason",
            m.failovers.clone(),
        );
        registry.register(
            "polls_answered",
            "Polls of known tasks by what answered them: a call of their own, the call of another poll, one call for several tasks, a kept answer",
            polls,
        );
        registry.register(
            "uncertain_submits",
            "Submits of which nobody can know whether the vendor accepted them",
            m.uncertain_submits.clone(),
        );
        registry.register(
            "unheard_answers",
            "Ids whose client had hung up, given to its next identical submit",
            m.unheard_answers.clone(),
        );
        registry.register(
            "late_answers",
            "Uncertain submits whose id came after their deadline",
            m.late_answers.clone(),
        );
        registry.register(
            "repeated_submits",
            "Submits that were given the answer of an earlier one with the same idempotency key",
            m.repeated_submits.clone(),
        );
        registry.register(
            "solve_seconds",
            "Time from the submit to the moment at which the solution was heard of",
            m.solve_seconds.clone(),
        );
        registry.register(
            "store_errors",
            "Store operations that failed or took over a second",
            m.store_errors.clone(),
        );
        registry.register(
            "store_write_seconds",
            "Time of a transaction of the store",
            store.write_seconds(),
        );
        registry.register(
            "alerts",
            "What somebody was told, by cause; see the log for the texts",
            m.alerts.clone(),
        );
        registry.register(
            "alerts_lost",
            "Alerts that never reached the webhook, by the reason",
            m.alerts_lost.clone(),
        );
        registry.register(
            "config_reloads",
            "Changed configurations, adopted or refused",
            m.reloads.clone(),
        );
        registry.register(
            "config_last_reload_successful",
            "1 when the last changed configuration was adopted",
            m.last_reload_successful.clone(),
        );
        registry.register(
            "config_last_reload_timestamp_seconds",
            "When a configuration was adopted last",
            m.last_reload.clone(),
        );
        registry.register(
            "build",
            "The running program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        metrics.begin_at_zero();
        metrics.adopted_now();
        Self {
            registry,
            ..metrics
        }
    }

    /// The whole text, in OpenMetrics; `more` registers what is only known at the time of asking.
    pub fn text(&self, more: impl FnOnce(&mut Registry)) -> String {
        let mut text = String::new();
        let mut at_the_moment = Registry::with_prefix("sidekey");
        more(&mut at_the_moment);
        let written = text::encode_registry(&mut text, &self.registry)
            .and_then(|()| text::encode_registry(&mut text, &at_the_moment))
            .and_then(|()| text::encode_eof(&mut text));
        debug_assert!(written.is_ok(), "writing to a String does not fail");
        text
    }

    pub fn request(
        &self,
        endpoint: &'static str,
        action: &'static str,
        outcome: &'static str,
        took: Duration,
        vendor: Duration,
    ) {
        self.requests
            .get_or_create(&Request {
                endpoint,
                action,
                outcome,
            })
            .inc();
        self.request_seconds
            .get_or_create(&Endpoint { endpoint })
            .observe(took.as_secs_f64());
        self.overhead_seconds
            .observe(took.saturating_sub(vendor).as_secs_f64());
    }

    pub fn vendor_call(&self, asked: Asked, class: &'static str, took: Duration) {
        let action = asked.name();
        self.vendor_requests
            .get_or_create(&VendorRequest { action, class })
            .inc();
        self.vendor_seconds.observe(took.as_secs_f64());
    }

    pub fn failover(&self, class: Class) {
        let reason = match class {
            Class::KeyBad => "key_bad",
            Class::KeyEmpty => "key_empty",
            Class::KeyBusy => "key_busy",
            Class::EgressIp | Class::Request | Class::NoTask | Class::Task | Class::Server => {
                "other"
            }
        };
        self.failovers.get_or_create(&Reason { reason }).inc();
    }

    pub fn poll_answered(&self, from: PollFrom) {
        self.polls[from as usize].inc();
    }

    pub fn uncertain_submit(&self) {
        self.uncertain_submits.inc();
    }

    /// Those that the last run left behind, too: they are uncertain since this start.
    pub fn uncertain_submits(&self, count: u64) {
        self.uncertain_submits.inc_by(count);
    }

    /// Since the start, together with those that the last run left behind.
    pub fn uncertain_so_far(&self) -> u64 {
        self.uncertain_submits.get()
    }

    pub fn unheard_answer(&self) {
        self.unheard_answers.inc();
    }

    pub fn late_answer(&self) {
        self.late_answers.inc();
    }

    pub fn repeated_submit(&self) {
        self.repeated_submits.inc();
    }

    pub fn solved(&self, kind: &'static str, took: Duration) {
        self.solve_seconds
            .get_or_create(&Type { r#type: kind })
            .observe(took.as_secs_f64());
        let mut solves = self.solves.lock().unwrap_or_else(PoisonError::into_inner);
        let solved = solves.entry(kind).or_default();
        solved.count += 1;
        solved.took += took;
    }

    pub fn solves(&self, kind: &str) -> Solved {
        let solves = self.solves.lock().unwrap_or_else(PoisonError::into_inner);
        solves.get(kind).copied().unwrap_or_default()
    }

    /// From now on what this counts is shown.
    pub fn watch_log(&self, dropped: DroppedLines) {
        let _ = self.log_lines_dropped.set(dropped);
    }

    pub fn log_lines_dropped(&self) -> u64 {
        let dropped = self.log_lines_dropped.get();
        dropped.map_or(0, DroppedLines::count)
    }

    pub fn store_error(&self) {
        self.store_errors.inc();
    }

    pub fn alert(&self, cause: Cause) {
        let cause = cause.name();
        self.alerts.get_or_create(&Told { cause }).inc();
    }

    pub fn alert_lost(&self, reason: &'static str) {
        self.alerts_lost.get_or_create(&Reason { reason }).inc();
    }

    pub fn reloaded(&self, adopted: bool) {
        let result = if adopted { "adopted" } else { "refused" };
        self.reloads.get_or_create(&Reload { result }).inc();
        if adopted {
            self.adopted_now();
        } else {
            self.last_reload_successful.set(0);
        }
    }

    /// What first appears with a 1 has not grown as far as Prometheus can tell.
    fn begin_at_zero(&self) {
        for reason in FAILOVER_REASONS {
            drop(self.failovers.get_or_create(&Reason { reason }));
        }
        for cause in Cause::ALL {
            let cause = cause.name();
            drop(self.alerts.get_or_create(&Told { cause }));
        }
        for reason in LOST_REASONS {
            drop(self.alerts_lost.get_or_create(&Reason { reason }));
        }
        for result in RELOAD_RESULTS {
            drop(self.reloads.get_or_create(&Reload { result }));
        }
    }

    fn adopted_now(&self) {
        self.last_reload_successful.set(1);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.last_reload
            .set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }
}

const FAILOVER_REASONS: [&str; 4] = ["key_bad", "key_empty", "key_busy", "other"];
const LOST_REASONS: [&str; 4] = ["no_room", "refused", "given_up", "shutdown"];
const RELOAD_RESULTS: [&str; 2] = ["adopted", "refused"];

/// From a local answer to solve.php, which blocks until the captcha is solved.
fn seconds() -> Histogram {
    Histogram::new([
        0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
    ])
}

/// From an image to a queue of minutes.
fn solve_seconds() -> Histogram {
    Histogram::new([
        1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0,
    ])
}
