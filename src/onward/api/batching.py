"""Workflows that take many items in one run: each `start` brings one, and the run begins when there are enough."""

# A run of many items is started item by item: `start` takes another argument than the function does.
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from onward.api import connect
from onward.api.handle import Handle
from onward.api.queuing import DEFAULT, Queuing, checked_id, filled
from onward.api.starting import in_batches, lane_in, refuse_in_run
from onward.api.workflow import Workflow
from onward.core import codec, limits
from onward.core.errors import NotRecordable, RunConflict, UsageError
from onward.core.model import Arrival, Arrived, Refused
from onward.core.retry import Policy
from onward.runtime import current
from onward.runtime.drive import drive
from onward.runtime.engine import Engine
from onward.runtime.session import Unit

if TYPE_CHECKING:
    from onward.api.queue import Queue

T = TypeVar("T")
R = TypeVar("R")
U = TypeVar("U")


class Batched(Workflow[[list[T]], R], Generic[T, R]):
    """What `workflow(batch=...)` makes of a function of a list. A call takes the list, `start` takes one item."""

    def __init__(
        self,
        fn: Callable[[list[T]], R],
        name: str,
        policy: Policy,
        queue: str | Queue = DEFAULT,
        *,
        says_attempts: bool = True,
        batch: int,
        batch_s: float,
    ) -> None:
        super().__init__(fn, name, policy, queue, says_attempts=says_attempts)
        self._size, self._within_s = _checked(batch, batch_s)

    @overload  # type: ignore[override]
    def start(self: Batched[T, Coroutine[Any, Any, U]], item: T) -> Handle[U]: ...
    @overload
    def start(self, item: T) -> Handle[R]: ...
    def start(self, item: T) -> Handle[Any]:
        """Put an item into the next run. Durable when it returns; several items have the same run.

            run = load.start(row)

        The run begins when it has `batch` items, or `batch_s` seconds after its first one. With
        `options(id="row-{item.id}")` an item joins once: the same id again gives the run that it is in. In a workflow
        or a loop it is recorded, as any start.
        """
        engine = connect.engine()
        place = current.here()
        if place is None:
            return Handle(self._arrived(engine, [self._arrival(engine, item)])[0])
        key = place.scope.next(f"start {self.name}")
        arrival = self._arrival(engine, item)
        if (
            arrival.key is None
        ):  # the same in every attempt: what arrived and was not recorded does not arrive twice
            arrival = arrival._replace(key=f"{place.session.run.id}/{place.session.seed(key).hex()}")
        if place.inside_step:
            return Handle(self._arrived(engine, [arrival])[0])

        def put() -> str:
            return self._arrived(engine, [arrival])[0]

        digest = codec.fingerprint(arrival.item)
        unit = Unit(key, "child", f"start {self.name}", Policy(), digest, inside_step=True)
        return Handle(drive(place.session.perform(unit, put, (), {}), engine, place.session))

    def start_many(self, items: Iterable[T]) -> list[Handle[Any]]:
        """As `start` for each item, many in one transaction; the run of each, in their order."""
        refuse_in_run()
        engine = connect.engine()
        handles: list[Handle[Any]] = []
        for batch in in_batches(self._arrival(engine, item) for item in items):
            handles += map(Handle, self._arrived(engine, batch))
        return handles

    def _arrival(self, engine: Engine, item: T) -> Arrival:
        queuing = self._queuing
        self._refuse_options(queuing)
        lane = lane_in(engine, queuing.queue, self.name, (item,), {})
        where = f"the item for `{self.name}`"
        text = codec.encode(item, where=where)
        if len(text) > limits.BATCH_CHARS:
            size = f"{type(item).__qualname__} of {len(text) / 1e6:,.0f} MB"
            raise NotRecordable(where, "$", size, "write it to a file and give its name")
        waiting = replace(queuing, delay_s=self._within_s)
        run = waiting.run(self.name, None, None, now=engine.store.now(), lane=lane)
        run = run._replace(single=f"batch:{self.name}:{queuing.queue}:{queuing.priority}:{lane or ''}")
        key = None
        if self._id is not None:
            key = f"id:{checked_id(filled(self._id, {'item': item}, self.name))}"
        return Arrival(run, text, self._size, key)

    def _refuse_options(self, queuing: Queuing) -> None:
        taken = {
            "delay": queuing.delay_s,
            "at": queuing.at,
            "key": queuing.key,
            "debounce": queuing.debounce_s,
            "replace": self._replace or None,
        }
        for option, value in taken.items():
            if value is not None:
                raise UsageError(
                    f"{option}= says something of a run, and `{self.name}` takes items into one; nothing was started. "
                    f"options(id=...) lets an item join once."
                )

    def _arrived(self, engine: Engine, arrivals: list[Arrival]) -> list[str]:
        ids = []
        for arrival, answer in zip(arrivals, engine.committer.arrive(*arrivals), strict=True):
            if isinstance(answer, Refused):
                if answer.reason == "key" and arrival.key is not None and arrival.key.startswith("id:"):
                    own = arrival.key.removeprefix("id:")
                    raise RunConflict(
                        own,
                        f"{answer.detail}: the id {own} is that of another item. Use another id; nothing but this "
                        f"item was left out.",
                    )
                raise UsageError(f"an item for `{self.name}` was not queued: {answer.detail}")
            assert isinstance(answer, Arrived), "an arrival is answered so"
            ids.append(answer.run_id)
        return ids


def _checked(batch: object, batch_s: object) -> tuple[int, float]:
    if type(batch) is not int or not 1 <= batch <= limits.BATCHED:
        raise UsageError(
            f"batch={batch!r} is not possible: give the most items of one run, a whole number from 1 to "
            f"{limits.BATCHED:,}; nothing was declared"
        )
    if isinstance(batch_s, bool) or not isinstance(batch_s, (int, float)) or not 0 < batch_s <= 86_400:
        raise UsageError(
            f"batch_s={batch_s!r} is not possible: give the seconds that the first item of a run waits for others, up "
            f"to a day; nothing was declared"
        )
    return batch, float(batch_s)
