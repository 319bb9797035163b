"""Every bound, its reason, and what happens at it. Sizes in bytes, times in seconds."""

from __future__ import annotations

from typing import Final

# A lease outlives any pause a healthy process makes (garbage collection, a slow disk) and still frees a dead host's
# work within half a minute. On one host death is noticed at once, by the owner's file lock.
LEASE_S: Final = 30.0
# Renewed three times per lease, so that two lost renewals in a row cost nothing.
RENEW_S: Final = LEASE_S / 3
# Nothing new starts when the lease ends within this time: the margin for clocks that drift during one lease.
LEASE_MARGIN_S: Final = 2.0
# How often a process with active runs looks whether one of them is to be paused or cancelled, whether a start marker is
# due, and whether a renewal that failed can be repeated: so that a request is heard of well within a second.
TICK_S: Final = 0.25

# `done(n)` waits this long for `begun(n+1)`, so that a loop pays one commit per item, not two.
JOIN_S: Final = 0.005
# A step that runs longer than this gets a durable start marker of its own (shorter ones never need it).
MARKER_S: Final = 1.0
# How often a loop's done/failed/total are written to its run's row; readers add what came later.
PROGRESS_S: Final = 2.0

# How long a writer waits for another process's transaction before it reports JournalBusy.
BUSY_S: Final = 30.0
# How long one call to a database server may take before its connection is given up and replaced. Well within a lease,
# so that a renewal on a connection that has gone dead leaves time for another one.
CALL_S: Final = 10.0
# How long a fork waits for the journal to be at rest. Transactions and parts of a checkpoint take milliseconds: longer
# is a fork from a signal handler that interrupted one, and waiting on would hang the process, so it forks all the same.
FORK_S: Final = 5.0
# How long outcomes are held and retried while the disk is full, before JournalFull.
FULL_S: Final = 30.0
# Pause between two tries while the disk is full.
FULL_RETRY_S: Final = 0.25
# A queued run that waits longer than this is given back, and is a row until its time has come; a shorter wait is waited
# out in place, because giving back and claiming again costs two commits and a replay.
SUSPEND_S: Final = 1.0
# How often a worker looks for runs whose worker has died.
TAKE_OVER_S: Final = 0.25
# How often an idle worker, or who waits for a result, looks whether anybody has written to the journal.
LOOK_S: Final = 0.01
# Runs that one claim gets at most, and how much work a worker claims ahead of what it executes (seconds of it): a claim
# costs a commit, and what is claimed ahead is kept from other workers. Half of so many short runs take about as long as
# their ends may wait (ENDED_S): then each claim carries the ends of one half, and they cost no commit of their own.
# With fewer runs, processes that share a journal would pass the turn to write to each other more often.
CLAIM_RUNS: Final = 1_200
CLAIM_AHEAD_S: Final = 0.05
# How a queued run has ended waits this long at most for others that end while there is more to execute: a commit costs
# as much as ten short runs.
ENDED_S: Final = 0.02
# More than one process ever holds: runs of one owner that are read at once.
HELD_RUNS: Final = 20_000
# A queued run whose execution ended by a fault of the engine or of the journal is claimed again no sooner than after
# this, so that a fault that stays costs no core.
FAULT_PAUSE_S: Final = 1.0
# After so many deaths in a row of the workers that executed it a run is executed in its turn, one such run at a time:
# only a death in its turn counts against it. The first death is of everybody who was there: all of them go on at once.
SUSPECT_DEATHS: Final = 2
# Runs that a worker executes at once, if nothing else is said.
CONCURRENCY: Final = 10
# How long a worker that is asked to end lets what it executes come to rest: below the 30 s that Kubernetes waits.
DRAIN_S: Final = 25.0
# Runs that are added in one transaction by start_many: others write in between.
START_RUNS: Final = 2_000
# Runs that are retried in one transaction when those of a queue are.
RETRY_RUNS: Final = 100
# Starts of one quota that are kept one by one; of one that allows more they are kept on a grid of so many lines.
QUOTA_ROWS: Final = 1_000
# The longest time that a rate may look back, and the most runs that a queue's limit may name.
QUOTA_S: Final = 366 * 86_400.0
QUEUE_RUNS: Final = 1_000_000
# Runs of a queue that are counted exactly when it is shown; beyond it is said that there are more.
COUNTED: Final = 100_000
# Most items that one run takes, and how many characters they may have together: one transaction freezes them.
BATCHED: Final = 10_000
# How long the first item of such a run waits for others, if nothing is said.
BATCH_S: Final = 1.0
BATCH_CHARS: Final = 16 * 1024 * 1024
TAGS: Final = 20

