//! Watch, read, check, prepare, swap. A bad file leaves the old snapshot serving, loudly.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::difference::difference;
use super::watch::{Cause, Watch};
use super::{Live, Snapshot};
use crate::admin::events::Events;
use crate::admin::metrics::Metrics;
use crate::background::Background;
use crate::config::files::Seen;
use crate::config::settings::{Listen, Settings};
use crate::config::{Attempt, Input, reload};
use crate::keys::secret::Identity;
use crate::listen::Certificates;
use crate::request::clock;
use crate::store::{AuditRow, Store};

pub struct Reloader {
    live: Arc<Live>,
    input: Input,
    /// What was looked at last, good or bad.
    seen: Seen,
    /// What the current snapshot was made from.
    adopted: Seen,
    certificates: Option<Certificates>,
    /// What was wrong with the certificate's files at the last look.
    bad_certificate: Option<String>,
    metrics: Arc<Metrics>,
    watch: Watch,
    asks: Asks,
    asked: mpsc::Receiver<Question>,
    store: Store,
    events: Arc<Events>,
}

/// Who asks, and where the answer goes.
type Question = (Arc<str>, oneshot::Sender<Looked>);

/// Whether what is there now serves; if not, why.
type Looked = Result<(), String>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReloaded {
    #[error("{0}")]
    Refused(String),
    #[error("other reloads are waiting, ask again later")]
    Busy,
    #[error("the program is about to end")]
    Ending,
}

/// Asks for a reload. All clones ask the same one.
#[derive(Clone, Debug)]
pub struct Asks(mpsc::Sender<Question>);

/// Who asks while so many wait is told to come again.
const MOST_ASKING: usize = 4;

impl Asks {
    /// Adopts what is there, changed or not.
    pub async fn ask(&self, who: &str) -> Result<(), NotReloaded> {
        let (tell, told) = oneshot::channel();
        self.0
            .try_send((who.into(), tell))
            .map_err(|error| match error {
                TrySendError::Full(_) => NotReloaded::Busy,
                TrySendError::Closed(_) => NotReloaded::Ending,
            })?;
        let looked = told.await.map_err(|_| NotReloaded::Ending)?;
        looked.map_err(NotReloaded::Refused)
    }
}

impl Reloader {
    /// `seen` is what the current snapshot was made from. From here on a SIGHUP is heard, whenever `run` begins.
    pub fn new(
        live: Arc<Live>,
        input: Input,
        seen: Seen,
        certificates: Option<Certificates>,
        metrics: Arc<Metrics>,
        store: Store,
        events: Arc<Events>,
    ) -> Self {
        let watch = Watch::new(&live.load().settings.state.path);
        let adopted = seen.clone();
        let (asks, asked) = mpsc::channel(MOST_ASKING);
        Self {
            live,
            input,
            seen,
            adopted,
            certificates,
            bad_certificate: None,
            metrics,
            watch,
            asks: Asks(asks),
            asked,
            store,
            events,
        }
    }

    pub fn asks(&self) -> Asks {
        self.asks.clone()
    }

    /// Runs until shutdown.
    pub async fn run(mut self, background: Background) {
        self.watch.set(self.directories());
        // What changed between the first reading and the watch.
        self.say(Cause::Timer, None).await;
        loop {
            let (cause, asked) = tokio::select! {
                cause = self.watch.next() => (cause, None),
                asked = self.asked.recv() => (Cause::Asked, asked),
                () = background.stopping() => return,
            };
            self.say(cause, asked).await;
            self.watch.set(self.directories());
        }
    }

    async fn say(&mut self, cause: Cause, asked: Option<Question>) {
        let who = match (&asked, cause) {
            (Some((who, _)), _) => Arc::clone(who),
            (None, Cause::Asked) => "signal".into(),
            (None, Cause::Event | Cause::Timer) => "files".into(),
        };
        let looked = self.look(cause, who).await;
        if let Some((_, tell)) = asked {
            // Whoever asked may be gone.
            let _ = tell.send(looked);
        }
    }

