"""A process's hold on one run: how long it is sure of it, who asked the run to stop, how all of it unwinds.

No I/O: flows yield effects, see drive.py. Memory follows the disk: what is known changes after the commit has returned.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, Literal

from onward.core import limits
from onward.core.decide import Released, counted, decide
from onward.core.errors import PASSING, JournalError, LeaseLost, RunConflict, Stopped, Unwind
from onward.core.model import Answer, Applied, Change, Progress, Refused, Request, Run
from onward.runtime.bell import Bell
from onward.runtime.effects import Flow, Keep, Now, Reconfirm, Wait

_HALTED: Final[dict[Request | None, str]] = {
    "cancel": "cancelled",
    "pause": "paused",
    None: "given back, because its worker ends",
}
_GRANTED: Final[dict[Request | None, Literal["cancelled", "paused", "released"]]] = {
    "cancel": "cancelled",
    "pause": "paused",
    None: "released",
}


def refusal(run: Run, answer: Refused) -> Unwind:
    """What it means for the holder of a run that the journal has refused a change of it."""
    if answer.reason == "fence":
        return LeaseLost(run.id, run.fence)
    clash = RunConflict(
        run.id,
        f"run {run.id} could not record an outcome ({answer.reason} {answer.detail}): it is recorded "
        "already. Nothing "
        f"was overwritten; two units of work share that key, give one of them its own key=.",
    )
    signal = Stopped(str(clash))
    signal.__cause__ = clash
    return signal


class Lease:
    """One lease of one run, as its holder knows it."""

    # Slots: with as many attributes as this and its heirs have, Python looks each of them up anew every time.
    __slots__ = (
        "__weakref__",
        "_counted",
        "_counted_at",
        "asked",
        "clock",
        "done",
        "draining",
        "given_back",
        "halting",
        "last_seq",
        "lock",
        "over",
        "run",
        "run_stalls",
        "safe_until",
        "thread",
        "total",
        "unwinding",
        "withdrawn",
        "woken",
    )

    def __init__(self, run: Run, *, last_seq: int, safe_until: float, clock: Callable[[], float]) -> None:
        self.run, self.last_seq = run, last_seq
        self.safe_until = safe_until  # by `clock`; after it nothing new starts before the lease is confirmed
        self.asked: Request | None = None
        self.unwinding: Unwind | None = None
        self.withdrawn = False  # the request was taken back when some of the run had heard it
        self.halting: Stopped | None = (
            None  # some of it was told to stop, and the journal has not heard of it yet
        )
        self.draining = False  # whether this process gives its runs back, because it ends
        self.given_back = False  # whether the journal has heard how this lease ended
        self.over = False  # whether this process has let go of the run
        self.woken = Bell()
        self.thread = threading.get_ident()
        self.lock = threading.Lock()
        self.done = run.done  # loops and maps: items done over all leases of this run
        self.total: int | None = run.total
        # Leases in a row that ended uncleanly without recording anything; 0 again once this one has recorded.
        self.run_stalls = 0
        self.clock = clock
        self._counted, self._counted_at = run.done, clock()

    def hindered(self) -> bool:
        """Whether `check` has anything to do or to say; asked first where a flow of its own would cost too much."""
        return self.unwinding is not None or self.asked is not None or self.clock() >= self.safe_until

    def check(self) -> Flow[None]:
        """What precedes anything new: the lease is confirmed, nobody asked the run to stop."""
        while True:
            if self.unwinding is not None:
                raise self.unwinding
            if self.asked is not None or self.draining:
                raise self.halt()
            if self.clock() < self.safe_until:
                return
            yield from self._confirm()  # and look again: the answer may come so late that it is over already

    def _confirm(self) -> Flow[None]:
        """Ask the journal once whether the lease still holds; waits a moment if it cannot say."""
        answer: bool | JournalError = yield Reconfirm()
        if answer is False:
            raise self.unwind(LeaseLost(self.run.id, self.run.fence))
        if isinstance(answer, JournalError):
            if not isinstance(answer, PASSING):
                raise self.unwind(Stopped(str(answer)), cause=answer)
            if self.clock() >= self.safe_until + limits.LEASE_MARGIN_S:
                raise self._unconfirmed(answer)
            yield Wait(limits.FULL_RETRY_S)

    def _unconfirmed(self, error: JournalError) -> Unwind:
        sentence = (
            f"the lease of run {self.run.id} is over and could not be renewed in time: {error} Nothing new was begun, "
            f"and what is recorded is kept. Call again to continue it."
        )
        cause = type(error)(sentence)
        cause.__cause__ = error
        return self.unwind(Stopped(sentence), cause=cause)

    def drain(self) -> None:
        """From now on nothing new begins, because this process ends: what is in flight is recorded, then it rests."""
        self.draining = True
        self.safe_until = float("-inf")  # so that whatever begins looks, and no renewal makes it sure again
        self.woken.set()

    def halt(self) -> Stopped:
        """From now on nothing new begins, because the run was asked to stop; what is in flight is still recorded.

        Several branches may come here. The journal hears of it once, from whoever ends the run, see `grant`: by then
        all of them have come to rest, and nothing is recorded after it.
        """
        if self.halting is None:
            event = _HALTED[self.asked]
            self.halting = Stopped(f"run {self.run.id} was {event}")
            self.woken.set()
        return self.halting

    def grant(self) -> Flow[None]:
        """Do as the run was asked, now that all of it has come to rest: it is cancelled or paused, and unwinds."""
        halting = self.halt()
        # Withdrawn, but some of it had been told already: it is given back, and its next call continues it.
        event = _GRANTED[None if self.withdrawn else self.asked]
        self.applied((yield Keep((decide(self.run, Released(event), now=(yield Now())),))))
        self.given_back = True
        raise self.unwind(halting)

    # -- answers of the journal ---------------------------------------------------------------------------

    def applied(self, answers: Sequence[Answer]) -> None:
        """Take in what a commit answered; raises LeaseLost if it was refused."""
        for answer in answers:
            if type(answer) is Applied:
                if answer.seq > self.last_seq:
                    self.last_seq = answer.seq
                if answer.request is not None:
                    self.asked = answer.request
            else:
                assert isinstance(answer, Refused)
                raise self.refused(answer)

    def count(self, answers: Sequence[Answer], items: int) -> None:
        """Take in the answers to a commit that made `items` items done."""
        with self.lock:
            self.applied(answers)
            self.done += items

    def refused(self, answer: Refused) -> Unwind:
        signal = refusal(self.run, answer)
        return self.unwind(signal, cause=signal.__cause__)

    def unwind(self, signal: Unwind, cause: BaseException | None = None) -> Unwind:
        """From now on every durable call of this session raises `signal`; nothing more is recorded."""
        if self.unwinding is None:
            signal.__cause__ = cause
            self.unwinding = signal
            self.woken.set()
        return self.unwinding

    # -- progress -----------------------------------------------------------------------------------------

    def progress_change(self, progress: Progress) -> Change:
        """The change that writes `progress` to the run's row."""
        return counted(self.run, done=progress.done, total=progress.total, seq=progress.seq)

    def due_progress(self, at: float) -> Change | None:
        """The change that writes a loop's counts to its row, if it is time for one."""
        if (
            self.run.kind != "loop"  # the items of a map end in any order: its count is taken when it ends
            or at - self._counted_at < limits.PROGRESS_S
            or self.done == self._counted
        ):
            return None
        self._counted_at, self._counted = at, self.done
        with self.lock:
            done, seq = self.done, self.last_seq
        return counted(self.run, done=done, total=self.total, seq=seq)
