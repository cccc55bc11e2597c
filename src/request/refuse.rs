//! Every way that Sidekey itself says no, in the vendor's own words.
//!
//! The code decides what a legacy client does next, so each is chosen for its effect. The matches below are exhaustive:
//! a new refusal does not compile until its code, its sentence and its metric label are decided.

use std::sync::Arc;

use crate::store::Unsent;
use crate::tenants::meter::Limit;
use crate::wire::BadParameters;

#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// Every key is full or rests, or the vendor bans our address.
    AllBusy,
    /// Every slot is taken. JSON clients hear this code of the profile.
    NoSlot(Arc<str>),
    AllEmpty,
    NoKey,
    /// Nobody has the token that the client sent.
    UnknownToken,
    /// The same, and it cannot be a token by its length.
    NoToken,
    TenantInactive,
    /// Which of its limits was reached. Nothing was sent.
    TenantOver(Limit),
    /// Nothing was sent.
    VendorUnreachable,
    /// Nobody can know whether the vendor accepted the submit.
    Uncertain,
    /// A poll's own trouble on the way, hidden for a while.
    PollTrouble,
    /// The same, when it lasted too long; or an account call that nobody answered.
    VendorTrouble,
    UnknownTask,
    BadParameters(BadParameters),
    /// Why it cannot be used.
    IdempotencyKey(&'static str),
    /// The same idempotency key asked for something else before.
    OtherParameters,
    /// What is kept of an idempotency key cannot be read, or could not be written. Nothing was sent.
    NotKept,
    /// The store that replicas share did not count it against its tenant's limits in time. Nothing was sent.
    NotCounted,
    BodyTooBig,
    NoBodyBudget,
    /// The body came too slowly or not whole.
    BodyBroken,
    UnknownAction,
    /// Changes accounts: every key would have to be changed alike.
    PingbackRegistration,
    OriginNotAllowed,
    /// A parked submit that never went out.
    Unsent(Unsent),
    /// A call ended in a panic; it was caught.
    Internal,
}

