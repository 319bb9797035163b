"""Time, chance, parallel branches and facts about the present place, inside a run and outside of any."""

from __future__ import annotations

import contextvars
import datetime as dt
import logging
import random
import sys
import time
import uuid
from collections.abc import Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeVar

from onward.api import connect
from onward.core.errors import BlockingCall, UsageError
from onward.core.model import Progress
from onward.core.schedules import origin
from onward.runtime import beats, current
from onward.runtime.current import Here
from onward.runtime.drive import drive
from onward.runtime.session import Fork

T = TypeVar("T")

# As inspect.CO_COROUTINE and inspect.CO_ASYNC_GENERATOR.
_ASYNC: Final = 0x80 | 0x200


# -- time ---------------------------------------------------------------------------------------------


def seconds_of(seconds: float, days: float, hours: float, minutes: float) -> float:
    """One length of time from its parts; refuses what is none."""
    whole = seconds + 60 * minutes + 3_600 * hours + 86_400 * days
    if not 0 <= whole < 1e11:
        raise UsageError(f"a sleep takes a number of seconds from 0 on, not {whole}")
    return whole


def sleep(seconds: float = 0, *, days: float = 0, hours: float = 0, minutes: float = 0) -> None:
    """Sleep durably: the wake-up time is recorded, and a process killed meanwhile sleeps only the rest.

        onward.sleep(days=3)
        onward.sleep(90)

    The parts are added up. Never wakes early by the journal's clock; late if no process is there to wake it. Outside of
    a run a plain `time.sleep`. Raises BlockingCall inside a running event loop (use `onward.aio.sleep`), and UsageError
    for a length below 0.
    """
    whole = seconds_of(seconds, days, hours, minutes)
    refuse_in_loop("onward.sleep", "await onward.aio.sleep(...)")
    place = current.here()
    if place is None:
        time.sleep(whole)
        return
    flow = place.session.sleep(place.scope.next("sleep"), lambda now: now + whole)
    drive(flow, connect.engine(), place.session)


def sleep_until(when: dt.datetime) -> None:
    """Sleep durably until `when`; returns at once if that has passed.

        onward.sleep_until(order.created_at + timedelta(days=14))

    Outside of a run a plain `time.sleep`. Raises UsageError for a time without a time zone, and BlockingCall inside
    a running event loop: use `onward.aio.sleep_until`.
    """
    refuse_in_loop("onward.sleep_until", "await onward.aio.sleep_until(...)")
    at = timestamp(when)
    place = current.here()
    if place is None:
        time.sleep(max(0.0, at - time.time()))
        return
    flow = place.session.sleep(place.scope.next("sleep"), lambda now: at)
    drive(flow, connect.engine(), place.session)


def timestamp(when: dt.datetime) -> float:
    given: object = when
    if not isinstance(given, dt.datetime) or given.tzinfo is None:
        raise UsageError(f"sleep_until takes a datetime with a time zone, not {when!r}")
    return when.timestamp()


def now() -> dt.datetime:
    """The time in UTC; inside a run recorded, so that a replay sees the same.

        if onward.now() > order.deadline:
            cancel(order)

    Durable when it returns, which in async code `await onward.aio.now()` awaits. Raises nothing of its own.
    """
    place = current.here()
    if place is None:
        return dt.datetime.now(dt.UTC)
    flow = place.session.take(place.scope.next("now"), "value", "now", float)
    return dt.datetime.fromtimestamp(drive(flow, connect.engine(), place.session), dt.UTC)


# -- chance -------------------------------------------------------------------------------------------


def uuid4() -> uuid.UUID:
    """A random UUID; inside a run the same in every replay, and nothing is recorded for that.

        reference = str(onward.uuid4())

    Raises nothing of its own.
    """
    place = current.here()
    return uuid.uuid4() if place is None else place.session.uuid4(place.scope.next("uuid4"))


def rng() -> random.Random:
    """A random generator; inside a run seeded by the run and the place, so that a replay draws the same.

        sample = onward.rng().sample(customers, 100)

    Not for secrets: who knows the run's id can draw the same. Raises nothing of its own.
    """
    place = current.here()
    if place is None:
        return random.Random()
    return random.Random(place.session.seed(place.scope.next("rng")))


# -- parallel branches ----------------------------------------------------------------------------------


