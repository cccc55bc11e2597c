//! The composition root: everything is made and bound here before anything runs, so that a start either fails or serves.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::admin::{self, Admin, events::Events, metrics::Metrics};
use crate::alerts::{self, Alerts};
use crate::background::Background;
use crate::config::settings::{ListenAddress, Settings, State, StoreKind};
use crate::config::{Attempt, Input};
use crate::keys::account::LEASE;
use crate::keys::egress::{BAD_KEY_WINDOW, Egress};
use crate::keys::set::Remembered;
use crate::listen::body::BodyBudget;
use crate::listen::{self, CertError, Certificates, Drain, Limits};
use crate::live::Live;
use crate::live::reload::Reloader;
use crate::loops::Loops;
use crate::otlp::{self, Traces};
use crate::replicas::{self, Replicas};
use crate::request::account::Rounds;
use crate::request::prober::Prober;
use crate::request::{self, Server, clock};
use crate::store::{AuditRow, OpenError, ParkedRecord, Store, StoreError};
use crate::tasks::Tasks;
use crate::tasks::company::Companies;
use crate::tasks::parked::Parked;
use crate::tasks::unknown::Asking;
use crate::tenants::restore::restore;
use crate::upkeep;
use crate::vendor::client::ClientError;
use crate::vendor::outage::Outage;

/// How long running work may take to end. Kubernetes kills after 30 s, and the app beside us used part of them.
const DRAIN_PATIENCE: Duration = Duration::from_secs(25);
/// Far more than can be on their way when a process ends.
const UNCERTAIN_HELD: usize = 10_000;