    async fn look(&mut self, cause: Cause, who: Arc<str>) -> Looked {
        if let Some(certificates) = self.certificates.clone() {
            self.reload_certificates(certificates).await;
        }
        let (seen, last_good) = (self.seen.clone(), self.adopted.clone());
        let (input, live) = (self.input.clone(), Arc::clone(&self.live));
        let metrics = Arc::clone(&self.metrics);
        let store = self.store.clone();
        let events = Arc::clone(&self.events);
        // All of it away from the threads that serve, because ten thousand keys take tens of milliseconds.
        let looked = tokio::task::spawn_blocking(move || {
            if cause != Cause::Asked && seen.look_again() == seen {
                return None;
            }
            let attempt = reload(&input);
            let seen = attempt.seen.clone();
            let before = live.load();
            let at_fault = at_fault(&attempt, &last_good);
            let adopted = adopt(&live, &metrics, attempt, &last_good);
            let refused = adopted.as_ref().err().map(|_| at_fault);
            let row = audited(&before, &live.load(), who, refused);
            say(&events, &row);
            store.audit(row);
            Some((seen, adopted))
        });
        match looked.await {
            Ok(Some((seen, adopted))) => {
                if adopted.is_ok() {
                    self.adopted = seen.clone();
                }
                // Remembered whether good or bad, so that each content is judged and reported once.
                self.seen = seen;
                adopted
            }
            Ok(None) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "reading the configuration panicked");
                Err("reading the configuration panicked, the log says where".to_owned())
            }
        }
    }

    async fn reload_certificates(&mut self, certificates: Certificates) {
        let bad = match tokio::task::spawn_blocking(move || certificates.reload()).await {
            Ok(Ok(true)) => {
                tracing::info!("the TLS certificate was replaced");
                self.events
                    .add("certificate", "", "the TLS certificate was replaced");
                None
            }
            Ok(Ok(false)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => {
                tracing::error!(%error, "reading the TLS certificate panicked");
                None
            }
        };
        // Once: a log that is written into a watched directory would have the files looked at again, ten times a second.
        if let Some(error) = &bad
            && self.bad_certificate != bad
        {
            tracing::warn!(%error, "the changed TLS certificate is not used, the last good one goes on serving");
        }
        self.bad_certificate = bad;
    }

    fn directories(&self) -> BTreeSet<std::path::PathBuf> {
        let mut directories = self.seen.directories();
        if let Some(tls) = &self.live.load().settings.listen.tls {
            let parents = [&tls.cert, &tls.key]
                .into_iter()
                .filter_map(|path| path.parent());
            directories.extend(parents.map(std::path::Path::to_path_buf));
        }
        directories
    }
}

/// What cannot serve is said in the log, too.
fn adopt(live: &Live, metrics: &Metrics, attempt: Attempt, last_good: &Seen) -> Looked {
    let adopted = match attempt.outcome {
        // At the start a file may be missing. One that was there is being replaced, or its volume is in trouble.
        Ok(_) if let Some(lost) = attempt.seen.lost_since(last_good) => Err(format!(
            "{} is gone or cannot be read any more; put it back, or write `key = []` into a keys file to have no keys\n",
            lost.display()
        )),
        Ok(loaded) => {
            loaded.warnings.log();
            live.adopt(loaded).map_err(|error| error.to_string())
        }
        Err(report) => Err(report.to_string()),
    };
    metrics.reloaded(adopted.is_ok());
    match &adopted {
        Ok(old) => say_what_changed(old, &live.load()),
        Err(why) => {
            live.refused(why);
            tracing::warn!(
                %why,
                "the changed configuration is not used, the last good one goes on serving"
            );
        }
    }
    adopted.map(|_| ())
}

