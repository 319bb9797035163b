"""What the programs of `programs_maps` must come to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crash.scenes import Scene


def _one_of_a_key_at_a_time(moment: Any, folder: Path) -> Iterator[str]:
    """In no phase did an item begin while another one of its key (its number modulo 2) was at work."""
    at_work: dict[tuple[int, int], str] = {}
    for line in moment.effects:
        lane = (line["phase"], int(line["key"].rpartition("v")[2]) % 2)
        other = at_work.pop(lane, line["key"])
        if other != line["key"]:
            yield f"{line['key']} was at work together with {other}"
        if line["at"] == "before":
            at_work[lane] = line["key"]
            if line["key"].endswith("v3") and line["attempt"] == 1:
                del at_work[lane]  # this attempt fails, and has no end


RESULT = [0, 10, 20, 30, 40, 50, 60, 70]
SCENES = (
    Scene("map_keys", RESULT, {"item": 8}, concurrency=3, parallel=True, also=_one_of_a_key_at_a_time),
    Scene("map_keys_async", RESULT, {"item": 8}, concurrency=3, parallel=True, also=_one_of_a_key_at_a_time),
    Scene("map_pool", RESULT[:6], {"item": 6}, concurrency=2, parallel=True),
    Scene("map_processes", RESULT[:6], {"item": 6}, concurrency=2, parallel=True, forks=True),
)
