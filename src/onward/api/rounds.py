"""Which pass a loop or map without a name of its own is: a program may come to the same place in its code again.

    for city in cities:
        for venue in onward.each(venues_of(city)):

The passes that this process has finished there are counted, and each has an identity of its own: killed in the third,
the script comes to its third one again and continues that. A program that looks for new work for ever comes there as
its first, though: so where the pass of this number has nothing to continue, an unfinished one of another number is
continued whose items the list brings. Where it brings none of them, that one is kept for its own list.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

from onward.api.source import Source
from onward.core import keys, limits
from onward.core.claiming import may_claim
from onward.core.lazily import Lazily
from onward.core.model import Run, RunState
from onward.runtime import observe
from onward.runtime.engine import Engine
from onward.runtime.items import Items
from onward.runtime.session import Session

if TYPE_CHECKING:
    from onward.api import held
else:
    held = Lazily("onward.api.held")

_UNFINISHED: Final[tuple[RunState, ...]] = ("pending", "running", "waiting", "paused", "stuck", "failed")
# Unfinished passes of one place that are looked at: each of them was left by a process that died there.
_LOOKED_AT: Final = 20

_finished: dict[tuple[str, str], int] = {}
_told: set[str] = set()
_lock = threading.Lock()

ItemsOf = Callable[[Engine, Session], Items]


def identity(engine: Engine, first: str) -> str:
    """What the next pass is recognised by; `first` is what the first one of a process is recognised by."""
    number = _finished.get((engine.store.place, first), 0) + 1
    return first if number == 1 else f"{first}{keys.SEPARATOR}{number}"


def finished(engine: Engine, first: str) -> None:
    """A pass has come to its end with nothing left to do."""
    with _lock:
        at = (engine.store.place, first)
        _finished[at] = _finished.get(at, 0) + 1


def chosen(
    engine: Engine, want: Run, items_of: ItemsOf, source: Iterator[Any], *, fresh: bool
) -> tuple[Run, Iterator[Any]]:
    """The run that this pass is to continue or begin, and the source as it was."""
    others = Others(engine, want, items_of, fresh=fresh)
    if not others.undecided:
        return others.want, source
    looked = []
    for raw in islice(source, limits.STRANGERS):
        looked.append(raw)
        if others.recognise(raw):
            break
    return others.decided(), chain(looked, source)


async def chosen_async(
    engine: Engine, want: Run, items_of: ItemsOf, source: Source[Any], *, fresh: bool
) -> Run:
    """As `chosen`; the source stands where it stood."""
    others = Others(engine, want, items_of, fresh=fresh)
    looked: list[Any] = []
    while others.undecided and len(looked) < limits.STRANGERS:
        try:
            looked.append(await source.next())
        except StopAsyncIteration:
            break
        others.recognise(looked[-1])
    for raw in looked:
        source.put_back(raw)
    return others.decided()


class Others:
    """The unfinished passes of the same place, if there is none of this number."""

    def __init__(self, engine: Engine, want: Run, items_of: ItemsOf, *, fresh: bool) -> None:
        self.want = want
        self._engine = engine
        self._open: list[tuple[Run, Items]] = []
        if fresh or os.environ.get("ONWARD_FRESH") == "1" or engine.store.open_run(want.identity) is not None:
            return
        if held.some_moved():
            return  # a source that begins where a cursor stands gives the same page until that moves
        found = self._found()
        taken = next((run for run in found if not self._is_free(run)), None)
        if taken is not None:
            self._continue(taken)  # to be told that somebody is at it
        else:
            self._open = [(run, items_of(engine, self._looked_at(run))) for run in found]

    @property
    def undecided(self) -> bool:
        """Whether the items of the list have to tell."""
        return bool(self._open)

    def recognise(self, raw: Any) -> bool:
        """Whether this item decides it."""
        run = next((run for run, items in self._open if items.is_known(raw)), None)
        if run is not None:
            self._continue(run)
        return run is not None

    def decided(self) -> Run:
        """The run to be continued or begun, all told."""
        for run, items in self._open[:1]:
            if run.id in _told:
                break
            _told.add(run.id)
            observe.say(
                f"{run.name}: this is another list than that of the unfinished pass {run.id}, at "
                f"{items.session.done:,}; that one is kept, and continued when its list comes"
            )
        return self.want

    def _found(self) -> Sequence[Run]:
        want, store = self.want, self._engine.store
        found = store.runs(states=_UNFINISHED, name=want.name, limit=_LOOKED_AT)
        return [run for run in found if run.direct and run.kind == want.kind and _place(run) == _place(want)]

    def _is_free(self, run: Run) -> bool:
        now = self._engine.store.now()
        return may_claim(run, now=now, owner_is_dead=self._engine.is_dead(run))

    def _looked_at(self, run: Run) -> Session:
        session, store = self._engine.ended(run), self._engine.store
        session.begun.update((one.key, one) for one in store.begun(run.no))
        session.done = run.done + store.count_items(run.no, run.counted_seq)
        return session

    def _continue(self, run: Run) -> None:
        self.want = self.want._replace(identity=run.identity)
        self._open = []


def _place(run: Run) -> tuple[str, str]:
    """The place in the code that a run belongs to, whatever the number of its pass."""
    return keys.grounded(run.identity, "").partition(keys.SEPARATOR)[0], keys.ground_of(run.identity)
