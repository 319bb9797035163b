-- Every statement on a SQLite journal. Columns of a run stand in the order of model.Run, those of an entry in the
-- order of model.Entry.

-- name: begin
-- IMMEDIATE: a deferred BEGIN can fail halfway with SQLITE_BUSY. https://sqlite.org/lang_transaction.html
BEGIN IMMEDIATE
-- name: commit
COMMIT
-- name: rollback
ROLLBACK
-- name: savepoint
SAVEPOINT change
-- name: release
RELEASE change
-- name: take_back
ROLLBACK TO change

-- name: is_empty
SELECT count(*) = 0 FROM sqlite_schema

-- name: guard
-- The one read of every commit: whether it may be written, and the number of the run's last entry.
SELECT fence, request, owner, lease_until, state,
    coalesce((SELECT seq FROM entry WHERE run = ?1 ORDER BY seq DESC LIMIT 1), -1)
FROM run WHERE no = ?1

-- name: guards
-- The same for many runs at once, each with its number before it.
SELECT no, fence, request, owner, lease_until, state,
    coalesce((SELECT seq FROM entry WHERE run = ?1 ORDER BY seq DESC LIMIT 1), -1)
FROM run WHERE no = ?1

-- name: add_entry
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: add_alone
-- A whole commit in one statement, for a change that is a single entry: guard and number included. Nothing is inserted
-- where the fence is another or a request waits to be answered; the primary key refuses a number that is taken.
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13 FROM run WHERE no = ?1 AND fence = ?14 AND request IS NULL

