-- The file of the version before: all of its steps, as they were.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tasks (
    profile         TEXT NOT NULL,
    tenant          TEXT NOT NULL,
    id              TEXT NOT NULL,
    owner_name      TEXT NOT NULL,
    owner_identity  BLOB NOT NULL,
    kind            TEXT NOT NULL,
    project         TEXT,
    price_micro_usd INTEGER,
    final           INTEGER NOT NULL,
    submitted_at_ms INTEGER NOT NULL,
    used_at_ms      INTEGER NOT NULL,
    PRIMARY KEY (profile, tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX tasks_by_use ON tasks (used_at_ms);

CREATE TABLE intents (
    id              INTEGER PRIMARY KEY,
    profile         TEXT NOT NULL,
    tenant          TEXT NOT NULL,
    project         TEXT,
    kind            TEXT NOT NULL,
    endpoint        TEXT NOT NULL,
    owner_name      TEXT NOT NULL,
    owner_identity  BLOB NOT NULL,
    at_ms           INTEGER NOT NULL
) STRICT;

CREATE TABLE uncertain (
    id              INTEGER PRIMARY KEY,
    profile         TEXT NOT NULL,
    tenant          TEXT NOT NULL,
    project         TEXT,
    kind            TEXT NOT NULL,
    endpoint        TEXT NOT NULL,
    owner_name      TEXT NOT NULL,
    owner_identity  BLOB NOT NULL,
    at_ms           INTEGER NOT NULL,
    why             TEXT NOT NULL,
    parameters_hash BLOB,
    resolved_id     TEXT,
    resolved_at_ms  INTEGER
) STRICT;

CREATE TABLE bad_key_answers (
    id    INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE good_keys (
    identity BLOB PRIMARY KEY,
    at_ms    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE claims (
    scope      BLOB PRIMARY KEY,
    parameters BLOB NOT NULL,
    intent     INTEGER NOT NULL,
    task_id    TEXT,
    answer     BLOB,
    at_ms      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX claims_by_intent ON claims (intent);
CREATE INDEX claims_by_time ON claims (at_ms);

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE parked (
    id              INTEGER PRIMARY KEY,
    profile         TEXT NOT NULL,
    tenant          TEXT NOT NULL,
    project         TEXT,
    kind            TEXT NOT NULL,
    lacks           TEXT NOT NULL,
    state           TEXT NOT NULL,
    task_id         TEXT,
    code            TEXT,
    bytes           INTEGER NOT NULL,
    parked_at_ms    INTEGER NOT NULL,
    used_at_ms      INTEGER NOT NULL
) STRICT;
CREATE INDEX parked_by_use ON parked (used_at_ms);

CREATE TABLE parked_requests (
    id           INTEGER PRIMARY KEY,
    post         INTEGER NOT NULL,
    query        BLOB NOT NULL,
    content_type BLOB,
    user_agent   BLOB,
    body         BLOB NOT NULL
) STRICT;

PRAGMA application_id = 1399081849;
PRAGMA user_version = 1004;
PRAGMA journal_mode = WAL;
