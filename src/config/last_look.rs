//! The last look at a report: a name that is shown may be a secret of a source that was read later.

use std::collections::HashSet;

use bytes::Bytes;

use super::report::Diagnostic;
use super::settings::{KeyEntry, TenantEntry};
use crate::keys::values::Values;
use crate::tenants::TokenHash;

/// SECURITY: reports are printed and logged. Whatever else is wrong, no value of a key and no token is in them.
pub(crate) fn hide_secrets(found: &mut [Diagnostic], keys: &[KeyEntry], tenants: &[TenantEntry]) {
    if found.is_empty() {
        return;
    }
    let tokens: HashSet<&TokenHash> = tenants.iter().map(|tenant| &tenant.token).collect();
    let names = keys.iter().map(|key| key.name.as_bytes());
    let names = names.chain(tenants.iter().map(|tenant| tenant.name.as_bytes()));
    let named_by_tokens = names.filter(|name| tokens.contains(&TokenHash::of(name)));
    let values = keys.iter().map(|key| key.value.expose());
    let secrets = Values::new(values.chain(named_by_tokens).map(Bytes::copy_from_slice));
    let hide = |text: &mut String| {
        let clean = secrets.scrub(&text.clone().into(), b"*****");
        if *clean != *text.as_bytes() {
            *text = String::from_utf8_lossy(&clean).into_owned();
        }
    };
    for found in found {
        hide(&mut found.message);
        found.help.iter_mut().for_each(hide);
        if let Some(place) = &mut found.place {
            hide(&mut place.origin);
            if let Some(quote) = &mut place.quote {
                let before = quote.text.clone();
                hide(&mut quote.text);
                // What is meant stands where it stood.
                if quote.text != before {
                    quote.text = "*".repeat(before.len());
                }
            }
        }
    }
}
