"""Where items come from: what can be looped over, what recognises its items, how an async loop asks for the next."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Final, Generic, Protocol, TypeVar, runtime_checkable

from onward.core.errors import UsageError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Numbered(Protocol[T_co]):
    """What a plain `for` also takes: something with numbered elements only."""

    def __getitem__(self, index: int, /) -> T_co: ...


@runtime_checkable
class Recognising(Protocol):
    """A source that says itself what recognises its items."""

    def recognise(self, item: Any) -> str:
        """The key of an item that this source gave last."""
        ...


# By the library's name and the type's: what looping over it gives, and what was most likely meant.
_TABLES: Final = {
    ("pandas", "DataFrame"): ("the names of its columns", "each(df.itertuples(index=False))"),
    ("polars", "DataFrame"): ("its columns", "each(df.iter_rows(named=True))"),
    ("polars", "LazyFrame"): ("nothing", "each(df.collect().iter_rows(named=True))"),
    ("pyarrow", "Table"): ("its columns", "each(table.to_pylist())"),
}


_IN_MEMORY: Final[tuple[Iterable[object], ...]] = (
    [], (), "", range(0), range(1 << 70), {}, {}.values(), {}.items(), set[int](),
)  # fmt: skip
# Iterators over what is in memory: the next item comes at once, or never.
PROMPT: Final = frozenset(type(iter(source)) for source in _IN_MEMORY)


def checked_source(items: Any, what: str) -> None:
    """Refuse what cannot be looped over, or gives something else than what one would expect."""
    kind = type(items)
    table = _TABLES.get((kind.__module__.partition(".")[0], kind.__name__))
    if table is not None:
        gives, instead = table
        raise UsageError(
            f"looping over a {kind.__module__.partition('.')[0]} {kind.__name__} gives {gives}, not its rows; "
            f"nothing was started. Write onward.{instead.replace('each', what, 1)} for the rows."
        )
    if not any(hasattr(items, name) for name in ("__iter__", "__aiter__", "__getitem__")):
        raise UsageError(
            f"onward.{what} needs something to iterate over, not a {kind.__qualname__}; nothing was started"
        )


def own_key(items: object, key: Callable[[Any], str] | None) -> Callable[[Any], str] | None:
    """`key`, or the source's own way to recognise its items; None: by their content."""
    return items.recognise if key is None and isinstance(items, Recognising) else key


class Source(Generic[T]):
    """`await source.next()` gives the next item; raises StopAsyncIteration at the end."""

    def __init__(self, items: Iterable[T] | AsyncIterable[T]) -> None:
        self._async: AsyncIterator[T] | None = None
        self._sync: Iterator[T] | None = None
        self._back: deque[T] = deque()
        if isinstance(items, AsyncIterable):
            self._async = items.__aiter__()
        else:
            self._sync = iter(items)

    async def next(self) -> T:
        if self._back:
            return self._back.popleft()
        if self._async is not None:
            return await self._async.__anext__()
        assert self._sync is not None
        for item in self._sync:
            return item
        raise StopAsyncIteration

    def put_back(self, item: T) -> None:
        """`item` was looked at only: it comes first again."""
        self._back.append(item)
