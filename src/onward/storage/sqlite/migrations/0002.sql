-- Queues: runs that any worker executes. Applied in one transaction.

PRAGMA user_version = 2;

ALTER TABLE run ADD COLUMN queue TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN lane TEXT;
ALTER TABLE run ADD COLUMN single TEXT;
ALTER TABLE run ADD COLUMN tags TEXT;
ALTER TABLE run ADD COLUMN parent TEXT;
ALTER TABLE run ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;

-- Whom a worker may claim, in the order in which it does: what is read of a candidate stands in the index.
CREATE INDEX run_ready ON run (queue, name, priority DESC, no, lane) WHERE direct = 0 AND state = 'pending';
-- A million sleeping runs cost rows here and nothing else.
CREATE INDEX run_due ON run (queue, name, wake_at, no, lane, priority)
    WHERE direct = 0 AND state = 'waiting' AND wake_at IS NOT NULL;
-- As many rows as runs are being executed: who holds them, and what counts against a queue's limits.
CREATE INDEX run_busy ON run (queue, lane, owner, lease_until) WHERE direct = 0 AND state = 'running';
CREATE UNIQUE INDEX run_single ON run (single) WHERE single IS NOT NULL;

-- Every queue that ever had a run, with its limits: null where there is none.
CREATE TABLE queue (
    name        TEXT PRIMARY KEY,
    paused      INTEGER NOT NULL DEFAULT 0,
    concurrency INTEGER,
    per_key     INTEGER,
    rate        INTEGER,  -- so many first claims in any `window_s` seconds
    window_s    REAL
) STRICT, WITHOUT ROWID;

-- When runs of queues with a rate began, as long as that counts.
CREATE TABLE start (
    queue TEXT NOT NULL,
    at    REAL NOT NULL,
    run   INTEGER NOT NULL,
    PRIMARY KEY (queue, at, run)
) STRICT, WITHOUT ROWID;

-- What each living worker says of itself, so that people see what nobody works on. `names` and `queues` are JSON arrays.
CREATE TABLE worker (
    owner       TEXT PRIMARY KEY,
    names       TEXT NOT NULL,
    queues      TEXT NOT NULL,
    concurrency INTEGER NOT NULL,
    state       TEXT NOT NULL,
    seen_at     REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- Which waiting run is due when the run with the id `awaited` has ended.
CREATE TABLE waiter (
    awaited TEXT NOT NULL,
    run     INTEGER NOT NULL REFERENCES run (no),
    PRIMARY KEY (awaited, run)
) STRICT, WITHOUT ROWID;
CREATE INDEX waiter_run ON waiter (run);
