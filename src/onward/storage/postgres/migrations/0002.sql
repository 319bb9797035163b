-- Runs are not listed by their state while they only pass through it, as in SQLite's layout 3. Applied in one transaction.

-- Queued runs that are pending stand in `run_ready`, those that are being executed in `run_busy`. A new version of a row
-- stands in every index once more: one fewer for each run that is started, and for each claim.
DROP INDEX onward.run_state;
CREATE INDEX run_listed ON onward.run (state, no) WHERE direct OR state NOT IN ('pending', 'running');
