"""`each(batch=n)`: items of a source, gathered into lists. What is done or parked is left out before it is counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from onward.core import limits
from onward.core.errors import UsageError
from onward.runtime.bodies import Bodies, Handed, batch_scope
from onward.runtime.items import Items
from onward.runtime.passes import Standing

T = TypeVar("T")


class Pack(Generic[T]):
    """The batch that is being gathered.

    In a workflow the items of a batch whose body called steps come together again on replay, as they did at first.
    """

    def __init__(self, size: int, items: Items, bodies: Bodies) -> None:
        self._size, self._items, self._bodies = size, items, bodies
        self._values: list[T] = []
        self._keys: list[str] = []
        self._scope: str | None = None  # of the earlier batch that is being put together again
        self._replaying = False

    def add(self, item: T, key: str, standing: Standing) -> Iterator[Handed]:
        """Take an item; gives what can be handed out now."""
        if standing == "new":
            yield from self._add_new(item, key)
        elif standing == "done":
            scope = self._bodies.batched_in(key) or (key if self._items.replays(key) else None)
            if scope is not None:
                yield from self._add_done(item, key, scope)

    def rest(self) -> Iterator[Handed]:
        """What has been gathered, however little it is."""
        if not self._keys:
            return
        values, keys, scope, replaying = self._values, tuple(self._keys), self._scope, self._replaying
        self._values, self._keys, self._scope, self._replaying = [], [], None, False
        # An unfinished batch of which some items have gone is another one: what it had called is called anew.
        if scope is None or not replaying:
            scope = batch_scope(self._items.prefix, keys)
        yield Handed(values, keys, scope, replaying)

    def _add_new(self, item: T, key: str) -> Iterator[Handed]:
        scope = self._bodies.left_in(key)
        alone = scope is None and self._bodies.alone(key)
        if alone or self._scope != scope or self._replaying:
            yield from self.rest()
        self._scope = scope
        self._values.append(item)
        self._keys.append(key)
        if alone or (scope is None and len(self._keys) == self._size):
            yield from self.rest()

    def _add_done(self, item: T, key: str, scope: str) -> Iterator[Handed]:
        if self._scope != scope or not self._replaying:
            yield from self.rest()
        self._scope, self._replaying = scope, True
        self._values.append(item)
        self._keys.append(key)


def checked_batch(batch: object, flush_ms: object) -> None:
    """Refuse what cannot be the size of a batch."""
    if batch is None:
        return
    if type(batch) is not int or not 1 <= batch <= limits.BATCH_ITEMS:
        raise UsageError(
            f"batch={batch!r} is not possible: give a whole number from 1 to {limits.BATCH_ITEMS:,}; nothing was "
            "started"
        )
    if flush_ms:
        raise UsageError(
            "batch= and flush_ms= do not go together: a batch is one commit already; nothing was started"
        )
