-- A journal as version 1 knows it. Applied in one transaction.

-- `onwd`: tells a journal from any other SQLite database.
PRAGMA application_id = 0x6f6e7764;
PRAGMA user_version = 1;

-- What the guard of every commit reads stands first, long texts last: the guard then never touches overflow pages.
-- Not `state IN (...)`: of more than two values SQLite makes a table for each row that it checks, which took a third of
-- what it takes to add a run.
-- AUTOINCREMENT: the number of a deleted run is never given again, or an old lease could write into the new run.
CREATE TABLE run (
    no          INTEGER PRIMARY KEY AUTOINCREMENT,
    fence       INTEGER NOT NULL,
    request     TEXT CHECK (request IN ('pause', 'cancel')),
    owner       TEXT,
    lease_until REAL,
    state       TEXT NOT NULL CHECK (state = 'pending' OR state = 'running' OR state = 'waiting' OR state = 'paused'
        OR state = 'stuck' OR state = 'done' OR state = 'failed' OR state = 'cancelled'),
    direct      INTEGER NOT NULL,
    id          TEXT NOT NULL UNIQUE,
    kind        TEXT NOT NULL CHECK (kind = 'loop' OR kind = 'map' OR kind = 'workflow'),
    name        TEXT NOT NULL,
    identity    TEXT NOT NULL,
    wake_at     REAL,
    stalls      INTEGER NOT NULL,
    leased_seq  INTEGER NOT NULL,
    total       INTEGER,
    done        INTEGER NOT NULL,
    counted_seq INTEGER NOT NULL,
    created_at  REAL NOT NULL,
    updated_at  REAL NOT NULL,
    command     TEXT,
    args        TEXT,
    error       TEXT,
    result      TEXT
) STRICT;

CREATE UNIQUE INDEX run_open ON run (identity) WHERE direct = 1 AND state NOT IN ('done', 'cancelled');
CREATE INDEX run_identity ON run (identity, no);
CREATE INDEX run_name ON run (name, no);
CREATE INDEX run_state ON run (state, no);
CREATE INDEX run_owner ON run (owner) WHERE owner IS NOT NULL;

-- The references are checked by `onward doctor`, not on every insert: a commit has just read the run's row anyway.
CREATE TABLE entry (
    run         INTEGER NOT NULL REFERENCES run (no),
    seq         INTEGER NOT NULL,
    key         TEXT NOT NULL,
    kind        TEXT NOT NULL,
    state       TEXT NOT NULL,
    name        TEXT NOT NULL,
    fingerprint BLOB,
    value       TEXT,
    checksum    INTEGER,
    attempt     INTEGER NOT NULL,
    fence       INTEGER NOT NULL,
    begun_at    REAL,
    ended_at    REAL NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX entry_done ON entry (run, key) WHERE state = 'done';
-- Small: most entries never fail.
CREATE INDEX entry_failed ON entry (run, key) WHERE state IN ('failed', 'reopened');

CREATE TABLE begun (
    run      INTEGER NOT NULL REFERENCES run (no),
    key      TEXT NOT NULL,
    kind     TEXT NOT NULL,
    name     TEXT NOT NULL,
    attempt  INTEGER NOT NULL,
    crashes  INTEGER NOT NULL,
    suspect  INTEGER NOT NULL,
    due_at   REAL,
    fence    INTEGER NOT NULL,
    begun_at REAL NOT NULL,
    PRIMARY KEY (run, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE owner (
    id         TEXT PRIMARY KEY,
    host       TEXT NOT NULL,
    boot       TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    command    TEXT NOT NULL,
    started_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
