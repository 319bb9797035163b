"""What the programs of `programs_sources` must come to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from crash.scenes import Scene


def _cursor_at(moves_of_a_run: int) -> Callable[[Any, Path], Iterator[str]]:
    def judge(moment: Any, folder: Path) -> Iterator[str]:
        """Every finished run has moved the cursor as often as it says: no move is lost, none is made twice."""
        [cursor] = [run for run in moment.runs.values() if run["identity"].startswith("cursor:")]
        others = [run for run in moment.runs.values() if run is not cursor]
        row = json.loads(cursor["result"] or "{}")
        if row.get("value") != moves_of_a_run * len(others):
            yield f"the cursor stands at {row} after {len(others)} runs of {moves_of_a_run} moves"

    return judge


SCENES = (
    Scene(
        "batches",
        None,
        {"item": 10, "value": 1},
        concurrency=3,
        begins=True,
        rows=tuple({"x": x} for x in range(10)),
    ),
    Scene("batches_replayed", 10, {"item": 5, "step": 5}, silent=True),
    Scene("once_for_ever", None, {"item": 5}, begins=True, silent=True, ends="waiting"),
    Scene("cursor_with_items", None, {"item": 5}, begins=True, silent=True, also=_cursor_at(5)),
    Scene("cursor_in_workflow", 4, {"step": 4, "value": 5}, silent=True, also=_cursor_at(4)),
)
