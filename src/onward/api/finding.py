"""Which run of a journal is meant by what a person types: its id, the beginning of that, or its name.

A whole id or a name finds any run; for all else the latest ones are looked through. What fits several runs, or none, is
refused with what comes nearest.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Final

from onward.api import ground
from onward.core import keys, limits
from onward.core.errors import RunNotFound, UsageError
from onward.core.model import Run, RunState
from onward.core.texts import plain
from onward.core.timeline import ShownState
from onward.storage import Store

# Runs looked through for an abbreviated id or a text; beyond it the full id is needed.
_LOOKED_THROUGH: Final = 20_000
_PAGE: Final = 500


class Finder:
    """Finds runs of a journal."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def run(self, wanted: str) -> Run:
        """The run of this id, of the only id that begins so, or the latest one of this name."""
        shown = plain(wanted, 80)
        if not wanted.isprintable() or not 0 < len(wanted) <= limits.NAME_CHARS:
            raise RunNotFound(shown, self._store.place)
        run = self._store.run(wanted)
        if run is not None:
            return run
        named = self._latest_named(wanted)
        if named is not None:
            return named
        begins = [run for run in self.walk((), None) if run.id.startswith(wanted)]
        if len(begins) == 1:
            return begins[0]
        if begins:
            listed = ", ".join(run.id for run in begins[:3]) + (", …" if len(begins) > 3 else "")
            raise UsageError(
                f"`{shown}` fits {len(begins)} runs ({listed}); nothing was changed. Type more of the id."
            )
        raise RunNotFound(shown, self._store.place, self._near(wanted))

    def _latest_named(self, wanted: str) -> Run | None:
        """The latest run of this name; in the user's own journal the one of this folder, if there is one."""
        folder, name = ground.named(wanted, self._store.place)
        found = self._store.runs(name=name, limit=_PAGE if folder else 1)
        here = [run for run in found if not folder or keys.ground_of(run.identity) == folder]
        return next(iter(here or (found if name == wanted else ())), None)

    def _near(self, wanted: str) -> str | None:
        names = [name for run in self._store.runs(limit=_PAGE) for name in (run.id, run.name)]
        near = difflib.get_close_matches(wanted, names, 1, 0.5)
        return plain(near[0]) if near else None

    def walk(self, states: Sequence[ShownState], name: str | None) -> Iterator[Run]:
        """The latest runs in these states and of this name, newest first; an interrupted one counts as running."""
        before: int | None = None
        if name is not None and not name.isprintable():
            return  # what no run can be called, no journal can be asked for
        stored = _stored_states(states)
        for _ in range(_LOOKED_THROUGH // _PAGE):
            page = self._store.runs(states=stored, name=name, limit=_PAGE, before_no=before)
            yield from page
            if len(page) < _PAGE:
                return
            before = page[-1].no

    def containing(self, text: str, states: Sequence[ShownState], name: str | None) -> Iterator[Run]:
        """As `walk`, those with `text` in their id, name, arguments or error, whatever its case."""
        wanted = text.casefold()
        for run in self.walk(states, name):
            texts = (run.id, run.name, run.args or "", run.error or "")
            if any(wanted in one.casefold() for one in texts):
                yield run


def _stored_states(states: Sequence[ShownState]) -> list[RunState]:
    return list({"running" if state == "interrupted" else state for state in states})
