"""Ctrl-C at any line of a commit: neither the commit nor the committer is lost."""

from __future__ import annotations

import asyncio
import dis
import linecache
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from onward.core.model import Answer, Applied
from onward.storage import committer as committer_module
from onward.storage import masked as masked_module
from onward.storage.committer import Committer
from runtime.committing import Disk, change

_FILES = {str(Path(module.__file__ or "")) for module in (committer_module, masked_module)}


def _leaves_with(frame: FrameType) -> bool:
    """Whether the line is a `with` that has come to its end, where the tracer stops but no signal can strike.

    The interpreter looks for signals after calls and at jumps back, not between the body and the call of `__exit__`.
    """
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
    here = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    return line.startswith("with ") and here in ("LOAD_CONST", "SWAP", "PUSH_EXC_INFO")


class Interrupt:
    """Raises a signal when the nth line of the committer's code is about to run in this thread."""

    def __init__(self, at: int, number: signal.Signals) -> None:
        self.at, self.number = at, number
        self.lines = 0
        self.struck = False

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename not in _FILES:
            return None
        if event == "line" and not _leaves_with(frame):
            self.lines += 1
            if self.lines == self.at:
                self.struck = True
                signal.raise_signal(self.number)
        return self


@contextmanager
def interrupted(at: int, number: signal.Signals) -> Iterator[Interrupt]:
    strike = Interrupt(at, number)
    before = sys.gettrace()
    sys.settrace(strike)
    try:
        yield strike
    finally:
        sys.settrace(before)


class _Terminated(BaseException):
    pass


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated


@pytest.fixture
def handlers() -> Iterator[dict[signal.Signals, Any]]:
    """The handlers that must still be in place after every interruption."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    wanted = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _terminate}
    for number, handler in wanted.items():
        signal.signal(number, handler)
    yield wanted
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.important
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("way", ["commit", "later"])
def test_a_signal_at_any_line_of_a_commit_loses_neither_the_commit_nor_the_committer(
    way: str, number: signal.Signals, handlers: dict[signal.Signals, Any]
) -> None:
    points = struck = 0
    while True:
        points += 1
        disk = Disk()
        committer = Committer(disk)
        answer: list[Answer] | None = None
        with interrupted(points, number) as strike:
            try:
                if way == "commit":
                    answer = committer.commit(change(1))
                else:
                    answer = committer.wait_for(committer.later(change(1), within_s=1e6))
            except (KeyboardInterrupt, _Terminated):
                struck += 1
            sys.settrace(None)
        for each, handler in handlers.items():
            assert signal.getsignal(each) is handler, f"after line {points} {each.name} is handled by another"
        assert answer in (None, [Applied(1, 10, None)])
        # The committer still works, and nothing was committed twice or answered without being durable.
        assert committer.commit(change(2)) == [Applied(2, 20, None)]
        assert disk.durable in ([1, 2], [2])
        assert answer is None or disk.durable == [1, 2]
        committer.close()
        if not strike.struck:
            break
    assert points > 30
    assert struck > 20


def test_an_event_loop_hears_a_signal_once_that_came_during_a_commit() -> None:
    """It was woken when the signal came and once more when it was raised anew: one SIGTERM counted as two."""
    heard: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, heard.append, 1)
        committer = Committer(Disk(lambda batch: signal.raise_signal(signal.SIGTERM)))
        committer.commit(change(1))
        await asyncio.sleep(0.05)
        loop.remove_signal_handler(signal.SIGTERM)
        committer.close()

    asyncio.run(main())
    assert heard == [1]


@pytest.mark.parametrize("number", [signal.SIGXCPU, signal.SIGVTALRM, signal.SIGPROF], ids=lambda n: n.name)
def test_a_limit_of_processor_time_that_raises_during_a_commit_does_not_break_the_committer(
    number: signal.Signals,
) -> None:
    """What the handler raised was taken for a fault of the store, and raised for ever after."""
    before = signal.signal(number, _terminate)
    committer = Committer(Disk(lambda batch: signal.raise_signal(number) if batch == 1 else None))
    try:
        with pytest.raises(_Terminated):
            committer.commit(change(1))
        assert committer.commit(change(2)) == [Applied(2, 20, None)]
    finally:
        signal.signal(number, before)
        committer.close()
