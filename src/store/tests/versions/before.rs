//! What the version before does with a file: its statements, verbatim, and when it makes them.

use std::path::Path;

use rusqlite::{Connection, Params, params};

/// By its own rules: a larger major version is refused, steps beyond its four are left alone, intents are uncertain.
pub(super) fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    let number = |name| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(number("application_id"), 0x5364_4b79);
    let version = number("user_version");
    assert!(version / 1000 <= 1, "it refuses version {version}");
    assert!(version % 1000 >= 4, "it has no step to take");
    connection
        .execute(INTENTS_TO_UNCERTAIN, ["the process ended in mid-submit"])
        .unwrap();
    connection.execute("DELETE FROM intents", []).unwrap();
    for sql in END_OPEN_SENDINGS {
        connection.execute(sql, []).unwrap();
    }
    for sql in [
        "SELECT value FROM meta WHERE name = 'salt'",
        LAST_INTENT,
        LAST_BAD_KEY_ANSWER,
        LAST_OWN_ID,
    ] {
        let one = connection.query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0));
        assert!(one.is_ok(), "{sql}: {one:?}");
    }
    connection
}

/// As this version wrote them.
pub(super) fn find_tasks(connection: &Connection) {
    let owner = |id| {
        let found = connection.query_row(FIND_TASK, ["captchaai", "", id], |row| {
            assert_eq!(row.get::<_, Vec<u8>>(1)?, [4; 32]);
            assert_eq!(row.get::<_, i64>(5)?, 0, "it runs");
            row.get::<_, String>(0)
        });
        found.unwrap()
    };
    assert_eq!(
        (owner("7"), owner("8")),
        ("main".to_owned(), "main".to_owned())
    );
    assert_eq!(rows(connection, RUNNING_TASKS, params![0, 9]), 2);
    assert_eq!(rows(connection, LIST_UNCERTAIN, [9]), 1);
    assert_eq!(rows(connection, WAITING, []), 1);
    assert_eq!(rows(connection, "SELECT identity FROM good_keys", []), 1);
    let claims = "SELECT parameters, task_id, answer FROM claims WHERE scope = ?";
    assert_eq!(rows(connection, claims, [[1_u8; 32]]), 1);
}

pub(super) fn intend(connection: &Connection, id: i64) {
    let intent = params![
        id,
        "captchaai",
        "",
        None::<&str>,
        "image",
        "submit",
        "main",
        [4_u8; 32],
        2_000
    ];
    make(connection, INTEND, intent);
}

pub(super) fn submit(connection: &Connection, intent: i64, task: &str) {
    intend(connection, intent);
    make(connection, "DELETE FROM intents WHERE id = ?", [intent]);
    make(
        connection,
        INSERT_TASK,
        params![
            "captchaai",
            "",
            task,
            "main",
            [4_u8; 32],
            "image",
            None::<&str>,
            1_200,
            false,
            2_000,
            2_000,
        ],
    );
}

pub(super) fn touch(connection: &Connection, task: &str, used_at_ms: i64) {
    make(
        connection,
        TOUCH,
        params!["captchaai", "", task, used_at_ms, true],
    );
}

/// The vendor gave an id again.
pub(super) fn repeat(connection: &Connection, task: &str) {
    let values = params![
        "captchaai",
        "",
        task,
        "main",
        [4_u8; 32],
        "image",
        None::<&str>,
        1_200,
        false,
        2_000,
        2_000,
    ];
    assert_eq!(connection.execute(INSERT_TASK, values), Ok(0));
    make(connection, REPLACE_TASK, values);
}

pub(super) fn resolve(connection: &Connection, id: i64, task: &str) {
    make(connection, RESOLVE, params![id, task, 3_000]);
    make(
        connection,
        "UPDATE claims SET task_id = ?2 WHERE intent = ?1",
        params![id, task],
    );
}

pub(super) fn claim(connection: &Connection, intent: i64) {
    make(
        connection,
        CLAIM,
        params![[2_u8; 32], [9_u8; 32], intent, 2_000],
    );
    make(
        connection,
        "UPDATE claims SET task_id = ?2 WHERE intent = ?1",
        params![intent, "10"],
    );
}

pub(super) fn send_parked(connection: &Connection, id: i64) {
    make(
        connection,
        TURN,
        params![id, "sending", None::<&str>, None::<&str>, 2_000],
    );
    make(
        connection,
        TURN,
        params![id, "submitted", "12", None::<&str>, 2_000],
    );
    make(connection, "DELETE FROM parked_requests WHERE id = ?", [id]);
}

pub(super) fn forget_what_is_old(connection: &Connection) {
    for sql in [FORGET_TASKS, FORGET_UNCERTAIN, FORGET_PARKED] {
        assert_eq!(connection.execute(sql, params![10, 1_000]), Ok(0), "{sql}");
    }
    assert_eq!(
        connection.execute(FORGET_CLAIMS, params![10, 50_000, 1_000]),
        Ok(0)
    );
}

