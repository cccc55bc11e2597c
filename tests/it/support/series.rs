//! What `/metrics` shows, series by series.

use std::collections::{BTreeMap, BTreeSet};

use super::World;
use super::http::send;

/// What was seen so far, and which families were seen to change.
#[derive(Default)]
pub(crate) struct Series {
    last: BTreeMap<String, f64>,
    pub(crate) moved: BTreeSet<String>,
    /// By name, as samples have it: type, and the names of the labels.
    pub(crate) families: BTreeMap<String, (String, BTreeSet<String>)>,
}

impl Series {
    pub(crate) async fn look(&mut self, world: &World) {
        self.read(&text(world).await);
    }

    fn read(&mut self, text: &str) {
        let mut family = String::new();
        for line in text.lines() {
            if let Some((name, kind)) = line
                .strip_prefix("# TYPE ")
                .and_then(|rest| rest.split_once(' '))
            {
                family = name.to_owned();
                let new = (kind.to_owned(), BTreeSet::new());
                self.families.entry(family.clone()).or_insert(new);
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let value: f64 = value.parse().unwrap();
                if self
                    .last
                    .insert(series.to_owned(), value)
                    .unwrap_or_default()
                    != value
                {
                    self.moved.insert(family.clone());
                }
                let labels = series.split_once('{').map_or("", |(_, labels)| labels);
                let names = labels
                    .split(",")
                    .filter_map(|label| Some(label.split_once("=\"")?.0.to_owned()));
                let family = self.families.get_mut(&family).unwrap();
                family.1.extend(names.filter(|name| name != "le"));
            }
        }
    }
}

pub(crate) async fn text(world: &World) -> String {
    send(world.admin(), "GET", "/metrics", "", "").await.body
}
