//! Traces to the collector, some at a time. No request waits for it; what it does not take in time is lost, and counted.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep, timeout_at};

use super::collector::{Tried, post};
use super::{Ended, Traces, encode};
use crate::background::Background;
use crate::vendor::client::Client;

/// Runs until shutdown.
pub async fn run(traces: &Traces, background: &Background) {
    let mut waiting = traces.waiting.lock().await;
    let Some(line) = Line::new(traces, background) else {
        return;
    };
    let mut some = Vec::new();
    loop {
        let is_over = tokio::select! {
            biased;
            () = background.stopping() => true,
            () = gather(&mut waiting, &mut some) => false,
        };
        if !some.is_empty() {
            let batch = line.batch(&some);
            some.clear();
            match is_over {
                true => line.once(&batch, LAST).await,
                false => line.until_taken(&batch, background).await,
            }
        }
        if is_over {
            return;
        }
    }
}

/// At the end of the process, when no request runs any more: what is left, tried once.
pub async fn flush(traces: &Traces, background: &Background) {
    let mut waiting = traces.waiting.lock().await;
    let Some(line) = Line::new(traces, background) else {
        return;
    };
    let until = Instant::now() + LAST;
    while let Ok(first) = waiting.try_recv() {
        let mut some = vec![first];
        while some.len() < MOST_AT_ONCE
            && let Ok(more) = waiting.try_recv()
        {
            some.push(more);
        }
        let left = until.saturating_duration_since(Instant::now());
        let batch = line.batch(&some);
        line.once(&batch, left).await;
    }
}

/// One at least. Whoever stops it has in `some` what it has gathered.
async fn gather(waiting: &mut Receiver<Ended>, some: &mut Vec<Ended>) {
    waiting.recv_many(some, MOST_AT_ONCE).await;
    let until = Instant::now() + GATHER;
    while some.len() < MOST_AT_ONCE {
        let room = MOST_AT_ONCE - some.len();
        if timeout_at(until, waiting.recv_many(some, room))
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Encoded once, so that what comes twice is the same.
struct Batch {
    traces: usize,
    body: Bytes,
}

struct Line<'a> {
    traces: &'a Traces,
    client: Client,
}

impl<'a> Line<'a> {
    fn new(traces: &'a Traces, background: &Background) -> Option<Self> {
        let client = traces.collector.client(background);
        let client = client
            .inspect_err(|error| tracing::error!(%error, "no traces are sent"))
            .ok()?;
        Some(Self { traces, client })
    }

    fn batch(&self, some: &[Ended]) -> Batch {
        Batch {
            traces: some.len(),
            body: encode::body(some, self.traces.run).into(),
        }
    }

    async fn until_taken(&self, batch: &Batch, background: &Background) {
        let until = Instant::now() + GIVEN_UP_AFTER;
        let mut pause = FIRST_PAUSE;
        loop {
            let shutdown = async {
                background.stopping().await;
                sleep(LAST).await;
            };
            let sent = tokio::select! {
                sent = self.send(batch, PATIENCE) => sent,
                () = shutdown => return self.traces.lose(batch.traces),
            };
            let retry_after = match sent {
                Ok(()) => return,
                Err(None) => return self.traces.lose(batch.traces),
                Err(Some(retry_after)) => retry_after,
            };
            let rest = pause.max(retry_after);
            if Instant::now() + rest > until {
                return self.traces.lose(batch.traces);
            }
            tokio::select! {
                () = sleep(rest) => {}
                () = background.stopping() => return self.once(batch, LAST).await,
            }
            pause *= 2;
        }
    }

    async fn once(&self, batch: &Batch, within: Duration) {
        if self.send(batch, within).await.is_err() {
            self.traces.lose(batch.traces);
        }
    }

    /// An error says after which pause it may be tried again, if at all.
    async fn send(&self, batch: &Batch, within: Duration) -> Result<(), Option<Duration>> {
        let Traces {
            collector,
            is_in_trouble,
            ..
        } = self.traces;
        let (why, again) = match post(&self.client, batch.body.clone(), within).await {
            Tried::Taken => {
                self.traces
                    .sent
                    .fetch_add(batch.traces as u64, Ordering::Relaxed);
                if is_in_trouble.swap(false, Ordering::Relaxed) {
                    let lost = self.traces.lost();
                    tracing::info!(%collector, lost, "the collector takes traces again");
                }
                return Ok(());
            }
            Tried::Refused(why) => (why, None),
            Tried::Failed { why, retry_after } => (why, Some(retry_after.unwrap_or_default())),
        };
        if !is_in_trouble.swap(true, Ordering::Relaxed) {
            tracing::warn!(%collector, why, "the collector takes no traces: see log.otlp");
        }
        Err(again)
    }
}

/// So many requests in one body, of some hundred kilobytes.
const MOST_AT_ONCE: usize = 512;
const GATHER: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A collector that starts anew is back by then. Longer ones cost what waits behind.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(60);
/// At a shutdown.
const LAST: Duration = Duration::from_secs(2);
