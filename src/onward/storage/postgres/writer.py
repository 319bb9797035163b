"""How a batch of changes becomes durable: straight if it can, as a transaction if not, again if the connection breaks.

When the answer of what may have been a commit is lost, a new connection tells whether it happened, so that what is
answered is true. What may still be under way on the old connection cannot come in later: a transaction is waited for
(it holds a lock that nobody else takes), and the numbers of a single statement's entries are either found taken by
them or taken now, under the locks of their runs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import psycopg

from onward.core import limits
from onward.core.decide import at_length
from onward.core.errors import JournalBusy, JournalError, OutcomeUnknown
from onward.core.model import Answered, Arrival, Order
from onward.storage.postgres import rows
from onward.storage.postgres.alone import one_by_one
from onward.storage.postgres.arrays import columns
from onward.storage.postgres.connecting import Connector
from onward.storage.postgres.failures import UNIQUE, Lost, code, is_passing, is_unwritable, journal_error
from onward.storage.postgres.link import Link, Step
from onward.storage.postgres.straight import Plan, Straight
from onward.storage.postgres.transaction import UNPACKABLE, Transaction


class InDoubt(Exception):
    """The connection was lost while a transaction was being committed."""

    def __init__(self, transaction: Transaction, why: str) -> None:
        self.transaction = transaction
        super().__init__(why)


class Line:
    """A connection that is made anew whenever it is gone. Used by one thread at a time."""

    def __init__(self, connector: Connector, link: Link | None = None) -> None:
        self.connector, self._link = connector, link

    def link(self, until: float) -> Link:
        """The connection; tried for until `until` if there is none, then JournalBusy."""
        link = self._link
        if link is None or not link.usable:
            self.drop()
            link = self._link = self.connector.patiently(until)
        return link

    @property
    def present(self) -> Link | None:
        return self._link

    def drop(self) -> None:
        """The connection is gone, or not to be trusted any more."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def rollback(self) -> None:
        if self._link is not None:
            self._link.rollback()

    def abandon(self) -> None:
        if self._link is not None:
            self._link.abandon()


