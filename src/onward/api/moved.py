"""Notice that a loop begins anew only because its script was renamed or moved, and say what to type."""

from __future__ import annotations

import difflib
import shlex
import sys
from pathlib import Path
from typing import Final

from onward.api.connect import project_root
from onward.core.model import Run, RunState
from onward.runtime import observe
from onward.storage import Store

_UNFINISHED: Final[tuple[RunState, ...]] = ("pending", "running", "waiting", "paused", "stuck", "failed")
_LOOKED_AT: Final = 500


def tell(store: Store, begun: Run) -> None:
    """Say it if there is an unfinished run that `begun`, which is new, seems to be under its former name."""
    before = left_behind(store, begun)
    if before is None:
        return
    old, new = (shlex.quote(run.name.partition(":")[0]) for run in (before, begun))
    observe.say(
        f"{begun.name} begins anew, but {before.name} has an unfinished run and its script is not there any more. If "
        f"it was renamed, stop this with Ctrl-C, then type: onward cancel {begun.id} && onward rename {old} {new}; the "
        f"same command then continues it"
    )


def left_behind(store: Store, begun: Run) -> Run | None:
    """The unfinished run that `begun` would be, had its script not been renamed or moved; None if there is none.

    Its name is that of a script that is not there any more, with the same function in it; the most similar one counts.
    """
    script, _, function = begun.name.partition(":")
    root = _root()
    if root is None or not script.endswith(".py") or not (root / script).is_file():
        return None
    gone: dict[str, Run] = {}
    for run in store.runs(states=_UNFINISHED, limit=_LOOKED_AT):
        other, _, there = run.name.partition(":")
        same = run.direct and (run.kind, there) == (begun.kind, function) and other != script
        if same and other.endswith(".py") and not (root / other).exists():
            gone.setdefault(other, run)
    near = difflib.get_close_matches(script, gone, 1, 0.0)
    return gone[near[0]] if near else None


def _root() -> Path | None:
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    return project_root(Path(main).resolve().parent if main else Path.cwd())
