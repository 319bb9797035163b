"""Items from a sync or an async iterable, awaited either way."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Source(Generic[T]):
    """`await source.next()` gives the next item; raises StopAsyncIteration at the end."""

    def __init__(self, items: Iterable[T] | AsyncIterable[T]) -> None:
        self._async: AsyncIterator[T] | None = None
        self._sync: Iterator[T] | None = None
        if isinstance(items, AsyncIterable):
            self._async = items.__aiter__()
        else:
            self._sync = iter(items)

    async def next(self) -> T:
        if self._async is not None:
            return await self._async.__anext__()
        assert self._sync is not None
        for item in self._sync:
            return item
        raise StopAsyncIteration
