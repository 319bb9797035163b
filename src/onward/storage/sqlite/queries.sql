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

-- name: least
-- The layout that a program must know at least; no row means the journal's own.
SELECT value FROM meta WHERE name = 'least'
-- name: is_empty
SELECT count(*) = 0 FROM sqlite_schema

-- name: guard
-- The one read of every commit: whether it may be written, the number of the run's last entry, and how many of its
-- entries are told by its row alone.
SELECT fence, request, owner, lease_until, state,
    coalesce((SELECT seq FROM entry WHERE run = ?1 ORDER BY seq DESC LIMIT 1), -1) + untold, untold
FROM run WHERE no = ?1

-- name: guards
-- The same for many runs at once (?1: their numbers as a JSON array), each with its number before it.
SELECT no, fence, request, owner, lease_until, state,
    coalesce((SELECT seq FROM entry WHERE run = no ORDER BY seq DESC LIMIT 1), -1) + untold, untold
FROM run WHERE no IN (SELECT value FROM json_each(?1))

-- name: untold
-- What the row tells, as in storage.untold.Untold.
SELECT untold, claimed_seq, fence, coalesce(claimed_by, owner), coalesce(claimed_at, updated_at), updated_at
FROM run WHERE no = ? AND untold > 0

-- name: tell
UPDATE run SET untold = 0, claimed_by = NULL, claimed_at = NULL WHERE no = ?

-- name: tell_first
-- Of runs that were claimed for the first time and have done nothing yet (?1: their numbers as a JSON array).
UPDATE run SET untold = 0 WHERE no IN (SELECT value FROM json_each(?1)) AND untold = 1 AND state = 'running'

-- name: add_entry
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: add_alone
-- A whole commit in one statement, for a change that is a single entry: guard and number included. Nothing is inserted
-- where the fence is another or a request waits to be answered; the primary key refuses a number that is taken.
-- ?3: the fence. As short as can be, the text is hashed for every entry; but a newer layout may have more columns.
INSERT INTO entry(run,seq,key,kind,state,name,fingerprint,value,checksum,attempt,fence,begun_at,ended_at)
SELECT ?1,?2,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14 FROM run WHERE no=?1 AND fence=?3 AND request IS NULL

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
    claimed_seq, result, error, command, total, done, counted_seq, created_at, updated_at, queue, priority, lane,
    single, tags, parent, attempt)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: set_run
-- Not id, kind, name, identity, direct, created_at, queue, lane and parent: what a run is never changes. A wake-up that
-- came since the run was read is not undone, and a `single` that was given up is not taken again. Nothing wakes a run
-- that has never begun: its time may be put off.
UPDATE run SET state = ?1, fence = ?2, owner = ?3, lease_until = ?4,
    wake_at = CASE WHEN fence > 0 AND state IN ('waiting', 'paused') AND ?1 IN ('waiting', 'paused')
        THEN coalesce(min(wake_at, ?5), wake_at, ?5) ELSE ?5 END, request = ?, stalls = ?,
    claimed_seq = ?, result = ?, error = ?, command = ?, total = ?, done = ?, counted_seq = ?, args = ?,
    updated_at = ?, priority = ?, single = iif(single IS NULL, NULL, ?), tags = ?, attempt = ?
WHERE no = ?

-- name: end_alone
-- A run whose function has returned, guard included: what its holder has not changed since it claimed it stays as it is.
WITH ended (no, fence, result, single, at) AS (VALUES (?, ?, ?, ?, ?))
UPDATE run SET state = 'done', owner = NULL, lease_until = NULL, wake_at = NULL, stalls = 0, result = ended.result,
    error = NULL, single = iif(run.single IS NULL, NULL, ended.single), updated_at = ended.at
FROM ended WHERE run.no = ended.no AND run.fence = ended.fence AND run.request IS NULL AND run.state = 'running'

