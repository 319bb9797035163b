"""`each`: a loop that continues where it stopped. The whole change to a script is one line."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar, overload

from onward.api import connect, sinks
from onward.api.awalk import AsyncWalk
from onward.api.batch import checked_batch
from onward.api.consumers import refuse_eager, refuse_running_ahead, steps_by_hand
from onward.api.ended import result_of
from onward.api.ever import checked_once, from_first_new, ledger
from onward.api.identity import checked_name, checked_options, checked_stop_after, loop_name
from onward.api.opening import IfRunning, obtain, obtain_async, wanted
from onward.api.source import PROMPT, Numbered, Source, checked_source, own_key
from onward.api.walk import Walk
from onward.core import limits
from onward.core.errors import UsageError
from onward.core.lazily import Lazily
from onward.core.model import Run
from onward.core.retry import Policy
from onward.runtime import current
from onward.runtime.current import Here
from onward.runtime.engine import Engine
from onward.runtime.items import Duplicates, Items, length
from onward.runtime.session import Session

if TYPE_CHECKING:
    from onward.api import rehearsal, rounds
else:
    rehearsal, rounds = Lazily("onward.api.rehearsal"), Lazily("onward.api.rounds")

T = TypeVar("T")


@overload
def each(
    items: Iterable[T] | AsyncIterable[T] | Numbered[T],
    *,
    name: str | None = None,
    key: Callable[[T], str] | None = None,
    batch: None = None,
    once: bool = False,
    duplicates: Duplicates | None = None,
    max_crashes: int = limits.MAX_CRASHES,
    stop_after: int | Literal["auto"] | None = "auto",
    total: int | None = None,
    flush_ms: float = 0,
    max_age: float | None = None,
    if_running: IfRunning = "raise",
    fresh: bool = False,
) -> Each[T]: ...
@overload
def each(
    items: Iterable[T] | AsyncIterable[T] | Numbered[T],
    *,
    name: str | None = None,
    key: Callable[[T], str] | None = None,
    batch: int,
    once: bool = False,
    duplicates: Duplicates | None = None,
    max_crashes: int = limits.MAX_CRASHES,
    stop_after: int | Literal["auto"] | None = "auto",
    total: int | None = None,
    flush_ms: float = 0,
    max_age: float | None = None,
    if_running: IfRunning = "raise",
    fresh: bool = False,
) -> Each[list[T]]: ...
def each(
    items: Any,
    *,
    name: str | None = None,
    key: Callable[[Any], str] | None = None,
    batch: int | None = None,
    once: bool = False,
    duplicates: Duplicates | None = None,
    max_crashes: int = limits.MAX_CRASHES,
    stop_after: int | Literal["auto"] | None = "auto",
    total: int | None = None,
    flush_ms: float = 0,
    max_age: float | None = None,
    if_running: IfRunning = "raise",
    fresh: bool = False,
) -> Each[Any]:
    """Iterate over `items`, each of them done once, however often the process is killed on the way.

        for venue in onward.each(venues):
            scrape(venue)

    An item is done when the loop asks for the next one; that is on disk before the next one is handed out. A pass that
    was interrupted continues at its first unfinished item; one that finished starts afresh. Items are recognised by
    their content, or by what `key(item)` returns, never by their position. `break`, Ctrl-C and a clean exit leave the
    item unfinished. An item in which the process died `max_crashes` times is parked, and the pass goes on. When item
    after item ends the program, the items are not what is wrong: then the pass stops with TooManyFailures, parks none
    of them and keeps its place. That is after 3 in a row if the pass has done none yet, else after 10; or
    `stop_after=5`, or None for never.
    Works with `for` and with `async for`, over whatever these take; `total` says how many items there are where
    the source cannot.

    `batch=100` hands out lists of up to so many items, which are done together in one commit; a death repeats at most
    one batch. Items are recorded one by one: another `batch` changes nothing of what is done. `once=True`: what is done
    is done for ever, over all passes (needs `name`). `duplicates` says what an item is that equals an earlier
    one: work of its own ("again", as it is without `key`), the same work ("skip", as it is with `key` and `once`), or
    an error. `flush_ms` groups the commits of tiny items: up to that much work is repeated after a crash.
    `max_age` (seconds) refuses to continue an older pass; `fresh=True` sets it aside. `if_running="wait"` waits for
    another process that runs this loop instead of raising AlreadyRunning.

    Raises UsageError, before anything is started, for options and sources that cannot be; NotRecordable for an
    item whose content cannot be taken (give `key`); RunConflict for another list under the name of an unfinished one;
    TooManyFailures when everything fails.

    Stepped by hand (`it = iter(onward.each(...))`, `next(it)`), an item is done when the next one is asked for, too;
    `it.close()`, or dropping it, leaves the last one unfinished and gives the run back.
    """
    checked_source(items, "each")
    checked_options(key, total, flush_ms=flush_ms, max_age=max_age)
    checked_stop_after(stop_after)
    checked_batch(batch, flush_ms)
    checked_once(once=once, name=name, max_age=max_age, fresh=fresh, duplicates=duplicates)
    if duplicates not in (None, "again", "skip", "error"):
        raise UsageError(
            f'duplicates={duplicates!r} is not possible: give "again", "skip" or "error"; nothing was started'
        )
    same = duplicates or ("skip" if once else None)
    options = _Options(
        own_key(items, key),
        Policy(max_crashes=max_crashes),
        stop_after,
        length(items, total),
        batch,
        flush_ms / 1000,
        max_age,
        if_running,
        same,
        once,
        fresh,
    )
    return Each(items, name, options, sys._getframe(1))


class _Options(NamedTuple):
    key: Callable[[Any], str] | None
    policy: Policy
    stop_after: int | Literal["auto"] | None
    total: int | None
    batch: int | None
    flush_s: float
    max_age_s: float | None
    if_running: IfRunning
    duplicates: Duplicates | None
    once: bool
    fresh: bool


class Each(Generic[T]):
    """What `each` returns: iterate over it once, directly. Nothing is begun before that."""

    def __init__(self, items: Any, name: str | None, options: _Options, frame: FrameType) -> None:
        self._items, self._options = items, options
        nested = current.peek() is not None
        self._name = loop_name(name, frame, "each") if not nested else checked_name(name) if name else ""
        if options.once and nested:
            raise UsageError(
                "once=True belongs to a loop of a script, not into a run: a key would be done for other runs too; "
                "nothing was started"
            )
        self._used = False
        self._numbered = name is None and not nested  # it stands for a place in the code, see `rounds`

    @property
    def once(self) -> bool:
        """Whether a key is done once over all passes."""
        return self._options.once

    def __length_hint__(self) -> int:
        return self._options.total or 0

    def __iter__(self) -> Iterator[T]:
        if hasattr(self._items, "__aiter__") and not hasattr(self._items, "__iter__"):
            raise UsageError("these items are asynchronous; use `async for item in onward.each(...)`")
        frame = sys._getframe(1)
        refuse_eager(frame)
        self._use()
        return self._walk_sync(None if steps_by_hand(frame) else frame)

    def __aiter__(self) -> AsyncIterator[T]:
        self._use()
        frame = sys._getframe(1)
        return AsyncWalk(self, self._items, None if steps_by_hand(frame) else frame)

    def _use(self) -> None:
        if self._used:
            raise UsageError("an onward.each(...) is iterated once; call onward.each again for another pass")
        self._used = True

    # -- the sync way --------------------------------------------------------------------------------------------

    def _walk_sync(self, frame: FrameType | None) -> Iterator[T]:
        refuse_running_ahead(sys._getframe(1))
        # Whoever steps by hand has the iterator in a variable of that frame: held here as well, neither would end when
        # it is dropped. An error of such a body is charged to no item.
        frame = None if steps_by_hand(sys._getframe(1)) else frame
        place = current.here(begins_run=True)
        known = self.ledger() if self.once else None
        source = iter(self._items) if known is None else from_first_new(known, iter(self._items))
        if source is None:
            return
        if place is not None:
            walk = self.nested(place)
        else:
            want = self._want()
            if self._numbered:
                fresh = self._options.fresh
                want, source = rounds.chosen(connect.engine(), want, self._items_of, source, fresh=fresh)
            got = self._obtain(want)
            if isinstance(got, Session) and got.rehearses:
                yield from self.rehearsed(got).over(source)
                return
            walk = self.entered(got, frame)
        if walk.over:
            return
        walk.expect_promptly(type(source) in PROMPT)
        try:
            for raw in source:
                for item in walk.admit(raw):
                    for handed in walk.pick(item):
                        if walk.perform(walk.hand_out(handed)):
                            yield handed.value
                            walk.perform(walk.take_back())
            for handed in walk.rest():
                if walk.perform(walk.hand_out(handed)):
                    yield handed.value
                    walk.perform(walk.take_back())
            walk.perform(walk.finish())
            self.finished(walk)
        finally:
            walk.leave()

    # -- beginning ---------------------------------------------------------------------------------------------

    def _want(self) -> Run:
        first = self._first
        # What is done once is counted over all passes: the length of this one says nothing about it.
        total = None if self._options.once else self._options.total
        identity = rounds.identity(connect.engine(), first) if self._numbered else first
        return wanted("loop", self._name, identity, total=total)

    @property
    def _first(self) -> str:
        return f"{'once' if self._options.once else 'loop'}:{self._name}"

    def finished(self, walk: Walk[T]) -> None:
        """The pass has come to its end; one with parked items is unfinished, and its next one goes on with it."""
        if self._numbered and walk.items is not None and not walk.items.parked:
            rounds.finished(connect.engine(), self._first)

    def ledger(self) -> Items | None:
        """With `once`: what is done already."""
        options = self._options
        want = self._want()
        return ledger(connect.engine(), want.identity, options.policy, options.key, options.duplicates)

    def _obtain(self, want: Run) -> Session | Run:
        options = self._options
        return obtain(
            connect.engine(),
            want,
            if_running=options.if_running,
            max_age_s=options.max_age_s,
            fresh=options.fresh,
        )

    async def obtain_async(self, source: Source[Any]) -> Session | Run:
        """The run, leased; or how it ended, if another process had it and was waited for."""
        options, want = self._options, self._want()
        if self._numbered:
            engine, fresh = connect.engine(), options.fresh
            want = await rounds.chosen_async(engine, want, self._items_of, source, fresh=fresh)
        return await obtain_async(
            connect.engine(),
            want,
            if_running=options.if_running,
            max_age_s=options.max_age_s,
            fresh=options.fresh,
        )

    def entered(self, session: Session | Run, frame: FrameType | None) -> Walk[T]:
        """The walk over a run of its own."""
        engine, options = connect.engine(), self._options
        if isinstance(session, Run):
            result_of(session)  # raises what the other process's pass came to, if that is an error
            return Walk(engine, None, None, None, frame)
        if not options.once:
            session.total = options.total
        walk: Walk[T] = Walk(
            engine,
            session,
            self._items_of(engine, session),
            None,
            frame,
            batch=options.batch,
            once=options.once,
        )
        try:
            sinks.complete(engine, session)
        except BaseException:
            walk.leave()
            raise
        return walk

    def rehearsed(self, session: Session) -> rehearsal.Rehearsal:
        """The pass over a run that is only replayed."""
        return rehearsal.of_loop(self._items_of(connect.engine(), session), self._options.batch)

    def nested(self, place: Here) -> Walk[T]:
        """The walk inside another run."""
        engine = connect.engine()
        if self._options.stop_after not in ("auto", None) and place.session.run.kind != "loop":
            raise UsageError(
                "stop_after= is for a loop of a script: inside of a workflow or map, that one decides. Leave it out; "
                "nothing was started"
            )
        unit = place.scope.next(f"each:{self._name}" if self._name else "each")
        items = self._items_of(engine, place.session, f"{unit}/", nested=True)
        sinks.complete(engine, place.session)
        return Walk(engine, place.session, items, place, None, batch=self._options.batch)

    def _items_of(
        self, engine: Engine, session: Session, prefix: str = "each/", *, nested: bool = False
    ) -> Items:
        options = self._options
        return Items(
            engine,
            session,
            prefix=prefix,
            name="each",
            policy=options.policy,
            key=options.key,
            nested=nested,
            flush_s=0.0 if nested else options.flush_s,
            duplicates=options.duplicates,
            stop_after=options.stop_after,
        )
