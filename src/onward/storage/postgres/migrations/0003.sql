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