-- name: end_untold
-- The same of a run of which nothing is recorded since its first claim; its row goes on telling of that, and of the end.
WITH ended (no, result, at) AS (VALUES (?, ?, ?))
UPDATE run SET state = 'done', owner = NULL, lease_until = NULL, result = ended.result, updated_at = ended.at,
    untold = 2, claimed_by = owner, claimed_at = updated_at
FROM ended WHERE run.no = ended.no AND run.fence = 1 AND run.request IS NULL AND run.state = 'running' AND run.untold = 1

-- name: set_progress
UPDATE run SET done = ?, total = ?, counted_seq = ? WHERE no = ?

-- name: renew
UPDATE run SET lease_until = max(coalesce(lease_until, ?2), ?2) WHERE no IN (
    SELECT no FROM run INDEXED BY run_owner WHERE direct = 1 AND owner = ?1
    UNION ALL
    SELECT no FROM run INDEXED BY run_busy WHERE direct = 0 AND state = 'running' AND owner = ?1)
RETURNING no, request

-- name: request
-- Of a run that somebody holds: nobody else would answer it. Nothing takes back that it is to be cancelled.
UPDATE run SET request = ?2 WHERE no = ?1 AND state = 'running' AND (request IS NOT 'cancel' OR ?2 = 'cancel') RETURNING no

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

-- name: moved_to
SELECT value FROM meta WHERE name = 'moved_to'
-- name: set_moved
INSERT OR REPLACE INTO meta (name, value) VALUES ('moved_to', ?)
-- name: unset_moved
DELETE FROM meta WHERE name = 'moved_to'

-- name: vacuum
VACUUM
-- name: snapshot
BEGIN

-- name: run
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, claimed_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, queue, priority, lane, single, tags,
    parent, attempt, no
FROM run WHERE id = ?

-- name: open_run
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, claimed_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, queue, priority, lane, single, tags,
    parent, attempt, no
FROM run WHERE identity = ? AND direct = 1 AND state NOT IN ('done', 'cancelled')

-- name: latest_run
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, claimed_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, queue, priority, lane, single, tags,
    parent, attempt, no
FROM run WHERE identity = ? AND direct = 1 ORDER BY no DESC LIMIT 1

-- name: runs
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, claimed_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, queue, priority, lane, single, tags,
    parent, attempt, no
FROM run WHERE no < ?1 ORDER BY no DESC LIMIT ?2

-- name: runs_in_state
-- One state at a time, so that the index gives the order and a million done runs cost nothing. But for the queued ones
-- that are pending or running: they are found by the next two.
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, claimed_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, queue, priority, lane, single, tags,
    parent, attempt, no
FROM run INDEXED BY run_listed
WHERE state = ?3 AND (direct = 1 OR state NOT IN ('pending', 'running')) AND no < ?1 ORDER BY no DESC LIMIT ?2

-- name: runs_ready
-- Of one queue, workflow and priority, so that the index gives the order here too.
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, claimed_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, queue, priority, lane, single, tags,
    parent, attempt, no
FROM run INDEXED BY run_ready
WHERE direct = 0 AND state = 'pending' AND queue = ?3 AND name = ?4 AND priority = ?5 AND no < ?1
ORDER BY no DESC LIMIT ?2

-- name: runs_busy
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, claimed_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, queue, priority, lane, single, tags,
    parent, attempt, no
FROM run INDEXED BY run_busy WHERE direct = 0 AND state = 'running' AND no < ?1 ORDER BY no DESC LIMIT ?2

-- name: runs_named
-- ?4: states as a JSON array, or null for all.
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, claimed_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, queue, priority, lane, single, tags,
    parent, attempt, no
FROM run INDEXED BY run_name
WHERE name = ?3 AND no < ?1 AND (?4 IS NULL OR state IN (SELECT value FROM json_each(?4)))
ORDER BY no DESC LIMIT ?2

-- name: entries
-- Behind them, without a key, what the run's row tells as `untold` gives it.
SELECT key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at, seq FROM (
    SELECT key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at, seq
    FROM entry WHERE run = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3)
