"""What sets programs of the same name apart in the user's own journal, where all folders without a project meet.

In a project, and in a journal that somebody chose, a name stands for the same work wherever the folder lies. The user's
own journal is nobody's choice: `scrape.py` in one folder has nothing to do with `scrape.py` in another, so what is
recorded there belongs to a folder as well.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from onward.api import connect
from onward.core import keys
from onward.core.model import Run

# Of its path: tells most others apart without a look at the environment.
_ENDING: Final = f"{os.sep}onward{os.sep}journal.db"


def is_shared(place: str) -> bool:
    """Whether the journal at this place is the user's own."""
    return place.endswith(_ENDING) and place == str(connect.users_own())


def of_program(place: str) -> str:
    """The folder that this program's runs belong to in the journal at `place`; empty where they belong to none."""
    return str(program_folder()) if is_shared(place) else ""


def of_person(place: str) -> str:
    """The same for somebody who types a command: the folder it is typed in, or that of the project around it."""
    return here() if is_shared(place) else ""


def here() -> str:
    """The present folder, or that of the project around it; empty if it was removed."""
    try:
        folder = Path.cwd()
    except OSError:
        return ""
    return str(connect.project_root(folder) or folder)


def program_folder() -> Path:
    """The folder of the program's main script, or of the project around it; of what is typed: where it is typed."""
    program = sys.modules.get("__main__")
    main = getattr(program, "__file__", None)
    folder = Path.cwd() if main is None or _is_ours(program, main) else Path(main).resolve().parent
    return connect.project_root(folder) or folder


def _is_ours(program: object, main: str) -> bool:
    """Whether it is the command `onward`: as a module, or as the script that an installation makes of `cli.main`."""
    if type(getattr(program, "main", None)).__module__.startswith("onward.cli"):
        return True
    return Path(main).resolve().is_relative_to(Path(__file__).resolve().parents[1])


def full_name(run: Run, seen_from: str | None = None) -> str:
    """The name of a run as it is typed in this folder, by default the present one: with its own, if that is another."""
    folder = keys.ground_of(run.identity)
    if not folder or folder == (here() if seen_from is None else seen_from):
        return run.name
    return os.path.join(folder, run.name)


def named(name: str, place: str) -> tuple[str, str]:
    """The folder and the name that somebody means who types `name`, or a name behind the path of a folder."""
    folder = of_person(place)
    if folder and os.path.isabs(name):
        folder, name = os.path.split(name)
    return folder, name
