"""Units take turns after a death that several of them were in: only one that was alone when it came is to blame.

In flight together, they would die together again and again, and none of them would ever be convicted.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from onward.core.keys import SEPARATOR


class Suspects:
    """Who may be executed beside whom, in a run whose former lease died in these units.

    A suspect begins when nothing but what it is a part of is in flight, and so does what has a suspect inside; as long
    as it is in flight nothing begins but its own parts. Parts of what a waiting suspect waits for go on: it must end.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._keys = set(keys)
        self._inside: set[str] = set()
        self._waiting: set[str] = set()

    def enter(self, key: str) -> bool:
        """Whether the unit may begin now; ask again later if not. One that may is inside until it leaves."""
        with self._lock:
            if not self._may_begin(key):
                if self._is_suspicious(key):
                    self._waiting.add(key)
                return False
            self._waiting.discard(key)
            self._inside.add(key)
            return True

    def leave(self, key: str) -> None:
        """The unit has its outcome, or has given up waiting."""
        with self._lock:
            if key in self._inside:
                self._keys.discard(key)  # it lived: what it was suspected of was somebody else
            self._inside.discard(key)
            self._waiting.discard(key)

    def _may_begin(self, key: str) -> bool:
        # Whoever is alone stays so until the suspects in it have their outcomes; its own parts are no company.
        if any(self._is_suspicious(one) and not _is_part(key, one) for one in self._inside):
            return False
        if self._is_suspicious(key):
            return all(_is_part(key, one) for one in self._inside)
        around = [one for one in self._inside if _is_part(key, one)]
        return all(any(not _is_part(waits, one) for one in around) for waits in self._waiting)

    def _is_suspicious(self, key: str) -> bool:
        return key in self._keys or any(_is_part(one, key) for one in self._keys)


def _is_part(key: str, of: str) -> bool:
    """Whether a unit happens in the body of another one."""
    return key.startswith(of + SEPARATOR)
