-- Every statement on a PostgreSQL journal; names and parameters as in SQLite's file, but that texts too long for an
-- index stand beside their short form. `onward.` stands for the journal's schema. Arrays are the columns of many rows.

-- name: begin
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE
-- name: begin_reading
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY
-- name: commit
COMMIT
-- name: rollback
ROLLBACK
-- name: savepoint
SAVEPOINT change
-- name: release
RELEASE SAVEPOINT change
-- name: take_back
ROLLBACK TO SAVEPOINT change

-- name: session
-- For a session that is ours alone. Nothing of the journal is looked for along a path, so none of it can be put in its
-- place. Plans are kept, and the tables grow under them: they must never come to rely on a table's being small.
SET search_path TO pg_catalog;
SET default_transaction_isolation TO 'read committed';
SET lock_timeout TO '8s';
SET idle_in_transaction_session_timeout TO '5s';
SET enable_seqscan TO off;
SET jit TO off;
SET client_min_messages TO warning

-- name: safe_path
-- The same for one transaction, where a pooler gives the session to the next client after it.
SET LOCAL search_path TO pg_catalog
-- name: safe_limits
SELECT pg_catalog.set_config('lock_timeout', '8s', true),
    pg_catalog.set_config('idle_in_transaction_session_timeout', '5s', true),
    pg_catalog.set_config('jit', 'off', true)
-- name: scanning
-- For checks that read whole tables.
SET LOCAL enable_seqscan TO on

-- name: durable
SET synchronous_commit TO on
-- name: durable_here
SET LOCAL synchronous_commit TO on
-- name: process_durable
SET synchronous_commit TO off

-- name: facts
SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('synchronous_commit'),
    pg_catalog.current_setting('fsync'), pg_catalog.current_setting('full_page_writes'),
    pg_catalog.pg_is_in_recovery() OR pg_catalog.current_setting('default_transaction_read_only') = 'on',
    pg_catalog.current_setting('server_encoding'), CURRENT_USER::text

-- name: clock
SELECT extract(epoch FROM clock_timestamp())::double precision

-- name: layout
-- Which layout the schema has, and which one a program must know at least, if that is another.
SELECT name, value FROM onward.meta WHERE name IN ('version', 'least')
-- name: found
-- Whether there is a journal in the schema $1, whether there is anything of the names of its tables, and whether the
-- role may make a schema, or tables in it.
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = 'meta'),
    EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname IN ('run', 'entry', 'begun', 'owner', 'run_no')),
    EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)
-- name: add_schema
CREATE SCHEMA onward
-- name: set_layout
INSERT INTO onward.meta (name, value) VALUES ('version', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: hold
-- An advisory lock until the end of the transaction, see `locks`; also one of our own for each transaction, so that who
-- waits for it knows that the transaction is over.
SELECT pg_advisory_xact_lock($1)

-- name: guards
-- The one read of every commit. Locked in the order of their numbers, so that two processes never wait for each other;
-- not as strongly as a DELETE would, so that it stands in nobody's way who only reads. From `untold` on: what the row
-- tells of its last entries, see storage/untold.py.
SELECT no, fence, request, owner, lease_until, state, untold, coalesce(claimed_by, owner),
    coalesce(claimed_at, updated_at), updated_at
FROM onward.run WHERE no = ANY ($1::bigint[]) ORDER BY no FOR NO KEY UPDATE

-- name: guards_around
-- The same where runs end, or wait for others ($2, ids): those who wait for them, and whom they wait for, are locked as
-- well, so that none of them ends or begins to wait in between.
SELECT no, fence, request, owner, lease_until, state, untold, coalesce(claimed_by, owner),
    coalesce(claimed_at, updated_at), updated_at
FROM onward.run WHERE no = ANY ($1::bigint[]) OR id = ANY ($2::text[])
    OR no = ANY (ARRAY(SELECT waiter.run FROM onward.waiter WHERE awaited = ANY ($3::text[])))
ORDER BY no FOR NO KEY UPDATE

-- name: last_seqs
-- The last entries that are stored. A statement of its own after the lock: it must see what was committed while the lock
-- was waited for.
SELECT given.no, coalesce((SELECT entry.seq FROM onward.entry WHERE entry.run = given.no ORDER BY entry.seq DESC LIMIT 1), -1)
FROM unnest($1::bigint[]) AS given (no)

-- name: tell
-- The rows of these runs tell of no entries any more: those are gone.
UPDATE onward.run SET untold = 0, claimed_by = NULL, claimed_at = NULL WHERE no = ANY ($1::bigint[])

-- name: new_numbers
SELECT nextval('onward.run_no') FROM generate_series(1, $1)

-- name: there
-- Of these entries, those in whose places something is, and whether it is they: of two processes that claim a run, or of
-- a holder and who takes it over, either may have written an entry of this number, key and fence.
SELECT run, seq, (entry.key, entry.kind, entry.state, entry.name, entry.fingerprint, entry.value, entry.checksum,
        entry.attempt, entry.fence, entry.begun_at, entry.ended_at, entry.long_key)
    IS NOT DISTINCT FROM (given.key, given.kind, given.state, given.name, given.fingerprint, given.value, given.checksum,
        given.attempt, given.fence, given.begun_at, given.ended_at, given.long_key)
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[],
    $8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::double precision[], $13::double precision[],
    $14::text[])
    AS given (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at, long_key)
JOIN onward.entry USING (run, seq)

-- name: numbers
-- Which number the runs of these ids have.
SELECT id, no FROM onward.run WHERE id = ANY ($1::text[])

-- name: add_entries
INSERT INTO onward.entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at,
    ended_at, long_key)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[],
    $8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::double precision[], $13::double precision[],
    $14::text[])

-- name: tell_entries
-- The same, and the rows of the runs $15 tell of no entries any more: those are among these. Or they told of none:
-- `claim_plain` must see that a row has changed since it began.
WITH told AS (
    UPDATE onward.run SET untold = 0, claimed_by = NULL, claimed_at = NULL WHERE no = ANY ($15::bigint[])
)
INSERT INTO onward.entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at,
    ended_at, long_key)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[],
    $8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::double precision[], $13::double precision[],
    $14::text[])

-- name: add_alone
-- A whole commit in one statement, for a change that is a single entry: guard and number included. Nothing is inserted
-- where the fence is another, a request waits to be answered or entries are untold; the primary key refuses a number that
-- is taken. The lock keeps a claim from coming in between.
INSERT INTO onward.entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at,
    ended_at, long_key)
SELECT $1::bigint, $2::bigint, $3::text, $4::text, $5::text, $6::text, $7::bytea, $8::text, $9::bigint, $10::bigint,
    $11::bigint, $12::double precision, $13::double precision, $14::text
FROM onward.run WHERE no = $1::bigint AND fence = $15::bigint AND request IS NULL AND untold = 0 FOR NO KEY UPDATE

