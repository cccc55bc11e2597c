use std::collections::BTreeSet;

use super::*;

#[test]
fn the_description_has_every_path_of_the_table_and_no_other() {
    let described = described(include_str!("../../docs/openapi.yaml"));
    let row = |(method, path, _): &Row| ((*path).to_owned(), method.as_str().to_lowercase());
    let table: BTreeSet<_> = TABLE.iter().map(row).collect();
    assert_eq!(described, table);
}

#[test]
fn the_guide_names_every_path_of_the_table() {
    let guide = include_str!("../../docs/admin.md");
    for (_, path, _) in TABLE {
        let written = path.replace("{name}", "NAME").replace("{id}", "ID");
        assert!(guide.contains(&written), "{written}");
    }
}

#[test]
fn a_path_names_one_thing_and_its_name_may_be_escaped() {
    let of = |path| Route::of(path).map(|(_, route)| route);
    assert_eq!(of("/livez"), Some(Route::Live));
    assert_eq!(
        of("/api/keys/a%2Fb/enable"),
        Some(Route::Enable("a/b".to_owned()))
    );
    for path in [
        "/livez/",
        "//livez",
        "/api",
        "/api/keys/a/b/enable",
        "*",
        "",
    ] {
        assert_eq!(of(path), None, "{path}");
    }
    // Not UTF-8, so nobody's name.
    assert_eq!(of("/api/keys/%ff/enable"), None);
}

/// Paths with their methods, by the indentation in which the file is written.
fn described(yaml: &str) -> BTreeSet<(String, String)> {
    let (_, paths) = yaml.split_once("\npaths:\n").unwrap();
    let (paths, _) = paths.split_once("\ncomponents:\n").unwrap();
    let mut described = BTreeSet::new();
    let mut path = "";
    for line in paths.lines() {
        let depth = line.len() - line.trim_start().len();
        let word = line.trim().trim_end_matches(':');
        match depth {
            2 => path = word,
            4 if ["get", "post", "put", "patch", "delete", "head", "options"].contains(&word) => {
                described.insert((path.to_owned(), word.to_owned()));
            }
            _ => {}
        }
    }
    described
}