def gather(*branches: Callable[[], T]) -> list[T]:
    """Call the branches in parallel threads; their results in order.

        a, b = onward.gather(lambda: charge(order), lambda: reserve(order))

    Each branch names its steps apart from the others, so their order does not matter, and what it has recorded is
    not executed again when the run is continued. All branches come to rest
    before the first error, by order of arguments, is raised. Inside an event loop use `onward.aio.gather`.
    """
    refuse_in_loop("onward.gather", "await onward.aio.gather(...)")
    for branch in branches:
        if not callable(branch):
            raise UsageError("onward.gather takes functions: onward.gather(lambda: f(1), lambda: f(2))")
    place = current.here()
    if not branches:
        return []
    unit = None if place is None else place.scope.next("gather")
    fork = Fork() if place is None else place.session.fork(len(branches))
    with ThreadPoolExecutor(len(branches), thread_name_prefix="onward-gather") as pool:
        futures = [
            pool.submit(_in_branch(place, unit, number, branch, fork))
            for number, branch in enumerate(branches)
        ]
    fork.join()
    return [future.result() for future in futures]


def _in_branch(
    place: Here | None, unit: str | None, number: int, branch: Callable[[], T], fork: Fork
) -> Callable[[], T]:
    if place is None or unit is None:
        return branch
    inner = branch_place(place, unit, number)
    context = contextvars.copy_context()

    def run() -> T:
        try:
            inner.own()
            current.set_here(inner)
            return branch()
        finally:
            fork.ended()

    return lambda: context.run(run)


def branch_place(place: Here, unit: str, number: int) -> Here:
    """The place of one branch of a gather."""
    return place.session.place(f"{unit}/{number}", attempt=place.attempt, inside_step=place.inside_step)


# -- facts ----------------------------------------------------------------------------------------------


class Current(NamedTuple):
    """Where the calling code stands, as `onward.current` tells it."""

    run_id: str
    name: str
    key: str  # of the innermost step or item; empty in a workflow's own body
    attempt: int
    heartbeat: Any = None  # the details of its latest heartbeat, also of an earlier attempt
    scheduled_at: dt.datetime | None = (
        None  # of a run that a schedule started: the time it stands for, in UTC
    )


def where() -> Current | None:
    """The run, key and attempt of the calling code; None outside of any run.

        here = onward.current()
        if here is not None and here.attempt > 1:
            use_the_other_server()

    Run and key are the same in every attempt and after every restart. Raises nothing of its own.
    """
    place = current.peek()
    if place is None:
        return None
    heartbeat = beats.latest(place) if place.session.beats else None
    run = place.session.run
    started = origin(run.identity)
    scheduled_at = None if started is None else dt.datetime.fromtimestamp(started[1], dt.UTC)
    return Current(run.id, run.name, place.key, place.attempt, heartbeat, scheduled_at)


def idempotency_key() -> str:
    """A key for services that recognise repeats: the same in every attempt of this step, different for every other.

        bank.charge(order, idempotency_key=onward.idempotency_key())

    32 hexadecimal digits. Outside of any run a new one every time. Raises nothing of its own.
    """
    place = current.peek()
    return uuid.uuid4().hex if place is None else place.session.seed(f"idempotency/{place.key}").hex()


def progress(done: int, total: int | None = None) -> None:
    """Say how far the run is, for `onward status`; rides with the next commit, nothing waits for it.

        onward.progress(done=uploaded_bytes, total=size_bytes)

    What was said last before a death may be missing. Loops and maps say it by themselves. Outside of any run it does
    nothing. Raises nothing of its own.
    """
    place = current.peek()
    if place is None:
        return
    session = place.session
    session.done, session.total = done, total
    change = session.progress_change(Progress(done, total, session.last_seq))
    connect.engine().committer.later(change)


class _Adapter(logging.LoggerAdapter[logging.Logger]):
    """A logger named `onward.run` that adds the run to every record, and is silent while a workflow replays.

        onward.logger.info("charged %s", order)

    Each record has `run_id`, `workflow`, `step` and `attempt`. Raises nothing of its own.
    """

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        place = current.peek()
        if place is not None:
            extra = dict(kwargs.get("extra") or {})
            extra.update(
                run_id=place.session.run.id,
                workflow=place.session.run.name,
                step=place.key,
                attempt=place.attempt,
            )
            kwargs["extra"] = extra
        return msg, kwargs

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  (the name is that of the standard library)
        """Silent in the body of a workflow as long as it replays what is recorded."""
        place = current.peek()
        if place is not None and not place.inside_step and place.session.is_replaying(place.key):
            return False
        return super().isEnabledFor(level)


logger = _Adapter(logging.getLogger("onward.run"), {})


def refuse_in_loop(what: str, instead: str) -> None:
    if current.running_task() is not None and not _in_plain_cell():
        raise BlockingCall(what, instead)


def _in_plain_cell() -> bool:
    """Whether plain code of a notebook's cell calls: the loop that runs there is the notebook's, and waits for it."""
    frame = sys._getframe(2) if "ipykernel" in sys.modules else None
    while frame is not None and not frame.f_code.co_flags & _ASYNC:
        if frame.f_code.co_name == "<module>":
            return frame.f_globals.get("__name__") == "__main__"
        frame = frame.f_back
    return False