-- name: set_begun
INSERT OR REPLACE INTO begun (run, key, kind, name, attempt, crashes, suspect, due_at, fence, begun_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: follow_begun
-- The unit of ?11 and ?12 has ended, and another one of its run begins.
UPDATE begun SET run = ?1, key = ?2, kind = ?3, name = ?4, attempt = ?5, crashes = ?6, suspect = ?7, due_at = ?8,
    fence = ?9, begun_at = ?10
WHERE run = ?11 AND key = ?12

-- name: end_begun
DELETE FROM begun WHERE run = ? AND key = ?

-- name: add_run
INSERT INTO run (id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls,
    leased_seq, result, error, command, total, done, counted_seq, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: set_run
-- Not id, kind, name, identity, direct and created_at: what a run is never changes.
UPDATE run SET state = ?, fence = ?, owner = ?, lease_until = ?, wake_at = ?, request = ?, stalls = ?,
    leased_seq = ?, result = ?, error = ?, command = ?, total = ?, done = ?, counted_seq = ?, args = ?,
    updated_at = ?
WHERE no = ?

-- name: set_progress
UPDATE run SET done = ?, total = ?, counted_seq = ? WHERE no = ?

-- name: renew
UPDATE run SET lease_until = max(coalesce(lease_until, ?2), ?2) WHERE owner = ?1 RETURNING no, request

-- name: request
UPDATE run SET request = ?2 WHERE no = ?1 RETURNING no

-- name: add_owner
INSERT OR REPLACE INTO owner (id, host, boot, pid, command, started_at) VALUES (?, ?, ?, ?, ?, ?)

-- name: delete_owner
DELETE FROM owner WHERE id = ?

-- name: delete_entries
DELETE FROM entry WHERE run = ?
-- name: delete_begun
DELETE FROM begun WHERE run = ?
-- name: delete_run
DELETE FROM run WHERE no = ?
-- name: delete_latest
DELETE FROM entry WHERE run = ? AND seq > ?

-- name: rename
UPDATE run SET name = ?2, identity = ?3, command = ?4 WHERE no = ?1

-- name: vacuum
VACUUM
-- name: snapshot
BEGIN

-- name: run
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, leased_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, no
FROM run WHERE id = ?

-- name: open_run
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, leased_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, no
FROM run WHERE identity = ? AND direct = 1 AND state NOT IN ('done', 'cancelled')

-- name: latest_run
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, leased_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, no
FROM run WHERE identity = ? ORDER BY no DESC LIMIT 1

-- name: runs
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, leased_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, no
FROM run WHERE no < ?1 ORDER BY no DESC LIMIT ?2

-- name: runs_in_state
-- One state at a time, so that the index gives the order and a million done runs cost nothing.
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, leased_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, no
FROM run WHERE state = ?3 AND no < ?1 ORDER BY no DESC LIMIT ?2

-- name: runs_named
-- ?4: states as a JSON array, or null for all.
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, leased_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, no
FROM run INDEXED BY run_name
WHERE name = ?3 AND no < ?1 AND (?4 IS NULL OR state IN (SELECT value FROM json_each(?4)))
ORDER BY no DESC LIMIT ?2

-- name: entries
SELECT key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at, seq
FROM entry WHERE run = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3

-- name: last_seq
SELECT coalesce(max(seq), -1) FROM entry WHERE run = ?

-- name: count_done
-- How many outcomes lie under a prefix, counted up to a bound: tells which of the next two is cheaper.
SELECT count(*) FROM (SELECT 1 FROM entry WHERE run = ?1 AND key >= ?2 AND key < ?3 AND state = 'done' LIMIT ?4)

-- name: done_items_by_seq
-- For prefixes that hold much of the run: reads on from `after`, so that a pass over all pages reads each row once.
SELECT seq, key FROM entry NOT INDEXED
WHERE run = ?1 AND seq > ?4 AND state = 'done' AND kind = 'item' AND key >= ?2 AND key < ?3
    AND instr(substr(key, length(?6) + 1), ' > ') = 0
ORDER BY seq LIMIT ?5

-- name: done_items_by_key
-- For prefixes that hold little: the range of keys alone, sorted. The `+` keeps the primary key out of it.
SELECT seq, key FROM entry INDEXED BY entry_done
WHERE run = ?1 AND +seq > ?4 AND state = 'done' AND kind = 'item' AND key >= ?2 AND key < ?3
    AND instr(substr(key, length(?6) + 1), ' > ') = 0
ORDER BY +seq LIMIT ?5

-- name: outcome
-- Two steps into small indexes by one statement: asked for every item of a loop.
SELECT key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at, seq
FROM entry INDEXED BY entry_done WHERE run = ?1 AND key = ?2 AND state = 'done'
UNION ALL
SELECT key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at, seq
FROM (
    SELECT key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at, seq
    FROM entry INDEXED BY entry_failed
    WHERE run = ?1 AND key = ?2 AND state IN ('failed', 'reopened') ORDER BY seq DESC LIMIT 1)

-- name: scope_entries
SELECT key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at, seq
FROM entry INDEXED BY entry_done
WHERE run = ?1 AND key >= ?2 AND key < ?3 AND state = 'done'
UNION ALL
SELECT key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at, seq
FROM entry INDEXED BY entry_failed
WHERE run = ?1 AND key >= ?2 AND key < ?3 AND state IN ('failed', 'reopened')
ORDER BY seq

-- name: failed_items
SELECT e.key, e.kind, e.state, e.name, e.fingerprint, e.value, e.checksum, e.attempt, e.fence, e.begun_at, e.ended_at,
    e.seq
FROM entry AS e INDEXED BY entry_failed
WHERE e.run = ?1 AND e.state IN ('failed', 'reopened') AND e.state = 'failed' AND e.kind = 'item'
    AND NOT EXISTS (
        SELECT 1 FROM entry AS later INDEXED BY entry_failed
        WHERE later.run = ?1 AND later.key = e.key AND later.state IN ('failed', 'reopened') AND later.seq > e.seq)
    AND NOT EXISTS (
        SELECT 1 FROM entry AS done INDEXED BY entry_done
        WHERE done.run = ?1 AND done.key = e.key AND done.state = 'done')
ORDER BY e.seq

-- name: count_items
SELECT count(*) FROM entry NOT INDEXED
WHERE run = ?1 AND seq > ?2 AND kind = 'item' AND state = 'done' AND instr(key, ' > ') = 0

-- name: begun
SELECT key, kind, name, attempt, crashes, suspect, due_at, fence, begun_at FROM begun WHERE run = ?
ORDER BY begun_at, key

-- name: owner
SELECT id, host, boot, pid, command, started_at FROM owner WHERE id = ?

-- name: requests
SELECT no, request FROM run INDEXED BY run_owner WHERE owner = ? AND request IS NOT NULL

-- name: idle_owners
SELECT id FROM owner WHERE NOT EXISTS (SELECT 1 FROM run WHERE run.owner = owner.id) LIMIT 100

-- name: data_version
PRAGMA data_version

-- name: integrity
PRAGMA integrity_check(20)

-- name: strays
PRAGMA foreign_key_check

-- name: misnumbered
SELECT run.id, count(*), min(seq), max(seq) FROM entry JOIN run ON run.no = entry.run
GROUP BY entry.run HAVING min(seq) <> 0 OR max(seq) <> count(*) - 1

-- name: done_twice
-- The `+` keeps the unique index out of it: that index is what is in doubt.
SELECT run.id, entry.key, count(*) FROM entry JOIN run ON run.no = entry.run
WHERE +entry.state = 'done' GROUP BY entry.run, entry.key HAVING count(*) > 1

-- name: payloads
-- Text as bytes: damaged text would end the check at its row.
SELECT CAST(run.id AS BLOB), entry.seq, CAST(entry.key AS BLOB), CAST(entry.value AS BLOB), entry.checksum, entry.fence,
    run.fence, CAST(entry.kind AS BLOB), CAST(entry.state AS BLOB)
FROM entry JOIN run ON run.no = entry.run ORDER BY entry.run, entry.seq

-- name: odd_leases
SELECT id, state, owner, lease_until FROM run
WHERE (owner IS NULL) <> (lease_until IS NULL) OR (owner IS NOT NULL AND state IN ('done', 'failed', 'cancelled'))