-- name: add_told
-- The same for the first entry after a claim that only the run's row tells: with the mark of that, $16 to $22, before it.
WITH told AS (
    UPDATE onward.run SET untold = 0
    WHERE no = $1::bigint AND fence = $15::bigint AND request IS NULL AND untold = 1 RETURNING no
)
INSERT INTO onward.entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at,
    ended_at, long_key)
SELECT no, $2::bigint - 1, $16::text, $17::text, $18::text, $19::text, NULL::bytea, $20::text, $21::bigint, 1,
    $15::bigint, NULL::double precision, $22::double precision, NULL::text
FROM told
UNION ALL
SELECT no, $2::bigint, $3::text, $4::text, $5::text, $6::text, $7::bytea, $8::text, $9::bigint, $10::bigint,
    $11::bigint, $12::double precision, $13::double precision, $14::text
FROM told

-- name: record
-- The same for many changes of many runs, with the units that end and begin: $1 to $3 are the runs, their fences and how
-- many of their entries are untold, $4 to $17 entries, among them what is untold of a run that gets one, $18 and $19 units
-- that end, $20 to $30 units that begin. All of it, and one row; or nothing, and no row, if one guard does not hold.
WITH held AS MATERIALIZED (
    SELECT no, fence, untold FROM onward.run
    WHERE no = ANY ($1::bigint[]) AND request IS NULL ORDER BY no FOR NO KEY UPDATE
), sound AS MATERIALIZED (
    SELECT count(*) = cardinality($1::bigint[]) AS yes
    FROM held JOIN unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS given (no, fence, untold)
        USING (no, fence, untold)
), told AS (
    UPDATE onward.run SET untold = 0
    WHERE no = ANY (ARRAY(SELECT held.no FROM held WHERE held.untold > 0 AND held.no IN (SELECT unnest($4::bigint[]))))
        AND (SELECT yes FROM sound)
), added AS (
    INSERT INTO onward.entry (run, seq, key, kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at,
        ended_at, long_key)
    SELECT * FROM unnest($4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bytea[],
        $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::double precision[], $16::double precision[],
        $17::text[])
    WHERE (SELECT yes FROM sound)
), ended AS (
    DELETE FROM onward.begun USING unnest($18::bigint[], $19::text[]) AS given (run, key)
    WHERE begun.run = given.run AND begun.key = given.key AND (SELECT yes FROM sound)
), started AS (
    INSERT INTO onward.begun (run, key, kind, name, attempt, crashes, suspect, due_at, fence, begun_at, long_key)
    SELECT * FROM unnest($20::bigint[], $21::text[], $22::text[], $23::text[], $24::bigint[], $25::bigint[],
        $26::boolean[], $27::double precision[], $28::bigint[], $29::double precision[], $30::text[])
    WHERE (SELECT yes FROM sound)
    ON CONFLICT (run, key) DO UPDATE SET kind = excluded.kind, name = excluded.name, attempt = excluded.attempt,
        crashes = excluded.crashes, suspect = excluded.suspect, due_at = excluded.due_at, fence = excluded.fence,
        begun_at = excluded.begun_at
)
SELECT yes FROM sound WHERE yes

-- name: set_begun
INSERT INTO onward.begun (run, key, kind, name, attempt, crashes, suspect, due_at, fence, begun_at, long_key)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::boolean[],
    $8::double precision[], $9::bigint[], $10::double precision[], $11::text[])
ON CONFLICT (run, key) DO UPDATE SET kind = excluded.kind, name = excluded.name, attempt = excluded.attempt,
    crashes = excluded.crashes, suspect = excluded.suspect, due_at = excluded.due_at, fence = excluded.fence,
    begun_at = excluded.begun_at

-- name: end_begun
DELETE FROM onward.begun USING unnest($1::bigint[], $2::text[]) AS given (run, key)
WHERE begun.run = given.run AND begun.key = given.key

-- name: add_run
INSERT INTO onward.run (id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request,
    stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at, updated_at, queue, priority,
    lane, single, tags, parent, attempt, no, long_identity)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::text[],
    $8::bigint[], $9::text[], $10::double precision[], $11::double precision[], $12::text[], $13::bigint[],
    $14::bigint[], $15::text[], $16::text[], $17::text[], $18::bigint[], $19::bigint[], $20::bigint[],
    $21::double precision[], $22::double precision[], $23::text[], $24::bigint[], $25::text[], $26::text[],
    $27::text[], $28::text[], $29::bigint[], $30::bigint[], $31::text[])

-- name: set_run
-- Not id, kind, name, identity, direct, created_at, queue, lane and parent: what a run is never changes. A wake-up that
-- came since the run was read is not undone, and a `single` that was given up is not taken again. Nothing wakes
-- a run that has never begun: its time may be put off.
UPDATE onward.run SET state = given.state, fence = given.fence, owner = given.owner, lease_until = given.lease_until,
    wake_at = CASE WHEN run.fence > 0 AND run.state IN ('waiting', 'paused') AND given.state IN ('waiting', 'paused')
        THEN least(run.wake_at, given.wake_at) ELSE given.wake_at END, request = given.request, stalls = given.stalls, claimed_seq = given.claimed_seq,
    result = given.result, error = given.error, command = given.command, total = given.total, done = given.done,
    counted_seq = given.counted_seq, args = given.args, updated_at = given.updated_at, priority = given.priority,
    single = CASE WHEN run.single IS NULL THEN NULL ELSE given.single END, tags = given.tags, attempt = given.attempt,
    untold = 0, claimed_by = NULL, claimed_at = NULL
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::double precision[], $5::double precision[], $6::text[],
    $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[],
    $15::text[], $16::double precision[], $17::bigint[], $18::text[], $19::text[], $20::bigint[], $21::bigint[])
    AS given (state, fence, owner, lease_until, wake_at, request, stalls, claimed_seq, result, error, command, total,
        done, counted_seq, args, updated_at, priority, single, tags, attempt, no)
WHERE run.no = given.no

-- name: lock_awaited
-- Before runs end of which others may wait ($2: their ids), these and those, as `guards_around` does: not at all where
-- nobody waits for anything.
SELECT count(*) FROM (
    SELECT FROM onward.run
    WHERE EXISTS (SELECT FROM onward.waiter) AND (no = ANY ($1::bigint[])
        OR no = ANY (ARRAY(SELECT waiter.run FROM onward.waiter WHERE awaited = ANY ($2::text[]))))
    ORDER BY no FOR NO KEY UPDATE) AS locked

-- name: end_runs
-- Runs whose functions have returned, guards included, and the mark of each: what a holder has not changed since it
-- claimed them stays as it is. How many of them have ended; if it is not all, everything is to be taken back. Given in
-- the order of their numbers, in which all others lock them.
WITH ended AS (
    UPDATE onward.run SET state = 'done', owner = NULL, lease_until = NULL, wake_at = NULL, stalls = 0,
        result = given.result, error = NULL, single = CASE WHEN run.single IS NULL THEN NULL ELSE given.single END,
        updated_at = given.at
    FROM unnest($1::bigint[], $2::bigint[], $4::text[], $5::text[], $6::double precision[])
        AS given (no, fence, result, single, at)
    WHERE run.no = given.no AND run.fence = given.fence AND run.request IS NULL AND run.state = 'running'
        AND run.untold = 0
    RETURNING run.no
), marked AS (
    INSERT INTO onward.entry (run, fence, seq, ended_at, key, kind, state, name, attempt)
    SELECT given.*, $7::text, $8::text, $9::text, $10::text, $11::bigint
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $6::double precision[]) AS given
)
SELECT count(*) FROM ended

