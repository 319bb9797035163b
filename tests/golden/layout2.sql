PRAGMA application_id = 1869510500;
PRAGMA user_version = 2;
CREATE TABLE run (
    no          INTEGER PRIMARY KEY AUTOINCREMENT,
    fence       INTEGER NOT NULL,
    request     TEXT CHECK (request IN ('pause', 'cancel')),
    owner       TEXT,
    lease_until REAL,
    state       TEXT NOT NULL CHECK (state IN
        ('pending', 'running', 'waiting', 'paused', 'stuck', 'done', 'failed', 'cancelled')),
    direct      INTEGER NOT NULL,
    id          TEXT NOT NULL UNIQUE,
    kind        TEXT NOT NULL CHECK (kind IN ('loop', 'map', 'workflow')),
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
, queue TEXT NOT NULL DEFAULT '', priority INTEGER NOT NULL DEFAULT 0, lane TEXT, single TEXT, tags TEXT, parent TEXT, attempt INTEGER NOT NULL DEFAULT 0) STRICT;
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
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt) VALUES (1, 1, NULL, NULL, NULL, 'pending', 1, 'letters-b20bb74b', 'loop', 'letters', 'loop:letters', NULL, 0, 1, 5, 2, 3, 1795909098.5454957, 1795909098.6027098, 'cd /tmp/golden/project && python jobs.py', NULL, NULL, NULL, '', 0, NULL, NULL, NULL, NULL, 0);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt) VALUES (2, 1, NULL, NULL, NULL, 'pending', 1, 'odd-items-9585663d', 'loop', 'odd items', 'loop:odd items', NULL, 0, 1, 8, 5, 6, 1795909098.6108274, 1795909098.648452, 'cd /tmp/golden/project && python jobs.py', NULL, NULL, NULL, '', 0, NULL, NULL, NULL, NULL, 0);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt) VALUES (3, 1, NULL, NULL, NULL, 'pending', 1, 'rows-1f269060', 'loop', 'rows', 'loop:rows', NULL, 0, 1, 4, 2, 3, 1795909098.6606023, 1795909098.6975813, 'cd /tmp/golden/project && python jobs.py', NULL, NULL, NULL, '', 0, NULL, NULL, NULL, NULL, 0);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt) VALUES (4, 1, NULL, NULL, NULL, 'failed', 1, 'halves-9cb71746', 'map', 'halves', 'map:halves', NULL, 0, 1, 4, 3, 5, 1795909098.8119924, 1795909098.8317957, 'cd /tmp/golden/project && python jobs.py', NULL, '{"class":"onward.core.errors:RunFailed","message":"1 item failed; `onward show halves-9cb71746` says which","args":{"$t":"tuple","v":["1 item failed; `onward show halves-9cb71746` says which"]},"state":{"run_id":"halves-9cb71746"},"lost":[],"notes":[],"traceback":"onward.core.errors.RunFailed: 1 item failed; `onward show halves-9cb71746` says which\n","retry_after":null}', NULL, '', 0, NULL, NULL, NULL, NULL, 0);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt) VALUES (5, 1, NULL, NULL, NULL, 'failed', 1, 'failing-4353134e', 'workflow', 'failing', 'workflow:failing:29b3f7fc360c5c923aa1', NULL, 0, 1, NULL, 0, -1, 1795909098.8383088, 1795909098.861572, 'cd /tmp/golden/project && python jobs.py', '[[1],{}]', '{"class":"__main__:Refused","message":"not 1","args":{"$t":"tuple","v":["not 1"]},"state":{},"lost":[],"notes":[],"traceback":"Traceback (most recent call last):\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 164, in _call\n    return Outcome(fn(*args, **kwargs), None, begun_at, now())\n                   ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 121, in failing\n    return refuse(fetch(number))\n           ^^^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/lib/onward/api/step.py\", line 190, in __call__\n    return execute(connect.engine(), session, unit, self.fn, actual, kwargs)  # type: ignore[return-value]\n           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 51, in perform\n    return drive(session.attempts(unit, past, fn, args, kwargs, outcome), engine, session)\n           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 96, in drive\n    effect = flow.send(reply)\n             ^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/lib/onward/runtime/session.py\", line 161, in attempts\n    return (yield from self._fail(unit, error, past, made))\n            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/lib/onward/runtime/session.py\", line 266, in _fail\n    raise error\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 164, in _call\n    return Outcome(fn(*args, **kwargs), None, begun_at, now())\n                   ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 106, in refuse\n    raise Refused(f\"not {order.id}\")\nRefused: not 1\n","retry_after":null}', NULL, '', 0, NULL, NULL, NULL, NULL, 0);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt) VALUES (6, 1, NULL, NULL, NULL, 'pending', 1, 'nested-87fcff5f', 'workflow', 'nested', 'workflow:nested:4b835b9d5d35befb81b1', NULL, 0, 1, NULL, 0, -1, 1795909098.8745933, 1795909098.9415221, 'cd /tmp/golden/project && python jobs.py', '[[[1,2]],{}]', NULL, NULL, '', 0, NULL, NULL, NULL, NULL, 0);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt) VALUES (7, 1, NULL, NULL, NULL, 'pending', 1, 'concurrent-72385c31', 'workflow', 'concurrent', 'workflow:concurrent:6f23e375d30753c42146', NULL, 0, 1, NULL, 0, -1, 1795909098.9536927, 1795909098.9817548, 'cd /tmp/golden/project && python jobs.py', '[[[1,2,3]],{}]', NULL, NULL, '', 0, NULL, NULL, NULL, NULL, 0);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt) VALUES (8, 1, NULL, NULL, NULL, 'done', 1, 'the-one', 'workflow', 'with_an_id', 'workflow:with_an_id:id:the-one', NULL, 0, 1, NULL, 0, -1, 1795909099.000756, 1795909099.002476, 'cd /tmp/golden/project && python jobs.py', '[[{"$t":"uuid","v":"00000000-0000-0000-0000-000000000007"}],{}]', NULL, '"00000000-0000-0000-0000-000000000007"', '', 0, NULL, NULL, NULL, NULL, 0);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result, queue, priority, lane, single, tags, parent, attempt) VALUES (9, 1, NULL, '4bf8dda0641e4e9288c97650224aeef1', 1795909099.0106516, 'running', 1, 'killed-8e1800e8', 'loop', 'killed', 'loop:killed', NULL, 0, 1, 3, 0, -1, 1795909099.0106516, 1795909099.0106516, 'cd /tmp/golden/project && python jobs.py', NULL, NULL, NULL, '', 0, NULL, NULL, NULL, NULL, 0);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (1, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, NULL, NULL, 1, 0, NULL, 1795909098.5454957);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (1, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"4bf8dda0641e4e9288c97650224aeef1"', 1779740341, 1, 1, NULL, 1795909098.5454957);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (1, 2, 'each/a', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795909098.593113, 1795909098.5931988);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (1, 3, 'each/b', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795909098.60093, 1795909098.600996);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (1, 4, 'run/released', 'mark', 'mark', 'released', NULL, NULL, NULL, 1, 1, NULL, 1795909098.6027098);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, NULL, NULL, 1, 0, NULL, 1795909098.6108274);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"4bf8dda0641e4e9288c97650224aeef1"', 1779740341, 1, 1, NULL, 1795909098.6108274);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 2, 'each/1', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795909098.6229918, 1795909098.6230462);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 3, 'each/#quijjhlpv67gnqhr7v47eip25m', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795909098.6243887, 1795909098.6244433);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 4, 'each/#kyygamf2ij23u2g3foiiwjf4oa', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795909098.629477, 1795909098.629531);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 5, 'each/#t7rpbdmjji3itwsmjar4c37juq', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795909098.6377192, 1795909098.637795);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 6, 'each/#cipu3bilgowc3e6pf62lh3uu64', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795909098.645574, 1795909098.645644);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 7, 'run/released', 'mark', 'mark', 'released', NULL, NULL, NULL, 1, 1, NULL, 1795909098.648452);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (3, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, NULL, NULL, 1, 0, NULL, 1795909098.6606023);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (3, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"4bf8dda0641e4e9288c97650224aeef1"', 1779740341, 1, 1, NULL, 1795909098.6606023);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (3, 2, 'each/row-0', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795909098.6812592, 1795909098.6813438);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (3, 3, 'each/row-1', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795909098.6916788, 1795909098.6917448);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (3, 4, 'run/released', 'mark', 'mark', 'released', NULL, NULL, NULL, 1, 1, NULL, 1795909098.6975813);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, NULL, NULL, 1, 0, NULL, 1795909098.8119924);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"4bf8dda0641e4e9288c97650224aeef1"', 1779740341, 1, 1, NULL, 1795909098.8119924);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 2, 'map/1', 'item', 'done', 'half', NULL, '0.5', 2258563469, 1, 1, 1795909098.8272793, 1795909098.8272853);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 3, 'map/2', 'item', 'done', 'half', NULL, '1.0', 4147539765, 1, 1, 1795909098.8284993, 1795909098.828504);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 4, 'map/3', 'item', 'failed', 'half', NULL, '{"class":"__main__:Refused","message":"three is odd","args":{"$t":"tuple","v":["three is odd"]},"state":{},"lost":[],"notes":[],"traceback":"Traceback (most recent call last):\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 164, in _call\n    return Outcome(fn(*args, **kwargs), None, begun_at, now())\n                   ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 83, in half\n    raise Refused(\"three is odd\")\nRefused: three is odd\n","retry_after":null,"item":3}', 2851524751, 1, 1, 1795909098.8291411, 1795909098.8291488);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 5, 'map/4', 'item', 'done', 'half', NULL, '2.0', 4117811564, 1, 1, 1795909098.8312328, 1795909098.831238);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 6, 'run/raised', 'mark', 'mark', 'raised', NULL, '[]', 223132457, 1, 1, NULL, 1795909098.8317957);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (5, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, '[[1],{}]', 2115170051, 1, 0, NULL, 1795909098.8383088);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (5, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"4bf8dda0641e4e9288c97650224aeef1"', 1779740341, 1, 1, NULL, 1795909098.8383088);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (5, 2, 'fetch#1', 'step', 'done', 'fetch', X'A26A651D7196D797', '{"$t":"dataclass","c":"__main__:Order","v":{"id":1,"price":{"$t":"decimal","v":"9.90"},"at":{"$t":"datetime","v":"2026-01-02T03:04:05","z":[0,0,0]},"tags":{"$t":"frozenset","v":["new"]},"color":{"$t":"enum","c":"__main__:Color","v":"RED"}}}', 483017161, 1, 1, 1795909098.8460102, 1795909098.8460433);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (5, 3, 'refuse#1', 'step', 'failed', 'refuse', X'C0FADF21273373C1', '{"class":"__main__:Refused","message":"not 1","args":{"$t":"tuple","v":["not 1"]},"state":{},"lost":[],"notes":[],"traceback":"Traceback (most recent call last):\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 164, in _call\n    return Outcome(fn(*args, **kwargs), None, begun_at, now())\n                   ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 106, in refuse\n    raise Refused(f\"not {order.id}\")\nRefused: not 1\n","retry_after":null}', 4070403052, 1, 1, 1795909098.8560166, 1795909098.8560274);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (5, 4, 'run/raised', 'mark', 'mark', 'raised', NULL, '["refuse#1"]', 1567795913, 1, 1, NULL, 1795909098.861572);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, '[[[1,2]],{}]', 3382748631, 1, 0, NULL, 1795909098.8745933);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"4bf8dda0641e4e9288c97650224aeef1"', 1779740341, 1, 1, NULL, 1795909098.8745933);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 2, 'now#1', 'value', 'done', 'now', NULL, '1795909098.8857458', 2712017502, 1, 1, 1795909098.8857458, 1795909098.8857458);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 3, 'each#1/1 > fetch#1', 'step', 'done', 'fetch', X'A26A651D7196D797', '{"$t":"dataclass","c":"__main__:Order","v":{"id":1,"price":{"$t":"decimal","v":"9.90"},"at":{"$t":"datetime","v":"2026-01-02T03:04:05","z":[0,0,0]},"tags":{"$t":"frozenset","v":["new"]},"color":{"$t":"enum","c":"__main__:Color","v":"RED"}}}', 483017161, 1, 1, 1795909098.8977005, 1795909098.8977299);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 4, 'each#1/1', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795909098.897578, 1795909098.9095492);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 5, 'each#1/2 > fetch#1', 'step', 'done', 'fetch', X'0580C189B9DD46D6', '{"$t":"dataclass","c":"__main__:Order","v":{"id":2,"price":{"$t":"decimal","v":"9.90"},"at":{"$t":"datetime","v":"2026-01-02T03:04:05","z":[0,0,0]},"tags":{"$t":"frozenset","v":["new"]},"color":{"$t":"enum","c":"__main__:Color","v":"RED"}}}', 2808806668, 1, 1, 1795909098.910785, 1795909098.910822);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 6, 'each#1/2', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795909098.9106455, 1795909098.9135253);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 7, 'gather#1/0 > fetch#1', 'step', 'done', 'fetch', X'684B0F5D266FABAE', '{"$t":"dataclass","c":"__main__:Order","v":{"id":10,"price":{"$t":"decimal","v":"9.90"},"at":{"$t":"datetime","v":"2026-01-02T03:04:05","z":[0,0,0]},"tags":{"$t":"frozenset","v":["new"]},"color":{"$t":"enum","c":"__main__:Color","v":"RED"}}}', 3176143989, 1, 1, 1795909098.9228673, 1795909098.922894);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 8, 'gather#1/1 > child#1 > shaky#1', 'step', 'retry', 'shaky', NULL, '{"class":"builtins:OSError","message":"not yet","args":{"$t":"tuple","v":["not yet"]},"state":{},"lost":[],"notes":[],"traceback":"Traceback (most recent call last):\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 164, in _call\n    return Outcome(fn(*args, **kwargs), None, begun_at, now())\n                   ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 114, in shaky\n    raise OSError(\"not yet\")\nOSError: not yet\n","retry_after":null}', 3834314105, 1, 1, 1795909098.9237537, 1795909098.9238265);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 9, 'gather#1/1 > child#1 > shaky#1', 'step', 'retry', 'shaky', NULL, '{"class":"builtins:OSError","message":"not yet","args":{"$t":"tuple","v":["not yet"]},"state":{},"lost":[],"notes":[],"traceback":"Traceback (most recent call last):\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 164, in _call\n    return Outcome(fn(*args, **kwargs), None, begun_at, now())\n                   ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 114, in shaky\n    raise OSError(\"not yet\")\nOSError: not yet\n","retry_after":null}', 3834314105, 2, 1, 1795909098.9268196, 1795909098.926845);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 10, 'gather#1/1 > child#1 > shaky#1', 'step', 'done', 'shaky', X'14C1970C8CBB3B58', '11', 3596227959, 3, 1, 1795909098.9285455, 1795909098.928562);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 11, 'gather#1/1 > child#1', 'child', 'done', 'child', X'14C1970C8CBB3B58', '12', 1330857165, 1, 1, 1795909098.9237125, 1795909098.9290767);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 12, 'sleep#1', 'sleep', 'done', 'sleep', NULL, '1795909098.9389267', 3393609803, 1, 1, 1795909098.9379268, 1795909098.9379268);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 13, 'run/released', 'mark', 'mark', 'released', NULL, NULL, NULL, 1, 1, NULL, 1795909098.9415221);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, '[[[1,2,3]],{}]', 3702130161, 1, 0, NULL, 1795909098.9536927);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"4bf8dda0641e4e9288c97650224aeef1"', 1779740341, 1, 1, NULL, 1795909098.9536927);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 2, 'gather#1/0 > afetch#1', 'step', 'done', 'afetch', X'A26A651D7196D797', '1', 2212294583, 1, 1, 1795909098.9794333, 1795909098.979437);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 3, 'gather#1/1 > afetch#1', 'step', 'done', 'afetch', X'0580C189B9DD46D6', '2', 450215437, 1, 1, 1795909098.9796088, 1795909098.979614);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 4, 'gather#1/2 > afetch#1', 'step', 'done', 'afetch', X'B532A20F1E7573B6', '3', 1842515611, 1, 1, 1795909098.9797149, 1795909098.9797177);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 5, 'run/released', 'mark', 'mark', 'released', NULL, NULL, NULL, 1, 1, NULL, 1795909098.9817548);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (8, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, '[[{"$t":"uuid","v":"00000000-0000-0000-0000-000000000007"}],{}]', 282066294, 1, 0, NULL, 1795909099.000756);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (8, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"4bf8dda0641e4e9288c97650224aeef1"', 1779740341, 1, 1, NULL, 1795909099.000756);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (8, 2, 'run/returned', 'mark', 'mark', 'returned', NULL, NULL, NULL, 1, 1, NULL, 1795909099.002476);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (9, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, NULL, NULL, 1, 0, NULL, 1795909099.0106516);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (9, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"4bf8dda0641e4e9288c97650224aeef1"', 1779740341, 1, 1, NULL, 1795909099.0106516);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (9, 2, 'each/p', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795909099.0421724, 1795909099.042232);
INSERT INTO begun (run, key, kind, name, attempt, crashes, suspect, due_at, fence, begun_at) VALUES (1, 'each/c', 'item', 'each', 1, 0, 0, NULL, 1, 1795909098.6011937);
INSERT INTO begun (run, key, kind, name, attempt, crashes, suspect, due_at, fence, begun_at) VALUES (2, 'each/#dzm4kmzza3zgf2exrcgc5xyvdm', 'item', 'each', 1, 0, 0, NULL, 1, 1795909098.645918);
INSERT INTO begun (run, key, kind, name, attempt, crashes, suspect, due_at, fence, begun_at) VALUES (3, 'each/row-2', 'item', 'each', 1, 0, 0, NULL, 1, 1795909098.6920037);
INSERT INTO begun (run, key, kind, name, attempt, crashes, suspect, due_at, fence, begun_at) VALUES (9, 'each/q', 'item', 'each', 1, 0, 0, NULL, 1, 1795909099.0423994);
INSERT INTO owner (id, host, boot, pid, command, started_at) VALUES ('4bf8dda0641e4e9288c97650224aeef1', 'golden', 'golden', 21536, 'jobs.py', 1795909098.5370247);
CREATE UNIQUE INDEX run_open ON run (identity) WHERE direct = 1 AND state NOT IN ('done', 'cancelled');
CREATE INDEX run_name ON run (name, no);
CREATE INDEX run_state ON run (state, no);
CREATE INDEX run_owner ON run (owner) WHERE owner IS NOT NULL;
CREATE UNIQUE INDEX entry_done ON entry (run, key) WHERE state = 'done';
CREATE INDEX entry_failed ON entry (run, key) WHERE state IN ('failed', 'reopened');
CREATE INDEX run_identity ON run (identity, no) WHERE direct = 1;
CREATE INDEX run_ready ON run (queue, name, priority DESC, no, lane, fence) WHERE direct = 0 AND state = 'pending';
CREATE INDEX run_ready_lane ON run (queue, name, lane, priority DESC, no, fence)
    WHERE direct = 0 AND state = 'pending' AND lane IS NOT NULL;
CREATE INDEX run_due ON run (queue, name, wake_at, no, lane, priority, fence) WHERE direct = 0 AND state = 'waiting';
CREATE INDEX run_due_lane ON run (queue, name, lane, wake_at, no, priority, fence)
    WHERE direct = 0 AND state = 'waiting' AND lane IS NOT NULL;
CREATE INDEX run_busy ON run (queue, lane, owner, lease_until) WHERE direct = 0 AND state = 'running';
CREATE INDEX run_dead ON run (queue, no) WHERE direct = 0 AND state = 'failed';
CREATE UNIQUE INDEX run_single ON run (single) WHERE single IS NOT NULL;
CREATE INDEX start_at ON start (queue, at);
CREATE UNIQUE INDEX arrival_key ON arrival (name, key) WHERE key IS NOT NULL;
CREATE INDEX waiter_run ON waiter (run);