UNION ALL
SELECT NULL, untold, claimed_seq, fence, coalesce(claimed_by, owner), coalesce(claimed_at, updated_at), updated_at,
    NULL, NULL, NULL, NULL, NULL
FROM run WHERE no = ?1 AND untold > 0

-- name: last_seq
SELECT coalesce((SELECT seq FROM entry WHERE run = ?1 ORDER BY seq DESC LIMIT 1), -1) + untold FROM run WHERE no = ?1

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
SELECT no, request FROM run INDEXED BY run_owner WHERE direct = 1 AND owner = ?1 AND request IS NOT NULL
UNION ALL
SELECT no, request FROM run INDEXED BY run_busy
WHERE direct = 0 AND state = 'running' AND owner = ?1 AND request IS NOT NULL

-- name: idle_owners
SELECT id FROM owner
WHERE NOT EXISTS (SELECT 1 FROM run INDEXED BY run_owner WHERE direct = 1 AND run.owner = owner.id)
    AND NOT EXISTS (
        SELECT 1 FROM run INDEXED BY run_busy WHERE direct = 0 AND state = 'running' AND run.owner = owner.id)
LIMIT 100

-- name: data_version
PRAGMA data_version

-- name: integrity
PRAGMA integrity_check(20)

-- name: strays
PRAGMA foreign_key_check

-- name: misnumbered
SELECT run.id, count(*), min(seq), max(seq) FROM entry JOIN run ON run.no = entry.run
GROUP BY entry.run HAVING min(seq) <> 0 OR max(seq) <> count(*) - 1

-- name: odd_untold
SELECT id, untold, state FROM run
WHERE untold <> 0 AND NOT (claimed_seq = (SELECT count(*) FROM entry WHERE run = no)
    AND (untold = 1 AND state = 'running' AND owner IS NOT NULL AND claimed_by IS NULL AND claimed_at IS NULL
        OR untold = 2 AND state = 'done' AND claimed_by IS NOT NULL AND claimed_at IS NOT NULL))

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

-- name: queues
SELECT name, paused, declared, chosen FROM queue ORDER BY name

-- name: add_queue
INSERT OR IGNORE INTO queue (name) VALUES (?)

-- name: set_queue
-- What is null stays as it is.
INSERT INTO queue (name, paused, declared, chosen) VALUES (?1, coalesce(?2, 0), coalesce(?3, '{}'), coalesce(?4, '{}'))
ON CONFLICT (name) DO UPDATE SET
    paused = coalesce(?2, paused), declared = coalesce(?3, declared), chosen = coalesce(?4, chosen)

-- name: turn
SELECT turn FROM queue WHERE name = ?

-- name: set_turn
UPDATE queue SET turn = ?2 WHERE name = ?1

-- name: ready_kind
-- The next pair of queue and workflow of which runs are pending: a step into the index for each pair, not for each run.
-- Not `(queue, name) > (?1, ?2)`: for that SQLite begins at the pair itself and passes over all of its runs.
SELECT queue, name FROM (
    SELECT queue, name FROM run INDEXED BY run_ready
    WHERE direct = 0 AND state = 'pending' AND queue = ?1 AND name > ?2 ORDER BY name LIMIT 1)
UNION ALL
SELECT queue, name FROM (
    SELECT queue, name FROM run INDEXED BY run_ready
    WHERE direct = 0 AND state = 'pending' AND queue > ?1 ORDER BY queue, name LIMIT 1)
LIMIT 1

-- name: waiting_kind
SELECT queue, name FROM (
    SELECT queue, name FROM run INDEXED BY run_due
    WHERE direct = 0 AND state = 'waiting' AND queue = ?1 AND name > ?2 ORDER BY name LIMIT 1)
UNION ALL
SELECT queue, name FROM (
    SELECT queue, name FROM run INDEXED BY run_due
    WHERE direct = 0 AND state = 'waiting' AND queue > ?1 ORDER BY queue, name LIMIT 1)
LIMIT 1

