"""What wakes those who wait for others to write: the server's word, on the connection that listens."""

from __future__ import annotations

from collections.abc import Callable

from onward.storage.bell import Pipe, readable
from onward.storage.postgres.link import Link


class Ear:
    """See `storage.bell.Bell`. The socket is read by `Store.version`, which any thread may ask: who does, rings."""

    @property
    def is_early(self) -> bool:
        return False

    def __init__(self, present: Callable[[], Link | None]) -> None:
        """`present`: the connection that listens, if there is one; asked anew each time, it may be another one."""
        self._present = present
        # What was read, by whoever it was, is readable on the socket no more. Only the one listener silences this.
        self._pipe = Pipe()

    def ring(self) -> None:
        """`version` is another one from now on, whatever is on the socket. Not once it is closed."""
        self._pipe.ring()

    def sockets(self) -> tuple[int, ...]:
        """What is readable when there is something to read, for any number of threads."""
        link = self._present()
        socket = link.socket if link is not None and link.direct else None
        return () if socket is None else (socket,)

    def descriptors(self) -> tuple[int, ...]:
        sockets, ear = self.sockets(), self._pipe.ear
        return (*sockets, ear) if sockets and ear >= 0 else ()

    def rang(self) -> bool:
        ear = self._pipe.ear
        rang = ear >= 0 and self._pipe.silence()
        return bool(readable(0, self.sockets())) or rang

    def close(self) -> None:
        self._pipe.close()
