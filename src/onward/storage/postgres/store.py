"""The journal in a PostgreSQL database: one connection that writes, one that keeps leases, a few that read.

What a batch writes is in `transaction` and `straight`, how it becomes durable over connections that break in `writer`,
how rows are read in `reader`. This file owns the connections and the life of the store.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakSet

import psycopg

from onward.core import limits
from onward.core.errors import JournalBroken, JournalError, JournalUnusable, NoJournal, OutcomeUnknown
from onward.core.flow import Settings
from onward.core.model import Answered, Order, Owner, Request, WorkerRow
from onward.core.schedules import Move
from onward.storage.bell import readable
from onward.storage.masked import Masked
from onward.storage.postgres import calendar, layout, locks, presence
from onward.storage.postgres.address import parsed
from onward.storage.postgres.arrays import ints
from onward.storage.postgres.clock import DatabaseClock
from onward.storage.postgres.connecting import Connector
from onward.storage.postgres.ear import Ear
from onward.storage.postgres.failures import Lost, is_passing, journal_error
from onward.storage.postgres.link import Link, Step
from onward.storage.postgres.presence import Absences, Traces
from onward.storage.postgres.pulse import Pulse
from onward.storage.postgres.sql import statements
from onward.storage.postgres.upkeep import Upkeep
from onward.storage.postgres.writer import Line, Writer

# Of calls that read or rewrite whole tables.
_LONG_S: Final = 3_600.0
# How often an owner's lock that another session has is tried for: less than it takes for a free one to prove a death.
_PRESENT_S: Final = presence.GRACE_S / 4


class PostgresStore(Upkeep):
    """A journal in a database, for the processes of many machines."""

    def __init__(
        self,
        url: str,
        *,
        durable: bool = True,
        clock: Callable[[], float] | None = None,
        create: bool = True,
        call_s: float = limits.CALL_S,
        busy_s: float = limits.BUSY_S,
        grace_s: float = presence.GRACE_S,
        up_s: float = presence.UP_S,
    ) -> None:
        address = parsed(url, connect_s=call_s)
        self._sql = statements(address.schema)
        self._clock = DatabaseClock()
        self._now = clock or self._clock.now
        connector = Connector(address, self._sql, self._clock, durable=durable, call_s=call_s)
        super().__init__(connector, busy_s=busy_s)
        link = connector.first()
        try:
            self._open(link, create=create)
        except BaseException:
            link.close()
            raise
        self._writing, self._keeping = threading.Lock(), threading.Lock()
        self._line = Line(connector, link)
        self._writer = Writer(self._line, self.now, busy_s=busy_s)
        self._keeper = Line(connector)
        self._owned: list[str] = []
        self._absent_owners: set[str] = set()  # of those, who does not hold his lock
        self._present_at = 0.0  # when it is tried again
        self._absences = Absences(grace_s=grace_s)
        self._up_s = up_s
        self._told = False
        self._pulse = Pulse(lambda: str(self._rows("data_version")[0][0]), self._listens)
        self._ear = Ear(lambda: self._keeper.present)
        self._forked = False
        _open.add(self)

    def _open(self, link: Link, *, create: bool) -> None:
        facts, place = self._connector.facts, self.place
        assert facts is not None, "known since the connection was made"
        if facts.encoding != "UTF8":
            raise JournalUnusable(
                f"the database of the journal {place} has the encoding {facts.encoding}, which cannot hold every text; "
                f"nothing was changed. Create one with: createdb --encoding=UTF8 --template=template0 NAME"
            )
        if facts.reads_only:
            raise JournalUnusable(
                f"the journal {place} is read-only here (a standby server, or default_transaction_read_only is on); "
                f"nothing was changed. Connect to the primary with a role that may write."
            )
        if not layout.migrate(link, self._connector.address, facts.role, create=create):
            raise NoJournal(f"there is no journal in {place}; nothing has been recorded yet there")

    @property
    def doubts(self) -> Sequence[str]:
        facts = self._connector.facts
        assert facts is not None, "known since the connection was made"
        settings = [("fsync", facts.fsync), ("full_page_writes", facts.full_page_writes)]
        off = [name for name, value in settings if value == "off"]
        if not off:
            return ()
        return (
            f"the server of the journal {self.place} has {' and '.join(off)} off: what was acknowledged may be lost, "
            f"and all of it damaged, when its machine fails. Turn that on.",
        )

    def now(self) -> float:
        return self._now()

    # -- writing ------------------------------------------------------------------------------------

    def commit(self, changes: Sequence[Order]) -> list[Answered]:
        self._refuse_if_closed()
        with self._writing:
            self._refuse_if_closed()
            if not changes:
                return []
            try:
                return self._writer.commit(changes)
            except JournalBroken as broken:
                self._closed = broken
                raise
            finally:
                self._pulse.wrote()
                if self._writer.told:  # the server's word of it may have been heard before
                    self._ear.ring()

    @contextmanager
    def _transaction(self) -> Iterator[Link]:
        """A write transaction that is not part of a batch."""
        self._refuse_if_closed()
        with Masked(), self._writing:
            self._refuse_if_closed()
            committing = False
            link = self._line.link(time.monotonic() + self._busy_s)
            try:
                yield link
                committing = True
                link.all(("commit", ()))
                self._pulse.wrote()
            except (psycopg.Error, Lost) as problem:
                raise self._failed(problem, committing=committing) from problem
            finally:
                if not link.closed:
                    link.rollback()

    def _failed(self, problem: psycopg.Error | Lost, *, committing: bool) -> BaseException:
        if isinstance(problem, Lost):
            if committing:
                return OutcomeUnknown(
                    f"the answer of the journal {self.place} to a commit was lost ({problem}); it may or may not have "
                    f"happened. Look before you repeat it."
                )
            return self._connector.unreachable(problem)
        if is_passing(problem):
            return self._connector.unreachable(problem)
        return journal_error(problem, self.place) or problem

    def _kept(self, *steps: Step) -> list[list[Any]]:
        """What may be repeated, as one transaction on the keeper's connection: no commit is ever in its way."""
        self._refuse_if_closed()
        # Short: the keeper has more to do, and comes back soon.
        until = time.monotonic() + limits.CALL_S
        with Masked(), self._keeping:
            while True:
                self._refuse_if_closed()
                told = False
                try:
                    link = self._keeper_link(until)
                    if len(steps) == 1:
                        found = [link.ask(steps[0][0], *steps[0][1])]
                    else:
                        found = link.all(("begin", ()), *steps, ("commit", ()))[1:-1]
                    backends = link.overheard()
                    told = bool(
                        backends
                    )  # of ours too: it is readable no more, and others here may wait for it
                    self._hear(link, backends)
                    return found
                except Lost as lost:
                    if time.monotonic() >= until:
                        raise self._connector.unreachable(lost) from lost
                except psycopg.Error as problem:
                    self._keeper.rollback()
                    if not is_passing(problem):
                        raise (journal_error(problem, self.place) or problem) from problem
                finally:
                    self._pulse.wrote()
                    if told:
                        self._ear.ring()

    def _keeper_link(self, until: float) -> Link:
        """The keeper's connection. A new one listens, and takes the locks of our owners again before anything else."""
        before = self._keeper.present
        link = self._keeper.link(until)
        if link is not before and link.direct:
            self._absent_owners = set(self._owned)
            link.ask("listen")
            # Of what was written before nobody has told this connection.
            self._pulse.wrote()
            self._ear.ring()
            self._present_at = 0.0
        if self._absent_owners and time.monotonic() >= self._present_at:
            self._present_at = time.monotonic() + _PRESENT_S
            for owner in list(self._absent_owners):
                self._be_present(link, owner)
        return link

    def _be_present(self, link: Link, owner: str) -> None:
        """Take an owner's lock: in vain while the server does not know that our last connection has gone."""
        [(taken,)] = link.ask("presence", self._lock_of(owner))
        (self._absent_owners.discard if taken else self._absent_owners.add)(owner)

    def _lock_of(self, owner_id: str) -> int:
        return locks.number(self._connector.address.schema, "owner", owner_id)

    def _listens(self) -> bool:
        """Whether the server tells us of what others do; counts what it has told."""
        if not self._keeping.acquire(blocking=False):
            return self._told  # in use: whoever uses it counts what comes meanwhile
        try:
            self._refuse_if_closed()  # meanwhile: nothing is connected any more
            link = self._keeper_link(time.monotonic())
            self._told = link.direct
            if link.direct and self._hear(link, link.heard()):
                self._ear.ring()
            return self._told
        except (JournalError, Lost):
            return False
        finally:
            self._keeping.release()

    def _hear(self, link: Link, backends: Sequence[int]) -> int:
        """Count what others have told; how much it was."""
        ours = (link.backend_pid, self._writer.backend_pid)
        others = sum(backend not in ours for backend in backends)
        self._pulse.hear(others)
        return others

    def version(self) -> object:
        self._refuse_if_closed()
        return self._pulse.version()

    def doorbell(self) -> Ear | None:
        return self._ear if self._closed is None else None

    def linger(self, seconds: float) -> None:
        sockets = self._ear.sockets()
        if sockets:
            readable(seconds, sockets)
        else:
            time.sleep(seconds)

    def renew(self, owner: str, until: float) -> list[tuple[int, Request | None]]:
        [held] = self._kept(("renew", (owner, until)))
        self._clock.measured(lambda: float(self._kept(("clock", ()))[0][0][0]))
        self._look_at_layout()
        return held

    def _look_at_layout(self) -> None:
        """JournalBroken if a newer version has made the journal into one that this version cannot use."""
        if layout.is_beyond_us(self._kept(("layout", ()))[0]):
            self._closed = JournalBroken(
                f"a newer version of onward has changed the journal {self.place} meanwhile, and this one cannot use it "
                f"any more; nothing more is recorded. Update onward here, then start the program anew."
            )
            raise self._closed

    def request(self, run_no: int, request: Request | None) -> bool:
        return bool(self._told_of("request", run_no, request))

    def set_queue(
        self, name: str, *, paused: bool | None = None, declared: str | None = None, chosen: str | None = None
    ) -> None:
        with self._transaction() as link:
            _, [row] = link.all(("begin", ()), ("set_queue", (name, paused, declared, chosen)))
            link.ask("set_limited", name, not Settings._make(row).limits.is_free)
        self._tell()

    def move_schedules(self, moves: Sequence[Move]) -> list[bool]:
        try:
            return self._moved_schedules(moves)
        except psycopg.errors.UniqueViolation:  # of a run of that id, added meanwhile: now it is seen
            return self._moved_schedules(moves)

    def _moved_schedules(self, moves: Sequence[Move]) -> list[bool]:
        with self._transaction() as link:
            applied = calendar.apply(link, moves, self.now)
        if any(applied):
            self._tell()
        return applied

    def _told_of(self, name: str, *values: object) -> list[Any]:
        """A statement that others may be waiting for."""
        [rows] = self._kept((name, values))
        self._tell()
        return rows

    def _tell(self) -> None:
        self._kept(("notify", (self._connector.address.schema,)))

    def announce(self, worker: WorkerRow) -> None:
        owner, names, queues, *rest = worker
        self._kept(("set_worker", (owner, json.dumps(names), json.dumps(queues), *rest)))

    # -- owners -------------------------------------------------------------------------------------

    def register(self, owner: Owner) -> None:
        # The lock before the row: whoever can read the row must find the lock held.
        direct = self._enrolled(owner.id)
        process = presence.process() if owner.pid == os.getpid() else None
        self._kept(("add_owner", (*owner, process, direct)))

    def _enrolled(self, owner: str) -> bool:
        """Hold an owner's lock from now on; False where none can be held for long."""
        until = time.monotonic() + self._busy_s
        with Masked(), self._keeping:
            while True:
                try:
                    link = self._keeper_link(until)
                    if link.direct and owner not in self._owned:
                        self._be_present(link, owner)
                        self._owned.append(owner)
                    return link.direct
                except Lost as lost:
                    if time.monotonic() >= until:
                        raise self._connector.unreachable(lost) from lost

    def unregister(self, owner: str) -> None:
        self._kept(("delete_owner", (owner,)), ("delete_worker", (owner,)))
        if owner in self._owned:
            self._owned.remove(owner)
            self._absent_owners.discard(owner)
            self._kept(("end_presence", (self._lock_of(owner),)))

    def owner_is_dead(self, owner_id: str) -> bool:
        found = [Traces(*row) for row in self._rows("processes", owner_id)]
        if not found or owner_id in self._owned:
            return False
        lives = presence.lives_here(found[0])
        if lives is not None:
            return not lives
        return found[0].session and self._absences.last(owner_id, self._absent)

    def _absent(self) -> set[str]:
        """The owners whose sessions are not there; nobody's while the server has not been up for long."""
        if float(self._rows("uptime")[0][0]) < self._up_s:
            return set()
        locks = {self._lock_of(owner): owner for (owner,) in self._rows("session_owners")}
        there = {key for (key,) in self._rows("sessions", ints(list(locks)))}
        return {owner for key, owner in locks.items() if key not in there}

    def note_end(self, owner: str) -> None:
        """Nothing to note: a database that takes no writes takes no notes either."""

    def ended_alive(self, owner_id: str) -> bool:
        return False

    # -- life -----------------------------------------------------------------------------------------

    def tidy(self) -> None:
        self._refuse_if_closed()
        for owner_id in self.idle_owners():
            if self.owner_is_dead(owner_id):
                self._kept(("delete_owner", (owner_id,)), ("delete_worker", (owner_id,)))

    def _rows_alone(self, name: str) -> None:
        link = self._checking()
        try:
            link.alone(name)
        except (psycopg.Error, Lost) as problem:
            raise self._failed(problem, committing=False) from problem
        finally:
            link.close()

    def _checking(self) -> Link:
        link = self._connector.patiently(time.monotonic() + self._busy_s)
        link.call_s = _LONG_S
        return link

    def abandon(self) -> None:
        # No lock is taken: a thread that exists no more may hold it for ever.
        if self._closed is not None:
            return
        self._forked = True
        self._closed = JournalBroken(
            f"this process was forked from one that has the journal {self.place} open and must not use the same "
            f"connections; nothing was recorded. Call onward.connect in the child."
        )
        self._writer.abandon()
        self._keeper.abandon()
        self._pool.abandon()
        self._ear.close()

    def close(self) -> None:
        """Let go of everything. Closing twice is harmless."""
        if self._closed is None:
            self._closed = JournalUnusable(
                f"the journal {self.place} is closed; nothing was recorded. Open it again: onward.connect(...)"
            )
        if self._forked:
            return
        with self._writing, self._keeping:
            self._writer.close()
            self._keeper.drop()
            self._pool.close()
            self._ear.close()


_open: WeakSet[PostgresStore] = WeakSet()


def _abandon_all() -> None:
    for store in list(_open):
        store.abandon()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