-- name: ready
SELECT no, priority, lane, NULL, fence > 0 FROM run INDEXED BY run_ready
WHERE direct = 0 AND state = 'pending' AND queue = ?1 AND name = ?2 ORDER BY priority DESC, no LIMIT ?3

-- name: ready_in
SELECT no, priority, lane, NULL, fence > 0 FROM run INDEXED BY run_ready_lane
WHERE direct = 0 AND state = 'pending' AND queue = ?1 AND name = ?2 AND lane = ?3 ORDER BY priority DESC, no LIMIT ?4

-- name: due
SELECT no, priority, lane, wake_at, fence > 0 FROM run INDEXED BY run_due
WHERE direct = 0 AND state = 'waiting' AND queue = ?1 AND name = ?2 AND wake_at <= ?3
ORDER BY wake_at, no LIMIT ?4

-- name: due_in
SELECT no, priority, lane, wake_at, fence > 0 FROM run INDEXED BY run_due_lane
WHERE direct = 0 AND state = 'waiting' AND queue = ?1 AND name = ?2 AND lane = ?3 AND wake_at <= ?4
ORDER BY wake_at, no LIMIT ?5

-- name: next_due
SELECT wake_at FROM run INDEXED BY run_due
WHERE direct = 0 AND state = 'waiting' AND queue = ?1 AND name = ?2 AND wake_at > ?3 ORDER BY wake_at LIMIT 1

-- name: ready_lane
-- The first lane from ?3 on.
SELECT lane FROM run INDEXED BY run_ready_lane
WHERE direct = 0 AND state = 'pending' AND lane IS NOT NULL AND queue = ?1 AND name = ?2 AND lane >= ?3
ORDER BY lane LIMIT 1

-- name: waiting_lane
SELECT lane FROM run INDEXED BY run_due_lane
WHERE direct = 0 AND state = 'waiting' AND lane IS NOT NULL AND queue = ?1 AND name = ?2 AND lane >= ?3
ORDER BY lane LIMIT 1

-- name: busy
-- Counted up to a bound: more than the limit is as good as the limit. A step into the index for each owner.
WITH RECURSIVE holder (one) AS (
    SELECT min(owner) FROM run INDEXED BY run_busy WHERE direct = 0 AND state = 'running'
    UNION ALL
    SELECT (SELECT min(owner) FROM run INDEXED BY run_busy WHERE direct = 0 AND state = 'running' AND owner > one)
    FROM holder WHERE one IS NOT NULL)
SELECT count(*) FROM (
    SELECT 1 FROM holder CROSS JOIN run INDEXED BY run_busy
    WHERE direct = 0 AND state = 'running' AND owner = holder.one AND queue = ?1 LIMIT ?2)

-- name: busy_in
WITH RECURSIVE holder (one) AS (
    SELECT min(owner) FROM run INDEXED BY run_busy WHERE direct = 0 AND state = 'running'
    UNION ALL
    SELECT (SELECT min(owner) FROM run INDEXED BY run_busy WHERE direct = 0 AND state = 'running' AND owner > one)
    FROM holder WHERE one IS NOT NULL)
SELECT count(*) FROM (
    SELECT 1 FROM holder CROSS JOIN run INDEXED BY run_busy
    WHERE direct = 0 AND state = 'running' AND owner = holder.one AND queue = ?1 AND lane = ?2 LIMIT ?3)

-- name: busy_here
SELECT count(*) FROM (
    SELECT 1 FROM run INDEXED BY run_busy
    WHERE direct = 0 AND state = 'running' AND queue = ?1 AND owner = ?2 LIMIT ?3)

-- name: starts
SELECT coalesce(sum(count), 0) FROM start WHERE queue = ?1 AND lane = ?2 AND at > ?3

-- name: first_start
SELECT at FROM start WHERE queue = ?1 AND lane = ?2 AND at > ?3 ORDER BY at LIMIT 1

-- name: add_starts
INSERT INTO start (queue, lane, at, count) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (queue, lane, at) DO UPDATE SET count = count + ?4

