"""Group commit: all writers of a process share one transaction at a time.

A thread that finds nobody committing commits everything that is queued, its own change included, and goes on: alone it
pays for no hand-over. Whatever arrives meanwhile rides in the next transaction, which the service thread makes. Async
callers never block: the service thread commits for them and resolves a whole batch by one call into their loop.

Promises: a waiter is always answered, whatever happens to the leader. Nothing is answered before it is durable.
While the
disk is full outcomes are held and tried again, up to a deadline; after an I/O error nothing is acknowledged ever again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from onward.core import limits
from onward.core.errors import JournalBroken, JournalError, JournalFull
from onward.core.lazily import Lazily
from onward.core.model import (
    Added,
    Answer,
    Answered,
    Arrival,
    Arrived,
    Change,
    Claim,
    Claimed,
    End,
    Lot,
    Order,
    Refused,
)
from onward.storage import Store
from onward.storage.masked import Masked, ends_only
from onward.storage.ticket import Ticket, answer

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = Lazily("asyncio")


class Committer:
    """One for each open store of a process."""

    def __init__(
        self,
        store: Store,
        *,
        full_s: float = limits.FULL_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        # Asked of the class: what stands before a store, and looks like it, wants to see every commit.
        alone = getattr(store, "commit_alone", None) if hasattr(type(store), "commit_alone") else None
        self._alone: Callable[[Order], list[Answered] | None] | None = alone
        self._store, self._full_s, self._clock, self._sleep = store, full_s, clock, sleep
        self._mutex = threading.Lock()
        self._bell = threading.Condition(self._mutex)
        self._held: deque[Ticket] = deque()  # found the disk full; before everything that came after them
        self._queue: deque[Ticket] = deque()
        self._later: deque[Ticket] = deque()  # may wait for company until due; in order of due
        self._leading = False
        self._handed = False  # leadership waits for the service thread
        self._service: threading.Thread | None = None
        self._dozing = False
        self._closing = False
        self._refusing = False  # whether it is closed or broken
        self._broken: BaseException | None = None
        self._full_since: float | None = None

    # -- three ways to commit ---------------------------------------------------------------------------

    def commit(self, *changes: Order) -> list[Answer]:  # of changes: only the two below commit anything else
        """Block until the changes are durable. May be interrupted (Ctrl-C): they are committed all the same."""
        if self._alone is not None and len(changes) == 1 and ends_only():
            answers = self._commit_alone(changes)
            if answers is not None:
                return self._awaited(answers) if type(answers) is Ticket else answers  # type: ignore[return-value]
        mask = Masked()
        mask.put_on()
        try:
            mutex = self._mutex
            mutex.acquire()  # `with` takes twice as long; nothing below raises, and signals are held back
            alone = not (self._leading or self._queue or self._later or self._held or self._refusing)
            if alone:
                self._leading, self._handed = True, False
            mutex.release()
            answers = self._lead_alone(changes) if alone else self._join(changes)
        finally:
            mask.take_off()
        # Ignored: a cast is a call, and each step comes by.
        return self._awaited(answers) if type(answers) is Ticket else answers  # type: ignore[return-value]

    def commit_and_claim(self, changes: Sequence[Change | End], claim: Claim) -> tuple[list[Answer], Claimed]:
        """Block until the changes are durable, and the leases of a claim that sees what they have freed.

        What waits rides in the same transaction, before them.
        """
        answers: list[Any] = self.commit(*changes, claim)
        return answers[:-1], answers[-1]

    def arrive(self, *arrivals: Arrival) -> list[Arrived | Refused]:
        """Block until the items have arrived, durably."""
        return cast("list[Arrived | Refused]", self.commit(*arrivals))

    def add(self, lot: Lot) -> Added | Refused:
        """Block until the runs of a lot are durable."""
        return cast("Added | Refused", self.commit(lot)[0])

    def _commit_alone(self, changes: Sequence[Order]) -> list[Answered] | Ticket | None:
        """As `commit` for a change that its store can write without a mask; None if nothing was tried.

        A KeyboardInterrupt may strike anywhere: locks are given back by `with`, and what leads is noted without a call.
        """
        alone = False
        try:
            with self._mutex:
                if not (self._leading or self._queue or self._later or self._held or self._refusing):
                    self._handed = False
                    alone = self._leading = True
            if not alone:
                return None
            assert self._alone is not None, "asked by the caller"
            answers: list[Answered] | None = self._alone(changes[0])
            if answers is not None:
                self._full_since = None
            return answers
        except Exception as failure:
            with Masked():
                ticket = Ticket(changes)
                self._fail([ticket], failure)
            return ticket
        finally:
            if alone:
                self._leading = False
                if self._queue or self._held:
                    try:
                        self._pass_on()
                    except BaseException:  # perhaps it had not begun
                        self._pass_on()
                        raise

    def _pass_on(self) -> None:
        with Masked():
            self._lead_on()

    @staticmethod
    def _awaited(ticket: Ticket) -> list[Answer]:
        if not ticket.settled:
            ticket.wait()
        return ticket.result()

    def _join(self, changes: Sequence[Order]) -> Ticket:
        """Queue the changes, and commit all that is queued if nobody else does."""
        ticket = Ticket(changes)
        with self._mutex:
            self._refuse_if_unusable()
            self._queue.append(ticket)
            lead = self._take_lead()
        if lead:
            self._lead()
        return ticket

    def submit(
        self,
        changes: Sequence[Change],
        loop: asyncio.AbstractEventLoop,
        notify: Callable[[Ticket], None],
        waiter: Any = None,
    ) -> Ticket:
        """Queue the changes and return; `notify(ticket)` is called in `loop` once the ticket is settled.

        `waiter` goes with the ticket, for whoever is notified.
        """
        ticket = Ticket(changes, 0.0, loop, notify, waiter)
        with self._mutex:
            if self._refusing:
                self._refuse_if_unusable()
            self._queue.append(ticket)
            if not self._leading:
                self._hand_over()
                self._leading = True  # last: interrupted before it, whoever comes next leads
        return ticket

    def later(
        self, *changes: Change | End, within_s: float = limits.JOIN_S, timed: bool = True, waiter: Any = None
    ) -> Ticket:
        """Queue changes that nobody waits for yet: they ride with the next commit, or get one when their time is up.

        Whoever says that they are not `timed` makes that next commit at once, or calls `watch` if it does not come.
        With a `waiter` others may `join` them.
        """
        ticket = Ticket(changes if waiter is None else list(changes), self._clock() + within_s)
        if waiter is not None:
            ticket.waiter = [waiter]
        with self._mutex:
            self._refuse_if_unusable()
            self._later.append(ticket)
            if timed:
                self._ring()
        return ticket

    def join(self, ticket: Ticket, change: Change | End, waiter: Any) -> float | None:
        """Let the change go with a ticket of `later`; None if that is on its way to the disk already.

        `waiter` is added to those of the ticket, in the order of its changes. What is returned: in how many seconds the
        ticket's time is up.
        """
        mutex = self._mutex
        mutex.acquire()  # as in `_commit`
        later = self._later
        joins = later and later[-1] is ticket and len(ticket.changes) < limits.BATCH_CHANGES
        if joins:
            ticket.changes.append(change)  # type: ignore[attr-defined]  # a list: its opener has made it one
            ticket.waiter.append(waiter)
        mutex.release()
        return ticket.due - self._clock() if joins else None

    def watch(self) -> None:
        """See to it that what waits is committed when its time is up, whether or not another commit comes."""
        if self._later and (self._dozing or self._service is None):
            with self._mutex:
                self._ring()

    def _ring(self) -> None:
        if self._dozing or self._service is None:
            self._ensure_service()
            self._bell.notify()
            self._dozing = False  # last: interrupted before it, the next one rings once more

    def wait_for(self, ticket: Ticket) -> list[Answer]:
        """Block until a ticket of `later` is durable; commits it now if nobody does."""
        if ticket.settled:
            return ticket.result()
        with Masked():
            with self._mutex:
                lead = self._take_lead()
                if not lead and ticket in self._later:
                    # All of them, and before what is queued: the order in which they came stays as it was.
                    self._queue.extendleft(reversed(self._later))
                    self._later.clear()
            if lead:
                self._lead()
        return self._awaited(ticket)

    def flush(self) -> None:
        """Block until everything queued so far is settled."""
        with self._mutex:
            tickets = [*self._held, *self._queue, *self._later]
        for ticket in tickets:
            if not ticket.settled and self._broken is None:
                self.wait_for(ticket)

    def close(self) -> None:
        """Commit what is queued and end the service thread; raises what the last commit raised, all the same ended."""
        try:
            self.flush()
        finally:
            with self._mutex:
                self._closing = self._refusing = True
                self._bell.notify_all()
                service = self._service
            if service is not None and service is not threading.current_thread():
                service.join(limits.BUSY_S)

    # -- leading ----------------------------------------------------------------------------------------

    def _take_lead(self) -> bool:
        if self._leading:
            return False
        self._leading, self._handed = True, False
        return True

    def _lead(self) -> None:
        """Commit one batch, then give leadership up, or on to the service thread if more has come."""
        batch: list[Ticket] = []
        try:
            with self._mutex:
                batch = self._take()
            self._settle(batch)
        finally:
            self._step_down()

    def _lead_alone(self, changes: Sequence[Order]) -> list[Answered] | Ticket:
        """As `_lead` for a batch of one, whose caller is the leader: no ticket unless something goes wrong."""
        try:
            answers = self._store.commit(changes)
            self._full_since = None
            return answers
        except BaseException as failure:
            ticket = Ticket(changes)
            self._fail([ticket], failure)
            return ticket
        finally:
            # Who appends to the queue looks for a leader afterwards, both under the mutex: either sees the other.
            self._leading = False
            if self._queue or self._held:
                self._lead_on()

    def _lead_on(self) -> None:
        """Leadership was given up, and more has come meanwhile: somebody must commit it."""
        with self._mutex:
            if (self._queue or self._held) and self._take_lead():
                self._hand_over()

    def _step_down(self) -> None:
        with self._mutex:
            if self._queue or self._held:
                self._hand_over()
            else:
                self._leading = False

    def _take(self) -> list[Ticket]:
        batch: list[Ticket] = []
        room = limits.BATCH_CHANGES
        # Older ones first: a later ticket may belong to the same run as an urgent one that was queued after it.
        for waiting in (self._held, self._later, self._queue):
            while waiting and room > 0:
                ticket = waiting.popleft()
                room -= len(ticket.changes)
                batch.append(ticket)
        return batch

    def _settle(self, batch: list[Ticket]) -> None:
        if not batch:
            return
        if self._broken is not None:
            answer(batch, [], self._broken)
            return
        try:
            answers = self._store.commit([change for ticket in batch for change in ticket.changes])
        except BaseException as failure:
            self._fail(batch, failure)
        else:
            self._full_since = None
            answer(batch, answers, None)

    def _fail(self, batch: list[Ticket], failure: BaseException) -> None:
        """What a failed commit means for its waiters and for this committer."""
        if isinstance(failure, JournalFull):
            if self._hold(batch, failure):
                return
        elif isinstance(failure, JournalBroken) or not isinstance(failure, JournalError):
            # A broken disk, or a fault of ours: whatever it is, every waiter hears of it.
            self._broken, self._refusing = failure, True
        answer(batch, [], failure)

    def _hold(self, batch: list[Ticket], full: JournalFull) -> bool:
        """Put the batch back and wait for room on the disk; False when it has been full for too long."""
        now = self._clock()
        since = self._full_since = self._full_since if self._full_since is not None else now
        if now - since >= self._full_s:
            return False
        with self._mutex:
            self._held.extendleft(reversed(batch))
        if threading.current_thread() is self._service:
            self._sleep(limits.FULL_RETRY_S)
        return True

    # -- the service thread -----------------------------------------------------------------------------

    def _hand_over(self) -> None:
        self._handed = True
        self._ensure_service()
        self._bell.notify()

    def _ensure_service(self) -> None:
        if self._service is None:
            with Masked():  # a thread that was made and not started would be waited for in vain
                service = threading.Thread(target=self._serve, name="onward-committer", daemon=True)
                service.start()
                self._service = service

    def _serve(self) -> None:
        while True:
            with self._mutex:
                if not self._await_work():
                    return
                self._leading, self._handed = True, False
            self._lead()

    def _await_work(self) -> bool:
        """Wait for leadership or for a ticket whose time is up; False when the committer is closed."""
        idle = True
        while not self._handed:
            if self._closing and not self._leading and not self._later:
                return False
            if self._later and not self._leading:
                left = self._later[0].due - self._clock()
                if left <= 0:
                    return True
                idle = False
                self._bell.wait(left)
            elif idle and not self._later:
                self._dozing = True
                self._bell.wait()
                self._dozing = False
                idle = False
            else:  # recently busy: look again soon, so that a fast loop need not ring for every item
                idle = True
                self._bell.wait(limits.JOIN_S)
                idle = not self._later
        return True

    def _refuse_if_unusable(self) -> None:
        if self._broken is not None:
            raise self._broken
        if self._closing:
            raise JournalBroken(
                f"the journal {self._store.place} is closed in this process; nothing was recorded. Open it again: "
                f"onward.connect(...)"
            )
