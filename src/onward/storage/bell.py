"""What a store rings when somebody writes to it, so that nobody need look a hundred times a second."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from typing import Protocol


class Bell(Protocol):
    """For one listener. Never blocks."""

    @property
    def is_early(self) -> bool:
        """Whether it rings before there is something to see."""
        ...

    def descriptors(self) -> Sequence[int]:
        """What to poll now: one of them is readable once it has rung. None where nobody tells us at present."""
        ...

    def rang(self) -> bool:
        """Whether it has rung; silent again once it was asked and the store was asked for its `version`."""
        ...


class Pipe:
    """Rung by ourselves, from anywhere: a signal handler too. Once rung it is readable until it is silenced."""

    def __init__(self) -> None:
        self.ear = self._mouth = -1
        self.ear, self._mouth = os.pipe()
        for end in (self.ear, self._mouth):
            os.set_blocking(end, False)

    def ring(self) -> None:
        try:
            os.write(self._mouth, b"!")
        except BlockingIOError:  # it has not been heard for so long that the pipe is full: it is rung already
            return

    def silence(self) -> bool:
        """Whether it was rung."""
        return emptied(self.ear)

    def close(self) -> None:
        ends, self.ear, self._mouth = (self.ear, self._mouth), -1, -1
        for end in ends:
            if end >= 0:
                os.close(end)

    def __del__(self) -> None:  # a process may have many, one after the other
        self.close()


def readable(seconds: float, descriptors: Sequence[int]) -> set[int]:
    """Wait for so long at most, until one of them is; which ones are. One that was closed meanwhile counts."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(1_000 * seconds)}


def emptied(descriptor: int) -> bool:
    """Read all there is; whether there was anything."""
    was_full = False
    try:
        while os.read(descriptor, 4096):
            was_full = True
    except BlockingIOError:
        pass
    return was_full
