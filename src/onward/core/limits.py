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

# `done(n)` waits this long for `begun(n+1)`, so that a loop pays one commit per item, not two.
JOIN_S: Final = 0.005
# A step that runs longer than this gets a durable start marker of its own (shorter ones never need it).
MARKER_S: Final = 1.0
# How often a loop's done/failed/total are written to its run's row; readers add what came later.
PROGRESS_S: Final = 2.0

# How long a writer waits for another process's transaction before it reports JournalBusy.
BUSY_S: Final = 30.0
# How long outcomes are held and retried while the disk is full, before JournalFull.
FULL_S: Final = 30.0
# Pause between two tries while the disk is full.
FULL_RETRY_S: Final = 0.25
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
# Most results a map keeps ready before its consumer takes them.
MAP_BUFFER: Final = 1_000
MAP_CONCURRENCY: Final = 10_000

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

# Text kept of an exception's traceback.
TRACEBACK_CHARS: Final = 16_000
