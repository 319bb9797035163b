"""`each(once=True)`: a key is done once, ever. All passes share one run, which waits between them.

A pass in which nothing is new only reads: a watcher that looks every second leaves no trace in the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from onward.api.source import Source
from onward.core.errors import UsageError
from onward.core.retry import Policy
from onward.runtime.engine import Engine
from onward.runtime.items import Duplicates, Items


def checked_once(*, once: bool, name: str | None, max_age: object, fresh: bool, duplicates: object) -> None:
    """Refuse options that contradict `once=True`."""
    if not once:
        return
    if name is None:
        raise UsageError(
            'once=True needs name="...", which stands for the same work for ever; nothing was started'
        )
    if max_age is not None or fresh:
        raise UsageError(
            "once=True has no old pass to refuse or set aside: what is done stays done; nothing was started. To forget "
            "it all, cancel its run with `onward cancel`."
        )
    if duplicates == "again":
        raise UsageError('once=True and duplicates="again" contradict each other; nothing was started')


def ledger(
    engine: Engine,
    identity: str,
    policy: Policy,
    key: Callable[[Any], str] | None,
    duplicates: Duplicates | None,
) -> Items | None:
    """What is done already, to be read only; None where the run must be leased in any case."""
    run = engine.store.open_run(identity)
    if run is None or run.state not in ("waiting", "failed"):
        return None
    session = engine.ended(run)
    return Items(
        engine,
        session,
        prefix="each/",
        name="each",
        policy=policy,
        key=key,
        nested=False,
        duplicates=duplicates,
    )


def from_first_new(known: Items, source: Iterator[Any]) -> Iterator[Any] | None:
    """The items of `source` from the first one on that is not known; None if there is none."""
    for raw in source:
        if known.take(raw)[1] == "new":
            return _chained(raw, source)
    return None


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


async def find_first_new(known: Items, source: Source[Any]) -> bool:
    """As `from_first_new`, for a source that is awaited: it stands before that item then."""
    while True:
        try:
            raw = await source.next()
        except StopAsyncIteration:
            return False
        if known.take(raw)[1] == "new":
            source.put_back(raw)
            return True
