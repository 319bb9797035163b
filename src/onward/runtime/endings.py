"""How executions in a worker end: their outcomes go to the disk, many together, and then the runs are let go."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from onward.core import limits
from onward.core.errors import JournalError, LeaseLost, Suspended, Unwind
from onward.core.model import Answer, Applied, Change, End, Run
from onward.runtime import observe
from onward.runtime.engine import Engine
from onward.runtime.lease import refusal
from onward.runtime.served import Served
from onward.storage.ticket import Ticket


class Ended(NamedTuple):
    """How one execution of a run went, for whoever watches the worker."""

    run: Run
    how: str  # done, failed, waiting, released, ...
    seconds: float
    error: BaseException | None


class Ending(NamedTuple):
    """An execution whose outcome is on its way to the disk. Without a session if it never needed one."""

    run: Run
    session: Served | None
    seconds: float


_new: Final = tuple.__new__  # for each short job: a NamedTuple's own constructor is written in Python


class Worker(Protocol):
    """Whose executions they are."""

    def may_wait(self) -> bool:
        """Whether an outcome may wait for others on its way to the disk."""
        ...

    def commit(self, change: Change | End) -> list[Answer]:
        """Commit an outcome that may not wait, with whatever else is due."""
        ...

    def let_go(self, endings: Sequence[Ending]) -> None:
        """These are over."""
        ...


class Endings:
    """Of one worker. Its threads call from everywhere, also at once."""

    def __init__(self, engine: Engine, worker: Worker, told: Callable[[Ended], None] | None) -> None:
        self._engine, self._worker, self._told = engine, worker, told
        self._tickets: deque[Ticket] = deque()  # on their way to the disk: the `waiter` of each lists Endings
        self._process = os.getpid()

    @property
    def on_their_way(self) -> int:
        """How many have ended and are not known to be on the disk."""
        return sum(len(ticket.waiter) for ticket in list(self._tickets))

    def finish(self, run: Run, session: Served | None, change: Change | End, seconds: float) -> None:
        """A run has ended plainly, and `change` records it: with others where others wait to be executed.

        So nobody waits for the disk between short runs; what has ended is on it after limits.ENDED_S at the latest. The
        last one in hand is committed at once, together with the next claim. Without a session it never needed one.
        """
        ending = _new(Ending, (run, session, seconds))
        if self._worker.may_wait():
            self._join(ending, change)
            return
        self._answered((ending,), self._worker.commit(change), None)
        self.settle()

    def _join(self, ending: Ending, change: Change | End) -> None:
        """Let it go to the disk with what has ended just before, and with what ends just after it."""
        committer = self._engine.committer
        try:
            ticket = self._tickets[-1]
        except IndexError:
            pass
        else:
            left_s = committer.join(ticket, change, ending)
            if left_s is not None:
                # By this thread rather than by the committer's own, which would take turns with this one.
                if left_s < limits.ENDED_S / 8:
                    with suppress(Exception):  # told to each of them
                        committer.wait_for(ticket)
                    self.settle()
                return
        self._tickets.append(committer.later(change, within_s=limits.ENDED_S, waiter=ending))

    def settle(self) -> None:
        """Let go of the runs whose outcome has come to the disk meanwhile."""
        while self._tickets:
            try:
                ticket = self._tickets.popleft()
            except IndexError:  # another thread was faster
                return
            if not ticket.settled:
                self._tickets.appendleft(ticket)
                return
            try:
                answers: Sequence[Answer] = ticket.result()
            except BaseException as error:
                self._answered(ticket.waiter, (), error)
            else:
                self._answered(ticket.waiter, answers, None)

    def _answered(
        self, endings: Sequence[Ending], answers: Sequence[Answer], error: BaseException | None
    ) -> None:
        """The journal has answered to how these have ended, each by one answer, or all of them by an error."""
        light: list[Ending] = []
        if error is not None:
            for run, session, seconds in endings:
                self.ended(run, session, error, seconds)
        for ending, answer in zip(endings, answers, strict=False):
            run, session, seconds = ending
            if session is not None:
                self._finished(run, session, (answer,), seconds)
            elif isinstance(answer, Applied):
                light.append(ending)
            else:
                self.ended(run, None, refusal(run, answer), seconds)
        if light:
            self._ended_lightly(light)

    def _finished(self, run: Run, session: Served, answers: Sequence[Answer], seconds: float) -> None:
        try:
            session.applied(answers)
        except BaseException as lost:
            self.ended(run, session, lost, seconds)
            return
        session.given_back = True
        self.ended(run, session, None, seconds)

    def _ended_lightly(self, endings: Sequence[Ending]) -> None:
        """As `ended`, for many runs that are done and had no session."""
        if os.getpid() != self._process:
            return
        self._engine.settled([run for run, _, _ in endings])
        if self._told is not None:
            for run, _, seconds in endings:
                try:
                    self._told(Ended(run, "done", seconds, None))
                except BaseException as fault:
                    observe.log.error("run %s could not be given back: %r", run.id, fault)
        self._worker.let_go(endings)

    def ended(self, run: Run, session: Served | None, error: BaseException | None, seconds: float) -> None:
        """An execution is over, and whatever is to be recorded of it is recorded or cannot be."""
        if os.getpid() != self._process:
            return  # user code has forked, and the child has come out of it: nothing of this is its own
        try:
            if session is not None:
                self._let_go(session)
            elif isinstance(error, LeaseLost):
                self._engine.settled((run,))
            elif error is not None:
                self._engine.owe(run, limits.FAULT_PAUSE_S)
            if self._told is not None and (session is not None or error is not None):
                self._told(Ended(run, how(session, error), seconds, error))
        except BaseException as fault:  # of ours, or of a journal that is gone: the run is continued by lease
            observe.log.error("run %s could not be given back: %r", run.id, fault)
        self._worker.let_go((Ending(run, session, seconds),))

    def _let_go(self, session: Served) -> None:
        self._engine.let_go(session)
        if session.asked is not None and session.given_back:
            # It was asked while it went to sleep or was given back: nobody holds it now who could do so.
            self._engine.grant_late(session.run.id)


def how(session: Served | None, error: BaseException | None) -> str:
    """How an execution has ended, in a word."""
    if error is None:
        return "done"
    if isinstance(error, Suspended):
        return "waiting"
    if isinstance(error, LeaseLost):
        return "taken over"
    if isinstance(error, Unwind) or session is None or isinstance(error, JournalError):
        return "given back"
    return "failed"
