"""Locks between processes that the kernel frees the moment their holder dies, and the refusal where there are none."""

from __future__ import annotations

from pathlib import Path

from onward.core.errors import JournalUnusable

try:
    import fcntl
except ImportError:  # Windows; `refuse_missing` says so before any lock is wanted
    _known = False
else:
    _known = True
    LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN = fcntl.LOCK_EX, fcntl.LOCK_NB, fcntl.LOCK_SH, fcntl.LOCK_UN
    TRY, FREE = LOCK_EX | LOCK_NB, LOCK_UN  # without waiting; always
    flock = fcntl.flock


def refuse_missing(path: Path) -> None:
    """JournalUnusable on a system without these locks: two processes could do the same work, and nobody would know."""
    if not _known:
        raise JournalUnusable(
            f"the journal {path} cannot be kept on this system: onward needs locks that the kernel frees when a "
            f"process dies (flock). Windows is not supported yet; nothing was created. Use WSL or a container there."
        )
