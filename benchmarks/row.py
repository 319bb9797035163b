"""One line of the table: what was measured, against which floor, and whether it meets its target."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

# A target that is missed by less than this is reported and does not fail the run: medians on a shared machine move.
SLACK: Final = 0.15
# Of a row that is measured for information only.
NO_TARGET: Final = "–"


@dataclass(frozen=True)
class Row:
    """`value` is held against `bound`; `measured`, `floor` and `target` say it for people."""

    what: str
    floor: str
    measured: str
    target: str
    value: float
    bound: float
    at_least: bool = False  # whether the bound is the smallest good value, not the largest

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    @property
    def failed(self) -> bool:
        """Missed by more than the slack. A bound of zero has none: it counts what must never happen."""
        if self.at_least:
            return self.value < self.bound * (1 - SLACK)
        return self.value > self.bound * (1 + SLACK)

    @property
    def verdict(self) -> str:
        if self.target == NO_TARGET:
            return NO_TARGET
        return "met" if self.met else "MISSED" if self.failed else "missed, within 15 %"


def dumped(rows: list[Row]) -> str:
    return json.dumps([asdict(row) for row in rows])


def loaded(text: str) -> list[Row]:
    return [Row(**fields) for fields in json.loads(text)]


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table with aligned columns."""
    head = ("what", "floor in the same run", "measured", "target", "verdict")
    cells = [head, *((r.what, r.floor, r.measured, r.target, r.verdict) for r in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(head))]
    lines = [
        "| " + " | ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])
