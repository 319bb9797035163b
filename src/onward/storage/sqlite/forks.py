"""No fork in the middle of a transaction.

A child gets a copy of every connection, and apsw closes them all when the child's interpreter ends. Closing an idle
one is harmless. Closing one that was in a transaction takes that back in the log's shared index, where by then the
parent's later transactions are: its journal was found malformed. So a fork waits until this process's journals rest.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet

from onward.core import limits


class Restful(Protocol):
    """What can be brought to rest: by holding these locks, in this order."""

    @property
    def locks(self) -> tuple[threading.Lock, ...]: ...


_open: WeakSet[Restful] = WeakSet()
# By thread: two may fork at the same time, and the one that is ready first must not let go for the other.
_held: dict[int, list[threading.Lock]] = {}


def watch(store: Restful) -> None:
    """From now on forks wait for this store to be at rest."""
    _open.add(store)


def _rest() -> None:
    held = _held[threading.get_ident()] = []
    held.extend(lock for store in list(_open) for lock in store.locks if lock.acquire(timeout=limits.FORK_S))


def _go_on() -> None:
    held = _held.pop(threading.get_ident(), [])
    while held:
        held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_rest, after_in_parent=_go_on, after_in_child=_go_on)
