-- What the row of a run tells has no entry of its own. Applied in one transaction.

PRAGMA user_version = 4;

-- How many of the run's last entries are not stored: 1, that it was claimed, by `owner` at `updated_at`; 2, that it was
-- claimed, by `claimed_by` at `claimed_at`, and returned, at `updated_at`. See storage/untold.py.
ALTER TABLE run ADD COLUMN untold INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN claimed_by TEXT;
ALTER TABLE run ADD COLUMN claimed_at REAL;

-- The number of a run's last entry is not that of the last one stored any more. A program of an older layout must not
-- give it again: it fails where it names this column.
ALTER TABLE run RENAME COLUMN leased_seq TO claimed_seq;

-- Whoever holds a run stands in one index, not in two: that of queued ones says what counts against limits as well. An
-- owner comes first, because a queue has few of them at a time.
DROP INDEX run_owner;
CREATE INDEX run_owner ON run (owner) WHERE owner IS NOT NULL AND direct = 1;
DROP INDEX run_busy;
CREATE INDEX run_busy ON run (owner, queue, lane, lease_until) WHERE direct = 0 AND state = 'running';