-- name: forget_starts
DELETE FROM start WHERE queue = ?1 AND at <= ?2

-- name: ready_runs
-- ?1: numbers as a JSON array. Each run, and the number of its last entry.
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, claimed_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, queue, priority, lane, single, tags,
    parent, attempt, no, coalesce((SELECT seq FROM entry WHERE run = no ORDER BY seq DESC LIMIT 1), -1)
FROM run WHERE no IN (SELECT value FROM json_each(?1))

-- name: new_runs
-- As `ready_runs`, of those that have never been leased: only what tells them apart.
SELECT id, kind, name, identity, args, claimed_seq, command, total, done, counted_seq, created_at, updated_at, queue,
    priority, lane, tags, parent, attempt, no,
    coalesce((SELECT seq FROM entry WHERE run = no ORDER BY seq DESC LIMIT 1), -1)
FROM run WHERE no IN (SELECT value FROM json_each(?1)) AND fence = 0 AND state = 'pending' AND direct = 0
    AND owner IS NULL AND lease_until IS NULL AND wake_at IS NULL AND request IS NULL AND stalls = 0
    AND result IS NULL AND error IS NULL AND single IS NULL

-- name: first_ready
-- The numbers of the first ones as a JSON array, in their order; how many, and whether one was ever leased. From the
-- index alone.
SELECT json_group_array(no), count(*), coalesce(max(fence), 0) > 0 FROM (
    SELECT no, fence FROM run INDEXED BY run_ready
    WHERE direct = 0 AND state = 'pending' AND queue = ?1 AND name = ?2 ORDER BY priority DESC, no LIMIT ?3)

-- name: lease_new
-- What `core.claiming.first_claimed` says of runs (?1: their numbers as a JSON array) that are as `new_runs` wants them.
UPDATE run SET state = 'running', fence = 1, owner = ?2, lease_until = ?3, updated_at = ?4, untold = 1,
    claimed_seq = 1 + coalesce((SELECT seq FROM entry WHERE run = no ORDER BY seq DESC LIMIT 1), -1)
WHERE no IN (SELECT value FROM json_each(?1)) AND fence = 0 AND state = 'pending' AND direct = 0
    AND owner IS NULL AND lease_until IS NULL AND wake_at IS NULL AND request IS NULL AND stalls = 0
    AND result IS NULL AND error IS NULL AND single IS NULL AND args IS NOT NULL

-- name: leased_runs
-- Those that are still leased so, in the order of their numbers in the array; only what tells them apart. Not what was
-- asked meanwhile: that comes to the holder on its own way.
SELECT id, kind, identity, args, claimed_seq, command, total, done, counted_seq, created_at, priority, lane, tags, parent,
    attempt, no
FROM (SELECT value FROM json_each(?1)) CROSS JOIN run WHERE no = value AND fence = 1 AND owner = ?2

-- name: lease
-- What a claim changes in a run, for all those in which it is the same (?1: their numbers as a JSON array): mostly all of
-- them, and a statement of its own for each takes twice as long.
UPDATE run SET state = ?2, fence = ?3, owner = ?4, lease_until = ?5, wake_at = ?6, request = ?7, stalls = ?8,
    claimed_seq = ?9, error = ?10, single = ?11, updated_at = ?12, untold = ?13
WHERE no IN (SELECT value FROM json_each(?1))

-- name: set_args
UPDATE run SET args = ?2 WHERE no = ?1

-- name: count_ready
SELECT count(*) FROM (
    SELECT 1 FROM run INDEXED BY run_ready WHERE direct = 0 AND state = 'pending' AND queue = ?1 LIMIT ?2)

-- name: count_waiting
SELECT count(*) FROM (
    SELECT 1 FROM run INDEXED BY run_due WHERE direct = 0 AND state = 'waiting' AND queue = ?1 LIMIT ?2)

-- name: count_dead
SELECT count(*) FROM (
    SELECT 1 FROM run INDEXED BY run_dead WHERE direct = 0 AND state = 'failed' AND queue = ?1 LIMIT ?2)

