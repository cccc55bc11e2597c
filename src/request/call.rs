//! One client request, understood. Endpoint and action decide what a call is, never the HTTP method: `GET /in.php` costs money.

use super::refuse::Refusal;
use crate::wire::{BadParameters, Endpoint, Fields};

#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// `in.php`
    Submit,
    /// `solve.php`: submit and answer in one, no id.
    Solve,
    /// `get`, `get2`, or no action at all with an id.
    Poll {
        id: String,
    },
    /// `get` with `ids=`.
    PollMany {
        ids: Vec<String>,
    },
    /// `reportgood`, `reportbad`.
    Report {
        id: String,
    },
    /// Any other action with an id: follows the task like a report.
    TaskAction {
        id: String,
    },
    Balance,
    Threads,
    /// `load.php`, and the list of errors: no account is asked.
    Info,
}

/// Ids in one `ids=` poll: what fits a URL, and what one client may make us ask in one go.
const MAX_IDS: usize = 500;

impl Call {
    pub fn understand(endpoint: Endpoint, fields: &Fields) -> Result<Self, Refusal> {
        match endpoint {
            // Lists the vendor's error codes; makes no task and needs no key.
            Endpoint::Submit if fields.method.as_deref() == Some("get_server_errors") => {
                Ok(Self::Info)
            }
            Endpoint::Submit => Ok(Self::Submit),
            Endpoint::Solve => Ok(Self::Solve),
            Endpoint::Load => Ok(Self::Info),
            Endpoint::Result => Self::of_action(fields),
        }
    }

    fn of_action(fields: &Fields) -> Result<Self, Refusal> {
        let id = fields
            .id
            .as_deref()
            .map(str::trim)
            .filter(|id| !id.is_empty());
        let action = fields.action.as_deref().unwrap_or_default();
        // Which of the two a vendor prefers is documented nowhere, and `ids` are not all checked for an `id`.
        if id.is_some() && fields.ids.is_some() {
            return Err(Refusal::BadParameters(BadParameters::Both("id", "ids")));
        }
        match (action, id) {
            ("getbalance", _) => Ok(Self::Balance),
            ("threadsinfo", _) => Ok(Self::Threads),
            ("add_pingback" | "del_pingback" | "get_pingback", _) => {
                Err(Refusal::PingbackRegistration)
            }
            ("get", None) => Self::many(fields.ids.as_deref().unwrap_or_default()),
            ("" | "get" | "get2", Some(id)) => Ok(Self::Poll {
                id: known_form(id)?,
            }),
            ("reportgood" | "reportbad", Some(id)) => Ok(Self::Report {
                id: known_form(id)?,
            }),
            ("reportgood" | "reportbad" | "get2", None) => Err(Refusal::UnknownTask),
            (_, Some(id)) => Ok(Self::TaskAction {
                id: known_form(id)?,
            }),
            (_, None) => Err(Refusal::UnknownAction),
        }
    }

    fn many(ids: &str) -> Result<Self, Refusal> {
        let ids: Vec<_> = ids
            .split(',')
            .map(str::trim)
            .filter(|id| !id.is_empty())
            .collect();
        match ids.len() {
            0 => Err(Refusal::UnknownTask),
            1..=MAX_IDS => Ok(Self::PollMany {
                ids: ids.into_iter().map(str::to_owned).collect(),
            }),
            _ => Err(Refusal::UnknownTask),
        }
    }

    /// The label in logs and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Solve => "solve",
            Self::Poll { .. } => "poll",
            Self::PollMany { .. } => "poll_many",
            Self::Report { .. } => "report",
            Self::TaskAction { .. } => "task_action",
            Self::Balance => "balance",
            Self::Threads => "threads",
            Self::Info => "info",
        }
    }

    pub fn task_id(&self) -> Option<&str> {
        match self {
            Self::Poll { id } | Self::Report { id } | Self::TaskAction { id } => Some(id),
            _ => None,
        }
    }
}

/// An id is any non-empty printable text up to 128 bytes; nothing else was ever handed out.
fn known_form(id: &str) -> Result<String, Refusal> {
    let printable = id.len() <= 128 && id.chars().all(|c| !c.is_control() && c != ',');
    printable.then(|| id.to_owned()).ok_or(Refusal::UnknownTask)
}
