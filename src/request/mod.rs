//! ONE REQUEST, IN TO OUT. Read `answer` first: it calls the stages in their order, and each takes what the one before it made.
//!
//! ```text
//! read     the bounded body and its parameters: what is asked       read, call
//! admit    who calls, within which limits                           admit
//! choose   a key: the task's own, or one from the pool              choose, poll
//! rewrite  exactly one key, nothing else changed                    wire
//! forward  under a deadline                                         forward
//! judge    what the answer means, and what it does to the key       vendor::answer, judge
//! settle   task -> key, durable before the client hears             submit
//! respond  in the client's own format, or refuse in it              respond, refuse
//! trace    one log line and one metric, however it ends             trace
//! ```
//! A submit that finds no usable key may be parked (`park`), and is sent later (`unpark`).
//! A submit may go round from choose again with another key (`submit`); a poll never does (`poll`).

pub mod abandoned;
pub mod account;
pub mod admit;
pub mod call;
mod choose;
pub mod clock;
pub mod flight;
mod forward;
pub mod idempotency;
mod info;
mod judge;
pub mod line;
mod many;
mod park;
mod poll;
pub mod prober;
pub mod read;
pub mod refresher;
pub mod refuse;
mod reserve;
pub mod respond;
pub mod room;
mod settle;
mod submit;
mod together;
pub mod trace;
mod unknown;
pub mod unpark;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Response};
use tokio::time::Instant;

use crate::admin::calls::Calls;
use crate::admin::events::Events;
use crate::admin::metrics::Metrics;
use crate::alerts::Alerts;
use crate::background::Background;
use crate::keys::egress::Egress;
use crate::listen::body::BodyBudget;
use crate::listen::gate::{self, gate};
use crate::listen::{Certificates, Limits, Receipt, Reply};
use crate::live::{Live, Snapshot};
use crate::log::request_id::RequestId;
use crate::otlp::Traces;
use crate::replicas::Replicas;
use crate::store::Store;
use crate::tasks::Tasks;
use crate::tasks::company::Companies;
use crate::tasks::parked::Parked;
use crate::tasks::unknown::Asking;
use crate::tenants::accounts::Accounts;
use crate::vendor::answer::Asked;
use crate::vendor::outage::Outage;
use crate::wire;

pub use submit::late::LateAnswers;

use account::Rounds;
use admit::{Admitted, admit};
use call::Call;
use flight::Unheard;
use idempotency::Claims;
use line::Lines;
use prober::Prober;
use read::{Unread, read};
use refuse::Refusal;
use respond::Outcome;
use trace::Trace;

/// What outlives a request and is shared by all.
pub struct Server {
    pub live: Arc<Live>,
    pub store: Store,
    pub tasks: Tasks,
    /// What each tenant has used of its limits.
    pub tenants: Arc<Accounts>,
    pub parked: Arc<Parked>,
    pub asking: Asking,
    pub companies: Companies,
    pub unheard: Unheard,
    pub lines: Lines,
    pub claims: Claims,
    pub late: LateAnswers,
    pub egress: Egress,
    pub outage: Outage,
    pub prober: Prober,
    pub replicas: Replicas,
    pub alerts: Alerts,
    /// What the admin port shows of the last minutes.
    pub calls: Calls,
    pub events: Arc<Events>,
    pub started: Instant,
    pub rounds: Rounds,
    pub metrics: Arc<Metrics>,
    /// None: nobody asked for traces.
    pub traces: Option<Arc<Traces>>,
    pub background: Background,
    pub bodies: Arc<BodyBudget>,
    pub limits: Arc<Limits>,
    /// None: nothing is served over TLS.
    pub certificates: Option<Certificates>,
}

