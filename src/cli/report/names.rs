//! A bill of nobody: whether it is the name that is wrong.

use super::Note;
use crate::cli::table::shortened;
use crate::config::suggest::nearest;
use crate::store::{Asked, By, Ledger, LedgerError};

/// Asked where a report is empty. `configured` are the names of the tenants, where there is a configuration to ask.
pub(super) fn unknown(
    asked: &Asked,
    configured: Option<&[String]>,
    ledger: &mut Ledger,
) -> Result<Option<Note>, LedgerError> {
    // The tenant of open mode has no name that could be wrong.
    if let Some(tenant) = asked.tenant.as_deref().filter(|name| !name.is_empty()) {
        let mut names = kept(asked, By::Tenant, ledger)?;
        names.extend(configured.into_iter().flatten().cloned());
        if !names.iter().any(|name| name == tenant) {
            return Ok(Some(Note {
                text: told("tenant", tenant, names),
                // Without a configuration it may be one that has not done anything yet.
                is_wrong_usage: configured.is_some(),
            }));
        }
    }
    if let Some(project) = &asked.project {
        let names = kept(asked, By::Project, ledger)?;
        if !names.iter().any(|name| **name == **project) {
            // Clients name projects as they like: it may be one that has not begun.
            return Ok(Some(Note::of(told("project", project, names))));
        }
    }
    Ok(None)
}

/// All names of which there is anything in the store, of any month.
fn kept(asked: &Asked, by: By, ledger: &mut Ledger) -> Result<Vec<String>, LedgerError> {
    let tenant = asked.tenant.clone().filter(|_| by != By::Tenant);
    let lines = ledger.lines(&Asked {
        by,
        from_ms: 0,
        until_ms: i64::MAX,
        tenant,
        project: None,
        ..asked.clone()
    })?;
    let names = lines.into_iter().map(|line| line.of);
    Ok(names.filter(|name| !name.is_empty()).collect())
}

fn told(what: &str, written: &str, mut names: Vec<String>) -> String {
    let written = shortened(written, MOST);
    names.sort_unstable();
    names.dedup();
    let hint = match nearest(&written, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => format!("there is no {what}"),
        None => format!("there is {}", shortened(&names.join(", "), MOST)),
    };
    format!("no {what} is named `{written}`: {}", shortened(&hint, MOST))
}

const MOST: usize = 200;