/// The file or the variable with the first mistake; empty where it is none of one file.
fn at_fault(attempt: &Attempt, last_good: &Seen) -> String {
    match &attempt.outcome {
        Ok(_) => attempt
            .seen
            .lost_since(last_good)
            .map(|lost| lost.display().to_string()),
        Err(report) => report.first_origin().map(str::to_owned),
    }
    .unwrap_or_default()
}

/// A configuration that cannot be used changes nothing, and the log says what is wrong with it. `refused` is where.
fn audited(old: &Snapshot, new: &Snapshot, who: Arc<str>, refused: Option<String>) -> AuditRow {
    let (what, detail) = match refused {
        None => ("reload", difference(old, new)),
        Some(at_fault) => ("reload_refused", at_fault),
    };
    AuditRow {
        at_ms: clock::now_ms(),
        who,
        what: what.into(),
        subject: "".into(),
        detail: detail.into(),
    }
}

fn say(events: &Events, row: &AuditRow) {
    let who = &row.who;
    let (kind, text) = match &*row.what {
        "reload" if row.detail.is_empty() => ("reload", format!("by {who}: nothing is different")),
        "reload" => ("reload", format!("by {who}: {}", row.detail)),
        _ => {
            let at_fault = match &*row.detail {
                "" => String::new(),
                at_fault => format!("{at_fault} cannot be used, "),
            };
            let text = format!(
                "by {who}: {at_fault}the last good configuration goes on serving, the log says why"
            );
            ("reload-refused", text)
        }
    };
    events.add(kind, "", text);
}

fn say_what_changed(old: &Snapshot, new: &Snapshot) {
    let names = |snapshot: &Snapshot| {
        snapshot
            .keys
            .listed()
            .map(|key| (Arc::clone(&key.name), key.identity))
            .collect::<BTreeSet<_>>()
    };
    let tenants = |snapshot: &Snapshot| {
        let all = snapshot.tenants.all();
        all.map(|tenant| Arc::clone(&tenant.name))
            .collect::<BTreeSet<_>>()
    };
    let (tenants_before, tenants) = (tenants(old), tenants(new));
    let (before, after) = (names(old), names(new));
    let added = list(after.difference(&before));
    let withdrawn = list(before.difference(&after));
    tracing::info!(
        keys = after.len(),
        added,
        withdrawn,
        tenants = tenants.len(),
        tenants_added = tenants.difference(&tenants_before).count(),
        tenants_withdrawn = tenants_before.difference(&tenants).count(),
        "configuration reloaded"
    );
    let fixed = |settings: &Settings| {
        (
            // The one of them that each request looks up.
            Listen {
                max_body: 0,
                ..settings.listen.clone()
            },
            settings.admin.clone(),
            settings.state.clone(),
            settings.log.clone(),
        )
    };
    if fixed(&old.settings) != fixed(&new.settings) {
        tracing::warn!(
            "changes of [listen] other than max_body, of [admin], [state] and [log] take effect at the next start only"
        );
    }
}

fn list<'a>(mut keys: impl Iterator<Item = &'a (Arc<str>, Identity)>) -> String {
    let mut names: Vec<_> = keys
        .by_ref()
        .take(MOST_NAMED)
        .map(|(name, identity)| format!("{name} ({})", identity.fingerprint()))
        .collect();
    let more = keys.count();
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

/// A line that names ten thousand keys helps nobody.
const MOST_NAMED: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_while_many_wait_is_told_to_come_again() {
        let (asks, mut asked) = mpsc::channel(1);
        let asks = Asks(asks);
        let (first, second, ()) = tokio::join!(asks.ask("a"), asks.ask("b"), async {
            let (_, tell) = asked.recv().await.unwrap();
            tell.send(Err("keys.toml: no".to_owned())).unwrap();
        });
        assert_eq!(first, Err(NotReloaded::Refused("keys.toml: no".to_owned())));
        assert_eq!(second, Err(NotReloaded::Busy));
        drop(asked);
        assert_eq!(asks.ask("c").await, Err(NotReloaded::Ending));
    }
}
