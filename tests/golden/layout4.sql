PRAGMA application_id = 1869510500;
PRAGMA user_version = 4;
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
    claimed_seq  INTEGER NOT NULL,
    total       INTEGER,
    done        INTEGER NOT NULL,
    counted_seq INTEGER NOT NULL,
    created_at  REAL NOT NULL,
    updated_at  REAL NOT NULL,
    command     TEXT,
    args        TEXT,
    error       TEXT,
    result      TEXT
, queue TEXT NOT NULL DEFAULT '', priority INTEGER NOT NULL DEFAULT 0, lane TEXT, single TEXT, tags TEXT, parent TEXT, attempt INTEGER NOT NULL DEFAULT 0, untold INTEGER NOT NULL DEFAULT 0, claimed_by TEXT, claimed_at REAL) STRICT;
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
CREATE TABLE queue (
    name     TEXT PRIMARY KEY,
    paused   INTEGER NOT NULL DEFAULT 0,
    declared TEXT NOT NULL DEFAULT '{}',
    chosen   TEXT NOT NULL DEFAULT '{}',
    turn     TEXT NOT NULL DEFAULT ''  -- the lane at which the next look at its lanes begins
) STRICT, WITHOUT ROWID;
CREATE TABLE start (
    queue TEXT NOT NULL,
    lane  TEXT NOT NULL,
    at    REAL NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (queue, lane, at)
) STRICT, WITHOUT ROWID;
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
CREATE TABLE worker (
    owner       TEXT PRIMARY KEY,
    names       TEXT NOT NULL,
    queues      TEXT NOT NULL,
    concurrency INTEGER NOT NULL,
    state       TEXT NOT NULL,
    seen_at     REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE waiter (
    awaited TEXT NOT NULL,
    run     INTEGER NOT NULL REFERENCES run (no),
    PRIMARY KEY (awaited, run)
) STRICT, WITHOUT ROWID;
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
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, claimed_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt, untold, claimed_by, claimed_at) VALUES (1, 1, NULL, NULL, NULL, 'pending', 1, 'letters-223b1969', 'loop', 'letters', 'loop:letters', NULL, 0, 1, 5, 2, 3, 1795975767.8048768, 1795975767.8142197, 'cd /tmp/golden/project && python jobs.py', NULL, NULL, NULL, '', 0, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, claimed_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt, untold, claimed_by, claimed_at) VALUES (2, 1, NULL, NULL, NULL, 'pending', 1, 'odd-items-4fb9b984', 'loop', 'odd items', 'loop:odd items', NULL, 0, 1, 8, 5, 6, 1795975767.8159957, 1795975767.8226483, 'cd /tmp/golden/project && python jobs.py', NULL, NULL, NULL, '', 0, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, claimed_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt, untold, claimed_by, claimed_at) VALUES (3, 1, NULL, NULL, NULL, 'pending', 1, 'rows-ccf71c11', 'loop', 'rows', 'loop:rows', NULL, 0, 1, 4, 2, 3, 1795975767.8238583, 1795975767.8283641, 'cd /tmp/golden/project && python jobs.py', NULL, NULL, NULL, '', 0, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, claimed_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt, untold, claimed_by, claimed_at) VALUES (4, 1, NULL, NULL, NULL, 'failed', 1, 'halves-7a3ea3db', 'map', 'halves', 'map:halves', NULL, 0, 1, 4, 3, 5, 1795975767.838895, 1795975767.845484, 'cd /tmp/golden/project && python jobs.py', NULL, '{"class":"onward.core.errors:RunFailed","message":"1 item failed; `onward show halves-7a3ea3db` says which","args":{"$t":"tuple","v":["1 item failed; `onward show halves-7a3ea3db` says which"]},"state":{"run_id":"halves-7a3ea3db"},"lost":[],"notes":[],"traceback":"onward.core.errors.RunFailed: 1 item failed; `onward show halves-7a3ea3db` says which\n","retry_after":null}', NULL, '', 0, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, claimed_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt, untold, claimed_by, claimed_at) VALUES (5, 1, NULL, NULL, NULL, 'failed', 1, 'failing-03b0409e', 'workflow', 'failing', 'workflow:failing:29b3f7fc360c5c923aa1', NULL, 0, 1, NULL, 0, -1, 1795975767.847253, 1795975767.8501287, 'cd /tmp/golden/project && python jobs.py', '[[1],{}]', '{"class":"__main__:Refused","message":"not 1","args":{"$t":"tuple","v":["not 1"]},"state":{},"lost":[],"notes":[],"traceback":"Traceback (most recent call last):\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 199, in _call\n    return Outcome(fn(*args, **kwargs), None, begun_at, now())\n                   ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 121, in failing\n    return refuse(fetch(number))\n           ^^^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/lib/onward/api/step.py\", line 205, in __call__\n    return execute(connect.engine(), place, unit, self.fn, actual, kwargs)  # type: ignore[return-value]\n           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 64, in perform\n    return drive(session.attempts(unit, unit.first(), fn, args, kwargs, outcome), engine, session)\n           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 131, in drive\n    effect = flow.send(reply)\n             ^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/lib/onward/runtime/session.py\", line 169, in attempts\n    return (yield from self._fail(unit, error, past, made))\n            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/lib/onward/runtime/session.py\", line 296, in _fail\n    raise error\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 54, in perform\n    value = fn(*args, **kwargs)\n            ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 106, in refuse\n    raise Refused(f\"not {order.id}\")\nRefused: not 1\n","retry_after":null}', NULL, '', 0, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, claimed_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt, untold, claimed_by, claimed_at) VALUES (6, 1, NULL, NULL, NULL, 'pending', 1, 'nested-7fad01af', 'workflow', 'nested', 'workflow:nested:4b835b9d5d35befb81b1', NULL, 0, 1, NULL, 0, -1, 1795975767.8525093, 1795975767.8636124, 'cd /tmp/golden/project && python jobs.py', '[[[1,2]],{}]', NULL, NULL, '', 0, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, claimed_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt, untold, claimed_by, claimed_at) VALUES (7, 1, NULL, NULL, NULL, 'pending', 1, 'concurrent-e24e6e3f', 'workflow', 'concurrent', 'workflow:concurrent:6f23e375d30753c42146', NULL, 0, 1, NULL, 0, -1, 1795975767.86583, 1795975767.8707838, 'cd /tmp/golden/project && python jobs.py', '[[[1,2,3]],{}]', NULL, NULL, '', 0, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, claimed_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt, untold, claimed_by, claimed_at) VALUES (8, 1, NULL, NULL, NULL, 'done', 1, 'the-one', 'workflow', 'with_an_id', 'workflow:with_an_id:id:the-one', NULL, 0, 1, NULL, 0, -1, 1795975767.8736699, 1795975767.874841, 'cd /tmp/golden/project && python jobs.py', '[[{"$t":"uuid","v":"00000000-0000-0000-0000-000000000007"}],{}]', NULL, '"00000000-0000-0000-0000-000000000007"', '', 0, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, claimed_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt, untold, claimed_by, claimed_at) VALUES (9, 1, NULL, 'dvjtvw3e74mt3tup', 1795975767.8763766, 'running', 1, 'killed-181026b6', 'loop', 'killed', 'loop:killed', NULL, 0, 1, 3, 0, -1, 1795975767.8763766, 1795975767.8763766, 'cd /tmp/golden/project && python jobs.py', NULL, NULL, NULL, '', 0, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (1, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, NULL, NULL, 1, 0, NULL, 1795975767.8048768);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (1, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"dvjtvw3e74mt3tup"', 844656184, 1, 1, NULL, 1795975767.8048768);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (1, 2, 'each/a', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795975767.8127594, 1795975767.8128402);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (1, 3, 'each/b', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795975767.8135612, 1795975767.8135867);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (1, 4, 'run/released', 'mark', 'mark', 'released', NULL, NULL, NULL, 1, 1, NULL, 1795975767.8142197);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, NULL, NULL, 1, 0, NULL, 1795975767.8159957);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"dvjtvw3e74mt3tup"', 844656184, 1, 1, NULL, 1795975767.8159957);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 2, 'each/1', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795975767.8192692, 1795975767.8193326);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 3, 'each/#quijjhlpv67gnqhr7v47eip25m', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795975767.8199708, 1795975767.8199966);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 4, 'each/#kyygamf2ij23u2g3foiiwjf4oa', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795975767.820569, 1795975767.8205922);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 5, 'each/#t7rpbdmjji3itwsmjar4c37juq', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795975767.821107, 1795975767.8211288);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 6, 'each/#cipu3bilgowc3e6pf62lh3uu64', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795975767.8220184, 1795975767.8220434);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 7, 'run/released', 'mark', 'mark', 'released', NULL, NULL, NULL, 1, 1, NULL, 1795975767.8226483);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (3, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, NULL, NULL, 1, 0, NULL, 1795975767.8238583);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (3, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"dvjtvw3e74mt3tup"', 844656184, 1, 1, NULL, 1795975767.8238583);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (3, 2, 'each/row-0', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795975767.826491, 1795975767.826526);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (3, 3, 'each/row-1', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795975767.8277714, 1795975767.8277934);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (3, 4, 'run/released', 'mark', 'mark', 'released', NULL, NULL, NULL, 1, 1, NULL, 1795975767.8283641);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, NULL, NULL, 1, 0, NULL, 1795975767.838895);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"dvjtvw3e74mt3tup"', 844656184, 1, 1, NULL, 1795975767.838895);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 2, 'map/1', 'item', 'done', 'half', NULL, '0.5', 2258563469, 1, 1, 1795975767.841636, 1795975767.84164);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 3, 'map/2', 'item', 'done', 'half', NULL, '1.0', 4147539765, 1, 1, 1795975767.8428257, 1795975767.8428288);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 4, 'map/3', 'item', 'failed', 'half', NULL, '{"class":"__main__:Refused","message":"three is odd","args":{"$t":"tuple","v":["three is odd"]},"state":{},"lost":[],"notes":[],"traceback":"Traceback (most recent call last):\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 199, in _call\n    return Outcome(fn(*args, **kwargs), None, begun_at, now())\n                   ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 83, in half\n    raise Refused(\"three is odd\")\nRefused: three is odd\n","retry_after":null,"item":3}', 788866406, 1, 1, 1795975767.8435004, 1795975767.843505);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 5, 'map/4', 'item', 'done', 'half', NULL, '2.0', 4117811564, 1, 1, 1795975767.8449612, 1795975767.8449652);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 6, 'run/raised', 'mark', 'mark', 'raised', NULL, '[]', 223132457, 1, 1, NULL, 1795975767.845484);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (5, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, '[[1],{}]', 2115170051, 1, 0, NULL, 1795975767.847253);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (5, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"dvjtvw3e74mt3tup"', 844656184, 1, 1, NULL, 1795975767.847253);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (5, 2, 'fetch#1', 'step', 'done', 'fetch', X'31', '{"$t":"dataclass","c":"__main__:Order","v":{"id":1,"price":{"$t":"decimal","v":"9.90"},"at":{"$t":"datetime","v":"2026-01-02T03:04:05","z":[0,0,0]},"tags":{"$t":"frozenset","v":["new"]},"color":{"$t":"enum","c":"__main__:Color","v":"RED"}}}', 483017161, 1, 1, 1795975767.848157, 1795975767.848175);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (5, 3, 'refuse#1', 'step', 'failed', 'refuse', X'C0FADF21273373C1', '{"class":"__main__:Refused","message":"not 1","args":{"$t":"tuple","v":["not 1"]},"state":{},"lost":[],"notes":[],"traceback":"Traceback (most recent call last):\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 54, in perform\n    value = fn(*args, **kwargs)\n            ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 106, in refuse\n    raise Refused(f\"not {order.id}\")\nRefused: not 1\n","retry_after":null}', 21803873, 1, 1, 1795975767.84902, 1795975767.8490286);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (5, 4, 'run/raised', 'mark', 'mark', 'raised', NULL, '["refuse#1"]', 1567795913, 1, 1, NULL, 1795975767.8501287);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, '[[[1,2]],{}]', 3382748631, 1, 0, NULL, 1795975767.8525093);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"dvjtvw3e74mt3tup"', 844656184, 1, 1, NULL, 1795975767.8525093);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 2, 'now#1', 'value', 'done', 'now', NULL, '1795975767.8535802', 3543734930, 1, 1, 1795975767.8535802, 1795975767.8535802);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 3, 'each#1/1 > fetch#1', 'step', 'done', 'fetch', X'31', '{"$t":"dataclass","c":"__main__:Order","v":{"id":1,"price":{"$t":"decimal","v":"9.90"},"at":{"$t":"datetime","v":"2026-01-02T03:04:05","z":[0,0,0]},"tags":{"$t":"frozenset","v":["new"]},"color":{"$t":"enum","c":"__main__:Color","v":"RED"}}}', 483017161, 1, 1, 1795975767.8548841, 1795975767.8548996);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 4, 'each#1/1', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795975767.8548388, 1795975767.855418);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 5, 'each#1/2 > fetch#1', 'step', 'done', 'fetch', X'32', '{"$t":"dataclass","c":"__main__:Order","v":{"id":2,"price":{"$t":"decimal","v":"9.90"},"at":{"$t":"datetime","v":"2026-01-02T03:04:05","z":[0,0,0]},"tags":{"$t":"frozenset","v":["new"]},"color":{"$t":"enum","c":"__main__:Color","v":"RED"}}}', 2808806668, 1, 1, 1795975767.855986, 1795975767.855997);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 6, 'each#1/2', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795975767.8559458, 1795975767.8570623);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 7, 'gather#1/0 > fetch#1', 'step', 'done', 'fetch', X'3130', '{"$t":"dataclass","c":"__main__:Order","v":{"id":10,"price":{"$t":"decimal","v":"9.90"},"at":{"$t":"datetime","v":"2026-01-02T03:04:05","z":[0,0,0]},"tags":{"$t":"frozenset","v":["new"]},"color":{"$t":"enum","c":"__main__:Color","v":"RED"}}}', 3176143989, 1, 1, 1795975767.8579628, 1795975767.8579772);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 8, 'gather#1/1 > child#1 > shaky#1', 'step', 'retry', 'shaky', NULL, '{"class":"builtins:OSError","message":"not yet","args":{"$t":"tuple","v":["not yet"]},"state":{},"lost":[],"notes":[],"traceback":"Traceback (most recent call last):\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 54, in perform\n    value = fn(*args, **kwargs)\n            ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 114, in shaky\n    raise OSError(\"not yet\")\nOSError: not yet\n","retry_after":null}', 3386839088, 1, 1, 1795975767.8584504, 1795975767.8584788);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 9, 'gather#1/1 > child#1 > shaky#1', 'step', 'retry', 'shaky', NULL, '{"class":"builtins:OSError","message":"not yet","args":{"$t":"tuple","v":["not yet"]},"state":{},"lost":[],"notes":[],"traceback":"Traceback (most recent call last):\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 199, in _call\n    return Outcome(fn(*args, **kwargs), None, begun_at, now())\n                   ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 114, in shaky\n    raise OSError(\"not yet\")\nOSError: not yet\n","retry_after":null}', 718838635, 2, 1, 1795975767.8605506, 1795975767.8605666);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 10, 'gather#1/1 > child#1 > shaky#1', 'step', 'done', 'shaky', X'3131', '11', 3596227959, 3, 1, 1795975767.8613894, 1795975767.8613994);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 11, 'gather#1/1 > child#1', 'child', 'done', 'child', X'3131', '12', 1330857165, 1, 1, 1795975767.8584313, 1795975767.8619606);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 12, 'sleep#1', 'sleep', 'done', 'sleep', NULL, '1795975767.8634732', 3445627815, 1, 1, 1795975767.8624732, 1795975767.8624732);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 13, 'run/released', 'mark', 'mark', 'released', NULL, NULL, NULL, 1, 1, NULL, 1795975767.8636124);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, '[[[1,2,3]],{}]', 3702130161, 1, 0, NULL, 1795975767.86583);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"dvjtvw3e74mt3tup"', 844656184, 1, 1, NULL, 1795975767.86583);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 2, 'gather#1/0 > afetch#1', 'step', 'done', 'afetch', X'31', '1', 2212294583, 1, 1, 1795975767.869828, 1795975767.8698304);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 3, 'gather#1/1 > afetch#1', 'step', 'done', 'afetch', X'32', '2', 450215437, 1, 1, 1795975767.8699143, 1795975767.869916);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 4, 'gather#1/2 > afetch#1', 'step', 'done', 'afetch', X'33', '3', 1842515611, 1, 1, 1795975767.8699489, 1795975767.86995);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 5, 'run/released', 'mark', 'mark', 'released', NULL, NULL, NULL, 1, 1, NULL, 1795975767.8707838);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (8, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, '[[{"$t":"uuid","v":"00000000-0000-0000-0000-000000000007"}],{}]', 282066294, 1, 0, NULL, 1795975767.8736699);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (8, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"dvjtvw3e74mt3tup"', 844656184, 1, 1, NULL, 1795975767.8736699);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (8, 2, 'run/returned', 'mark', 'mark', 'returned', NULL, NULL, NULL, 1, 1, NULL, 1795975767.874841);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (9, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, NULL, NULL, 1, 0, NULL, 1795975767.8763766);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (9, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"dvjtvw3e74mt3tup"', 844656184, 1, 1, NULL, 1795975767.8763766);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (9, 2, 'each/p', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795975767.8789775, 1795975767.879005);
INSERT INTO begun (run, key, kind, name, attempt, crashes, suspect, due_at, fence, begun_at) VALUES (1, 'each/c', 'item', 'each', 1, 0, 0, NULL, 1, 1795975767.8136446);
INSERT INTO begun (run, key, kind, name, attempt, crashes, suspect, due_at, fence, begun_at) VALUES (2, 'each/#dzm4kmzza3zgf2exrcgc5xyvdm', 'item', 'each', 1, 0, 0, NULL, 1, 1795975767.822142);
INSERT INTO begun (run, key, kind, name, attempt, crashes, suspect, due_at, fence, begun_at) VALUES (3, 'each/row-2', 'item', 'each', 1, 0, 0, NULL, 1, 1795975767.8278372);
INSERT INTO begun (run, key, kind, name, attempt, crashes, suspect, due_at, fence, begun_at) VALUES (9, 'each/q', 'item', 'each', 1, 0, 0, NULL, 1, 1795975767.8790534);
INSERT INTO owner (id, host, boot, pid, command, started_at) VALUES ('dvjtvw3e74mt3tup', 'golden', 'golden', 20863, 'jobs.py', 1795975767.8038228);
CREATE UNIQUE INDEX run_open ON run (identity) WHERE direct = 1 AND state NOT IN ('done', 'cancelled');
CREATE INDEX run_name ON run (name, no);
CREATE UNIQUE INDEX entry_done ON entry (run, key) WHERE state = 'done';
CREATE INDEX entry_failed ON entry (run, key) WHERE state IN ('failed', 'reopened');
CREATE INDEX run_identity ON run (identity, no) WHERE direct = 1;
CREATE INDEX run_ready ON run (queue, name, priority DESC, no, lane, fence) WHERE direct = 0 AND state = 'pending';
CREATE INDEX run_ready_lane ON run (queue, name, lane, priority DESC, no, fence)
    WHERE direct = 0 AND state = 'pending' AND lane IS NOT NULL;
CREATE INDEX run_due ON run (queue, name, wake_at, no, lane, priority, fence) WHERE direct = 0 AND state = 'waiting';
CREATE INDEX run_due_lane ON run (queue, name, lane, wake_at, no, priority, fence)
    WHERE direct = 0 AND state = 'waiting' AND lane IS NOT NULL;
CREATE INDEX run_dead ON run (queue, no) WHERE direct = 0 AND state = 'failed';
CREATE UNIQUE INDEX run_single ON run (single) WHERE single IS NOT NULL;
CREATE INDEX start_at ON start (queue, at);
CREATE UNIQUE INDEX arrival_key ON arrival (name, key) WHERE key IS NOT NULL;
CREATE INDEX waiter_run ON waiter (run);
CREATE INDEX run_listed ON run (state, no) WHERE direct = 1 OR state NOT IN ('pending', 'running');
CREATE INDEX run_owner ON run (owner) WHERE owner IS NOT NULL AND direct = 1;
CREATE INDEX run_busy ON run (owner, queue, lane, lease_until) WHERE direct = 0 AND state = 'running';