-- name: end_untold
-- The same of runs of which nothing is recorded since their first claim, and nothing else has changed: their rows go on
-- telling of that, and of the end.
WITH ended AS (
    UPDATE onward.run SET state = 'done', owner = NULL, lease_until = NULL, result = given.result,
        updated_at = given.at, untold = 2, claimed_by = run.owner, claimed_at = run.updated_at
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::double precision[])
        AS given (no, fence, claimed_seq, result, at)
    WHERE run.no = given.no AND run.fence = given.fence AND run.request IS NULL AND run.state = 'running'
        AND run.untold = 1 AND run.claimed_seq = given.claimed_seq
    RETURNING run.no
)
SELECT count(*) FROM ended

-- name: set_progress
UPDATE onward.run SET done = given.done, total = given.total, counted_seq = given.counted_seq
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS given (done, total, counted_seq, no)
WHERE run.no = given.no

-- name: renew
-- Locked in the order of their numbers, as commits do.
WITH held AS MATERIALIZED (
    SELECT no FROM onward.run WHERE owner = $1 ORDER BY no FOR NO KEY UPDATE
)
UPDATE onward.run SET lease_until = greatest(run.lease_until, $2::double precision)
FROM held WHERE run.no = held.no AND run.owner = $1 RETURNING run.no, run.request

-- name: request
-- Of a run that somebody holds: nobody else would answer it. Nothing takes back that it is to be cancelled.
UPDATE onward.run SET request = $2
WHERE no = $1 AND state = 'running' AND (request IS DISTINCT FROM 'cancel' OR $2 = 'cancel') RETURNING no

-- name: add_owner
INSERT INTO onward.owner (id, host, boot, pid, command, started_at, process, session)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (id) DO UPDATE SET host = excluded.host, boot = excluded.boot, pid = excluded.pid,
    command = excluded.command, started_at = excluded.started_at, process = excluded.process,
    session = excluded.session

-- name: delete_owner
DELETE FROM onward.owner WHERE id = $1

-- name: delete_entries
DELETE FROM onward.entry WHERE run = $1
-- name: delete_begun
DELETE FROM onward.begun WHERE run = $1
-- name: delete_run
DELETE FROM onward.run WHERE no = $1
-- name: delete_latest
DELETE FROM onward.entry WHERE run = $1 AND seq > $2

-- name: rename
UPDATE onward.run SET name = $2, identity = $3, command = $4, long_identity = $5 WHERE no = $1

