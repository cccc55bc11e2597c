//! Parked submits: the rows that the store keeps of them, and the changes that are made to them.
//!
//! What a sending does to a row and what it does to its intent is one transaction. So a row that says `sending` has an
//! open intent, always: after a crash both are uncertain, and what is uncertain is not sent again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::rows::{Change, Claim, Intent, IntentId, TaskKey, TaskRecord, UncertainRow, Within};
use super::{FORGET_AT_ONCE, Store, StoreError, Written, reader, statements};
use crate::wire::Parts;

/// The number that the client of a parked submit hears as its task's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnId(pub i64);

/// What a submit is parked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// A key that is neither full nor resting.
    Key,
    Money,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedRecord {
    pub id: OwnId,
    pub profile: Arc<str>,
    /// Empty in open mode.
    pub tenant: Arc<str>,
    pub project: Option<Arc<str>>,
    pub kind: Arc<str>,
    pub lacks: Lack,
    pub state: ParkedState,
    /// Of its request.
    pub bytes: u64,
    pub parked_at_ms: i64,
    /// Its end, or the last poll after that; a row is forgotten by this time.
    pub used_at_ms: i64,
}

impl ParkedRecord {
    /// As a task under our own id, which no vendor gives: so its tenant's meter knows it.
    pub fn key(&self) -> TaskKey {
        TaskKey {
            profile: Arc::clone(&self.profile),
            tenant: Arc::clone(&self.tenant),
            id: self.id.to_string().into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParkedState {
    Waiting,
    /// An intent is open for it.
    Sending,
    /// The vendor's id of its task.
    Submitted(Arc<str>),
    Uncertain,
    /// The vendor's code, which blames the submit itself.
    Refused(Arc<str>),
    Unsent(Unsent),
}

/// Why a parked submit never went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// It waited for `submit.park_for`.
    Expired,
    /// Nobody polled it any more.
    Dropped,
    /// By the operator.
    Cancelled,
}

#[derive(Clone, Debug)]
pub(super) struct Parking {
    pub(super) record: ParkedRecord,
    pub(super) request: ParkedRequest,
    /// Made by its client's own key; under a number of its own, as there is no intent yet.
    pub(super) claim: Option<(IntentId, Claim)>,
}

/// What goes out when its turn comes: the client's request, with an empty `key`. Tokens are stored nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct ParkedRequest {
    pub post: bool,
    pub query: Bytes,
    pub content_type: Option<Bytes>,
    pub user_agent: Option<Bytes>,
    pub body: Bytes,
}

impl OwnId {
    /// Ours in a poll: 16 digits from 9000000000000000 on. Vendors are at 11 digits and count up.
    pub fn parse(id: &str) -> Option<Self> {
        let digits = id.len() == 16 && id.bytes().all(|b| b.is_ascii_digit());
        let number: i64 = id.parse().ok().filter(|_| digits)?;
        (FIRST..=LAST).contains(&number).then_some(Self(number))
    }

    /// Where a new store begins: anywhere in the first half of the range, so that a client of a store that is lost hardly
    /// ever holds an id that means another's task now. From there they count up, and the order of ids is that of arrival.
    pub(super) fn before_the_first() -> i64 {
        let random = getrandom::u64().unwrap_or_default() % ((LAST - FIRST) as u64 / 2);
        FIRST + i64::try_from(random).unwrap_or_default()
    }
}

impl std::fmt::Display for OwnId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl ParkedState {
    /// Whether it may still be sent, or is being sent.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Waiting | Self::Sending)
    }

    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sending => "sending",
            Self::Submitted(_) => "submitted",
            Self::Uncertain => "uncertain",
            Self::Refused(_) => "refused",
            Self::Unsent(why) => why.as_str(),
        }
    }
}

impl Unsent {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Dropped => "dropped",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Lack {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Money => "money",
        }
    }
}

/// It is a client's task data.
impl std::fmt::Debug for ParkedRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ParkedRequest({} bytes)", self.bytes())
    }
}

impl ParkedRequest {
    pub fn parts(&self) -> Parts {
        Parts {
            post: self.post,
            query: self.query.clone(),
            content_type: self.content_type.clone(),
            body: self.body.clone(),
        }
    }

    pub fn bytes(&self) -> u64 {
        let optional = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let bytes = self.query.len()
            + self.body.len()
            + optional(&self.content_type)
            + optional(&self.user_agent);
        bytes as u64
    }
}