class Writer:
    """Commits batches, one at a time."""

    def __init__(self, line: Line, now: Callable[[], float], *, busy_s: float = limits.BUSY_S) -> None:
        self._line, self._now, self._busy_s = line, now, busy_s
        self._place = line.connector.address.place
        self._straight = Straight()
        self.told = False  # whether the last batch woke those who may be waiting for it
        # Of our transactions: who waits for this lock knows that the last one is over.
        self._hold = random.SystemRandom().getrandbits(62)

    def commit(self, orders: Sequence[Order]) -> list[Answered]:
        """As the port says."""
        self.told = False
        until = time.monotonic() + self._busy_s
        doubtful: Transaction | None = None
        sent: Plan | None = None  # a statement that may still be executed, on a connection that was lost
        why: BaseException | None = None
        while True:
            try:
                link = self._line.link(until)
                if doubtful is not None and self._happened(link, doubtful, orders):
                    return self._answered(doubtful)
                doubtful = None
                if sent is None and (plan := self._plan(orders)) is not None:
                    sent = plan
                    if self._sent_straight(link, plan):
                        return plan.answers
                    sent = None  # refused, so it is over
                return self._transact(link, orders, sent)
            except Lost as lost:
                why = lost
            except InDoubt as doubt:
                doubtful, why = doubt.transaction, doubt
            except JournalError as error:
                why = error if why is None or isinstance(error, OutcomeUnknown) else why
                raise self._given_up(why, orders, in_doubt=bool(sent or doubtful)) from error
            except psycopg.Error as problem:
                self._recover()
                if not is_passing(problem):
                    raise self._failed(problem) from problem
                why = problem
            except BaseException:
                self._line.drop()
                raise
            self._straight.forget()
            if time.monotonic() >= until:
                raise self._given_up(why, orders, in_doubt=bool(sent or doubtful)) from why

    # -- straight ---------------------------------------------------------------------------------------

    def _plan(self, orders: Sequence[Order]) -> Plan | None:
        try:
            plan = self._straight.plan(orders)
        except UNPACKABLE:
            return None
        # Its entries' numbers are what keeps a lost statement from coming in later; without them it goes the other way.
        return plan if plan is not None and plan.entries else None

    def _sent_straight(self, link: Link, plan: Plan) -> bool:
        try:
            if not plan.send(link):
                return False
        except UNPACKABLE:
            return False
        except psycopg.Error as problem:
            if code(problem) != UNIQUE and not is_unwritable(problem) and not is_passing(problem):
                raise
            link.rollback()
            return False
        self._straight.went(plan)
        return True

    # -- as a transaction ---------------------------------------------------------------------------------

    def _transact(self, link: Link, orders: Sequence[Order], sent: Plan | None) -> list[Answered]:
        """`sent`: what may have been written already, and if not is written here under the same numbers."""
        if sent is None and (answers := self._delivered(link, orders)) is not None:
            return answers
        changes = at_length(orders)
        transaction = Transaction(link, self._now)
        _, *found = transaction.begin(changes, ("hold", (self._hold,)), *(_there(sent) if sent else ()))
        if sent is not None and any(same for *_, same in found[0]):
            link.rollback()
            self._straight.went(sent)
            return sent.answers
        try:
            transaction.answer_all(changes)
            self._commit(link, transaction, transaction.sealed())
        except UNPACKABLE:
            pass
        except psycopg.Error as problem:
            if code(problem) != UNIQUE and not is_unwritable(problem):
                raise
        else:
            return self._answered(transaction)
        link.rollback()
        transaction = one_by_one(link, changes, self._now, self._hold)
        self._commit(link, transaction, [])
        return self._answered(transaction)

    def _delivered(self, link: Link, orders: Sequence[Order]) -> list[Answered] | None:
        """The answers, if all of it is the business of a worker and is as it was left; None if nothing was written."""
        delivery = self._straight.delivery(orders)
        if delivery is None:
            return None
        transaction = Transaction(link, self._now)
        try:
            if delivery.send(link, transaction, self._now(), ("hold", (self._hold,))):
                self._commit(link, transaction, transaction.sealed())
                self._straight.delivered(delivery, transaction.left, transaction.untold)
                return transaction.answers
        except UNPACKABLE:
            pass
        except psycopg.Error as problem:
            if code(problem) != UNIQUE and not is_unwritable(problem):
                raise
        link.rollback()
        return None

    def _commit(self, link: Link, transaction: Transaction, steps: Sequence[Step]) -> None:
        try:
            link.all(*steps, ("commit", ()), *self._bell(transaction))
        except Lost as lost:
            raise InDoubt(transaction, str(lost)) from lost

    def _bell(self, transaction: Transaction) -> Sequence[Step]:
        """What wakes those who may be waiting for what the transaction does."""
        self.told = transaction.heard
        return [("notify", (self._line.connector.address.schema,))] if transaction.heard else []

    def _answered(self, transaction: Transaction) -> list[Answered]:
        self._straight.learn(transaction.left, transaction.untold)
        return transaction.answers

    # -- when things go wrong -----------------------------------------------------------------------------

    def _happened(self, link: Link, transaction: Transaction, orders: Sequence[Order]) -> bool:
        """Whether a transaction whose COMMIT had no answer was committed; OutcomeUnknown if that cannot be told."""
        link.all(("begin", ()), ("hold", (self._hold,)))
        try:
            seen = transaction.seen(link)
        finally:
            link.rollback()
        if seen is None:
            raise OutcomeUnknown(
                f"the answer of the journal {self._place} to a commit was lost, and others have written since; it may "
                f"or may not have happened. {_repeating(orders)}"
            )
        return seen

    def _recover(self) -> None:
        """Leave no transaction open after an error."""
        try:
            self._line.rollback()
        except (Lost, psycopg.Error):
            self._line.drop()

    def _failed(self, problem: psycopg.Error) -> BaseException:
        return journal_error(problem, self._place) or problem

    def _given_up(self, why: BaseException, orders: Sequence[Order], *, in_doubt: bool) -> JournalError:
        if isinstance(why, JournalError) and (not in_doubt or isinstance(why, OutcomeUnknown)):
            return why
        if in_doubt:
            return OutcomeUnknown(
                f"the answer of the journal {self._place} to a commit was lost ({why}), and it could not be reached "
                f"again; it may or may not have happened. {_repeating(orders)}"
            )
        return JournalBusy(
            f"the journal {self._place} did not take this in time ({why}); nothing was recorded. Repeat the call."
        )

    @property
    def backend_pid(self) -> int | None:
        """Which process of the server serves the connection."""
        link = self._line.present
        return None if link is None else link.backend_pid

    def abandon(self) -> None:
        self._line.abandon()

    def close(self) -> None:
        self._line.drop()


def _repeating(orders: Sequence[Order]) -> str:
    """What people are told of doing it again."""
    if any(type(order) is Arrival and order.key is None for order in orders):
        return "Repeating the call may put the item in twice, unless it has an id."
    return "Repeating the call is safe."


def _there(plan: Plan) -> list[Step]:
    """The question whether the entries of a plan are in the journal."""
    return [("there", columns(rows.ENTRY, plan.entries))]