-- name: moved_to
SELECT value FROM onward.meta WHERE name = 'moved_to'
-- name: set_moved
INSERT INTO onward.meta (name, value) VALUES ('moved_to', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value
-- name: unset_moved
DELETE FROM onward.meta WHERE name = 'moved_to'
-- name: stay
-- Who adds runs holds this lock with others, who moves the journal holds it alone: no run is added behind his back.
SELECT pg_advisory_xact_lock_shared($1)

-- name: vacuum_run
VACUUM (ANALYZE) onward.run
-- name: vacuum_entry
VACUUM (ANALYZE) onward.entry
-- name: vacuum_begun
VACUUM (ANALYZE) onward.begun

-- name: run
SELECT id, kind, name, coalesce(long_identity, identity), args, direct, state, fence, owner, lease_until, wake_at,
    request, stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at, updated_at, queue,
    priority, lane, single, tags, parent, attempt, no
FROM onward.run WHERE id = $1

-- name: open_run
SELECT id, kind, name, coalesce(long_identity, identity), args, direct, state, fence, owner, lease_until, wake_at,
    request, stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at, updated_at, queue,
    priority, lane, single, tags, parent, attempt, no
FROM onward.run WHERE identity = $1 AND direct AND state NOT IN ('done', 'cancelled')

-- name: latest_run
SELECT id, kind, name, coalesce(long_identity, identity), args, direct, state, fence, owner, lease_until, wake_at,
    request, stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at, updated_at, queue,
    priority, lane, single, tags, parent, attempt, no
FROM onward.run WHERE identity = $1 AND direct ORDER BY no DESC LIMIT 1

-- name: runs
SELECT id, kind, name, coalesce(long_identity, identity), args, direct, state, fence, owner, lease_until, wake_at,
    request, stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at, updated_at, queue,
    priority, lane, single, tags, parent, attempt, no
FROM onward.run WHERE no < $1 ORDER BY no DESC LIMIT $2

-- name: runs_in_state
-- One state at a time, so that the index gives the order and a million done runs cost nothing. But for the queued ones
-- that are pending or running: they are found by the next two.
SELECT id, kind, name, coalesce(long_identity, identity), args, direct, state, fence, owner, lease_until, wake_at,
    request, stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at, updated_at, queue,
    priority, lane, single, tags, parent, attempt, no
FROM onward.run WHERE state = $3 AND (direct OR state NOT IN ('pending', 'running')) AND no < $1
ORDER BY no DESC LIMIT $2

-- name: runs_ready
-- The newest ones of each queue, workflow and priority, to each of which it is a step into the index; $3: of this
-- workflow alone, or null for all.
WITH RECURSIVE first AS (
    (SELECT queue, name, priority FROM onward.run
    WHERE NOT direct AND state = 'pending' ORDER BY queue, name, priority DESC LIMIT 1)
    UNION ALL
    SELECT next.* FROM first CROSS JOIN LATERAL (
        (SELECT run.queue, run.name, run.priority FROM onward.run
        WHERE NOT run.direct AND run.state = 'pending' AND run.queue = first.queue AND run.name = first.name
            AND run.priority < first.priority
        ORDER BY run.priority DESC LIMIT 1)
        UNION ALL
        (SELECT run.queue, run.name, run.priority FROM onward.run
        WHERE NOT run.direct AND run.state = 'pending' AND (run.queue, run.name) > (first.queue, first.name)
        ORDER BY run.queue, run.name, run.priority DESC LIMIT 1)
        LIMIT 1) AS next
)
SELECT found.* FROM first CROSS JOIN LATERAL (
        SELECT id, kind, run.name, coalesce(long_identity, identity), args, direct, state, fence, owner, lease_until,
            wake_at, request, stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at,
            updated_at, run.queue, run.priority, lane, single, tags, parent, attempt, no
        FROM onward.run
        WHERE NOT direct AND state = 'pending' AND run.queue = first.queue AND run.name = first.name
            AND run.priority = first.priority AND no < $1
        ORDER BY no DESC LIMIT $2) AS found
WHERE $3::text IS NULL OR first.name = $3
ORDER BY found.no DESC LIMIT $2

-- name: runs_busy
SELECT id, kind, name, coalesce(long_identity, identity), args, direct, state, fence, owner, lease_until, wake_at,
    request, stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at, updated_at, queue,
    priority, lane, single, tags, parent, attempt, no
FROM onward.run WHERE NOT direct AND state = 'running' AND no < $1 AND ($3::text IS NULL OR name = $3)
ORDER BY no DESC LIMIT $2

-- name: runs_named
-- $4: states, or null for all. But for the queued ones that are pending or running, as in `runs_in_state`.
SELECT id, kind, name, coalesce(long_identity, identity), args, direct, state, fence, owner, lease_until, wake_at,
    request, stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at, updated_at, queue,
    priority, lane, single, tags, parent, attempt, no
FROM onward.run WHERE name = $3 AND (direct OR state NOT IN ('pending', 'running')) AND no < $1
    AND ($4::text[] IS NULL OR state = ANY ($4::text[]))
ORDER BY no DESC LIMIT $2

-- name: entries
-- And, where the server puts it (it promises nothing) behind them: without a key, what the run's row tells.
(SELECT coalesce(long_key, key), kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at, seq
FROM onward.entry WHERE run = $1 AND seq > $2 ORDER BY seq LIMIT $3)
UNION ALL
SELECT NULL, NULL, NULL, coalesce(claimed_by, owner), NULL, NULL, untold, claimed_seq, fence,
    coalesce(claimed_at, updated_at), updated_at, NULL
FROM onward.run WHERE no = $1

-- name: last_seq
SELECT coalesce((SELECT seq FROM onward.entry WHERE run = $1 ORDER BY seq DESC LIMIT 1), -1) + untold
FROM onward.run WHERE no = $1

-- name: count_done
-- How many outcomes lie under a prefix, counted up to a bound: tells which of the next two is cheaper.
SELECT count(*) FROM (SELECT FROM onward.entry
    WHERE run = $1 AND key >= $2 AND key < $3 AND state = 'done' LIMIT $4) AS done

-- name: done_items_by_seq
-- For prefixes that hold much of the run: reads on from `after`, so that a pass over all pages reads each row once.
SELECT seq, coalesce(long_key, key) FROM onward.entry
WHERE run = $1 AND seq > $4 AND state = 'done' AND kind = 'item' AND starts_with(coalesce(long_key, key), $6::text)
    AND strpos(substr(coalesce(long_key, key), length($6::text) + 1), ' > ') = 0
ORDER BY seq LIMIT $5

-- name: done_items_by_key
-- For prefixes that hold little: the range of keys alone, sorted. The `+ 0` keeps the primary key out of it.
SELECT seq, coalesce(long_key, key) FROM onward.entry
WHERE run = $1 AND seq + 0 > $4 AND state = 'done' AND kind = 'item' AND key >= $2 AND key < $3
    AND starts_with(coalesce(long_key, key), $6::text)
    AND strpos(substr(coalesce(long_key, key), length($6::text) + 1), ' > ') = 0
ORDER BY seq + 0 LIMIT $5

-- name: outcome
-- Two steps into small indexes by one statement: asked for every item of a loop.
SELECT coalesce(long_key, key), kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at, seq
FROM onward.entry WHERE run = $1 AND key = $2 AND state = 'done'
UNION ALL (
    SELECT coalesce(long_key, key), kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at,
        seq
    FROM onward.entry WHERE run = $1 AND key = $2 AND state IN ('failed', 'reopened') ORDER BY seq + 0 DESC LIMIT 1)

-- name: scope_entries
SELECT coalesce(long_key, key), kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at, seq
FROM onward.entry
WHERE run = $1 AND key >= $2 AND key < $3 AND state = 'done' AND starts_with(coalesce(long_key, key), $4)
UNION ALL
SELECT coalesce(long_key, key), kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at, seq
FROM onward.entry
WHERE run = $1 AND key >= $2 AND key < $3 AND state IN ('failed', 'reopened')
    AND starts_with(coalesce(long_key, key), $4)
ORDER BY seq

-- name: failed_items
SELECT coalesce(long_key, key), kind, state, name, fingerprint, value, checksum, attempt, fence, begun_at, ended_at, seq
FROM onward.entry
WHERE run = $1 AND state IN ('failed', 'reopened') AND state = 'failed' AND kind = 'item'
    AND NOT EXISTS (
        SELECT FROM onward.entry AS later
        WHERE later.run = $1 AND later.key = entry.key AND later.state IN ('failed', 'reopened')
            AND later.seq > entry.seq)
    AND NOT EXISTS (
        SELECT FROM onward.entry AS done WHERE done.run = $1 AND done.key = entry.key AND done.state = 'done')
ORDER BY seq + 0

-- name: count_items
SELECT count(*) FROM onward.entry
WHERE run = $1 AND seq > $2 AND kind = 'item' AND state = 'done' AND strpos(coalesce(long_key, key), ' > ') = 0

-- name: begun
SELECT coalesce(long_key, key), kind, name, attempt, crashes, suspect, due_at, fence, begun_at FROM onward.begun
WHERE run = $1 ORDER BY begun_at, coalesce(long_key, key) COLLATE "C"

-- name: owner
SELECT id, host, boot, pid, command, started_at FROM onward.owner WHERE id = $1

-- name: requests
SELECT no, request FROM onward.run WHERE owner = $1 AND request IS NOT NULL

-- name: idle_owners
SELECT id FROM onward.owner WHERE NOT EXISTS (SELECT FROM onward.run WHERE run.owner = owner.id) LIMIT 100

-- name: data_version
-- Moves on whenever a transaction that has written ends, anywhere in this server.
SELECT pg_current_snapshot()::text
-- name: listen
LISTEN onward
-- name: notify
-- After the commit, in a transaction of its own: in the commit it would make all commits of the server wait for each
-- other, with their syncs. https://www.postgresql.org/docs/current/sql-notify.html
SELECT pg_notify($1, '')

-- name: presence
-- Taken by a session that stands for an owner: gone when the process is.
SELECT pg_try_advisory_lock($1)
-- name: end_presence
SELECT pg_advisory_unlock($1)
-- name: processes
-- How one can tell of each owner whether it lives: its process, and whether its session is there.
SELECT owner.id, owner.host, owner.boot, owner.pid, owner.process, owner.session
FROM onward.owner WHERE owner.id = $1
-- name: sessions
-- Which of these locks are held by a session on this database.
SELECT given.key FROM unnest($1::bigint[]) AS given (key) WHERE EXISTS (
    SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND datname = current_database()
        AND ((classid::bigint << 32) | objid::bigint) = given.key)
-- name: session_owners
SELECT id FROM onward.owner WHERE session
-- name: uptime
SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::double precision

-- name: invalid_indexes
SELECT c.relname FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND NOT (indisvalid AND indisready)

-- name: strays
SELECT 'entry', count(*) FROM onward.entry WHERE NOT EXISTS (SELECT FROM onward.run WHERE run.no = entry.run)
HAVING count(*) > 0
UNION ALL
SELECT 'begun', count(*) FROM onward.begun WHERE NOT EXISTS (SELECT FROM onward.run WHERE run.no = begun.run)
HAVING count(*) > 0

-- name: misnumbered
SELECT run.id, count(*), min(seq), max(seq) FROM onward.entry JOIN onward.run ON run.no = entry.run
GROUP BY run.no HAVING min(seq) <> 0 OR max(seq) <> count(*) - 1

-- name: done_twice
SELECT run.id, coalesce(long_key, key), count(*) FROM onward.entry JOIN onward.run ON run.no = entry.run
WHERE entry.state = 'done' GROUP BY run.no, coalesce(long_key, key) HAVING count(*) > 1

-- name: payloads
DECLARE payloads NO SCROLL CURSOR FOR
SELECT run.id, entry.seq, coalesce(long_key, key), entry.value, entry.checksum, entry.fence, run.fence, entry.kind,
    entry.state
FROM onward.entry JOIN onward.run ON run.no = entry.run ORDER BY entry.run, entry.seq
-- name: more_payloads
FETCH 1000 FROM payloads

-- name: odd_leases
SELECT id, state, owner, lease_until FROM onward.run
WHERE (owner IS NULL) <> (lease_until IS NULL) OR (owner IS NOT NULL AND state IN ('done', 'failed', 'cancelled'))

-- name: odd_untold
SELECT id, untold, state FROM onward.run
WHERE untold <> 0 AND (claimed_seq = (SELECT count(*) FROM onward.entry WHERE run = no)
    AND (untold = 1 AND state = 'running' AND owner IS NOT NULL AND claimed_by IS NULL AND claimed_at IS NULL
        OR untold = 2 AND state = 'done' AND claimed_by IS NOT NULL AND claimed_at IS NOT NULL)) IS NOT TRUE

-- name: queues
SELECT name, paused, declared, chosen FROM onward.queue ORDER BY name

-- name: add_queue
INSERT INTO onward.queue (name) SELECT * FROM unnest($1::text[]) ON CONFLICT (name) DO NOTHING

-- name: set_queue
-- What is null stays as it is.
INSERT INTO onward.queue AS queue (name, paused, declared, chosen)
VALUES ($1, coalesce($2::boolean, false), coalesce($3::text, '{}'), coalesce($4::text, '{}'))
ON CONFLICT (name) DO UPDATE SET paused = coalesce($2::boolean, queue.paused),
    declared = coalesce($3::text, queue.declared), chosen = coalesce($4::text, queue.chosen)
RETURNING name, paused, declared, chosen
-- name: set_limited
UPDATE onward.queue SET limited = $2 WHERE name = $1

-- name: turn
SELECT turn FROM onward.queue WHERE name = $1

-- name: set_turn
UPDATE onward.queue SET turn = $2 WHERE name = $1

-- name: lock_queues
-- Those with limits are claimed from by one at a time: what counts against the limits must not change meanwhile.
SELECT name FROM onward.queue
WHERE limited AND NOT paused AND (cardinality($1::text[]) = 0 OR name = ANY ($1::text[]))
ORDER BY name FOR NO KEY UPDATE

-- name: unsorted
-- Around what a claim asks of the queues: its order is that of an index. Where there are few runs when the plan is made,
-- any other index may do with a sort, and would read all runs of a workflow for as long as the plan is kept.
SET LOCAL enable_sort TO off
-- name: sorted
SET LOCAL enable_sort TO on

-- name: ready_kind
-- Pairs of queue and workflow of which runs are pending: a step into the index for each pair, not for each run.
WITH RECURSIVE kind AS (
    (SELECT queue, name FROM onward.run WHERE NOT direct AND state = 'pending' ORDER BY queue, name LIMIT 1)
    UNION ALL
    SELECT next.queue, next.name FROM kind CROSS JOIN LATERAL (
        SELECT run.queue, run.name FROM onward.run
        WHERE NOT run.direct AND run.state = 'pending' AND (run.queue, run.name) > (kind.queue, kind.name)
        ORDER BY run.queue, run.name LIMIT 1) AS next
)
SELECT queue, name FROM kind

-- name: waiting_kind
WITH RECURSIVE kind AS (
    (SELECT queue, name FROM onward.run WHERE NOT direct AND state = 'waiting' ORDER BY queue, name LIMIT 1)
    UNION ALL
    SELECT next.queue, next.name FROM kind CROSS JOIN LATERAL (
        SELECT run.queue, run.name FROM onward.run
        WHERE NOT run.direct AND run.state = 'waiting' AND (run.queue, run.name) > (kind.queue, kind.name)
        ORDER BY run.queue, run.name LIMIT 1) AS next
)
SELECT queue, name FROM kind

-- name: ready
-- Of each queue ($1, all if there are none) without limits and each workflow ($2) the first $3. What another claim is
-- taking is left out, so that many workers never wait for each other.
SELECT queue.name, given.name, found.*
FROM onward.queue CROSS JOIN unnest($2::text[]) AS given (name) CROSS JOIN LATERAL (
    SELECT run.no, run.priority, run.lane, NULL::double precision, run.fence > 0 FROM onward.run
    WHERE NOT run.direct AND run.state = 'pending' AND run.queue = queue.name AND run.name = given.name
    ORDER BY run.priority DESC, run.no LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED) AS found
WHERE NOT queue.limited AND NOT queue.paused AND (cardinality($1::text[]) = 0 OR queue.name = ANY ($1::text[]))

-- name: due
-- The same of those that wait and whose time, $4, has come.
SELECT queue.name, given.name, found.*
FROM onward.queue CROSS JOIN unnest($2::text[]) AS given (name) CROSS JOIN LATERAL (
    SELECT run.no, run.priority, run.lane, run.wake_at, run.fence > 0 FROM onward.run
    WHERE NOT run.direct AND run.state = 'waiting' AND run.queue = queue.name AND run.name = given.name
        AND run.wake_at <= $4
    ORDER BY run.wake_at, run.no LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED) AS found
WHERE NOT queue.limited AND NOT queue.paused AND (cardinality($1::text[]) = 0 OR queue.name = ANY ($1::text[]))

-- name: ready_limited
-- The same of queues with limits, of whose runs some may be passed over: they are locked when they are taken.
SELECT queue.name, given.name, found.*
FROM onward.queue CROSS JOIN unnest($2::text[]) AS given (name) CROSS JOIN LATERAL (
    SELECT run.no, run.priority, run.lane, NULL::double precision, run.fence > 0 FROM onward.run
    WHERE NOT run.direct AND run.state = 'pending' AND run.queue = queue.name AND run.name = given.name
    ORDER BY run.priority DESC, run.no LIMIT $3) AS found
WHERE queue.limited AND NOT queue.paused AND (cardinality($1::text[]) = 0 OR queue.name = ANY ($1::text[]))

-- name: due_limited
SELECT queue.name, given.name, found.*
FROM onward.queue CROSS JOIN unnest($2::text[]) AS given (name) CROSS JOIN LATERAL (
    SELECT run.no, run.priority, run.lane, run.wake_at, run.fence > 0 FROM onward.run
    WHERE NOT run.direct AND run.state = 'waiting' AND run.queue = queue.name AND run.name = given.name
        AND run.wake_at <= $4
    ORDER BY run.wake_at, run.no LIMIT $3) AS found
WHERE queue.limited AND NOT queue.paused AND (cardinality($1::text[]) = 0 OR queue.name = ANY ($1::text[]))

-- name: next_due
SELECT queue.name, given.name, found.wake_at
FROM onward.queue CROSS JOIN unnest($2::text[]) AS given (name) CROSS JOIN LATERAL (
    SELECT run.wake_at FROM onward.run
    WHERE NOT run.direct AND run.state = 'waiting' AND run.queue = queue.name AND run.name = given.name
        AND run.wake_at > $3
    ORDER BY run.wake_at LIMIT 1) AS found
WHERE NOT queue.paused AND (cardinality($1::text[]) = 0 OR queue.name = ANY ($1::text[]))

-- name: ready_lane
-- Up to $4 lanes from $3 on, a step into the index for each.
WITH RECURSIVE found AS (
    (SELECT lane, 1 AS number FROM onward.run
    WHERE NOT direct AND state = 'pending' AND lane IS NOT NULL AND queue = $1 AND name = $2 AND lane >= $3
    ORDER BY lane LIMIT 1)
    UNION ALL
    SELECT next.lane, found.number + 1 FROM found CROSS JOIN LATERAL (
        SELECT run.lane FROM onward.run
        WHERE NOT run.direct AND run.state = 'pending' AND run.lane IS NOT NULL AND run.queue = $1 AND run.name = $2
            AND run.lane > found.lane
        ORDER BY run.lane LIMIT 1) AS next
    WHERE found.number < $4
)
SELECT lane FROM found

-- name: waiting_lane
WITH RECURSIVE found AS (
    (SELECT lane, 1 AS number FROM onward.run
    WHERE NOT direct AND state = 'waiting' AND lane IS NOT NULL AND queue = $1 AND name = $2 AND lane >= $3
    ORDER BY lane LIMIT 1)
    UNION ALL
    SELECT next.lane, found.number + 1 FROM found CROSS JOIN LATERAL (
        SELECT run.lane FROM onward.run
        WHERE NOT run.direct AND run.state = 'waiting' AND run.lane IS NOT NULL AND run.queue = $1 AND run.name = $2
            AND run.lane > found.lane
        ORDER BY run.lane LIMIT 1) AS next
    WHERE found.number < $4
)
SELECT lane FROM found

-- name: ready_in
-- The first $4 runs of each of these lanes, $3.
SELECT found.* FROM unnest($3::text[]) AS given (lane) CROSS JOIN LATERAL (
    SELECT run.no, run.priority, run.lane, NULL::double precision, run.fence > 0 FROM onward.run
    WHERE NOT run.direct AND run.state = 'pending' AND run.queue = $1 AND run.name = $2 AND run.lane = given.lane
    ORDER BY run.priority DESC, run.no LIMIT $4) AS found

-- name: due_in
SELECT found.* FROM unnest($3::text[]) AS given (lane) CROSS JOIN LATERAL (
    SELECT run.no, run.priority, run.lane, run.wake_at, run.fence > 0 FROM onward.run
    WHERE NOT run.direct AND run.state = 'waiting' AND run.queue = $1 AND run.name = $2 AND run.lane = given.lane
        AND run.wake_at <= $5
    ORDER BY run.wake_at, run.no LIMIT $4) AS found

-- name: busy
-- Counted up to a bound: more than the limit is as good as the limit.
SELECT count(*) FROM (SELECT FROM onward.run WHERE NOT direct AND state = 'running' AND queue = $1 LIMIT $2) AS busy

-- name: busy_in
-- Of all lanes at once: as many rows as runs of the queue are being executed.
SELECT lane, count(*) FROM onward.run
WHERE NOT direct AND state = 'running' AND queue = $1 AND lane IS NOT NULL GROUP BY lane

-- name: busy_here
SELECT count(*) FROM (
    SELECT FROM onward.run WHERE NOT direct AND state = 'running' AND queue = $1 AND owner = $2 LIMIT $3) AS busy

-- name: starts
-- Of each lane how many have begun since, and when the first of them did.
SELECT lane, sum(count)::bigint, min(at) FROM onward.start WHERE queue = $1 AND at > $2 GROUP BY lane

-- name: add_starts
INSERT INTO onward.start AS start (queue, lane, at, count)
SELECT * FROM unnest($1::text[], $2::text[], $3::double precision[], $4::bigint[])
ON CONFLICT (queue, lane, at) DO UPDATE SET count = start.count + excluded.count

-- name: forget_starts
DELETE FROM onward.start WHERE queue = $1 AND at <= $2

-- name: ready_runs
-- Runs that a claim takes; not those that somebody else is about to change. Their rows tell of no entries.
SELECT id, kind, name, coalesce(long_identity, identity), args, direct, state, fence, owner, lease_until, wake_at,
    request, stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at, updated_at, queue,
    priority, lane, single, tags, parent, attempt, no
FROM onward.run WHERE no = ANY ($1::bigint[]) AND state IN ('pending', 'waiting', 'paused')
FOR NO KEY UPDATE SKIP LOCKED

-- name: lease
-- What a claim changes in a run: much less than all of its row.
UPDATE onward.run SET state = given.state, fence = given.fence, owner = given.owner, lease_until = given.lease_until,
    wake_at = given.wake_at, request = given.request, stalls = given.stalls, claimed_seq = given.claimed_seq,
    error = given.error, single = given.single, updated_at = given.updated_at, untold = given.untold
FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::double precision[], $6::double precision[],
    $7::text[], $8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::double precision[], $13::bigint[])
    AS given (no, state, fence, owner, lease_until, wake_at, request, stalls, claimed_seq, error, single, updated_at,
        untold)