/// A program that serves.
pub struct Running {
    pub http: Vec<SocketAddr>,
    pub https: Vec<SocketAddr>,
    pub admin: Vec<SocketAddr>,
    pub server: Arc<Server>,
    state: Arc<Admin>,
    data_drain: Drain,
    admin_drain: Drain,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the configuration cannot be used:\n{0}")]
    Config(String),
    #[error(transparent)]
    Vendor(#[from] ClientError),
    #[error(transparent)]
    Certificate(#[from] CertError),
    #[error(transparent)]
    Bind(#[from] listen::BindError),
    #[error(transparent)]
    State(#[from] OpenError),
    #[error("the state cannot be read: {0}")]
    StateRead(#[from] StoreError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl StartError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Vendor(_) | Self::Certificate(_) => 78,
            Self::Bind(_) | Self::State(_) | Self::StateRead(_) => 69,
            Self::Io(_) => 70,
        }
    }
}

/// Builds and binds everything, then starts it. Returns once it serves.
pub async fn start(
    input: Input,
    attempt: Attempt,
    background: &Background,
) -> Result<Running, StartError> {
    let Attempt { seen, outcome } = attempt;
    let loaded = outcome.map_err(|report| StartError::Config(report.to_string()))?;
    loaded.warnings.log();
    let settings = loaded.settings.clone();
    let certificates = settings
        .listen
        .tls
        .as_ref()
        .map(Certificates::load)
        .transpose()?;
    let http = bind(&settings.listen.http)?;
    let https = bind(&settings.listen.https)?;
    let admin_listeners = bind(&settings.admin.listen)?;

    let (store, cut_off) = open(&settings.state)?;
    let egress = Egress::new(bad_key_answers(&store).await?);
    let remembered = Remembered {
        salt: store.salt(),
        good_keys: store.good_keys().await?,
    };
    let loops = Loops::new(addresses(http.iter().chain(&https))?);
    let live = Arc::new(Live::new(loaded, remembered, loops.clone(), background)?);
    if store.replicas().is_none() {
        hold_slots(&store, &live).await?;
    }
    let (now, now_ms) = (Instant::now(), clock::now_ms());
    let tenants = {
        let snapshot = live.load();
        let prices = &snapshot.settings.prices;
        Arc::new(restore(&store, &snapshot.tenants, prices, now, now_ms).await?)
    };
    let parked = Arc::new(Parked::new(store.clone(), Arc::clone(&tenants)));
    let waiting = {
        let snapshot = live.load();
        let price = |record: &ParkedRecord| snapshot.price_of(record);
        parked.resume(price, now, now_ms).await?
    };
    if waiting > 0 {
        tracing::info!(
            submits = waiting,
            "parked submits of the last run wait again"
        );
    }
    let metrics = Arc::new(Metrics::new(&store));
    metrics.uncertain_submits(cut_off);
    let collector = settings.log.otlp.clone();
    let traces = collector.map(|collector| Arc::new(Traces::new(collector)));
    let limits = Arc::new(Limits::new(settings.listen.max_connections));
    let events = Arc::new(Events::default());
    events.add("start", "", concat!("version ", env!("CARGO_PKG_VERSION")));
    let server = Arc::new(Server {
        live: Arc::clone(&live),
        tasks: Tasks::new(store.clone()),
        replicas: Replicas::new(&store),
        parked,
        store,
        tenants,
        asking: Asking::default(),
        companies: Companies::default(),
        unheard: Default::default(),
        lines: Default::default(),
        claims: Default::default(),
        late: Default::default(),
        egress,
        outage: Outage::default(),
        prober: Prober::default(),
        alerts: Alerts::default(),
        calls: Default::default(),
        events: Arc::clone(&events),
        started: Instant::now(),
        rounds: Rounds::default(),
        metrics: Arc::clone(&metrics),
        traces: traces.clone(),
        background: background.clone(),
        bodies: Arc::new(BodyBudget::new(settings.listen.max_body_total)),
        limits: Arc::clone(&limits),
        certificates: certificates.clone(),
    });
    replicas::begin(&server).await;
    server.store.audit(AuditRow {
        at_ms: clock::now_ms(),
        who: "sidekey".into(),
        what: "start".into(),
        subject: "".into(),
        detail: concat!("version ", env!("CARGO_PKG_VERSION")).into(),
    });
    let reloader = Reloader::new(
        live,
        input,
        seen,
        certificates.clone(),
        metrics,
        server.store.clone(),
        events,
    );
    let token = settings.admin.token.clone();
    let state = Arc::new(Admin::new(Arc::clone(&server), token, reloader.asks()));

    // From here on nothing fails.
    let running = Running {
        http: addresses(&http)?,
        https: addresses(&https)?,
        admin: addresses(&admin_listeners)?,
        server: Arc::clone(&server),
        state: Arc::clone(&state),
        data_drain: Drain::new(),
        admin_drain: Drain::new(),
    };
    background.spawn(reloader.run(background.clone()));
    background.spawn(request::abandoned::run(Arc::clone(&server)));
    background.spawn(replicas::run(Arc::clone(&server)));
    background.spawn(request::unpark::run(Arc::clone(&server)));
    background.spawn(Prober::run(Arc::clone(&server)));
    background.spawn(alerts::run(Arc::clone(&server)));
    background.spawn(alerts::delivery::run(Arc::clone(&server)));
    background.spawn(request::refresher::run(Arc::clone(&server)));
    background.spawn(admin::watch::run(Arc::clone(&server)));
    if let Some(traces) = traces {
        let until = background.clone();
        background.spawn(async move { otlp::run(&traces, &until).await });
    }
    background.spawn(upkeep::run(Arc::clone(&server)));
    background.spawn(upkeep::end_leases(Arc::clone(&server)));
    background.spawn(upkeep::note_refusals(Arc::clone(&server)));
    let data = |listener, tls| {
        let server = Arc::clone(&server);
        listen::serve(
            listener,
            tls,
            &limits,
            &loops,
            &running.data_drain,
            background,
            move |request, _| request::serve(Arc::clone(&server), request),
        );
    };
    http.into_iter().for_each(|listener| data(listener, None));
    https
        .into_iter()
        .for_each(|listener| data(listener, certificates.clone()));
    // Connections of its own: probes are answered also while clients fill the data ports.
    let admin_limits = Arc::new(Limits::of_admin());
    for listener in admin_listeners {
        let state = Arc::clone(&state);
        listen::serve(
            listener,
            None,
            &admin_limits,
            &loops,
            &running.admin_drain,
            background,
            move |request, peer| admin::serve(Arc::clone(&state), request, peer),
        );
    }
    say_started(&running, &settings);
    Ok(running)
}

impl Running {
    /// Unready at once; `linger` more seconds of accepting, for those who have not heard yet; then what runs may finish.
    pub async fn drain(&self, linger: Duration) {
        self.state.ready.store(false, Ordering::Relaxed);
        self.data_drain.leave();
        sleep(linger).await;
        self.data_drain.finish();
    }

    /// Ends everything and waits for it. Returns how many pieces of work were cut off.
    pub async fn stop(self, background: &Background) -> usize {
        self.data_drain.finish();
        self.admin_drain.finish();
        background.ask_to_stop();
        let cut_off = background.wait(DRAIN_PATIENCE).await;
        let Self { server, .. } = self;
        if let Some(traces) = &server.traces {
            otlp::flush(traces, background).await;
        }
        if let Err(error) = server.store.clone().close().await {
            tracing::error!(%error, "the store was not closed in order");
        }
        cut_off
    }
}

fn bind(addresses: &[ListenAddress]) -> Result<Vec<TcpListener>, listen::BindError> {
    listen::bind(addresses)
}

fn addresses<'a>(
    listeners: impl IntoIterator<Item = &'a TcpListener>,
) -> io::Result<Vec<SocketAddr>> {
    listeners.into_iter().map(TcpListener::local_addr).collect()
}

/// Also, how many submits the last run was in the middle of.
fn open(state: &State) -> Result<(Store, u64), StartError> {
    match state.store {
        StoreKind::Memory => return Ok((Store::memory(), 0)),
        // What a run before this left open is taken over by whichever replica leads.
        StoreKind::Redis => return Ok((Store::connect(&state.url)?, 0)),
        StoreKind::Sqlite => {}
    }
    match Store::open(&state.path, state.sync) {
        Ok((store, recovered)) => {
            if recovered.open_intents > 0 {
                tracing::warn!(
                    submits = recovered.open_intents,
                    "the last run ended in mid-submit: these are uncertain, see /api/uncertain"
                );
            }
            Ok((store, recovered.open_intents))
        }
        // A path that was asked for must work. The default one may be somewhere that cannot be written.
        Err(error) if !state.path_written && error.is_unwritable() => {
            tracing::warn!(%error, "tasks are kept in memory only, a restart forgets them; set state.path");
            Ok((Store::memory(), 0))
        }
        Err(error) => Err(error.into()),
    }
}

/// On the monotonic clock, oldest first.
async fn bad_key_answers(store: &Store) -> Result<Vec<Instant>, StoreError> {
    let (now, now_ms) = (Instant::now(), clock::now_ms());
    let window = i64::try_from(BAD_KEY_WINDOW.as_millis()).unwrap_or(i64::MAX);
    let times = store.bad_key_answers_since(now_ms - window).await?;
    // A clock that was set back must not stretch the window: nothing lies in the future.
    let ago = |at_ms: i64| Duration::from_millis(u64::try_from(now_ms - at_ms).unwrap_or_default());
    // From before the machine's own start this clock cannot tell: then they count as of now.
    Ok(times
        .into_iter()
        .map(|at_ms| now.checked_sub(ago(at_ms)).unwrap_or(now))
        .collect())
}

/// More than all accounts together can have running.
const TASKS_HELD: usize = 100_000;

/// Tasks and uncertain submits of the last run hold their slots, as long as they would have without a restart.
async fn hold_slots(store: &Store, live: &Live) -> Result<(), StoreError> {
    let (now, now_ms) = (Instant::now(), clock::now_ms());
    let since = now_ms - i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
    // A clock that was set back must not stretch a lease.
    let until = |at_ms: i64| {
        let left = u64::try_from(at_ms.min(now_ms) - since).unwrap_or_default();
        now + Duration::from_millis(left)
    };
    let snapshot = live.load();
    for task in store.running_tasks(since, TASKS_HELD).await? {
        if let Some(account) = snapshot.keys.account(&task.owner_name) {
            let key = snapshot.keys.by_name(&task.owner_name);
            // An account without a key in the files only ends its tasks.
            let price = key.map_or(0, |key| key.limits.takes(task.price_micro_usd));
            account.restore(Some((task.key, price)), until(task.used_at_ms));
        }
    }
    for row in store.uncertain_list(UNCERTAIN_HELD).await? {
        let owner = &row.intent.owner_name;
        if row.intent.at_ms > since
            && row.resolved.is_none()
            && let Some(account) = snapshot.keys.account(owner)
        {
            account.restore(None, until(row.intent.at_ms));
        }
    }
    Ok(())
}

fn say_started(running: &Running, settings: &Settings) {
    let list = |addresses: &[SocketAddr]| {
        addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let keys = running.server.live.load().keys.listed().count();
    tracing::info!(
        http = list(&running.http),
        https = list(&running.https),
        admin = list(&running.admin),
        profile = settings.vendor.profile.name,
        keys,
        "sidekey serves"
    );
    if keys == 0 {
        tracing::warn!(
            "there is no key yet: submits are refused until the keys file or CAPTCHAAI_KEYS has one"
        );
    }
}
