"""What the programs of `programs_manners` must come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crash.scenes import Scene


def _once(moment: Any, folder: Path) -> Iterable[str]:
    """Nothing that is at most once was executed to its end twice, in all lives together."""
    done = Counter(
        (line["run"], line["key"])
        for line in moment.effects
        if line["at"] == "after" and line["key"].startswith("charge")
    )
    for (_, key), count in done.items():
        if count > 1:
            yield f"{key} was executed {count} times"


def _beats(moment: Any, folder: Path) -> Iterable[str]:
    """Heartbeats are recorded in the order in which they were said, each once."""
    said: dict[tuple[str, str], list[str]] = {}
    for row in moment.rows:
        if row.kind == "beat":
            unit = row.key.rpartition(" > ")[0]
            said.setdefault((row.run, unit), []).append(row.key.rpartition("~")[2])
    for (_, key), numbers in said.items():
        if numbers != [str(n) for n in range(1, len(numbers) + 1)]:
            yield f"the heartbeats of {key} are numbered {numbers}"


SCENES = (
    Scene("heartbeats", [4, 40], {"step": 2, "beat": 4}, also=_beats),
    Scene("heartbeats_riding", None, {"item": 4, "beat": 4}, begins=True, silent=True, also=_beats),
    Scene(
        "once", ["receipt of charge#1", "receipt of charge#2", "receipt of charge#3"], {"step": 3}, also=_once
    ),
    Scene(
        "once_async",
        ["receipt of charge_async#1", "receipt of charge_async#2", "20"],
        {"step": 3},
        also=_once,
    ),
    Scene("deadline", [10, "over", 30], {"step": 2, "value": 4}),
    Scene("asked", [10, 20], {"step": 2}),
    Scene("timed_out", [10, 20], {"step": 2}),
    Scene("isolated", [10, 20], {"step": 2}, slow=True),
)
