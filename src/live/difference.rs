//! What a reload changed, by name: keys and tenants that came, left or are written otherwise, and sections of the
//! configuration. Never a value. Pure.

use std::collections::BTreeMap;

use super::Snapshot;

/// In one line; empty when nothing that counts is different.
pub(super) fn difference(old: &Snapshot, new: &Snapshot) -> String {
    let parts = [
        of(
            "keys",
            old.entries.iter().map(|entry| (&*entry.name, entry)),
            new.entries.iter().map(|entry| (&*entry.name, entry)),
        ),
        of(
            "tenants",
            old.tenant_entries.iter().map(|entry| (&*entry.name, entry)),
            new.tenant_entries.iter().map(|entry| (&*entry.name, entry)),
        ),
        sections(old, new),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    parts.join("; ")
}

fn of<'a, T: PartialEq + 'a>(
    what: &str,
    old: impl Iterator<Item = (&'a str, &'a T)>,
    new: impl Iterator<Item = (&'a str, &'a T)>,
) -> Option<String> {
    let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) = (old.collect(), new.collect());
    let added: Vec<&str> = new
        .keys()
        .filter(|name| !old.contains_key(*name))
        .copied()
        .collect();
    let removed: Vec<&str> = old
        .keys()
        .filter(|name| !new.contains_key(*name))
        .copied()
        .collect();
    let is_changed =
        |(name, entry): &(&&str, &&T)| old.get(**name).is_some_and(|old| old != *entry);
    let changed: Vec<&str> = new
        .iter()
        .filter(is_changed)
        .map(|(name, _)| *name)
        .collect();
    let parts = [("added", added), ("removed", removed), ("changed", changed)];
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(how, names)| format!("{how} {}", list(&names)))
        .collect();
    (!parts.is_empty()).then(|| format!("{what}: {}", parts.join(", ")))
}

fn sections(old: &Snapshot, new: &Snapshot) -> Option<String> {
    let (old, new) = (&old.settings, &new.settings);
    let changed = [
        ("listen", old.listen != new.listen),
        ("admin", old.admin != new.admin),
        ("vendor", old.vendor != new.vendor),
        ("submit", old.submit != new.submit),
        ("poll", old.poll != new.poll),
        ("pool", old.pools != new.pools),
        ("balance", old.balance != new.balance),
        ("alerts", old.alerts != new.alerts),
        ("prices", old.prices != new.prices),
        ("clients", old.clients != new.clients),
        ("state", old.state != new.state),
        ("log", old.log != new.log),
    ];
    let names: Vec<&str> = changed
        .into_iter()
        .filter_map(|(name, is_changed)| is_changed.then_some(name))
        .collect();
    (!names.is_empty()).then(|| format!("settings: changed {}", list(&names)))
}

/// A row that names ten thousand keys helps nobody.
fn list(names: &[&str]) -> String {
    let shown = names[..names.len().min(MOST_NAMED)].join(" ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

const MOST_NAMED: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_came_left_or_changed_are_told_and_no_more_than_some() {
        let old = [("a", &1), ("b", &2), ("c", &3)];
        let new = [("b", &2), ("c", &4), ("d", &5)];
        let said = of("keys", old.into_iter(), new.into_iter());
        assert_eq!(said.as_deref(), Some("keys: added d, removed a, changed c"));
        assert_eq!(of("keys", old.into_iter(), old.into_iter()), None);
        let names: Vec<String> = (0..25).map(|n| format!("k{n:02}")).collect();
        let many = names.iter().map(|name| (name.as_str(), &1));
        let said = of("keys", many, std::iter::empty()).unwrap();
        assert!(said.starts_with("keys: removed k00 k01"), "{said}");
        assert!(said.ends_with("k19 and 5 more"), "{said}");
    }
}