-- name: oldest_ready
-- Of the runs that come next the oldest: the first ones of each priority stand in the order in which they came.
SELECT min(created_at) FROM (
    SELECT created_at FROM run INDEXED BY run_ready
    WHERE direct = 0 AND state = 'pending' AND queue = ?1 AND name = ?2 AND priority = ?3 ORDER BY no LIMIT 1)

-- name: ready_priority
SELECT priority FROM run INDEXED BY run_ready
WHERE direct = 0 AND state = 'pending' AND queue = ?1 AND name = ?2 AND priority < ?3 ORDER BY priority DESC LIMIT 1

-- name: dead_runs
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, claimed_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, queue, priority, lane, single, tags,
    parent, attempt, no
FROM run INDEXED BY run_dead
WHERE direct = 0 AND state = 'failed' AND queue = ?1 AND no < ?2 ORDER BY no DESC LIMIT ?3

-- name: last_number
-- The number that was given last. The runs of a batch get theirs from us, so that one call inserts them all.
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'run'), 0)

-- name: add_runs
-- A run whose id, identity or `single` is taken is left out, and is missing in `added_runs` then.
INSERT INTO run (id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls,
    claimed_seq, result, error, command, total, done, counted_seq, created_at, updated_at, queue, priority, lane,
    single, tags, parent, attempt, no)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING

-- name: add_lot
-- The same for runs that differ in little: what they share is bound once a statement, not once a run.
INSERT INTO run (no, id, args, lane, single, identity, kind, name, direct, state, fence, owner, lease_until, wake_at,
    request, stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at, updated_at, queue,
    priority, tags, parent, attempt)
SELECT column1, column2, column3, column4, column5, ?1 || column2, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,
    ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25
FROM (VALUES (?, ?, ?, ?, ?)) WHERE true
ON CONFLICT DO NOTHING

-- name: add_marks
INSERT INTO entry (run, seq, value, checksum, key, kind, state, name, fingerprint, attempt, fence, begun_at, ended_at)
SELECT column1, 0, column2, column3, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM (VALUES (?, ?, ?))

-- name: add_ends
-- The marks of runs that have returned: they differ in run, number, fence and time.
INSERT INTO entry (run, seq, fence, ended_at, key, kind, state, name, fingerprint, value, checksum, attempt, begun_at)
SELECT column1, column2, column3, column4, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM (VALUES (?, ?, ?, ?))

-- name: add_guarded
-- As `add_alone`, for many entries in one statement. CROSS JOIN: each row finds its run, not each run its row.
WITH added (run, seq, guard, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at)
    AS (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?))
INSERT INTO entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at)
SELECT added.run, added.seq, added.key, added.kind, added.state, added.name, added.fingerprint, added.value,
    added.checksum, added.attempt, added.fence, added.begun_at, added.ended_at
FROM added CROSS JOIN run WHERE run.no = added.run AND run.fence = added.guard AND run.request IS NULL

-- name: added_runs
SELECT no FROM run WHERE no > ?

-- name: arrival
SELECT run.no, run.id, arrival.checksum FROM arrival JOIN run ON run.no = arrival.run
WHERE arrival.name = ?1 AND arrival.key = ?2

-- name: open_batch
SELECT no, id, coalesce((SELECT number FROM arrival WHERE run = no ORDER BY number DESC LIMIT 1), -1) + 1,
    coalesce((SELECT chars FROM arrival WHERE run = no ORDER BY number DESC LIMIT 1), 0)
FROM run WHERE single = ?1 AND args IS NULL AND state IN ('waiting', 'pending', 'paused')

-- name: add_arrival
INSERT INTO arrival (run, number, name, key, item, checksum, chars) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: arrived
SELECT item FROM arrival WHERE run = ? ORDER BY number

-- name: forget_arrivals
DELETE FROM arrival WHERE run = ? AND key IS NULL

-- name: empty_arrivals
UPDATE arrival SET item = NULL WHERE run = ?

