-- What the row of a run tells has no entry of its own, as in SQLite's layout 4. Applied in one transaction.

-- How many of the run's last entries are not stored: 1, that it was claimed, by `owner` at `updated_at`; 2, that it was
-- claimed, by `claimed_by` at `claimed_at`, and returned, at `updated_at`. See storage/untold.py.
ALTER TABLE onward.run
    ADD COLUMN untold integer NOT NULL DEFAULT 0,
    ADD COLUMN claimed_by text COLLATE "C",
    ADD COLUMN claimed_at double precision;

-- The number of a run's last entry is not that of the last one stored any more. A program of an older layout must not
-- give it again: it fails where it names this column.
ALTER TABLE onward.run RENAME COLUMN leased_seq TO claimed_seq;

-- Nor are runs listed by their name while they only pass through the queue, as in layout 2 by their state: the entry was
-- written three times for each. Of the numbers three versions fit on a page that was filled as they came: it is split, and
-- searched for what can go, a third as often. Claims and ends together take an eighth less of the server's time.
DROP INDEX onward.run_name;
CREATE INDEX run_name ON onward.run (name, no) WHERE direct OR state NOT IN ('pending', 'running');
ALTER INDEX onward.run_pkey SET (fillfactor = 45);
