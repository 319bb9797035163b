"""Orders of a batch, each of which stands or falls alone: the slow way, after the batch as a whole has failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import psycopg

from onward.core.model import Answered, Arrival, Change, Claim, Lot, Order, Refused
from onward.storage import guards
from onward.storage.postgres.failures import UNIQUE, code, is_unwritable
from onward.storage.postgres.link import Link
from onward.storage.postgres.transaction import UNPACKABLE, Transaction

_RUN_INDEXES: Final = ("run_id", "run_open", "run_single")


def one_by_one(link: Link, orders: Sequence[Order], now: Callable[[], float], hold: int) -> Transaction:
    """Apply the orders so that each stands or falls alone.

    Begins the transaction and leaves it to be committed. What is returned has the answers and all that was applied.
    """
    whole = Transaction(link, now)
    whole.begin(orders, ("hold", (hold,)))
    for order in orders:
        alone = Transaction(link, now)
        alone.found, alone.left, alone.untold = dict(whole.found), dict(whole.left), dict(whole.untold)
        alone.numbers, alone.moved = whole.numbers, whole.moved
        answer = _alone(link, alone, order)
        if not isinstance(answer, Refused):
            whole.include(alone)
        whole.answers.append(answer)
    return whole


def _alone(link: Link, alone: Transaction, order: Order) -> Answered:
    link.ask("savepoint")
    try:
        answer = alone.answer(order)
        if not isinstance(answer, Refused):
            link.all(*alone.sealed(), ("release", ()))
            return answer
    except UNPACKABLE as problem:
        answer = guards.unwritable(problem)
    except psycopg.Error as problem:
        refused = refusal_of(problem, alone, order)
        if refused is None:
            raise
        answer = refused
    link.all(("take_back", ()), ("release", ()))
    return answer


def refusal_of(problem: psycopg.Error, transaction: Transaction, order: Order) -> Refused | None:
    """What the database's refusal of a change means; None if it means something else."""
    if is_unwritable(problem):
        return guards.unwritable(problem)
    if code(problem) != UNIQUE or type(order) in (Claim, Lot):
        return None
    if type(order) is Arrival:
        return guards.exists(order.run)
    assert type(order) is Change
    if problem.diag.constraint_name in _RUN_INDEXES:
        written = [one.after for one in (order, *order.beside) if one.after is not None]
        return guards.exists(written[0]) if written else None
    return guards.recorded(transaction.collected)