WHERE run.no = given.no

-- name: set_args
UPDATE onward.run SET args = given.args FROM unnest($1::bigint[], $2::text[]) AS given (no, args)
WHERE run.no = given.no

-- name: claim_plain
-- A whole claim in one statement, where it is plain: nothing that waits is due, no queue with limits has anything ready,
-- and what comes next was never leased. Parameters as of `ready` and `due`, then owner and end of the lease. Whether it is
-- plain, when the next run is due that waits, and each run as it is leased, which its row alone tells: none if it is not
-- plain. Nor is it plain if the row of a run is not as it was when the statement began: the number of the run's last entry
-- would be of that time.
WITH served AS MATERIALIZED (
    SELECT queue.name AS queue, queue.limited, given.name
    FROM onward.queue CROSS JOIN unnest($2::text[]) AS given (name)
    WHERE NOT queue.paused AND (cardinality($1::text[]) = 0 OR queue.name = ANY ($1::text[]))
), next AS MATERIALIZED (
    SELECT min(first.wake_at) AS at FROM served CROSS JOIN LATERAL (
        SELECT run.wake_at FROM onward.run
        WHERE NOT run.direct AND run.state = 'waiting' AND run.queue = served.queue AND run.name = served.name
            AND run.wake_at IS NOT NULL
        ORDER BY run.wake_at LIMIT 1) AS first
), plain AS MATERIALIZED (
    SELECT next.at, (next.at IS NULL OR next.at > $4::double precision) AND NOT EXISTS (
        SELECT FROM served CROSS JOIN LATERAL (
            SELECT FROM onward.run
            WHERE NOT run.direct AND run.state = 'pending' AND run.queue = served.queue AND run.name = served.name
            ORDER BY run.priority DESC, run.no LIMIT 1) AS ready
        WHERE served.limited) AS so
    FROM next
), ready AS MATERIALIZED (
    SELECT found.* FROM served CROSS JOIN LATERAL (
        SELECT run.ctid AS place, run.no, run.priority, run.fence = 0 AND run.stalls = 0 AND run.request IS NULL
            AND run.single IS NULL AND run.args IS NOT NULL AS plain
        FROM onward.run
        WHERE NOT run.direct AND run.state = 'pending' AND run.queue = served.queue AND run.name = served.name
        ORDER BY run.priority DESC, run.no LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED) AS found
    WHERE NOT served.limited AND (SELECT plain.so FROM plain)
), chosen AS MATERIALIZED (
    SELECT ready.place, ready.plain FROM ready ORDER BY ready.priority DESC, ready.no LIMIT $3
), sound AS MATERIALIZED (
    -- Arrays, so that no estimate of how many there are leads to another way than to look up each in its place. What is
    -- locked is the latest version of a row; what is read here are those that there were when the statement began.
    SELECT plain.so AND coalesce((SELECT bool_and(chosen.plain) FROM chosen), true)
        AND (SELECT count(*) FROM chosen)
            = (SELECT count(*) FROM onward.run WHERE ctid = ANY (ARRAY(SELECT chosen.place FROM chosen))) AS yes
    FROM plain
), leased AS (
    UPDATE onward.run SET state = 'running', fence = 1, owner = $5::text,
        lease_until = $6::double precision, wake_at = NULL, error = NULL, updated_at = $4::double precision,
        untold = 1, claimed_seq = coalesce(
            (SELECT entry.seq FROM onward.entry WHERE entry.run = run.no ORDER BY entry.seq DESC LIMIT 1), -1) + 1
    WHERE ctid = ANY (ARRAY(SELECT chosen.place FROM chosen)) AND (SELECT sound.yes FROM sound)
    RETURNING id, kind, name, coalesce(long_identity, identity), args, direct, state, fence, owner, lease_until,
        wake_at, request, stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at,
        updated_at, queue, priority, lane, single, tags, parent, attempt, no
)
SELECT sound.yes, plain.at, leased.*
FROM plain CROSS JOIN sound LEFT JOIN leased ON true ORDER BY leased.priority DESC, leased.no

