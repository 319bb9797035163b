"""The process that is recorded: runs one program of the crash corpus with the recorder preloaded.

Orders come as one JSON argument. The program's own logs (see crash/world.py) lie below the recorded folder: what they
say of acknowledged calls stands in the trace where it happened.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

from crash import corpus, programs
from onward.api import connect
from onward.core import limits
from onward.runtime.engine import Engine
from onward.storage.sqlite.store import SqliteStore


def main(order: dict[str, Any]) -> None:
    recorder = ctypes.CDLL(os.environ.pop("LD_PRELOAD"))
    folder = Path(order["folder"])
    os.chdir(folder)
    os.umask(0o077)
    journal = Path(order["journal"])
    os.environ["ONWARD_URL"] = f"sqlite:///{journal}"
    corpus.modules("programs")
    recorder.record_begin(str(folder).encode(), order["trace"].encode())
    programs.world.enter(folder, 1)
    if order["durability"] == "process":
        connect._engine = Engine(SqliteStore(journal, durability="process"))
    if order["tidies"]:
        _tidy_now_and_then()
    programs.world.returned(corpus.program(order["program"])())
    connect.disconnect()


def _tidy_now_and_then() -> None:
    """Checkpoints, after which the log starts over: so short a life would see none."""
    limits.WAL_PAGES = 40  # type: ignore[misc]
    effect, times = programs.world.effect, iter(range(1_000_000))

    def tidying(**how: Any) -> object:
        if next(times) % 3 == 2:
            connect.engine().store.tidy()
        return effect(**how)

    programs.world.effect = tidying  # type: ignore[assignment,method-assign]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
