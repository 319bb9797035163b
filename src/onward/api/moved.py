"""Notice that work begins anew only because its script was renamed or moved, and say what to type."""

from __future__ import annotations

import difflib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from onward.api import connect, ground
from onward.core import keys
from onward.core.model import Run, RunState
from onward.runtime import observe
from onward.storage import Store

_UNFINISHED: Final[tuple[RunState, ...]] = ("pending", "running", "waiting", "paused", "stuck", "failed")
_LOOKED_AT: Final = 500
# Workflows that were looked for: a program may begin thousands of runs of one.
_looked_for: set[str] = set()


def tell(store: Store, begun: Run) -> None:
    """Say it if there is an unfinished run that `begun`, which is new, seems to be under its former name."""
    if begun.kind == "workflow" and not _is_worth_a_look(begun):
        return
    before = left_behind(store, begun)
    if before is None:
        return
    here = keys.ground_of(begun.identity)
    old, new = (ground.full_name(run, here).partition(":")[0] for run in (before, begun))
    observe.say(
        f"{begun.name} begins anew, but {ground.full_name(before, here)} has an unfinished run and its script is not "
        f"there any more. If it was renamed or moved, stop this with Ctrl-C, then type: onward cancel {begun.id} && "
        f"onward rename {shlex.quote(old)} {shlex.quote(new)}; the same command then continues it"
    )


def left_behind(store: Store, begun: Run) -> Run | None:
    """The unfinished run that `begun` would be, had its script not been renamed or moved; None if there is none.

    Its name is that of a script that is not there any more, with the same function in it; the most similar one counts.
    In the user's own journal it may also be that of the same script in a folder where it is not any more.
    """
    found = dict(reversed([*_from_elsewhere(store, begun)]))  # the latest one counts
    if not found and begun.kind != "workflow":  # which is recognised by its function, wherever that stands
        found = dict(_renamed(store, begun))
    near = difflib.get_close_matches(begun.name.partition(":")[0], found, 1, 0.0)
    return found[near[0]] if near else None


def _is_worth_a_look(begun: Run) -> bool:
    """A workflow is looked for once, and only in the user's own journal: elsewhere it is at home everywhere."""
    if not keys.ground_of(begun.identity) or begun.name in _looked_for:
        return False
    _looked_for.add(begun.name)
    return True


def _from_elsewhere(store: Store, begun: Run) -> Iterator[tuple[str, Run]]:
    """Runs of the same work, of a folder in which this program's script does not lie any more."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    if main is None or not keys.ground_of(begun.identity):
        return
    for run in store.runs(states=_UNFINISHED, limit=_LOOKED_AT, name=begun.name):
        folder = keys.ground_of(run.identity)
        same = run.identity == keys.grounded(begun.identity, folder)
        if same and run.id != begun.id and folder and not (Path(folder) / Path(main).name).exists():
            yield begun.name.partition(":")[0], run


def _renamed(store: Store, begun: Run) -> Iterator[tuple[str, Run]]:
    """The latest run of each script that is not there any more, and had the same function in it."""
    script, _, function = begun.name.partition(":")
    folder = keys.ground_of(begun.identity)
    root = Path(folder) if folder else connect.project_root(ground.program_folder())
    if root is None or not script.endswith(".py") or not (root / script).is_file():
        return
    known: set[str] = set()
    for run in store.runs(states=_UNFINISHED, limit=_LOOKED_AT):
        other, _, there = run.name.partition(":")
        same = run.direct and (run.kind, there) == (begun.kind, function) and other != script
        same = same and keys.ground_of(run.identity) == folder and other not in known
        if same and other.endswith(".py") and not (root / other).exists():
            known.add(other)
            yield other, run
