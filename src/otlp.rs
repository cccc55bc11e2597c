//! Traces of requests, sent to a collector of OpenTelemetry: a span for the request, and one for each call to the vendor.
//!
//! They hold what the log line of the request holds, and nothing else. Off, it costs a request one look at an `Option`.

pub mod collector;
mod encode;
mod export;
mod parent;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use crate::log::request_id::RequestId;
use crate::request::trace::Said;
use collector::Collector;
use parent::Parent;

pub use export::{flush, run};

/// Where ended requests wait for the collector.
pub struct Traces {
    queue: mpsc::Sender<Ended>,
    waiting: Mutex<mpsc::Receiver<Ended>>,
    collector: Collector,
    /// Which process this is, to the collector.
    run: RequestId,
    is_in_trouble: AtomicBool,
    sent: AtomicU64,
    lost: AtomicU64,
}

impl Traces {
    pub fn new(collector: Collector) -> Self {
        let (queue, waiting) = mpsc::channel(MOST_WAITING);
        Self {
            queue,
            waiting: Mutex::new(waiting),
            collector,
            run: RequestId::next(),
            is_in_trouble: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// None: the caller decided that its trace is not kept.
    pub fn begin(self: &Arc<Self>, headers: &HeaderMap, id: RequestId) -> Option<Draft> {
        let parent = Parent::of(headers);
        if parent.is_some_and(|parent| !parent.is_sampled) {
            return None;
        }
        Some(Draft {
            to: Arc::clone(self),
            id,
            parent,
            calls: Vec::new(),
        })
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Found no room, or no collector that took them.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn lose(&self, traces: usize) {
        self.lost.fetch_add(traces as u64, Ordering::Relaxed);
    }
}

/// A request under way.
pub struct Draft {
    to: Arc<Traces>,
    id: RequestId,
    parent: Option<Parent>,
    calls: Vec<Call>,
}

/// A call to the vendor, or the wait for one that others share.
#[derive(Clone, Debug)]
pub struct Call {
    pub what: &'static str,
    pub came_to: &'static str,
    pub key: Option<Arc<str>>,
    pub ended: Instant,
    pub took: Duration,
}

impl Draft {
    pub fn call(&mut self, call: Call) {
        // SECURITY: a client may ask for a thousand tasks at once.
        if self.calls.len() < MOST_CALLS {
            self.calls.push(call);
        }
    }

    /// For calls that run at the same time.
    pub fn part(&self) -> Self {
        Self {
            to: Arc::clone(&self.to),
            id: self.id,
            parent: self.parent,
            calls: Vec::new(),
        }
    }

    pub fn add(&mut self, part: &Self) {
        part.calls.iter().for_each(|call| self.call(call.clone()));
    }

    /// Never waits: what finds no room is lost, and counted.
    pub fn end(self, said: Said, took: Duration) {
        let ended = Ended {
            id: self.id,
            parent: self.parent,
            at: SystemTime::now(),
            at_instant: Instant::now(),
            took,
            said,
            calls: self.calls,
        };
        if self.to.queue.try_send(ended).is_err() {
            self.to.lose(1);
        }
    }
}

/// A request that has ended.
struct Ended {
    id: RequestId,
    parent: Option<Parent>,
    /// The same moment on both clocks.
    at: SystemTime,
    at_instant: Instant,
    took: Duration,
    said: Said,
    calls: Vec<Call>,
}

/// Some seconds of a busy day: 1 MB with their calls, 5 if each has as many as it may.
const MOST_WAITING: usize = 2_048;
const MOST_CALLS: usize = 32;
