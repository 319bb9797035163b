"""The journal in one SQLite file: one connection that writes, one that reads, and the turn to write among processes.

Threads of this process agree by a lock, processes by their turn (`turn`); what a batch writes is in `transaction`,
how rows are read in `reader`. This file owns the connections, the life of the store and what to do in doubt.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import apsw

from onward.core import limits
from onward.core.decide import at_length
from onward.core.errors import JournalBroken, JournalBusy, JournalError, JournalUnusable, OutcomeUnknown
from onward.core.model import Answered, Order, Owner, Request, WorkerRow
from onward.storage.masked import Masked
from onward.storage.migrate import is_beyond_us, migrate
from onward.storage.queries import load
from onward.storage.sqlite import doorbell, files, forks, locks
from onward.storage.sqlite.batch import Batch, one_by_one
from onward.storage.sqlite.connection import Durability, connect, opening, refuse_affected_sqlite
from onward.storage.sqlite.failures import FAILURES, Failure, journal_error
from onward.storage.sqlite.owners import Owners
from onward.storage.sqlite.reader import Row
from onward.storage.sqlite.straight import Doubt, Plan, Straight, Written
from onward.storage.sqlite.transaction import UNWRITABLE, Clash, Transaction
from onward.storage.sqlite.turn import Turn
from onward.storage.sqlite.upkeep import Upkeep
from onward.storage.sqlite.wide import with_wide

_SQL: Final = with_wide(load("onward.storage.sqlite"))
# A file that was deleted or replaced takes writes without a word: looked at this often, not on every commit.
_LOOK_S: Final = 1.0
# How long the end of a checkpoint may keep writers waiting for a reader that is in its way, in milliseconds.
_RESTART_MS: Final = 100
# How long closing waits for its turn to leave a short log; the next process can as well read a long one.
_CLOSE_S: Final = 0.5
# What a child has of its parent's connections, kept from the garbage collector.
_abandoned: Final[list[apsw.Connection]] = []


class SqliteStore(Upkeep):
    """A journal in one file, for the processes of one machine."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "machine",
        clock: Callable[[], float] = time.time,
        force_network: bool = False,
        force_sqlite: bool = False,
    ) -> None:
        self._path = Path(os.path.abspath(path))
        self.now: Callable[[], float] = clock  # asked twice a step: no method around it
        self._durability: Durability = durability
        self._writing = threading.Lock()
        self._tidying = threading.Lock()
        self._unusable: JournalError | None = None
        self._doorbell: doorbell.Doorbell | None = None
        self._look_at = 0.0
        refuse_affected_sqlite(apsw.sqlite_lib_version(), forced=force_sqlite)
        created = files.prepare(self._path, force_network=force_network)
        self._owners = Owners(self._path)
        self._turn = Turn(self._path)
        try:
            self._open(created=created)
        except BaseException:
            self._turn.close()
            raise

    def _open(self, *, created: bool) -> None:
        before = files.identity(self._path)
        self._turn.take(limits.BUSY_S)
        try:
            if not created:
                files.refuse_truncated(self._path)
            with opening(self._path):
                self._write_through(connect(self._path, durability=self._durability))
                migrate(self._writer, self.place)
                if created:
                    files.lengthen_log(self._path)
                self._keeper = connect(self._path, durability=self._durability)
                super().__init__(connect(self._path, reads_only=True), _SQL)
        finally:
            self._turn.release()
        forks.watch(self)
        self._identity = self._files()
        if before != files.identity(self._path):
            raise JournalBusy(
                f"the journal {self.place} was replaced while it was being opened; nothing was changed. Repeat it."
            )

    @property
    def place(self) -> str:
        return str(self._path)

    @property
    def doubts(self) -> Sequence[str]:
        return ()

    # -- writing ------------------------------------------------------------------------------------

    def commit(self, changes: Sequence[Order]) -> list[Answered]:
        if self._unusable is not None:
            self._refuse_if_unusable()
        with self._writing:
            straight = self._straight
            plan = straight.planned(changes)  # before others have to wait for it
            try:
                self._turn.take(limits.BUSY_S)
                if (
                    self._unusable is not None
                    or straight.doubt is not None
                    or time.monotonic() >= self._look_at
                ):
                    self._look()
                answers = None if plan is None else straight.commit(plan)
                if answers is None:
                    answers = self._commit(changes)
            except Doubt as doubt:
                answers = self._resolved(doubt.written, doubt.problem)
            except FAILURES as problem:
                raise self._failed(problem) from problem
            finally:
                if self._writer.in_transaction:
                    self._end()
                else:
                    self._turn.release()
            return answers if plan is None else self._completed(plan, answers)

    def _completed(self, plan: Plan, answers: list[Answered]) -> list[Answered]:
        """The answers to a plan that is durable, with what a claim has leased and not read; while others may write."""
        with suppress(*FAILURES):
            return self._straight.completed(plan, answers)
        try:  # a failure that has passed need not be told to all whose changes are durable
            return self._straight.completed(plan, answers)
        except FAILURES as problem:
            error = self._failed(problem)
            if isinstance(error, JournalBroken):
                raise error from problem
            raise OutcomeUnknown(
                f"what was recorded in the journal {self.place} is durable, but what was claimed with it could not be "
                f"read ({problem}); it is given back. Repeating the call is safe."
            ) from problem

    def commit_alone(self, change: Order) -> list[Answered] | None:
        """As `commit`, if the change is a single entry and nothing is in the way; None if nothing was tried.

        Without a mask: wherever a KeyboardInterrupt strikes, the entry is in the journal or not, and nothing stays
        locked. The interpreter looks for signals after calls and where a function begins: so the lock is given back by
        a plain call of C, and in its `finally` nothing stands before it.
        """
        with self._writing:
            turn, straight = self._turn, self._straight
            if (
                self._unusable is not None
                or straight.doubt is not None
                or time.monotonic() >= self._look_at
                or turn.awaited[0]
            ):
                return None
            try:
                locks.flock(turn.lock, locks.TRY)
                return straight.commit_alone(change)
            except BlockingIOError:
                return None
            except Doubt as doubt:
                with Masked():
                    return self._resolved(doubt.written, doubt.problem)
            except apsw.BusyError as problem:
                raise self._failed(problem) from problem
            finally:
                locks.flock(turn.lock, locks.FREE)

    def _commit(self, orders: Sequence[Order]) -> list[Answered]:
        writer, changes = self._writer, at_length(orders)
        writer.execute(_SQL["begin"])
        try:
            transaction = Transaction(writer, _SQL, self.now)
            transaction.look_ahead(changes)
            answers = transaction.answers(changes)
            transaction.flush()
            batch = Batch(answers, transaction.found, transaction.left, transaction.untold)
        except (Clash, *UNWRITABLE):
            writer.execute(_SQL["rollback"])
            writer.execute(_SQL["begin"])
            batch = one_by_one(writer, _SQL, changes, self.now)
        try:
            writer.execute(_SQL["commit"])
        except apsw.BusyError:
            raise  # SQLite has not begun to write: the transaction is still open, and taken back by our caller
        except apsw.Error as problem:
            if not self._happened(batch, problem):
                raise
        self._straight.learn(batch.left, batch.untold)
        return batch.answers

    def _resolved(self, written: Written, problem: apsw.Error) -> list[Answered]:
        """The answers to a commit that went straight and of which SQLite said that it failed."""
        self._straight.doubt = None  # either way it is found out now
        try:
            if self._happened(written, problem):
                return written.answers
        except FAILURES as worse:
            raise self._failed(worse) from worse
        raise self._failed(problem) from problem

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        """A write transaction that is not part of a batch."""
        self._refuse_if_unusable()
        # Masked: interrupted on its way out, a process that lives on would keep its turn, and every other one waits.
        with Masked(), self._writing:
            try:
                self._turn.take(limits.BUSY_S)
                self._look()
                self._writer.execute(_SQL["begin"])
                yield self._writer
                self._writer.execute(_SQL["commit"])
            except FAILURES as problem:
                raise self._failed(problem) from problem
            finally:
                self._end()

    def _end(self) -> None:
        """Whatever happened: no transaction stays open, and the next process has its turn."""
        try:
            if self._writer.in_transaction:
                self._writer.execute(_SQL["rollback"])
        except apsw.Error as problem:
            self._unusable = self._unusable or JournalBroken(
                f"a transaction on the journal {self.place} could not be taken back ({problem}); nothing more is "
                f"recorded by this process. Look at the disk, then start the program again."
            )
        finally:
            self._turn.release()

    def renew(self, owner: str, until: float) -> list[tuple[int, Request | None]]:
        with self._transaction() as writer:
            held: list[Any] = writer.execute(_SQL["renew"], (owner, until)).fetchall()
            return held

    def request(self, run_no: int, request: Request | None) -> bool:
        with self._transaction() as writer:
            return bool(writer.execute(_SQL["request"], (run_no, request)).fetchall())

    def announce(self, worker: WorkerRow) -> None:
        owner, names, queues, *rest = worker
        with self._transaction() as writer:
            writer.execute(_SQL["set_worker"], (owner, json.dumps(names), json.dumps(queues), *rest))

    # -- owners -------------------------------------------------------------------------------------

    def register(self, owner: Owner) -> None:
        # The lock before the row: whoever can read the row must find the lock held.
        self._owners.hold(owner.id)
        with self._transaction() as writer:
            writer.execute(_SQL["add_owner"], tuple(owner))

    def unregister(self, owner: str) -> None:
        with self._transaction() as writer:
            writer.execute(_SQL["delete_owner"], (owner,))
            writer.execute(_SQL["delete_worker"], (owner,))
        self._owners.let_go(owner)

    def owner_is_dead(self, owner_id: str) -> bool:
        owner = self.owner(owner_id)
        return owner is not None and self._owners.proven_dead(owner)

    # -- when things go wrong -------------------------------------------------------------------------

    def _refuse_if_unusable(self) -> None:
        # Asked before any lock is taken: in a forked child a thread that exists no more may hold it for ever.
        if self._unusable is not None:
            raise self._unusable

    def _look(self) -> None:
        """See whether the journal's files are still the same, and for us; JournalBroken if they are not."""
        if self._straight.doubt is not None and self._unusable is None:
            self._unusable = JournalBroken(
                f"what became of a commit to the journal {self.place} that failed ({self._straight.doubt}) was not "
                f"found out, because that was interrupted; nothing more is recorded by this process. Look at the disk, "
                f"then start the program again."
            )
        self._refuse_if_unusable()
        self._look_at = time.monotonic() + _LOOK_S
        if self._files() != self._identity:
            self._unusable = JournalBroken(
                f"the journal {self.place} was deleted or replaced while it was in use; what was recorded since then "
                f"is lost with it, nothing more is recorded. Put the file back, or start the program anew."
            )
            raise self._unusable
        if is_beyond_us(self._writer):
            self._unusable = JournalBroken(
                f"a newer version of onward has changed the journal {self.place} meanwhile, and this one cannot use it "
                f"any more; nothing more is recorded. Update onward here, then start the program anew."
            )
            raise self._unusable

    def _files(self) -> tuple[files.Identity | None, ...]:
        # The log too: deleting it loses what it holds as surely.
        return files.identity(self._path), files.identity(files.side(self._path, "-wal"))

    def _failed(self, problem: Failure) -> BaseException:
        """What to raise for SQLite's error; one that leaves the journal in doubt is raised for ever after."""
        error = journal_error(problem, self.place, system_errno=self._writer.system_errno)
        if isinstance(error, JournalBroken):
            self._unusable = error
        return problem if error is None else error

    def _happened(self, batch: Batch | Written, problem: apsw.Error) -> bool:
        """Whether a COMMIT that raised an error is on the disk all the same.

        True only if it is there for a new connection and then survives a checkpoint, which copies and syncs it anew:
        after a failed sync the system may show pages that never reach the disk. OutcomeUnknown if that cannot be told.
        """
        try:
            self._renew_writer()
            seen = batch.seen(self._guard)
            if seen:
                self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)
                return True
        except apsw.Error:
            seen = None
        if seen is False:
            return False
        raise OutcomeUnknown(
            f"the answer of the journal {self.place} to a commit was lost ({problem}); it may or may not have "
            f"happened. Repeating the call is safe; look at the disk first."
        ) from problem

    def _guard(self, no: int) -> Row | None:
        return self._writer.execute(_SQL["guard"], (no,)).fetchone()

    def _renew_writer(self) -> None:
        """Replace the writing connection, whose state is in doubt."""
        fresh, doubtful = connect(self._path, durability=self._durability), self._writer
        self._write_through(fresh)
        doubtful.close(True)

    def _write_through(self, connection: apsw.Connection) -> None:
        self._writer, self._straight = connection, Straight(connection, _SQL, self.now, self._turn.wake)

    # -- life -----------------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Move the log's content into the file once it is long, and let the next writer start it over."""
        self._refuse_if_unusable()
        with self._tidying:
            try:
                self._tidy()
            except apsw.BusyError:
                pass  # a reader is in the way: the next call will do it
            except FAILURES as problem:
                raise self._failed(problem) from problem

    def _tidy(self) -> None:
        with self._writing:
            self._turn.rest()
        pages, _ = self._keeper.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        if pages > limits.WAL_PAGES:
            # Most of it beside the writers; the rest, and the start over, in turn with them.
            self._keeper.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._checkpoint(apsw.SQLITE_CHECKPOINT_RESTART, limits.BUSY_S)
        self._forget_dead_owners()

    def _checkpoint(self, mode: int, within_s: float) -> None:
        with Masked(), self._writing:
            try:
                self._turn.take(within_s)
                self._look()
                self._keeper.set_busy_timeout(_RESTART_MS)
                self._keeper.wal_checkpoint(mode=mode)
            finally:
                self._turn.release()

    def _forget_dead_owners(self) -> None:
        """Remove the rows and files of owners that died without work."""
        for owner_id in self.idle_owners():
            if self.owner_is_dead(owner_id):
                self.unregister(owner_id)

    @property
    def locks(self) -> tuple[threading.Lock, ...]:
        """Who holds all of these has the store to itself; they are taken in this order."""
        return self._tidying, self._writing, self._reading

    def doorbell(self) -> doorbell.Doorbell | None:
        with self._writing:
            if self._doorbell is None and self._closed is None:
                log = files.side(self._path, "-wal")
                self._doorbell = doorbell.hung(log)
                if self._doorbell is None:  # perhaps the turn has the last one, to which it matters less
                    self._turn.rest(for_good=True)
                    self._doorbell = doorbell.hung(log)
            return self._doorbell

    def linger(self, seconds: float) -> None:
        time.sleep(seconds)

    def _take_down_doorbell(self) -> None:
        if self._doorbell is not None:
            self._doorbell.close()
            self._doorbell = None

    def abandon(self) -> None:
        if self._closed is not None:
            return
        if self._doorbell is not None:
            self._doorbell.abandon()
            self._doorbell = None
        # Not closed here: see `forks` for when that is harmless.
        _abandoned.extend((self._writer, self._keeper, self._connection))
        self._owners.close()
        self._turn.close()
        self._unusable = JournalBroken(
            f"this process was forked from one that has the journal {self.place} open and must not use the same "
            f"handle; nothing was recorded. Call onward.connect in the child."
        )
        self._refuse(self._unusable)

    def close(self) -> None:
        """Leave a short log behind if that is quick, and let go of everything. Closing twice is harmless."""
        if self._closed is not None:
            return
        try:
            if self._unusable is None:
                with self._tidying:  # whose connection makes this checkpoint too
                    self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE, _CLOSE_S)
        except (apsw.Error, JournalError):
            pass  # nothing is lost: the log is read by whoever opens the journal next
        with self._tidying, self._writing, self._reading:
            self._unusable = JournalUnusable(
                f"the journal {self.place} is closed; nothing was recorded. Open it again: onward.connect(...)"
            )
            self._refuse(self._unusable)
            for connection in (self._writer, self._keeper, self._connection):
                connection.close(True)
            self._owners.close()
            self._turn.close()
            self._take_down_doorbell()