# The shortest and the longest interval of a schedule: what is to begin again sooner loops in its own code.
EVERY_S: Final = 1
EVERY_MAX_S: Final = 10 * 366 * 86_400
# By how much a schedule's starts may be spread.
JITTER_MAX_S: Final = 86_400.0
# A start that is later than this was missed: shorter delays are restarts of workers, and cost no schedule its time.
MISSED_S: Final = 60.0
# Times of one schedule that are looked at in one go after a pause: more are missed, or taken in the next go.
CATCH_UP_TIMES: Final = 1_000
# Times of one schedule that may wait behind a run, and that one backfill may ask for.
BACKLOG_TIMES: Final = 1_000
# How often a worker reads the schedules of a journal to which others write all the time.
SCHEDULES_S: Final = 0.05
# A worker announces itself every RENEW_S; one that has not done so for this long is silent: it counts as dead for what
# needs no proof.
SILENT_S: Final = 3 * RENEW_S
# How often it looks whether the worker whose definition of a schedule is in force still lives.
DECLARER_S: Final = 5.0

# Most changes in one transaction: keeps the slowest commit, and what one failure takes back, small.
BATCH_CHANGES: Final = 2_000
# The WAL is checkpointed, off the commit path, beyond this many pages (16 MB); readers slow down in a long WAL.
WAL_PAGES: Final = 4_000

# One recorded value. Larger ones belong in a file whose name is recorded.
PAYLOAD_BYTES: Final = 64 * 1024 * 1024
# Names, keys and ids appear in indexes, paths of thought and URLs; longer ones are refused.
NAME_CHARS: Final = 200
KEY_CHARS: Final = 1_000
# Nesting of scopes (steps in steps, items in items): deeper is a recursion that went wrong.
SCOPE_DEPTH: Final = 50
# Most items in one batch of a loop: each has a start marker and an entry, and all of them are in one transaction.
BATCH_ITEMS: Final = 10_000
# Most results a map keeps ready before its consumer takes them.
MAP_BUFFER: Final = 1_000
MAP_CONCURRENCY: Final = 10_000
# Rows in one Parquet file of a sink. They are kept in memory until there are so many: more make larger, better
# compressed files, fewer make less to keep.
PARQUET_ROWS: Final = 50_000
PARQUET_ROWS_MAX: Final = 10_000_000
# A map in which so many items in a row failed stops early: at once if nothing has ever succeeded in its run, since then
# the items are not what is wrong; later if something has, since a list may well hold a stretch of bad rows.
MAP_STOP_AT_ONCE: Final = 20
MAP_STOP_AFTER: Final = 100
# A loop stops early when so many items in a row have ended its program, each as often as it may before it is parked.
# Fewer than failures in a map, since each costs several starts of the program: three if the pass has not done any item
# yet, ten if it has. The same holds for items of a map in which the process died.
LOOP_STOP_AT_ONCE: Final = 3
LOOP_STOP_AFTER: Final = 10
# A failed item is kept with its failure, to be listed and exported, if its text is no longer than this.
ITEM_CHARS: Final = 64 * 1024

# Rows read at a time when a pass is continued: memory stays the same however long the list.
PAGE_ROWS: Final = 5_000
# A continued pass that recognises none of its first items is another list.
STRANGERS: Final = 100
# Base keys whose last repeat number is remembered; beyond it the journal is asked.
REPEATS_REMEMBERED: Final = 10_000

MAX_ATTEMPTS: Final = 1
MAX_CRASHES: Final = 3
BACKOFF_S: Final = 1.0
BACKOFF_MAX_S: Final = 60.0
RETRY_AFTER_MAX_S: Final = 3_600.0

# Heartbeats that may be on their way to the disk at once; a faster unit waits for the oldest, so none is dropped.
BEATS_AHEAD: Final = 1_000
# The details of one heartbeat: all of them stay in the journal.
BEAT_CHARS: Final = 1024 * 1024

# An isolated step's own process: how long it may take to import the function when the step has a timeout (whose clock
# starts with the call), and to end (exit handlers, other threads) once its outcome is known; then it is killed.
LOAD_S: Final = 60.0
LEAVE_S: Final = 5.0
# Processes kept ready for the next isolated steps, about 20 MB each; more are started when needed and ended after use.
WARDENS: Final = 4

# Text kept of an exception: of its traceback, of its message and of each note (cut in the middle), and how many notes.
TRACEBACK_CHARS: Final = 16_000
MESSAGE_CHARS: Final = 16_000
NOTES: Final = 50