impl Refusal {
    pub fn code(&self) -> &'static str {
        match self {
            // The only code that some clients retry.
            Self::AllBusy
            | Self::NoSlot(_)
            | Self::VendorUnreachable
            | Self::NoBodyBudget
            | Self::NotKept
            | Self::NotCounted
            | Self::TenantOver(Limit::Tasks | Limit::Rate) => "ERROR_NO_SLOT_AVAILABLE",
            // Loops of clients stop at this one.
            Self::AllEmpty | Self::TenantOver(Limit::Daily | Limit::Budget) => "ERROR_ZERO_BALANCE",
            Self::NoKey | Self::OriginNotAllowed | Self::UnknownToken | Self::TenantInactive => {
                "ERROR_KEY_DOES_NOT_EXIST"
            }
            Self::NoToken => "ERROR_WRONG_USER_KEY",
            // Known to no client, so that none submits again by itself: ERROR_SERVER_ERROR would be retried by the CaptchaAI SDK.
            Self::Uncertain => "ERROR_SUBMIT_UNCERTAIN",
            Self::PollTrouble => "CAPCHA_NOT_READY",
            Self::VendorTrouble | Self::Internal => "ERROR_SERVER_ERROR",
            Self::UnknownTask => "ERROR_WRONG_CAPTCHA_ID",
            // Of the codes that end a poll this is the one that every client knows, and the one that vendors do not charge for.
            Self::Unsent(_) => "ERROR_CAPTCHA_UNSOLVABLE",
            Self::BadParameters(_)
            | Self::IdempotencyKey(_)
            | Self::OtherParameters
            | Self::BodyBroken => "ERROR_BAD_PARAMETERS",
            Self::BodyTooBig => "ERROR_TOO_BIG_CAPTCHA_FILESIZE",
            Self::UnknownAction | Self::PingbackRegistration => "ERROR_EMPTY_ACTION",
        }
    }

    pub fn code_in_json(&self) -> &str {
        match self {
            Self::NoSlot(code) => code,
            other => other.code(),
        }
    }

    /// For `error_text`, after "sidekey: ". Says what to do where something can be done.
    pub fn sentence(&self) -> String {
        match self {
            Self::AllBusy => "every key is busy or resting, try again in a few seconds".into(),
            Self::NoSlot(_) => {
                "every slot of every key is taken, try again when a task has ended".into()
            }
            Self::AllEmpty => "no key has balance left, refill an account or add a key".into(),
            Self::NoKey => "no usable key, `sidekey status` says why".into(),
            // One sentence for both: who guesses must not learn which tokens were good once.
            Self::UnknownToken | Self::TenantInactive => {
                "no active tenant has this token, see the tenants file".into()
            }
            Self::TenantOver(limit) => over(*limit).into(),
            Self::NoToken => "send a tenant's token as `key`".into(),
            Self::VendorUnreachable => {
                "the vendor could not be reached and nothing was sent".into()
            }
            Self::Uncertain => {
                "the vendor's answer was lost, the task may exist and was not sent again".into()
            }
            Self::PollTrouble => "the vendor gave no usable answer, polling goes on".into(),
            Self::VendorTrouble => "the vendor gave no usable answer".into(),
            Self::UnknownTask => "no account is known to have this task".into(),
            Self::BadParameters(why) => why.to_string(),
            Self::IdempotencyKey(why) => (*why).into(),
            Self::OtherParameters => {
                "this idempotency key came with other parameters before and nothing was sent, use a new key for a new submit".into()
            }
            Self::NotKept => {
                "the store is in trouble and cannot keep this idempotency key, nothing was sent, try again".into()
            }
            Self::NotCounted => {
                "the store is in trouble and cannot count this against the tenant's limits, nothing was sent, try again".into()
            }
            Self::BodyTooBig => "the body is larger than listen.max_body".into(),
            Self::NoBodyBudget => {
                "too many bodies are in flight (listen.max_body_total), try again".into()
            }
            Self::BodyBroken => "the body came too slowly or not whole".into(),
            Self::UnknownAction => {
                "the action is unknown or missing, and there is no id to follow".into()
            }
            Self::PingbackRegistration => {
                "pingback addresses belong to an account, register them at the vendor for every key"
                    .into()
            }
            Self::OriginNotAllowed => {
                "calls from web pages are refused, list the origin in clients.origins".into()
            }
            Self::Unsent(why) => match why {
                Unsent::Expired => {
                    "no key was usable within submit.park_for, nothing was sent or charged"
                }
                Unsent::Dropped => {
                    "nobody asked for it for two minutes, nothing was sent or charged"
                }
                Unsent::Cancelled => "the operator cancelled it, nothing was sent or charged",
            }
            .into(),
            Self::Internal => "an internal error, see the log".into(),
        }
    }

    /// The metric and log label.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::AllBusy => "all_busy",
            Self::NoSlot(_) => "no_slot",
            Self::AllEmpty => "all_empty",
            Self::NoKey => "no_key",
            Self::UnknownToken => "unknown_token",
            Self::NoToken => "no_token",
            Self::TenantInactive => "tenant_inactive",
            Self::TenantOver(limit) => limit.name(),
            Self::VendorUnreachable => "vendor_unreachable",
            Self::Uncertain => "uncertain",
            Self::PollTrouble => "poll_trouble",
            Self::VendorTrouble => "vendor_trouble",
            Self::UnknownTask => "unknown_task",
            Self::BadParameters(_) => "bad_parameters",
            Self::IdempotencyKey(_) => "idempotency_key",
            Self::OtherParameters => "other_parameters",
            Self::NotKept => "not_kept",
            Self::NotCounted => "not_counted",
            Self::BodyTooBig => "body_too_big",
            Self::NoBodyBudget => "no_body_budget",
            Self::BodyBroken => "body_broken",
            Self::UnknownAction => "unknown_action",
            Self::PingbackRegistration => "pingback_registration",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::Unsent(why) => why.as_str(),
            Self::Internal => "internal",
        }
    }
}

/// Which limit, and when it ends.
fn over(limit: Limit) -> &'static str {
    match limit {
        Limit::Daily => {
            "daily_limit is reached: the solves of today and the tasks that run use it up, it begins anew at 00:00 UTC"
        }
        Limit::Budget => {
            "monthly_budget is reached: what was solved and what runs leaves too little for this task, it begins anew on the first of the month, 00:00 UTC"
        }
        Limit::Tasks => "max_tasks tasks run already, try again when one of them has ended",
        Limit::Rate => {
            "rate_per_minute is reached, try again when the first submit of the last 60 seconds is older than that"
        }
    }
}