-- name: count_ready
SELECT count(*) FROM (SELECT FROM onward.run WHERE NOT direct AND state = 'pending' AND queue = $1 LIMIT $2) AS counted

-- name: count_waiting
SELECT count(*) FROM (SELECT FROM onward.run WHERE NOT direct AND state = 'waiting' AND queue = $1 LIMIT $2) AS counted

-- name: count_dead
SELECT count(*) FROM (SELECT FROM onward.run WHERE NOT direct AND state = 'failed' AND queue = $1 LIMIT $2) AS counted

-- name: oldest_ready
-- Of the runs that come next the oldest: the first ones of each priority stand in the order in which they came. $2: how
-- many priorities are looked at.
WITH RECURSIVE first AS (
    (SELECT name, priority, created_at, 1 AS number FROM onward.run
    WHERE NOT direct AND state = 'pending' AND queue = $1 ORDER BY name, priority DESC, no LIMIT 1)
    UNION ALL
    SELECT next.name, next.priority, next.created_at, first.number + 1 FROM first CROSS JOIN LATERAL (
        (SELECT run.name, run.priority, run.created_at FROM onward.run
        WHERE NOT run.direct AND run.state = 'pending' AND run.queue = $1 AND run.name = first.name
            AND run.priority < first.priority
        ORDER BY run.priority DESC, run.no LIMIT 1)
        UNION ALL
        (SELECT run.name, run.priority, run.created_at FROM onward.run
        WHERE NOT run.direct AND run.state = 'pending' AND run.queue = $1 AND run.name > first.name
        ORDER BY run.name, run.priority DESC, run.no LIMIT 1)
        LIMIT 1) AS next
    WHERE first.number < $2
)
SELECT min(created_at) FROM first