impl Store {
    /// Never given twice.
    pub fn next_own_id(&self) -> OwnId {
        let last = &self.numbers().last_own_id;
        OwnId(last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Whether this store ever gave the id, as far as its number tells.
    pub fn may_have_given(&self, id: OwnId) -> bool {
        // Other replicas give some, too.
        self.replicas().is_some() || id.0 <= self.numbers().last_own_id.load(Ordering::Relaxed)
    }

    /// To be waited for before the client hears the id.
    /// The number is for `forget`, which forgets the claim.
    pub fn park(
        &self,
        record: ParkedRecord,
        request: ParkedRequest,
        claim: Option<Claim>,
    ) -> (IntentId, Written) {
        let number = self.next_intent();
        let parking = Parking {
            record,
            request,
            claim: claim.map(|claim| (number, claim)),
        };
        (number, self.change(Change::Park(Box::new(parking))))
    }

    /// As `intend_within`, for a parked submit. `Claimed`: it is another replica's to send.
    pub fn intend_parked_within(
        &self,
        parked: OwnId,
        intent: Intent,
        within: Within,
    ) -> (IntentId, Written) {
        let id = self.next_intent();
        let with = Change::Intend(id, intent.clone(), None, within);
        let written = self.turn(parked, ParkedState::Sending, intent.at_ms, with);
        (id, written)
    }

    /// As `accept`, for a parked submit.
    pub fn accept_parked(&self, parked: OwnId, intent: IntentId, task: TaskRecord) -> Written {
        let state = ParkedState::Submitted(Arc::clone(&task.key.id));
        let at_ms = task.used_at_ms;
        self.turn(parked, state, at_ms, Change::Accept(Some(intent), task))
    }

    /// As `forget`: the vendor refused, or nothing was sent. The submit waits again.
    pub fn forget_parked_intent(&self, parked: OwnId, intent: IntentId, at_ms: i64) {
        let with = Change::ForgetIntent(intent);
        drop(self.turn(parked, ParkedState::Waiting, at_ms, with));
    }

    /// As `uncertain`, for a parked submit.
    pub fn uncertain_parked(&self, parked: OwnId, row: UncertainRow, at_ms: i64) -> Written {
        let with = Change::Uncertain(Box::new(row));
        self.turn(parked, ParkedState::Uncertain, at_ms, with)
    }

    /// As `resolve_uncertain`, for a parked submit.
    pub fn resolve_parked(&self, parked: OwnId, intent: IntentId, task: TaskRecord) -> Written {
        let state = ParkedState::Submitted(Arc::clone(&task.key.id));
        let at_ms = task.used_at_ms;
        self.turn(parked, state, at_ms, Change::Resolve(intent, task))
    }

    /// Its end without a task. Not waited for: after a crash it would end once more.
    pub fn end_parked(&self, parked: OwnId, state: ParkedState, at_ms: i64) {
        drop(self.turn(parked, state, at_ms, Change::Nothing));
    }

    fn turn(&self, id: OwnId, state: ParkedState, at_ms: i64, with: Change) -> Written {
        self.change(Change::Turn {
            id,
            state,
            at_ms,
            with: Box::new(with),
        })
    }

    /// Its client asked again. Not waited for.
    pub fn touch_parked(&self, id: OwnId, used_at_ms: i64) {
        self.note(Change::TouchParked(id, used_at_ms));
    }

    /// Those that have ended, in small transactions.
    pub async fn forget_parked_unused_since(
        &self,
        unused_since_ms: i64,
    ) -> Result<u64, StoreError> {
        self.forget_all(Change::ForgetParked {
            unused_since_ms,
            limit: FORGET_AT_ONCE,
        })
        .await
    }

    /// Those that wait and are this process's to send, in the order of their ids.
    pub async fn waiting_parked(&self) -> Result<Vec<ParkedRecord>, StoreError> {
        match self {
            // Asked for at a start only.
            Self::Memory(_) => Ok(Vec::new()),
            Self::Redis(redis) => redis.waiting_parked().await,
            Self::Sqlite(sqlite) => {
                reader::ask(&sqlite.questions, statements::parked::waiting).await
            }
        }
    }

    /// Another tenant's is not there.
    pub async fn find_parked(
        &self,
        id: OwnId,
        tenant: &str,
    ) -> Result<Option<ParkedRecord>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.tables.parked(id, tenant)),
            Self::Redis(redis) => redis.parked(id, tenant).await,
            Self::Sqlite(sqlite) => {
                let tenant = tenant.to_owned();
                reader::ask(&sqlite.questions, move |connection| {
                    statements::parked::find(connection, id, &tenant)
                })
                .await
            }
        }
    }

    /// Until it has ended.
    pub async fn parked_request(&self, id: OwnId) -> Result<Option<ParkedRequest>, StoreError> {
        match self {
            Self::Memory(memory) => Ok(memory.tables.parked_request(id)),
            Self::Redis(redis) => redis.parked_request(id).await,
            Self::Sqlite(sqlite) => {
                reader::ask(&sqlite.questions, move |connection| {
                    statements::parked::request(connection, id)
                })
                .await
            }
        }
    }
}

/// Above what any vendor counts up to.
const FIRST: i64 = 9_000_000_000_000_000;
/// The last whole number that every JSON parser reads exactly.
const LAST: i64 = (1 << 53) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sixteen_digits_within_the_range_are_ours() {
        for ours in ["9000000000000000", "9007199254740991"] {
            assert_eq!(OwnId::parse(ours).unwrap().to_string(), ours);
        }
        for foreign in [
            "",
            "74327409378",
            "8999999999999999",
            "9007199254740992",
            "+900000000000000",
            "09000000000000000",
            "90000000000000000",
            "900000000000000x",
        ] {
            assert_eq!(OwnId::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_new_store_leaves_half_of_the_range_to_count_up_in() {
        for _ in 0..1000 {
            let before = OwnId::before_the_first();
            assert!((FIRST..FIRST + (LAST - FIRST) / 2).contains(&before));
        }
    }
}
