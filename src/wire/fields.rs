//! The parameters that Sidekey itself acts on, as a PHP server would take them from query and body.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::names::Name;
use super::sniff::Kind;
use super::values::{Coding, Found, Value};
use super::{BadParameters, Endpoint, Parts};

#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// The client's `key`, decoded. `None` also when it is an array or a file.
    pub token: Option<Bytes>,
    /// On `res.php` only: on the others it is task data.
    pub action: Option<String>,
    pub id: Option<String>,
    pub ids: Option<String>,
    /// Whether the answer is to be JSON.
    pub json: bool,
    /// Whether the answer is to be open to web pages.
    pub header_acao: bool,
    /// What kind of task it is, cut to a length that fits a label.
    pub method: Option<String>,
    pub version: Option<String>,
    pub module: Option<String>,
    /// The vendor is to call the client back, with the task's id.
    pub pingback: bool,
    /// `x_project`, which does not go out.
    pub project: Option<String>,
    /// `x_idempotency_key` of a submit, which does not go out.
    pub idempotency_key: Option<String>,
}

/// How an answer is to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    pub json: bool,
    pub header_acao: bool,
}

impl Fields {
    pub fn hints(&self) -> Hints {
        Hints {
            json: self.json,
            header_acao: self.header_acao,
        }
    }
}

/// Says nothing of the token, of ids and of what clients name their work.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fields")
            .field("json", &self.json)
            .finish_non_exhaustive()
    }
}

pub(super) fn hints(query: &[u8], found: &Found) -> Hints {
    let on = |name| found.get(name).is_some_and(|value| is_on(value, query));
    Hints {
        json: on(Name::Json),
        header_acao: on(Name::HeaderAcao),
    }
}

pub(super) fn merge(
    endpoint: Endpoint,
    parts: &Parts,
    kind: &Kind,
    query: &Found,
    body: &Found,
) -> Result<Fields, BadParameters> {
    let is_json = matches!(kind, Kind::Json { .. });
    let both = Both {
        parts,
        query,
        body,
        body_first: parts.post || is_json,
    };
    // Only a form that is posted is sure to be read, and to win over the query. Of the others nobody knows which side counts.
    let body_wins = parts.post && !is_json;
    if !body_wins {
        both.agree_on_json()?;
    }
    let mut fields = Fields {
        token: both.token(),
        json: both.on(Name::Json),
        header_acao: both.on(Name::HeaderAcao),
        method: both.label(Name::Method),
        version: both.label(Name::Version),
        module: both.label(Name::Module),
        pingback: both.is_filled(Name::Pingback),
        project: both.exact(Name::Project, "x_project", MAX_OWN)?,
        ..Fields::default()
    };
    if matches!(endpoint, Endpoint::Submit | Endpoint::Solve) {
        both.no_array(Name::IdempotencyKey, IDEMPOTENCY_KEY)?;
        // Which of the two the client means nobody can tell, and the wrong one could pay twice.
        if both.differ(Name::IdempotencyKey) {
            return Err(BadParameters::Disagree(IDEMPOTENCY_KEY));
        }
        fields.idempotency_key = both.exact(Name::IdempotencyKey, IDEMPOTENCY_KEY, MAX_OWN)?;
    }
    if endpoint == Endpoint::Result {
        for (name, text) in [
            (Name::Action, "action"),
            (Name::Id, "id"),
            (Name::Ids, "ids"),
            (Name::Json, "json"),
        ] {
            both.no_array(name, text)?;
            if name != Name::Json && !body_wins && both.differ(name) {
                return Err(BadParameters::Disagree(text));
            }
        }
        fields.action = both.exact(Name::Action, "action", MAX_ACTION)?;
        fields.id = both.exact(Name::Id, "id", MAX_ID)?;
        fields.ids = both.exact(Name::Ids, "ids", MAX_IDS)?;
    }
    Ok(fields)
}

/// Query and body of one request.
struct Both<'a> {
    parts: &'a Parts,
    query: &'a Found,
    body: &'a Found,
    /// Where both have a field, PHP takes the body's, if it reads the body.
    body_first: bool,
}