-- name: dead_runs
SELECT id, kind, name, coalesce(long_identity, identity), args, direct, state, fence, owner, lease_until, wake_at,
    request, stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at, updated_at, queue,
    priority, lane, single, tags, parent, attempt, no
FROM onward.run WHERE NOT direct AND state = 'failed' AND queue = $1 AND no < $2 ORDER BY no DESC LIMIT $3

-- name: add_runs
-- As `add_run`. A run whose id, identity or `single` is taken is left out; the numbers of the others come back.
INSERT INTO onward.run (id, kind, name, identity, args, direct, state, fence, owner, lease_until, wake_at, request,
    stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at, updated_at, queue, priority,
    lane, single, tags, parent, attempt, no, long_identity)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::text[],
    $8::bigint[], $9::text[], $10::double precision[], $11::double precision[], $12::text[], $13::bigint[],
    $14::bigint[], $15::text[], $16::text[], $17::text[], $18::bigint[], $19::bigint[], $20::bigint[],
    $21::double precision[], $22::double precision[], $23::text[], $24::bigint[], $25::text[], $26::text[],
    $27::text[], $28::text[], $29::bigint[], $30::bigint[], $31::text[])
ON CONFLICT DO NOTHING RETURNING no

-- name: add_lot
-- The same for runs that differ in little.
INSERT INTO onward.run (no, id, args, lane, single, identity, long_identity, kind, name, direct, state, fence, owner,
    lease_until, wake_at, request, stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at,
    updated_at, queue, priority, tags, parent, attempt)
SELECT given.*, $8::text, $9::text, $10::boolean, $11::text, $12::bigint, $13::text, $14::double precision,
    $15::double precision, $16::text, $17::bigint, $18::bigint, $19::text, $20::text, $21::text, $22::bigint,
    $23::bigint, $24::bigint, $25::double precision, $26::double precision, $27::text, $28::bigint, $29::text, $30::text,
    $31::bigint
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) AS given
ON CONFLICT DO NOTHING RETURNING no

-- name: arrival
-- Which items are there of these workflows, $1, and keys, $2.
SELECT arrival.name, arrival.key, run.no, run.id, arrival.checksum
FROM unnest($1::text[], $2::text[]) AS given (name, key)
JOIN onward.arrival ON arrival.name = given.name AND arrival.key = given.key
JOIN onward.run ON run.no = arrival.run

