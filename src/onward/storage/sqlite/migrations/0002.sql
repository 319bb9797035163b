-- Queues: runs that any worker executes. Applied in one transaction.

PRAGMA user_version = 2;

ALTER TABLE run ADD COLUMN queue TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN lane TEXT;
ALTER TABLE run ADD COLUMN single TEXT;
ALTER TABLE run ADD COLUMN tags TEXT;
ALTER TABLE run ADD COLUMN parent TEXT;
ALTER TABLE run ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;

-- Runs that workers execute are found by their ids. A second index of long random texts would cost each of them a third
-- of its insertion.
DROP INDEX run_identity;
CREATE INDEX run_identity ON run (identity, no) WHERE direct = 1;

-- Whom a worker may claim, in the order in which it does: what is read of a candidate stands in the index. The second of
-- each kind finds the first runs of a lane, however many of other lanes stand before them.
CREATE INDEX run_ready ON run (queue, name, priority DESC, no, lane, fence) WHERE direct = 0 AND state = 'pending';
CREATE INDEX run_ready_lane ON run (queue, name, lane, priority DESC, no, fence)
    WHERE direct = 0 AND state = 'pending' AND lane IS NOT NULL;
-- A million sleeping runs cost rows here and nothing else.
CREATE INDEX run_due ON run (queue, name, wake_at, no, lane, priority, fence) WHERE direct = 0 AND state = 'waiting';
CREATE INDEX run_due_lane ON run (queue, name, lane, wake_at, no, priority, fence)
    WHERE direct = 0 AND state = 'waiting' AND lane IS NOT NULL;
-- As many rows as runs are being executed: who holds them, and what counts against a queue's limits.
CREATE INDEX run_busy ON run (queue, lane, owner, lease_until) WHERE direct = 0 AND state = 'running';
-- Dead letters.
CREATE INDEX run_dead ON run (queue, no) WHERE direct = 0 AND state = 'failed';
CREATE UNIQUE INDEX run_single ON run (single) WHERE single IS NOT NULL;

-- Every queue that ever had a run, with its limits: JSON objects, what the code declares and what a person has chosen.
CREATE TABLE queue (
    name     TEXT PRIMARY KEY,
    paused   INTEGER NOT NULL DEFAULT 0,
    declared TEXT NOT NULL DEFAULT '{}',
    chosen   TEXT NOT NULL DEFAULT '{}',
    turn     TEXT NOT NULL DEFAULT ''  -- the lane at which the next look at its lanes begins
) STRICT, WITHOUT ROWID;

-- When runs of queues with a rate began, as long as that counts; `lane` is empty where all of the queue counts.
CREATE TABLE start (
    queue TEXT NOT NULL,
    lane  TEXT NOT NULL,
    at    REAL NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (queue, lane, at)
) STRICT, WITHOUT ROWID;
CREATE INDEX start_at ON start (queue, at);

-- Items of runs that take many. `item` is null once the run has begun: then it stands in the run's arguments, and only
-- what has a key is kept, to be recognised.
CREATE TABLE arrival (
    run      INTEGER NOT NULL REFERENCES run (no),
    number   INTEGER NOT NULL,
    name     TEXT NOT NULL,
    key      TEXT,
    item     TEXT,
    checksum INTEGER NOT NULL,
    chars    INTEGER NOT NULL,  -- of this one and those before it
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX arrival_key ON arrival (name, key) WHERE key IS NOT NULL;

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

-- `spec` is what code defines, as JSON; `going` and `backlog` are JSON arrays of texts. The runs of a schedule are
-- those whose ids begin with its name and whose identity says so, see core.schedules.
CREATE TABLE schedule (
    name        TEXT PRIMARY KEY,
    spec        TEXT NOT NULL,
    revision    INTEGER NOT NULL,
    since       REAL NOT NULL,
    last        REAL NOT NULL,
    next_at     REAL,
    due_at      REAL,
    paused      INTEGER NOT NULL,
    declarer    TEXT,
    declared_at REAL NOT NULL,
    going       TEXT NOT NULL,
    backlog     TEXT NOT NULL,
    latest      TEXT,
    started     INTEGER NOT NULL,
    skipped     INTEGER NOT NULL,
    missed      INTEGER NOT NULL,
    note        TEXT
) STRICT, WITHOUT ROWID;
