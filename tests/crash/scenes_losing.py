"""What the programs of `programs_losing` must come to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crash.scenes import Scene


def _stopped_in_time(moment: Any, folder: Path) -> Iterator[str]:
    """No third item was begun in the outage, and what it had parked in vain is open again, whatever came between."""
    begun = {line["key"] for line in moment.effects if line["at"] == "failed"}
    if not {"each/0"} <= begun <= {"each/0", "each/1"}:
        yield f"{sorted(begun)} were begun in the outage"
    parked: set[str] = set()
    for row in moment.rows:
        if row.state == "failed":
            parked.add(row.key)
        elif row.state == "reopened":
            parked.discard(row.key)
    yield from (f"{key} stayed parked" for key in parked)


SCENES = (
    # Three executions of the first item and one of the second stop it; a life that ends between the stop and the
    # mending makes another such round. Each of these exceptions is charged as a death of the program, which it is.
    Scene(
        "loop_breaker",
        "mended",
        {"item": 5},
        concurrency=10,
        begins=True,
        silent=True,
        again=8,
        blames=6,
        also=_stopped_in_time,
    ),
)
