//! Alerts to the webhook, one after the other, each tried until it is taken or its time is over.
//!
//! An endpoint that took an alert and whose answer was lost is sent it again: told twice is better than not at all.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::outbox::{Alert, Outbox};
use super::webhook::{Tried, Webhook};
use crate::admin::metrics::Metrics;
use crate::background::Background;
use crate::keys::chance;
use crate::request::Server;
use crate::vendor::client::Client;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What an endpoint may ask for with `Retry-After`; later alerts wait as well.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);
/// Later than that it is no news.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(3600);
/// At a shutdown, for the try that is under way, and once more for all that is left.
const LAST_TRY: Duration = Duration::from_secs(2);

/// Runs until shutdown.
pub async fn run(server: Arc<Server>) {
    let webhook = || server.live.load().settings.alerts.webhook.clone();
    let Server {
        alerts,
        metrics,
        background,
        ..
    } = &*server;
    deliver(&alerts.outbox, webhook, metrics, background).await;
}

/// `webhook` is asked before every try: a reload may mend it.
async fn deliver(
    outbox: &Outbox,
    webhook: impl Fn() -> Option<Webhook>,
    metrics: &Metrics,
    background: &Background,
) {
    let mut line = Line {
        webhook,
        background,
        client: None,
    };
    loop {
        let alert = tokio::select! {
            biased;
            () = background.stopping() => break,
            alert = outbox.next() => alert,
        };
        match line.until_taken(&alert).await {
            End::Delivered => {}
            End::Lost(reason) => metrics.alert_lost(reason),
            End::Stopping => {
                line.last_try(alert, outbox, metrics).await;
                return;
            }
        }
    }
    if let Some(alert) = outbox.take() {
        line.last_try(alert, outbox, metrics).await;
    }
}

struct Line<'a, F> {
    webhook: F,
    background: &'a Background,
    client: Option<(Webhook, Client)>,
}

enum End {
    Delivered,
    /// For the metric.
    Lost(&'static str),
    Stopping,
}

impl<F: Fn() -> Option<Webhook>> Line<'_, F> {
    async fn until_taken(&mut self, alert: &Alert) -> End {
        let mut pause = FIRST_PAUSE;
        loop {
            let background = self.background;
            let shutdown = async {
                background.stopping().await;
                sleep(LAST_TRY).await;
            };
            let tried = tokio::select! {
                tried = self.once(alert, GIVEN_UP_AFTER) => tried,
                () = shutdown => return End::Lost("shutdown"),
            };
            let (why, retry_after) = match tried {
                Tried::Delivered => return End::Delivered,
                Tried::Refused { status } => {
                    let webhook = self.shown();
                    tracing::error!(
                        status,
                        webhook,
                        "the webhook refuses alerts: see [alerts] webhook"
                    );
                    return End::Lost("refused");
                }
                Tried::Failed { why, retry_after } => (why, retry_after.unwrap_or_default()),
            };
            let rest =
                (pause + pause.mul_f64(chance() / 4.0)).max(retry_after.min(LONGEST_RETRY_AFTER));
            let webhook = self.shown();
            if alert.since.elapsed() + rest > GIVEN_UP_AFTER {
                tracing::error!(
                    why,
                    webhook,
                    "an alert was given up: the webhook did not take it for an hour"
                );
                return End::Lost("given_up");
            }
            if pause == FIRST_PAUSE {
                tracing::warn!(
                    why,
                    webhook,
                    "the webhook did not take an alert, it is tried again"
                );
            }
            tokio::select! {
                () = sleep(rest) => {}
                () = self.background.stopping() => return End::Stopping,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn last_try(&mut self, first: Alert, outbox: &Outbox, metrics: &Metrics) {
        let until = Instant::now() + LAST_TRY;
        let mut next = Some(first);
        while let Some(alert) = next {
            let left = until.saturating_duration_since(Instant::now());
            let tried = timeout(left, self.once(&alert, left)).await;
            if tried != Ok(Tried::Delivered) {
                metrics.alert_lost("shutdown");
            }
            next = outbox.take();
        }
    }

    async fn once(&mut self, alert: &Alert, within: Duration) -> Tried {
        let failed = |why: String| Tried::Failed {
            why,
            retry_after: None,
        };
        let Some(webhook) = (self.webhook)() else {
            return failed("there is no webhook any more".to_owned());
        };
        let client = match &self.client {
            Some((known, client)) if *known == webhook => client.clone(),
            _ => match webhook.client(self.background) {
                Ok(client) => client,
                Err(error) => return failed(error.to_string()),
            },
        };
        let tried = webhook.post(&client, alert, within).await;
        self.client = Some((webhook, client));
        tried
    }

    /// Without its path, which may hold a token.
    fn shown(&self) -> String {
        let known = self.client.as_ref();
        known.map_or_else(String::new, |(webhook, _)| webhook.to_string())
    }
}

#[cfg(test)]
mod tests;