fn make(connection: &Connection, sql: &str, values: impl Params) {
    assert_eq!(connection.execute(sql, values), Ok(1), "{sql}");
}

fn rows(connection: &Connection, sql: &str, values: impl Params) -> usize {
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map(values, |_| Ok(())).unwrap();
    rows.map(Result::unwrap).count()
}

const INTENTS_TO_UNCERTAIN: &str = "INSERT OR REPLACE INTO uncertain
    (id, profile, tenant, project, kind, endpoint, owner_name, owner_identity, at_ms, why)
    SELECT id, profile, tenant, project, kind, endpoint, owner_name, owner_identity, at_ms, ?
    FROM intents";

const END_OPEN_SENDINGS: [&str; 2] = [
    "DELETE FROM parked_requests WHERE id IN (SELECT id FROM parked WHERE state = 'sending')",
    "UPDATE parked SET state = 'uncertain' WHERE state = 'sending'",
];

const LAST_INTENT: &str = "SELECT max(coalesce((SELECT max(id) FROM uncertain), 0), coalesce((SELECT max(intent) FROM claims), 0))";

const LAST_BAD_KEY_ANSWER: &str = "SELECT coalesce(max(id), 0) FROM bad_key_answers";

const LAST_OWN_ID: &str = "SELECT value FROM counters WHERE name = 'own_id'";

const INTEND: &str = "INSERT OR REPLACE INTO intents
    (id, profile, tenant, project, kind, endpoint, owner_name, owner_identity, at_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";

const RESOLVE: &str = "UPDATE uncertain SET resolved_id = ?2, resolved_at_ms = ?3 WHERE id = ?1";

const INSERT_TASK: &str = "INSERT INTO tasks
    (profile, tenant, id, owner_name, owner_identity, kind, project, price_micro_usd, final, submitted_at_ms, used_at_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";

const REPLACE_TASK: &str = "REPLACE INTO tasks
    (profile, tenant, id, owner_name, owner_identity, kind, project, price_micro_usd, final, submitted_at_ms, used_at_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

const TOUCH: &str = "UPDATE tasks SET used_at_ms = max(used_at_ms, ?4), final = max(final, ?5)
    WHERE profile = ?1 AND tenant = ?2 AND id = ?3";

const FORGET_TASKS: &str = "DELETE FROM tasks WHERE (profile, tenant, id) IN
    (SELECT profile, tenant, id FROM tasks WHERE used_at_ms < ?1 ORDER BY used_at_ms, profile, tenant, id LIMIT ?2)";

const FORGET_UNCERTAIN: &str = "DELETE FROM uncertain WHERE id IN
    (SELECT id FROM uncertain WHERE at_ms < ?1 ORDER BY id LIMIT ?2)";

const CLAIM: &str = "INSERT OR REPLACE INTO claims (scope, parameters, intent, at_ms)
    VALUES (?, ?, ?, ?)";

const FORGET_CLAIMS: &str = "DELETE FROM claims WHERE scope IN
    (SELECT scope FROM claims
     WHERE at_ms < max(?1, coalesce((SELECT at_ms FROM claims ORDER BY at_ms DESC LIMIT 1 OFFSET ?2 - 1), ?1))
     ORDER BY at_ms, scope LIMIT ?3)";

const FIND_TASK: &str = "SELECT
    owner_name, owner_identity, kind, project, price_micro_usd, final, submitted_at_ms, used_at_ms
    FROM tasks WHERE profile = ? AND tenant = ? AND id = ?";

const LIST_UNCERTAIN: &str = "SELECT
    id, profile, tenant, project, kind, endpoint, owner_name, owner_identity, at_ms, why, parameters_hash,
    resolved_id, resolved_at_ms
    FROM uncertain ORDER BY id DESC LIMIT ?";

const RUNNING_TASKS: &str = "SELECT profile, tenant, id,
    owner_name, owner_identity, kind, project, price_micro_usd, submitted_at_ms, used_at_ms
    FROM tasks WHERE used_at_ms >= ? AND final = 0 ORDER BY used_at_ms DESC LIMIT ?";

const TURN: &str = "UPDATE parked SET state = ?2, task_id = ?3, code = ?4, used_at_ms = max(used_at_ms, ?5) WHERE id = ?1";

const FORGET_PARKED: &str = "DELETE FROM parked WHERE id IN
    (SELECT id FROM parked WHERE used_at_ms < ?1 AND state NOT IN ('waiting', 'sending') ORDER BY used_at_ms, id LIMIT ?2)";

const WAITING: &str = "SELECT
    id, profile, tenant, project, kind, lacks, state, task_id, code, bytes, parked_at_ms, used_at_ms
    FROM parked WHERE state = 'waiting' ORDER BY id";
