"""`onward replay` as a person would type it, and what it must leave as it was."""

import os
import subprocess
import sys

from onward.storage.open import open_store
from surfaces.conftest import Programs


def replay(programs: Programs, *words: str, typed: str = "") -> "subprocess.CompletedProcess[str]":
    """`onward replay` as a person would type it, and a check that the world and the journal are as before."""
    before = traces(programs)
    done = subprocess.run(
        [sys.executable, "-m", "onward.cli", "replay", *words],
        cwd=programs.folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert traces(programs) == before, "a replay leaves no trace"
    assert "Traceback" not in done.stderr, done.stderr
    return done


def traces(programs: Programs) -> object:
    """What was done, and all that is recorded."""
    world = programs.folder / "world.txt"
    store = open_store(f"sqlite:///{programs.folder / 'journal.db'}")
    try:
        rows = [(run, store.entries(run.no), store.begun(run.no)) for run in store.runs()]
    finally:
        store.close()
    return world.read_text() if world.exists() else "", rows
