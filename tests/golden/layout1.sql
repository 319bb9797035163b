PRAGMA application_id = 1869510500;
PRAGMA user_version = 1;
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
) STRICT;
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
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result) VALUES (1, 1, NULL, NULL, NULL, 'pending', 1, 'letters-ef74c6d5', 'loop', 'letters', 'loop:letters', NULL, 0, 1, 5, 2, 3, 1795249321.1222703, 1795249321.1527097, 'cd /tmp/golden/project && python jobs.py', NULL, NULL, NULL);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result) VALUES (2, 1, NULL, NULL, NULL, 'pending', 1, 'odd-items-fe8c9ab4', 'loop', 'odd items', 'loop:odd items', NULL, 0, 1, 8, 5, 6, 1795249321.1611686, 1795249321.1848254, 'cd /tmp/golden/project && python jobs.py', NULL, NULL, NULL);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result) VALUES (3, 1, NULL, NULL, NULL, 'pending', 1, 'rows-8d269585', 'loop', 'rows', 'loop:rows', NULL, 0, 1, 4, 2, 3, 1795249321.1865456, 1795249321.1983645, 'cd /tmp/golden/project && python jobs.py', NULL, NULL, NULL);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result) VALUES (4, 1, NULL, NULL, NULL, 'failed', 1, 'halves-307c7b76', 'map', 'halves', 'map:halves', NULL, 0, 1, 4, 3, 5, 1795249321.2403748, 1795249321.2578099, 'cd /tmp/golden/project && python jobs.py', NULL, '{"class":"onward.core.errors:RunFailed","message":"1 item failed; `onward show halves-307c7b76` says which","args":{"$t":"tuple","v":["1 item failed; `onward show halves-307c7b76` says which"]},"state":{"run_id":"halves-307c7b76"},"lost":[],"notes":[],"traceback":"onward.core.errors.RunFailed: 1 item failed; `onward show halves-307c7b76` says which\n","retry_after":null}', NULL);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result) VALUES (5, 1, NULL, NULL, NULL, 'failed', 1, 'failing-a7750fef', 'workflow', 'failing', 'workflow:failing:29b3f7fc360c5c923aa1', NULL, 0, 1, NULL, 0, 3, 1795249321.2706387, 1795249321.2808244, 'cd /tmp/golden/project && python jobs.py', '[[1],{}]', '{"class":"__main__:Refused","message":"not 1","args":{"$t":"tuple","v":["not 1"]},"state":{},"lost":[],"notes":[],"traceback":"Traceback (most recent call last):\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 153, in _call\n    return Outcome(fn(*args, **kwargs), None, begun_at, now())\n                   ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 121, in failing\n    return refuse(fetch(number))\n           ^^^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/lib/onward/api/step.py\", line 180, in __call__\n    return execute(connect.engine(), session, unit, self.fn, actual, kwargs)  # type: ignore[return-value]\n           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 51, in perform\n    return drive(session.attempts(unit, past, fn, args, kwargs, outcome), engine, session)\n           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 89, in drive\n    effect = flow.send(reply)\n             ^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/lib/onward/runtime/session.py\", line 135, in attempts\n    return (yield from self._fail(unit, error, past, made))\n            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/lib/onward/runtime/session.py\", line 236, in _fail\n    raise error\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 153, in _call\n    return Outcome(fn(*args, **kwargs), None, begun_at, now())\n                   ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 106, in refuse\n    raise Refused(f\"not {order.id}\")\nRefused: not 1\n","retry_after":null}', NULL);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result) VALUES (6, 1, NULL, NULL, NULL, 'pending', 1, 'nested-dad73e27', 'workflow', 'nested', 'workflow:nested:4b835b9d5d35befb81b1', NULL, 0, 1, NULL, 0, 12, 1795249321.2833073, 1795249321.3187304, 'cd /tmp/golden/project && python jobs.py', '[[[1,2]],{}]', NULL, NULL);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result) VALUES (7, 1, NULL, NULL, NULL, 'pending', 1, 'concurrent-0e892835', 'workflow', 'concurrent', 'workflow:concurrent:6f23e375d30753c42146', NULL, 0, 1, NULL, 0, 4, 1795249321.3225257, 1795249321.3475623, 'cd /tmp/golden/project && python jobs.py', '[[[1,2,3]],{}]', NULL, NULL);
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result) VALUES (8, 1, NULL, NULL, NULL, 'done', 1, 'the-one', 'workflow', 'with_an_id', 'workflow:with_an_id:id:the-one', NULL, 0, 1, NULL, 0, 1, 1795249321.349716, 1795249321.3540897, 'cd /tmp/golden/project && python jobs.py', '[[{"$t":"uuid","v":"00000000-0000-0000-0000-000000000007"}],{}]', NULL, '"00000000-0000-0000-0000-000000000007"');
INSERT INTO run (no, fence, request, owner, lease_until, state, direct, id, kind, name, identity, wake_at, stalls, leased_seq, total, done, counted_seq, created_at, updated_at, command, args, error, result) VALUES (9, 1, NULL, '7e4779ae96bf48dab8fe3a224734b977', 1795249321.3587165, 'running', 1, 'killed-aac60b08', 'loop', 'killed', 'loop:killed', NULL, 0, 1, 3, 0, -1, 1795249321.3587165, 1795249321.3587165, 'cd /tmp/golden/project && python jobs.py', NULL, NULL, NULL);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (1, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, NULL, NULL, 1, 0, NULL, 1795249321.1222703);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (1, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"7e4779ae96bf48dab8fe3a224734b977"', 1057155622, 1, 1, NULL, 1795249321.1222703);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (1, 2, 'each/a', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795249321.1425214, 1795249321.1425657);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (1, 3, 'each/b', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795249321.1503065, 1795249321.1503348);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (1, 4, 'run/released', 'mark', 'mark', 'released', NULL, NULL, NULL, 1, 1, NULL, 1795249321.1527097);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, NULL, NULL, 1, 0, NULL, 1795249321.1611686);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"7e4779ae96bf48dab8fe3a224734b977"', 1057155622, 1, 1, NULL, 1795249321.1611686);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 2, 'each/1', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795249321.1660023, 1795249321.1660585);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 3, 'each/#quijjhlpv67gnqhr7v47eip25m', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795249321.1680722, 1795249321.1680968);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 4, 'each/#kyygamf2ij23u2g3foiiwjf4oa', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795249321.1742945, 1795249321.1743205);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 5, 'each/#t7rpbdmjji3itwsmjar4c37juq', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795249321.1782992, 1795249321.1783245);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 6, 'each/#cipu3bilgowc3e6pf62lh3uu64', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795249321.1832232, 1795249321.1832526);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (2, 7, 'run/released', 'mark', 'mark', 'released', NULL, NULL, NULL, 1, 1, NULL, 1795249321.1848254);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (3, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, NULL, NULL, 1, 0, NULL, 1795249321.1865456);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (3, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"7e4779ae96bf48dab8fe3a224734b977"', 1057155622, 1, 1, NULL, 1795249321.1865456);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (3, 2, 'each/row-0', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795249321.1887877, 1795249321.1888092);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (3, 3, 'each/row-1', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795249321.1942973, 1795249321.1943212);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (3, 4, 'run/released', 'mark', 'mark', 'released', NULL, NULL, NULL, 1, 1, NULL, 1795249321.1983645);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, NULL, NULL, 1, 0, NULL, 1795249321.2403748);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"7e4779ae96bf48dab8fe3a224734b977"', 1057155622, 1, 1, NULL, 1795249321.2403748);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 2, 'map/1', 'item', 'done', 'half', NULL, '0.5', 2258563469, 1, 1, 1795249321.2464342, 1795249321.24644);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 3, 'map/2', 'item', 'done', 'half', NULL, '1.0', 4147539765, 1, 1, 1795249321.2473521, 1795249321.2473562);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 4, 'map/3', 'item', 'failed', 'half', NULL, '{"class":"__main__:Refused","message":"three is odd","args":{"$t":"tuple","v":["three is odd"]},"state":{},"lost":[],"notes":[],"traceback":"Traceback (most recent call last):\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 153, in _call\n    return Outcome(fn(*args, **kwargs), None, begun_at, now())\n                   ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 83, in half\n    raise Refused(\"three is odd\")\nRefused: three is odd\n","retry_after":null,"item":3}', 2520321125, 1, 1, 1795249321.248441, 1795249321.248449);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 5, 'map/4', 'item', 'done', 'half', NULL, '2.0', 4117811564, 1, 1, 1795249321.2544324, 1795249321.2544355);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (4, 6, 'run/raised', 'mark', 'mark', 'raised', NULL, '[]', 223132457, 1, 1, NULL, 1795249321.2578099);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (5, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, '[[1],{}]', 2115170051, 1, 0, NULL, 1795249321.2706387);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (5, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"7e4779ae96bf48dab8fe3a224734b977"', 1057155622, 1, 1, NULL, 1795249321.2706387);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (5, 2, 'fetch#1', 'step', 'done', 'fetch', X'A26A651D7196D797', '{"$t":"dataclass","c":"__main__:Order","v":{"id":1,"price":{"$t":"decimal","v":"9.90"},"at":{"$t":"datetime","v":"2026-01-02T03:04:05","z":[0,0,0]},"tags":{"$t":"frozenset","v":["new"]},"color":{"$t":"enum","c":"__main__:Color","v":"RED"}}}', 483017161, 1, 1, 1795249321.2713163, 1795249321.2713358);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (5, 3, 'refuse#1', 'step', 'failed', 'refuse', X'C0FADF21273373C1', '{"class":"__main__:Refused","message":"not 1","args":{"$t":"tuple","v":["not 1"]},"state":{},"lost":[],"notes":[],"traceback":"Traceback (most recent call last):\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 153, in _call\n    return Outcome(fn(*args, **kwargs), None, begun_at, now())\n                   ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 106, in refuse\n    raise Refused(f\"not {order.id}\")\nRefused: not 1\n","retry_after":null}', 488789236, 1, 1, 1795249321.2785249, 1795249321.2785308);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (5, 4, 'run/raised', 'mark', 'mark', 'raised', NULL, '["refuse#1"]', 1567795913, 1, 1, NULL, 1795249321.2808244);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, '[[[1,2]],{}]', 3382748631, 1, 0, NULL, 1795249321.2833073);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"7e4779ae96bf48dab8fe3a224734b977"', 1057155622, 1, 1, NULL, 1795249321.2833073);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 2, 'now#1', 'value', 'done', 'now', NULL, '1795249321.2864265', 1139980596, 1, 1, 1795249321.2864265, 1795249321.2864265);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 3, 'each#1/1 > fetch#1', 'step', 'done', 'fetch', X'A26A651D7196D797', '{"$t":"dataclass","c":"__main__:Order","v":{"id":1,"price":{"$t":"decimal","v":"9.90"},"at":{"$t":"datetime","v":"2026-01-02T03:04:05","z":[0,0,0]},"tags":{"$t":"frozenset","v":["new"]},"color":{"$t":"enum","c":"__main__:Color","v":"RED"}}}', 483017161, 1, 1, 1795249321.2898865, 1795249321.2899046);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 4, 'each#1/1', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795249321.2898343, 1795249321.2904336);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 5, 'each#1/2 > fetch#1', 'step', 'done', 'fetch', X'0580C189B9DD46D6', '{"$t":"dataclass","c":"__main__:Order","v":{"id":2,"price":{"$t":"decimal","v":"9.90"},"at":{"$t":"datetime","v":"2026-01-02T03:04:05","z":[0,0,0]},"tags":{"$t":"frozenset","v":["new"]},"color":{"$t":"enum","c":"__main__:Color","v":"RED"}}}', 2808806668, 1, 1, 1795249321.2940948, 1795249321.2941089);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 6, 'each#1/2', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795249321.2940466, 1795249321.295867);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 7, 'gather#1/0 > fetch#1', 'step', 'done', 'fetch', X'684B0F5D266FABAE', '{"$t":"dataclass","c":"__main__:Order","v":{"id":10,"price":{"$t":"decimal","v":"9.90"},"at":{"$t":"datetime","v":"2026-01-02T03:04:05","z":[0,0,0]},"tags":{"$t":"frozenset","v":["new"]},"color":{"$t":"enum","c":"__main__:Color","v":"RED"}}}', 3176143989, 1, 1, 1795249321.302373, 1795249321.3023856);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 8, 'gather#1/1 > child#1 > shaky#1', 'step', 'retry', 'shaky', NULL, '{"class":"builtins:OSError","message":"not yet","args":{"$t":"tuple","v":["not yet"]},"state":{},"lost":[],"notes":[],"traceback":"Traceback (most recent call last):\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 153, in _call\n    return Outcome(fn(*args, **kwargs), None, begun_at, now())\n                   ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 114, in shaky\n    raise OSError(\"not yet\")\nOSError: not yet\n","retry_after":null}', 2142285349, 1, 1, 1795249321.3028057, 1795249321.3028274);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 9, 'gather#1/1 > child#1 > shaky#1', 'step', 'retry', 'shaky', NULL, '{"class":"builtins:OSError","message":"not yet","args":{"$t":"tuple","v":["not yet"]},"state":{},"lost":[],"notes":[],"traceback":"Traceback (most recent call last):\n  File \"/tmp/golden/lib/onward/runtime/drive.py\", line 153, in _call\n    return Outcome(fn(*args, **kwargs), None, begun_at, now())\n                   ^^^^^^^^^^^^^^^^^^^\n  File \"/tmp/golden/project/jobs.py\", line 114, in shaky\n    raise OSError(\"not yet\")\nOSError: not yet\n","retry_after":null}', 2142285349, 2, 1, 1795249321.3120549, 1795249321.3120668);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 10, 'gather#1/1 > child#1 > shaky#1', 'step', 'done', 'shaky', X'14C1970C8CBB3B58', '11', 3596227959, 3, 1, 1795249321.3132684, 1795249321.3132765);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 11, 'gather#1/1 > child#1', 'child', 'done', 'child', X'14C1970C8CBB3B58', '12', 1330857165, 1, 1, 1795249321.3027868, 1795249321.3136613);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 12, 'sleep#1', 'sleep', 'done', 'sleep', NULL, '1795249321.3185928', 3549326356, 1, 1, 1795249321.3175929, 1795249321.3175929);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (6, 13, 'run/released', 'mark', 'mark', 'released', NULL, NULL, NULL, 1, 1, NULL, 1795249321.3187304);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, '[[[1,2,3]],{}]', 3702130161, 1, 0, NULL, 1795249321.3225257);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"7e4779ae96bf48dab8fe3a224734b977"', 1057155622, 1, 1, NULL, 1795249321.3225257);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 2, 'gather#1/0 > afetch#1', 'step', 'done', 'afetch', X'A26A651D7196D797', '1', 2212294583, 1, 1, 1795249321.3431394, 1795249321.3431418);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 3, 'gather#1/1 > afetch#1', 'step', 'done', 'afetch', X'0580C189B9DD46D6', '2', 450215437, 1, 1, 1795249321.3432167, 1795249321.3432178);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 4, 'gather#1/2 > afetch#1', 'step', 'done', 'afetch', X'B532A20F1E7573B6', '3', 1842515611, 1, 1, 1795249321.3432503, 1795249321.343251);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (7, 5, 'run/released', 'mark', 'mark', 'released', NULL, NULL, NULL, 1, 1, NULL, 1795249321.3475623);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (8, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, '[[{"$t":"uuid","v":"00000000-0000-0000-0000-000000000007"}],{}]', 282066294, 1, 0, NULL, 1795249321.349716);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (8, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"7e4779ae96bf48dab8fe3a224734b977"', 1057155622, 1, 1, NULL, 1795249321.349716);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (8, 2, 'run/returned', 'mark', 'mark', 'returned', NULL, NULL, NULL, 1, 1, NULL, 1795249321.3540897);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (9, 0, 'run/submitted', 'mark', 'mark', 'submitted', NULL, NULL, NULL, 1, 0, NULL, 1795249321.3587165);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (9, 1, 'run/claimed', 'mark', 'mark', 'claimed', NULL, '"7e4779ae96bf48dab8fe3a224734b977"', 1057155622, 1, 1, NULL, 1795249321.3587165);
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at) VALUES (9, 2, 'each/p', 'item', 'done', 'each', NULL, NULL, NULL, 1, 1, 1795249321.3663123, 1795249321.366343);
INSERT INTO begun (run, key, kind, name, attempt, crashes, suspect, due_at, fence, begun_at) VALUES (1, 'each/c', 'item', 'each', 1, 0, 0, NULL, 1, 1795249321.150414);
INSERT INTO begun (run, key, kind, name, attempt, crashes, suspect, due_at, fence, begun_at) VALUES (2, 'each/#dzm4kmzza3zgf2exrcgc5xyvdm', 'item', 'each', 1, 0, 0, NULL, 1, 1795249321.1833656);
INSERT INTO begun (run, key, kind, name, attempt, crashes, suspect, due_at, fence, begun_at) VALUES (3, 'each/row-2', 'item', 'each', 1, 0, 0, NULL, 1, 1795249321.1944227);
INSERT INTO begun (run, key, kind, name, attempt, crashes, suspect, due_at, fence, begun_at) VALUES (9, 'each/q', 'item', 'each', 1, 0, 0, NULL, 1, 1795249321.3664587);
INSERT INTO owner (id, host, boot, pid, command, started_at) VALUES ('7e4779ae96bf48dab8fe3a224734b977', 'golden', 'golden', 25666, 'jobs.py', 1795249321.116837);
CREATE UNIQUE INDEX run_open ON run (identity) WHERE direct = 1 AND state NOT IN ('done', 'cancelled');
CREATE INDEX run_identity ON run (identity, no);
CREATE INDEX run_name ON run (name, no);
CREATE INDEX run_state ON run (state, no);
CREATE INDEX run_owner ON run (owner) WHERE owner IS NOT NULL;
CREATE UNIQUE INDEX entry_done ON entry (run, key) WHERE state = 'done';
CREATE INDEX entry_failed ON entry (run, key) WHERE state IN ('failed', 'reopened');
