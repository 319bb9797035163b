-- Runs are not listed by their state while they only pass through it. Applied in one transaction.

PRAGMA user_version = 3;

-- Queued runs that are pending stand in `run_ready`, those that are being executed in `run_busy`: a run that is started,
-- claimed and done then writes one row here, where it wrote and removed five.
DROP INDEX run_state;
CREATE INDEX run_listed ON run (state, no) WHERE direct = 1 OR state NOT IN ('pending', 'running');
