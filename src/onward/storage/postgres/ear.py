"""What wakes those who wait for others to write: the server's word, on the connection that listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from onward.storage.bell import Pipe, readable
from onward.storage.postgres.link import Link


class Ear:
    """See `storage.bell.Bell`. For any number of listeners: what came is counted, and read, by `Store.version`."""

    is_early: Final = False

    def __init__(self, present: Callable[[], Link | None]) -> None:
        """`present`: the connection that listens, if there is one; asked anew each time, it may be another one."""
        self._present = present
        # What came with an answer is readable nowhere any more.
        self._pipe = Pipe()

    def overhear(self) -> None:
        """Something came with an answer."""
        self._pipe.ring()

    def silence(self) -> None:
        self._pipe.silence()

    def descriptors(self) -> tuple[int, ...]:
        link = self._present()
        socket = link.socket if link is not None and link.direct else None
        return () if socket is None else (socket, self._pipe.ear)

    def rang(self) -> bool:
        return bool(readable(0, self.descriptors()))

    def close(self) -> None:
        self._pipe.close()
