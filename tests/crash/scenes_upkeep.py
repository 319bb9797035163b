"""What the programs of `programs_upkeep` must come to: runs that were carried or renamed are whole and there once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crash.scenes import Scene


def _runs(*wanted: str) -> Any:
    def judge(moment: Any, folder: Path) -> Iterator[str]:
        """There is one run of each name or id that is wanted."""
        found = sorted(
            run["id"] if run["kind"] == "workflow" else run["name"] for run in moment.runs.values()
        )
        if found != sorted(wanted):
            yield f"the runs are {found}, not {sorted(wanted)}"
        left = [path.name for path in folder.rglob("*.part")]
        if left:
            yield f"half a file was left: {left}"

    return judge


SCENES = (
    Scene("exported", [10, 20], {"step": 2}, silent=True, also=_runs("order-1", "order-3")),
    Scene("moved", [70, 80], {"step": 2}, silent=True, also=_runs("order-7")),
    Scene("upgraded", "00000000-0000-0000-0000-000000000007", {}, silent=True, also=_runs("the-one")),
    Scene("backed_up", [10, 20], {"step": 2}, silent=True, also=_runs("order-1", "order-3")),
    Scene("cleared", None, {"item": 2}, silent=True),
    Scene("renamed", None, {"item": 4}, concurrency=2, begins=True, silent=True, again=1),
    # What has failed is tried again by whoever calls after a kill, and once more by hand, beside what was in hand.
    Scene("parked", [0, 10, 20, None], {"item": 4}, concurrency=5, parallel=True, silent=True, again=1),
)
