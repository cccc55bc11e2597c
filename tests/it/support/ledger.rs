//! The vendor's ledger against Sidekey's, one to one: each submit carries a label that the vendor sees as a parameter
//! and the store keeps as a project.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OpenFlags};

use super::{TASK, World};

/// What a submit with this label carries; the key is still missing. Labels are unique, of letters and digits.
pub(crate) fn labelled(label: &str) -> String {
    format!("{label}=1&x_project={label}&{TASK}")
}

#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// Made at the vendor.
    pub(crate) tasks: usize,
    /// Of these, in the store.
    pub(crate) known: usize,
    /// Of these, only in the uncertain list.
    pub(crate) uncertain_made: usize,
    /// In the uncertain list, and the vendor never made a task of it.
    pub(crate) uncertain_unmade: usize,
    /// Labels of which the vendor made more than one task.
    pub(crate) duplicates: Vec<String>,
    /// Whatever else does not fit, in words.
    pub(crate) wrong: Vec<String>,
}

impl Compared {
    /// All submits so far whose labels begin with `prefix`. Sidekey may run or not. The sandbox must remember all calls.
    pub(crate) fn of(world: &World, prefix: &str) -> Self {
        let store = world.place.path().join("sidekey.db");
        let store = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let like = format!("{prefix}%");
        let mut known = BTreeMap::new();
        let mut compared = Self::default();
        let rows = "SELECT project, id, owner_name FROM tasks WHERE project LIKE ?1";
        let mut rows = store.prepare(rows).unwrap();
        let mut rows = rows.query([&like]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let label: String = row.get(0).unwrap();
            let task: (String, String) = (row.get(1).unwrap(), row.get(2).unwrap());
            if let Some((id, _)) = known.insert(label.clone(), task) {
                compared
                    .wrong
                    .push(format!("{label} is known as {id} and as another"));
            }
        }
        let rows = "SELECT project FROM uncertain WHERE project LIKE ?1";
        let mut rows = store.prepare(rows).unwrap();
        let rows = rows.query_map([&like], |row| row.get(0)).unwrap();
        let uncertain: BTreeSet<String> = rows.map(Result::unwrap).collect();
        compared.compare(&made(world, prefix), &known, &uncertain);
        compared
    }

    /// No task twice, and the vendor's ledger is Sidekey's and the uncertain list.
    pub(crate) fn assert_exact(&self) {
        assert!(
            self.duplicates.is_empty() && self.wrong.is_empty(),
            "{self:#?}"
        );
        assert_eq!(self.tasks, self.known + self.uncertain_made, "{self:#?}");
    }

    fn compare(
        &mut self,
        made: &BTreeMap<String, Vec<(String, String)>>,
        known: &BTreeMap<String, (String, String)>,
        uncertain: &BTreeSet<String>,
    ) {
        for (label, tasks) in made {
            self.tasks += tasks.len();
            if tasks.len() > 1 {
                self.duplicates.push(format!("{label}: {tasks:?}"));
            }
            match known.get(label) {
                Some(task) if tasks.contains(task) => self.known += 1,
                Some(task) => {
                    let wrong = format!("{label} is {tasks:?} and known as {task:?}");
                    self.wrong.push(wrong);
                }
                None if uncertain.contains(label) => self.uncertain_made += 1,
                None => {
                    let wrong = format!("{label} is {tasks:?} and neither known nor uncertain");
                    self.wrong.push(wrong);
                }
            }
        }
        for (label, task) in known.iter().filter(|(label, _)| !made.contains_key(*label)) {
            self.wrong
                .push(format!("{label} is known as {task:?} and was never made"));
        }
        let unmade = uncertain.iter().filter(|label| !made.contains_key(*label));
        self.uncertain_unmade = unmade.count();
    }
}

/// By label: id and account of every task. A fault may have hidden any of them from Sidekey.
fn made(world: &World, prefix: &str) -> BTreeMap<String, Vec<(String, String)>> {
    let record = world.sandbox.record();
    assert_eq!(
        record.counts.dropped, 0,
        "a larger `record_limit` is needed"
    );
    let owners = world.sandbox.tasks().into_iter();
    let owners: BTreeMap<String, String> = owners.map(|task| (task.id, task.account)).collect();
    let mut made = BTreeMap::<String, Vec<(String, String)>>::new();
    for call in record
        .calls
        .iter()
        .filter(|call| call.endpoint != "res.php")
    {
        let label = call.names.iter().find(|name| name.starts_with(prefix));
        let task = call.task.as_ref().and_then(|id| owners.get_key_value(id));
        if let (Some(label), Some((id, owner))) = (label, task) {
            let tasks = made.entry(label.clone()).or_default();
            tasks.push((id.clone(), owner.clone()));
        }
    }
    made
}