-- name: open_batch
-- The runs of these `single` that take more items. Locked: a claim must not begin one while an item is put into it.
SELECT no, id, single FROM onward.run
WHERE single = ANY ($1::text[]) AND args IS NULL AND state IN ('waiting', 'pending', 'paused')
ORDER BY no FOR NO KEY UPDATE
-- name: batch_sizes
-- How many items runs have, and how many characters; a statement of its own after the lock.
SELECT run.single, coalesce(last.number, -1) + 1, coalesce(last.chars, 0) FROM onward.run LEFT JOIN LATERAL (
    SELECT arrival.number, arrival.chars FROM onward.arrival WHERE arrival.run = run.no
    ORDER BY arrival.number DESC LIMIT 1) AS last ON true
WHERE run.single = ANY ($1::text[])

-- name: add_arrival
INSERT INTO onward.arrival (run, number, name, key, item, checksum, chars, token)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
    $8::bigint[])

-- name: arrived_at
-- What stands in an item's place, and how often its run was leased: the first claim forgets what has no key.
SELECT arrival.token, run.fence FROM onward.run
LEFT JOIN onward.arrival ON arrival.run = run.no AND arrival.number = $2 WHERE run.no = $1

-- name: arrived
SELECT item FROM onward.arrival WHERE run = $1 ORDER BY number

-- name: forget_arrivals
DELETE FROM onward.arrival WHERE run = $1 AND key IS NULL

-- name: empty_arrivals
UPDATE onward.arrival SET item = NULL WHERE run = $1

-- name: delete_arrivals
DELETE FROM onward.arrival WHERE run = $1

-- name: single_run
SELECT id, kind, name, coalesce(long_identity, identity), args, direct, state, fence, owner, lease_until, wake_at,
    request, stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at, updated_at, queue,
    priority, lane, single, tags, parent, attempt, no
FROM onward.run WHERE single = $1

-- name: holders
-- Who executes queued runs, and when the first lease of each ends.
SELECT owner, min(lease_until) FROM onward.run WHERE NOT direct AND state = 'running' GROUP BY owner ORDER BY owner

-- name: runs_held
SELECT id, kind, name, coalesce(long_identity, identity), args, direct, state, fence, owner, lease_until, wake_at,
    request, stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at, updated_at, queue,
    priority, lane, single, tags, parent, attempt, no
FROM onward.run WHERE owner = $1 AND NOT direct AND state = 'running' ORDER BY no LIMIT $2

-- name: set_worker
INSERT INTO onward.worker (owner, names, queues, concurrency, state, seen_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (owner) DO UPDATE SET names = excluded.names, queues = excluded.queues,
    concurrency = excluded.concurrency, state = excluded.state, seen_at = excluded.seen_at

-- name: workers
SELECT owner, names, queues, concurrency, state, seen_at FROM onward.worker ORDER BY seen_at DESC, owner

-- name: delete_worker
DELETE FROM onward.worker WHERE owner = $1

-- name: waiting_names
-- What waits in the queues, by workflow: how many runs, up to a bound, and since when the oldest one.
SELECT queue, name, count(*), min(created_at) FROM (
    SELECT queue, name, created_at FROM onward.run WHERE NOT direct AND state = 'pending'
    ORDER BY queue, name, priority DESC, no LIMIT $1) AS pending
GROUP BY queue, name ORDER BY queue, name

-- name: count_due
-- What waits no longer: so many at most, and since when the oldest one.
SELECT count(*), min(created_at) FROM (
    SELECT created_at FROM onward.run
    WHERE NOT direct AND state = 'waiting' AND queue = $1 AND name = $2 AND wake_at <= $3
    ORDER BY wake_at LIMIT $4) AS due

-- name: add_waiter
-- Nothing where the awaited run has ended, or was removed: `wake_idle` makes it due at once.
INSERT INTO onward.waiter (awaited, run)
SELECT given.awaited, given.run FROM unnest($1::text[], $2::bigint[]) AS given (awaited, run)
WHERE EXISTS (SELECT FROM onward.run WHERE id = given.awaited AND state NOT IN ('done', 'failed', 'cancelled'))
ON CONFLICT DO NOTHING

-- name: wake_idle
UPDATE onward.run SET wake_at = $3 FROM unnest($1::text[], $2::bigint[]) AS given (awaited, run)
WHERE run.no = given.run AND run.state IN ('waiting', 'paused') AND (run.wake_at IS NULL OR run.wake_at > $3)
    AND NOT EXISTS (SELECT FROM onward.run AS other
        WHERE other.id = given.awaited AND other.state NOT IN ('done', 'failed', 'cancelled'))

-- name: end_waiters
WITH gone AS (
    DELETE FROM onward.waiter WHERE EXISTS (SELECT FROM onward.waiter) AND awaited = ANY ($1::text[]) RETURNING run
)
UPDATE onward.run SET wake_at = $2 FROM gone
WHERE run.no = gone.run AND run.state IN ('waiting', 'paused') AND (run.wake_at IS NULL OR run.wake_at > $2)

-- name: drop_waiters
DELETE FROM onward.waiter WHERE run = $1

-- name: schedules
-- Columns in the order of schedules.Schedule.
SELECT name, spec, revision, since, last, next_at, due_at, paused, declarer, declared_at, going, backlog, latest,
    started, skipped, missed, note
FROM onward.schedule ORDER BY name

-- name: schedule_revision
SELECT revision FROM onward.schedule WHERE name = $1

-- name: put_schedule
INSERT INTO onward.schedule (name, spec, revision, since, last, next_at, due_at, paused, declarer, declared_at,
    going, backlog, latest, started, skipped, missed, note)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
ON CONFLICT (name) DO UPDATE SET spec = excluded.spec, revision = excluded.revision, since = excluded.since,
    last = excluded.last, next_at = excluded.next_at, due_at = excluded.due_at, paused = excluded.paused,
    declarer = excluded.declarer, declared_at = excluded.declared_at, going = excluded.going,
    backlog = excluded.backlog, latest = excluded.latest, started = excluded.started, skipped = excluded.skipped,
    missed = excluded.missed, note = excluded.note

-- name: drop_schedule
DELETE FROM onward.schedule WHERE name = $1

-- name: unfinished
SELECT id FROM onward.run WHERE id = ANY ($1::text[]) AND state NOT IN ('done', 'failed', 'cancelled')

-- name: runs_of_schedule
-- Their ids lie between $1 and $2, in the order of the nominal times; others may have such ids too.
SELECT id, kind, name, coalesce(long_identity, identity), args, direct, state, fence, owner, lease_until, wake_at,
    request, stalls, claimed_seq, result, error, command, total, done, counted_seq, created_at, updated_at, queue,
    priority, lane, single, tags, parent, attempt, no
FROM onward.run WHERE id >= $1 AND id < $2 AND starts_with(identity, 'schedule:') ORDER BY id DESC LIMIT $3
