//! What is kept, and the changes that can be made to it. All stores carry out the same changes.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::audit::AuditRow;
use super::parked::{OwnId, ParkedState, Parking};
use super::usage::{Refused, UsageRow};
use crate::keys::secret::Identity;

/// Which task it is. Ids are the vendor's, so they are unique only below profile and tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskKey {
    pub profile: Arc<str>,
    /// Empty in open mode.
    pub tenant: Arc<str>,
    pub id: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRecord {
    pub key: TaskKey,
    pub owner_name: Arc<str>,
    pub owner_identity: Identity,
    /// The captcha's type, as the client named it.
    pub kind: Arc<str>,
    pub project: Option<Arc<str>>,
    /// What the vendor takes for a solve, as it was expected at the submit.
    pub price_micro_usd: Option<i64>,
    /// What the tenant is charged for it, by its prices at the submit. None: as much as the vendor takes.
    pub charge_micro_usd: Option<i64>,
    pub state: TaskState,
    pub submitted_at_ms: i64,
    /// The last poll or report; a task is forgotten by this time.
    pub used_at_ms: i64,
}

/// In this order: a task that is final never runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskState {
    Running,
    Final,
}

/// A submit that is about to leave. Also what is known of it when nobody can know how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    pub profile: Arc<str>,
    pub tenant: Arc<str>,
    pub project: Option<Arc<str>>,
    pub kind: Arc<str>,
    pub endpoint: Endpoint,
    pub owner_name: Arc<str>,
    pub owner_identity: Identity,
    pub at_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Submit,
    Solve,
}

impl Endpoint {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Solve => "solve",
        }
    }
}

/// Numbers an intent, and the uncertain submit that it may become. Never used twice in one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IntentId(pub i64);

/// A submit that carries an idempotency key of its client's. Digests only: the key may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which key of whom.
    pub scope: [u8; 32],
    /// What was asked for with it.
    pub parameters: [u8; 32],
}

/// What is kept of a claim.
#[derive(Clone, PartialEq, Eq)]
pub struct Claimed {
    pub parameters: [u8; 32],
    pub came_to: CameTo,
}

#[derive(Clone, PartialEq, Eq)]
pub enum CameTo {
    Task(Arc<str>),
    /// The whole answer of `solve.php`.
    Answer(Bytes),
    /// It is on its way, or nobody can know whether there is a task, or its answer was too long to be kept.
    Unknown,
}

/// Says nothing of ids and answers.
impl fmt::Debug for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claimed(…)")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UncertainRow {
    pub id: IntentId,
    pub intent: Intent,
    pub why: Arc<str>,
    pub parameters_hash: Option<[u8; 32]>,
    pub resolved: Option<Resolved>,
}

/// The vendor's id came after all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub task_id: Arc<str>,
    pub at_ms: i64,
}

/// What is told about an intent that was open when the store was opened.
pub(super) const ENDED_IN_MID_SUBMIT: &str = "the process ended in mid-submit";

/// More than anybody counts within the window, few enough to keep for ever.
pub(super) const BAD_KEY_ANSWERS_KEPT: i64 = 100;

/// Identities of keys that nobody uses any more are forgotten, the oldest first.
pub(super) const GOOD_KEYS_KEPT: i64 = 50_000;

/// What an intent is held to where several processes share the store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Within {
    /// The account has so many.
    pub slots: Option<u32>,
    pub reserved: Option<Reserved>,
}

/// What a submit has reserved of its tenant's limits on the server.
#[derive(Clone, Copy, Debug)]
pub struct Reserved {
    pub submit: i64,
    /// It is not to be sent if that was given back meanwhile.
    pub is_limited: bool,
}

/// One change. Every change can be carried out twice with the same result: after an error at commit
/// nobody knows whether it was carried out once.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Intend(IntentId, Intent, Option<Claim>, Within),
    Accept(Option<IntentId>, TaskRecord),
    /// `solve.php` answered: the end of its intent, or of the uncertain submit that it had become, and its row of the bill.
    Answered(IntentId, Option<Bytes>, Box<UsageRow>),
    ForgetIntent(IntentId),
    Uncertain(Box<UncertainRow>),
    Resolve(IntentId, TaskRecord),
    Touch(TaskKey, i64, TaskState),
    /// The end of a task.
    Settle(Box<UsageRow>),
    /// At that time.
    Refused(Refused, i64),
    Audit(Box<AuditRow>),
    BadKeyAnswer {
        id: i64,
        at_ms: i64,
    },
    GoodKey(Identity, i64),
    NoGoodKey(Identity),
    ForgetTasks {
        unused_since_ms: i64,
        limit: usize,
    },
    ForgetUncertain {
        before_ms: i64,
        limit: usize,
    },
    ForgetClaims {
        before_ms: i64,
        most: usize,
        limit: usize,
    },
    /// What a tenant's submit had reserved, where several processes reserve. With a time: nobody knows whether it made a task.
    GiveBack {
        tenant: Arc<str>,
        submit: i64,
        uncertain_until_ms: Option<i64>,
    },
    /// The same when the submit was parked, which holds it from now on.
    HoldParked {
        submit: i64,
        parked: OwnId,
    },
    Park(Box<Parking>),
    /// A parked submit comes into another state, by the change `with`.
    Turn {
        id: OwnId,
        state: ParkedState,
        at_ms: i64,
        with: Box<Self>,
    },
    TouchParked(OwnId, i64),
    ForgetParked {
        unused_since_ms: i64,
        limit: usize,
    },
    ForgetUsage {
        before_ms: i64,
        limit: usize,
    },
    ForgetAudit {
        before_ms: i64,
        most: usize,
    },
    Nothing,
}

impl Change {
    /// Nobody waits for these, and losing the last of them in a crash costs no task: they may wait for
    /// company, so that they seldom cost a commit of their own.
    pub(super) fn may_wait(&self) -> bool {
        matches!(
            self,
            Self::ForgetIntent(_)
                | Self::Touch(..)
                | Self::TouchParked(..)
                | Self::Refused(..)
                | Self::Audit(_)
        )
    }

    pub(super) fn inserts_a_task(&self) -> bool {
        match self {
            Self::Accept(..) | Self::Resolve(..) => true,
            Self::Turn { with, .. } => with.inserts_a_task(),
            _ => false,
        }
    }
}