/// One request. Once its head is an acceptable call, every answer is 200 in the client's own format.
pub async fn serve(server: Arc<Server>, request: Request<Incoming>) -> Response<Reply> {
    let uri = request.uri().clone();
    let id = RequestId::next();
    let caught = id.scope(AssertUnwindSafe(answer(server, request, id)).catch_unwind());
    // The panic hook has said where. A submit ran detached, so this is no submit's end.
    let mut response = caught.await.unwrap_or_else(|_| {
        let hints = wire::hints(uri.query().unwrap_or_default().as_bytes());
        Outcome::Refused(Refusal::Internal)
            .into_response(hints)
            .map(Reply::from)
    });
    // So that who has an answer finds its lines in the log.
    if let Ok(id) = HeaderValue::from_bytes(&id.hex()) {
        response.headers_mut().insert(REQUEST_HEADER, id);
    }
    response
}

const REQUEST_HEADER: HeaderName = HeaderName::from_static("x-sidekey-request");

async fn answer(server: Arc<Server>, request: Request<Incoming>, id: RequestId) -> Response<Reply> {
    // One snapshot for the whole request: two loads could see two configurations.
    let snapshot = server.live.load();
    let (head, body) = request.into_parts();
    let gated = match gate(&head, &snapshot.hosts) {
        Ok(gated) => gated,
        Err(refusal) => return refusal.response(),
    };
    let mut trace = Trace::new(&server, gated.endpoint);
    if let Some(traces) = &server.traces {
        trace.draw(traces.begin(&head.headers, id));
    }
    let request = Request::from_parts(head, body);
    let response = match read(&server, &snapshot, gated, request).await {
        Ok(received) => {
            let hints = received.request.hints();
            trace.call(&received.request.call);
            let (outcome, receipt) = match admit(received, &snapshot) {
                Ok(admitted) => {
                    trace.tenant(&admitted.tenant);
                    carry_out(&server, snapshot, admitted, trace).await
                }
                Err(refusal) => (refused(refusal, trace), None),
            };
            let mut response = outcome.into_response(hints);
            if let Some(receipt) = receipt {
                response.extensions_mut().insert(receipt);
            }
            response
        }
        Err(Unread::Refused(refusal, hints)) => refused(refusal, trace).into_response(hints),
        Err(Unread::Broken) => return gate::Violation::Body.response(),
    };
    response.map(Reply::from)
}

async fn carry_out(
    server: &Arc<Server>,
    snapshot: Arc<Snapshot>,
    admitted: Admitted,
    mut trace: Trace,
) -> (Outcome, Option<Receipt>) {
    let admitted = match park::resolve(server, &snapshot, admitted).await {
        Ok(admitted) => admitted,
        Err(said) => {
            trace.end(&said);
            return (said, None);
        }
    };
    let outcome = match &admitted.request.call {
        Call::Submit | Call::Solve => {
            if let Some(key) = &admitted.request.idempotency_key {
                let claim = idempotency::claim(&snapshot, &admitted, key);
                let outcome = idempotency::submit(server, snapshot, admitted, claim, trace).await;
                return (outcome, None);
            }
            let (outcome, receipt) = submit::submit(server, snapshot, admitted, trace).await;
            return (outcome, Some(receipt));
        }
        Call::Poll { id } => poll::poll(server, &snapshot, &admitted, id, &mut trace).await,
        Call::PollMany { ids } => {
            many::poll_many(server, &snapshot, &admitted, ids, &mut trace).await
        }
        Call::Report { id } => {
            poll::act(server, &snapshot, &admitted, id, Asked::Report, &mut trace).await
        }
        Call::TaskAction { id } => {
            poll::act(server, &snapshot, &admitted, id, Asked::Other, &mut trace).await
        }
        Call::Balance => account::balance(server, &snapshot, &admitted, &mut trace).await,
        Call::Threads => account::threads(server, &snapshot, &admitted, &mut trace).await,
        Call::Info => info::info(server, &snapshot, &admitted, &mut trace).await,
    };
    trace.end(&outcome);
    (outcome, None)
}

fn refused(refusal: Refusal, mut trace: Trace) -> Outcome {
    let outcome = Outcome::Refused(refusal);
    trace.end(&outcome);
    outcome
}