-- name: delete_arrivals
DELETE FROM arrival WHERE run = ?

-- name: single_run
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, claimed_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, queue, priority, lane, single, tags,
    parent, attempt, no
FROM run WHERE single = ?

-- name: holders
-- Who executes queued runs, and when the first lease of each ends.
SELECT owner, min(lease_until) FROM run INDEXED BY run_busy WHERE direct = 0 AND state = 'running' GROUP BY owner

-- name: runs_held
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, claimed_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, queue, priority, lane, single, tags,
    parent, attempt, no
FROM run INDEXED BY run_busy WHERE direct = 0 AND state = 'running' AND owner = ? LIMIT ?

-- name: set_worker
INSERT OR REPLACE INTO worker (owner, names, queues, concurrency, state, seen_at) VALUES (?, ?, ?, ?, ?, ?)

-- name: workers
SELECT owner, names, queues, concurrency, state, seen_at FROM worker ORDER BY seen_at DESC, owner

-- name: delete_worker
DELETE FROM worker WHERE owner = ?

-- name: waiting_names
-- What waits in the queues, by workflow: how many runs, up to a bound, and since when the oldest one.
SELECT queue, name, count(*), min(created_at) FROM (
    SELECT queue, name, created_at FROM run INDEXED BY run_ready WHERE direct = 0 AND state = 'pending' LIMIT ?1)
GROUP BY queue, name

-- name: count_due
-- What waits no longer: so many at most, and since when the oldest one.
SELECT count(*), min(created_at) FROM (
    SELECT created_at FROM run INDEXED BY run_due
    WHERE direct = 0 AND state = 'waiting' AND queue = ?1 AND name = ?2 AND wake_at <= ?3 LIMIT ?4)

-- name: add_waiter
-- Nothing where the awaited run has ended, or was removed: then this one is due at once.
-- Counted also where it waits already, as after a wait that timed out.
INSERT INTO waiter (awaited, run)
SELECT ?1, ?2 FROM run WHERE id = ?1 AND state NOT IN ('done', 'failed', 'cancelled')
ON CONFLICT (awaited, run) DO UPDATE SET run = excluded.run

-- name: is_awaited
SELECT EXISTS (SELECT 1 FROM waiter)

-- name: end_waiters
-- ?1: ids of runs that have ended, as a JSON array.
DELETE FROM waiter WHERE awaited IN (SELECT value FROM json_each(?1)) RETURNING run

-- name: drop_waiters
DELETE FROM waiter WHERE run = ?

-- name: wake
-- Also a paused one: it is due when it is resumed.
UPDATE run SET wake_at = ?2 WHERE no = ?1 AND state IN ('waiting', 'paused') AND (wake_at IS NULL OR wake_at > ?2)

-- name: schedules
-- Columns in the order of schedules.Schedule.
SELECT name, spec, revision, since, last, next_at, due_at, paused, declarer, declared_at, going, backlog, latest,
    started, skipped, missed, note
FROM schedule ORDER BY name

-- name: schedule_revision
SELECT revision FROM schedule WHERE name = ?

-- name: put_schedule
INSERT OR REPLACE INTO schedule (name, spec, revision, since, last, next_at, due_at, paused, declarer, declared_at,
    going, backlog, latest, started, skipped, missed, note)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: drop_schedule
DELETE FROM schedule WHERE name = ?

-- name: unfinished
-- ?1: ids as a JSON array.
SELECT id FROM run WHERE id IN (SELECT value FROM json_each(?1)) AND state NOT IN ('done', 'failed', 'cancelled')

-- name: runs_of_schedule
-- Their ids lie between ?1 and ?2, in the order of the nominal times; others may have such ids too.
SELECT id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request, stalls, claimed_seq,
    result, error, command, total, done, counted_seq, created_at, updated_at, queue, priority, lane, single, tags,
    parent, attempt, no
FROM run WHERE id >= ?1 AND id < ?2 AND substr(identity, 1, 9) = 'schedule:' ORDER BY id DESC LIMIT ?3
