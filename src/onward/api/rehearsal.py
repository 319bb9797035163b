"""A recorded loop or map, run again for looks: its list is recognised, and what is recorded of it passes by.

A pass ends in front of the first item that is not recorded; no body runs, and nothing that a map calls. Only where it
is told to does it go into the body of a loop's item, in which steps then give what is recorded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, cast

from onward.api.batch import Pack
from onward.api.settings import OnError
from onward.api.source import Source
from onward.api.window import Failure
from onward.core import limits
from onward.core.errors import RunFailed
from onward.core.model import Entry
from onward.runtime import current
from onward.runtime.bodies import Bodies, Handed
from onward.runtime.items import Items
from onward.runtime.outcomes import recorded_error
from onward.runtime.replay import End, Over, Replay, ReplayEngine


def of_loop(items: Items, batch: int | None) -> Rehearsal:
    """The replay of a loop: hands out only what it is told to go into."""
    return _Loop(items, batch)


def of_map(items: Items, on_error: OnError) -> Rehearsal:
    """The replay of a map: gives the recorded results, in input order."""
    return _Map(items, on_error)


class Rehearsal(ABC):
    """One pass over a list that records nothing."""

    def __init__(self, items: Items) -> None:
        assert isinstance(items.engine, ReplayEngine), "only such an engine leases runs for looks"
        self.engine, self.items = items.engine, items
        self.session = cast("Replay", items.session)
        self.failed = 0
        self._ahead: deque[Any] = deque()
        self._known = self.session.done == 0
        self._looked = 0
        self.engine.rehearsed = items

    def over(self, source: Iterable[Any]) -> Iterator[Any]:
        """What the consumer gets; raises Over where the replay ends."""
        for raw in source:
            yield from self._look(raw)
            if self._is_another():
                return
        yield from self._rest()
        self._end()

    async def over_async(self, source: Source[Any]) -> AsyncIterator[Any]:
        """As `over`."""
        while True:
            try:
                raw = await source.next()
            except StopAsyncIteration:
                break
            for given in self._look(raw):
                yield given
            if self._is_another():
                return
        for given in self._rest():
            yield given
        self._end()

    # -- the list -------------------------------------------------------------------------------------

    def _look(self, raw: Any) -> Iterator[Any]:
        self._ahead.append(raw)
        self._looked += 1
        self._known = self._known or self.items.is_known(raw)
        while self._known and self._ahead:
            yield from self._one(self._ahead.popleft())

    def _is_another(self) -> bool:
        """Whether this is the list of another pass at the same place, which comes before the one that is replayed."""
        if len(self._ahead) >= limits.STRANGERS:
            self._other_list()
        return len(self._ahead) >= limits.STRANGERS

    def _other_list(self) -> None:
        if self.engine.passes >= self.engine.number:
            error = self.items.another_list(len(self._ahead))
            raise self.session.ends_at(self.items.base_key(self._ahead[0]), self._ahead[0], "diverged", error)

    def _end(self) -> None:
        """The source has come to its end: so has the replay, unless its list is still to come."""
        if self._ahead:
            self._other_list()
            return
        if not self._looked and self.engine.passes < self.engine.number:
            return
        run = self.session.run
        if self.failed:
            what = "1 item has" if self.failed == 1 else f"{self.failed:,} items have"
            raise Over(End("raised", error=RunFailed(run.id, f"{what} failed, and all others are done")))
        raise Over(End("returned"))

    def _rest(self) -> Iterator[Any]:
        yield from ()

    @abstractmethod
    def _one(self, item: Any) -> Iterator[Any]:
        """What is given for the next item of the list."""


class _Loop(Rehearsal):
    def __init__(self, items: Items, batch: int | None) -> None:
        super().__init__(items)
        self._pack: Pack[Any] | None = None if batch is None else Pack(batch, items, Bodies(items))

    def _one(self, item: Any) -> Iterator[Any]:
        key, standing = self.items.take(item)
        self.session.comes_to(key, item)
        self.failed += standing == "failed"
        if self._pack is not None and self.engine.enters:
            for handed in self._pack.add(item, key, standing):
                yield from self._body(handed)
        elif self.session.looks_into(key) or (standing == "new" and self.engine.enters):
            yield from self._body(Handed(item, (key,), key))
        elif standing == "new":
            raise self.session.ends_at(key, item)

    def _rest(self) -> Iterator[Any]:
        for handed in () if self._pack is None else self._pack.rest():
            yield from self._body(handed)

    def _body(self, handed: Handed) -> Iterator[Any]:
        """Hand an item out: its code runs, and the replay ends at the end of its body at the latest."""
        session, before = self.session, current.peek()
        self.items.recall(handed.scope)
        place = session.place(handed.scope)
        place.rows = {}
        place.own()
        current.set_here(place)
        ran_through = False
        try:
            yield handed.value
            ran_through = True
        finally:
            if not ran_through:
                session.left(handed.keys[0])  # and stands where it stood: whatever follows ends the replay
        if session.end is not None:  # the body has caught what ended it
            raise Over(session.end)
        current.go_back(before)
        raise session.ends_at(handed.keys[0], handed.value)


class _Map(Rehearsal):
    def __init__(self, items: Items, on_error: OnError) -> None:
        super().__init__(items)
        self._on_error = on_error

    def _one(self, item: Any) -> Iterator[Any]:
        key, _ = self.items.take(item)
        self.session.comes_to(key, item)
        entry: Entry | None = self.engine.store.outcome(self.session.run.no, key)
        if entry is None:
            raise self.session.ends_at(key, item)
        if entry.state == "done":
            yield self.session.replay(entry)
            return
        error = recorded_error(entry)
        self.failed += 1
        if self._on_error == "raise":
            raise self.session.ends_at(key, item, "raised", error)
        yield Failure(item, key.partition("/")[2], error)