impl<'a> Both<'a> {
    fn get(&self, name: Name) -> Option<(&'a Value, &'a Bytes)> {
        let in_query = self.query.get(name).map(|value| (value, &self.parts.query));
        let in_body = self.body.get(name).map(|value| (value, &self.parts.body));
        if self.body_first {
            in_body.or(in_query)
        } else {
            in_query.or(in_body)
        }
    }

    fn text(&self, name: Name) -> Option<Cow<'a, [u8]>> {
        let (value, container) = self.get(name)?;
        value.text(container)
    }

    fn token(&self) -> Option<Bytes> {
        let (value, container) = self.get(Name::Key)?;
        Some(match value.text(container)? {
            Cow::Borrowed(text) => container.slice_ref(text),
            Cow::Owned(text) => Bytes::from(text),
        })
    }

    fn on(&self, name: Name) -> bool {
        self.get(name)
            .is_some_and(|(value, container)| is_on(value, container))
    }

    fn is_filled(&self, name: Name) -> bool {
        let filled = |found: &Found, container: &[u8]| {
            found
                .get(name)
                .is_some_and(|value| value.text(container).is_none_or(|text| !text.is_empty()))
        };
        filled(self.query, &self.parts.query) || filled(self.body, &self.parts.body)
    }

    /// For what is only counted and priced by.
    fn label(&self, name: Name) -> Option<String> {
        let text = self.text(name)?;
        Some(String::from_utf8_lossy(&text[..text.len().min(MAX_LABEL)]).into_owned())
    }

    fn exact(
        &self,
        name: Name,
        written: &'static str,
        max: usize,
    ) -> Result<Option<String>, BadParameters> {
        let Some((value, container)) = self.get(name) else {
            return Ok(None);
        };
        let text = value.text(container).ok_or(BadParameters::Array(written))?;
        // 1e3 and 1.0 are numbers that some servers write anew as 1000 and 1.
        let is_whole = value.coding != Coding::JsonBare
            || text.iter().all(|b| b.is_ascii_digit() || *b == b'-');
        if text.len() > max || !is_whole {
            return Err(BadParameters::Value(written));
        }
        let text =
            String::from_utf8(text.into_owned()).map_err(|_| BadParameters::Value(written))?;
        Ok(Some(text))
    }

    fn no_array(&self, name: Name, written: &'static str) -> Result<(), BadParameters> {
        let is_array = |found: &Found| {
            found
                .get(name)
                .is_some_and(|value| value.coding == Coding::Array)
        };
        if is_array(self.query) || is_array(self.body) {
            Err(BadParameters::Array(written))
        } else {
            Ok(())
        }
    }

    fn differ(&self, name: Name) -> bool {
        match (self.query.get(name), self.body.get(name)) {
            (Some(query), Some(body)) => {
                query.text(&self.parts.query) != body.text(&self.parts.body)
            }
            _ => false,
        }
    }

    fn agree_on_json(&self) -> Result<(), BadParameters> {
        match (self.query.get(Name::Json), self.body.get(Name::Json)) {
            (Some(query), Some(body))
                if is_on(query, &self.parts.query) != is_on(body, &self.parts.body) =>
            {
                Err(BadParameters::Disagree("json"))
            }
            _ => Ok(()),
        }
    }
}

fn is_on(value: &Value, container: &[u8]) -> bool {
    match value.text(container) {
        Some(text) => *text == *b"1" || value.coding == Coding::JsonBare && *text == *b"true",
        None => false,
    }
}

/// Longer than any method, version or module that a vendor has.
const MAX_LABEL: usize = 64;
const MAX_ACTION: usize = 64;
/// Ids longer than 128 bytes are nobody's; that is said elsewhere, in the vendor's words.
const MAX_ID: usize = 1024;
/// As long as the longest query.
const MAX_IDS: usize = 60 * 1024;
const MAX_OWN: usize = 255;
const IDEMPOTENCY_KEY: &str = "x_idempotency_key";
