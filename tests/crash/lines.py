"""SIGKILL at lines: which lines a program executes, undisturbed and when it recovers, and stories that end at them.

Between two system calls memory changes without a trace on the disk; whoever dies there must leave nothing half done
either. A line's first visit and its last are the points: what it is like before the first outcome and after the last.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from crash.harness import KILL, Plan, Server, Tally, story
from crash.scenes import Scene
from crash.tracer import EVERY

_COUNTED: Final = Plan(line=EVERY)


class Point(NamedTuple):
    """A place to die at: in the first phase, or in the second after the first was killed halfway."""

    line: str
    visit: int
    recovering: bool

    def __str__(self) -> str:
        return f"{self.line}, visit {self.visit}{', while recovering' if self.recovering else ''}"


@dataclass
class Chart:
    """The lines of one scene with their visits."""

    scene: Scene
    undisturbed: dict[str, int]
    recovery: dict[str, int]
    halfway: Plan  # the kill that recovery comes after

    def points(self) -> list[Point]:
        """First and last visit of every line."""
        found = []
        for recovering, visits in ((False, self.undisturbed), (True, self.recovery)):
            for line, count in visits.items():
                found += [Point(line, visit, recovering) for visit in sorted({1, count})]
        return found

    def plans(self, point: Point) -> list[Plan]:
        plan = Plan(line=point.line, visit=point.visit)
        return [self.halfway, plan] if point.recovering else [plan]


def chart(server: Server, scene: Scene, *, recovers: bool = True) -> Chart:
    """Run the scene once undisturbed and, if it `recovers`, once after a kill halfway, and note its lines."""
    folder = server.fresh()
    whole = _counted(server, scene, 1, folder)
    notes = (folder / "notes.1").read_text().splitlines()
    # Effects that happen in processes of their own are not counted: then half of the calls have returned.
    log = "effects.log" if "w effects.log" in notes else "acks.log"
    effects = notes.count(f"w {log}")
    shutil.rmtree(folder)
    halfway = Plan(effects // 2 + 1, KILL, letters="w", name_end=log)
    if not recovers:
        return Chart(scene, whole, {}, halfway)
    folder = server.fresh()
    ending = server.run(folder, scene.name, 1, halfway)
    assert ending["how"] == "killed", f"{scene.name} has {effects} writes of effects, and ended: {ending}"
    rest = _counted(server, scene, 2, folder)
    shutil.rmtree(folder)
    return Chart(scene, whole, rest, halfway)


def _counted(server: Server, scene: Scene, phase: int, folder: Path) -> dict[str, int]:
    ending = server.run(folder, scene.name, phase, _COUNTED)
    assert (ending["how"], ending["code"]) == ("ended", 0), f"{scene.name}, traced, ended: {ending}"
    visits: dict[str, int] = json.loads((folder / f"lines.{phase}").read_text())
    return visits


# -- choosing -----------------------------------------------------------------------------------------


def sample(chart: Chart, count: int, seed: int) -> list[Point]:
    """So many points of the scene, spread over its files: one of each in turn, two of three in an undisturbed run."""
    chance = random.Random(f"{seed}/{chart.scene.name}")
    first = _spread([p for p in chart.points() if not p.recovering], chance)
    second = _spread([p for p in chart.points() if p.recovering], chance)
    again = count // 3
    return first[: count - again] + second[:again]


def _spread(points: Sequence[Point], chance: random.Random) -> list[Point]:
    by_file: dict[str, list[Point]] = {}
    for point in points:
        by_file.setdefault(point.line.rpartition(":")[0], []).append(point)
    queues = list(by_file.values())
    for queue in queues:
        chance.shuffle(queue)
    chance.shuffle(queues)
    longest = max((len(queue) for queue in queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]


class Atlas:
    """All charts. Every line of the corpus is tried in one of the scenes that have it, by the seed's choice."""

    def __init__(self, charts: Iterable[Chart], seed: int) -> None:
        self.charts = {chart.scene.name: chart for chart in charts}
        self._scene_of: dict[tuple[str, bool], str] = {}
        having: dict[tuple[str, bool], list[str]] = {}
        for name, chart in self.charts.items():
            for point in chart.points():
                having.setdefault((point.line, point.recovering), []).append(name)
        for place, names in having.items():
            # Slow scenes have what no other one has.
            quick = [name for name in names if not self.charts[name].scene.slow] or names
            self._scene_of[place] = min(
                quick, key=lambda name: blake2b(f"{seed}/{place}/{name}".encode()).digest()
            )

    def places(self) -> set[tuple[str, bool]]:
        """(line, whether recovering) of all lines."""
        return set(self._scene_of)

    def points(self, name: str) -> list[Point]:
        """The part of the scene with this name."""
        return [p for p in self.charts[name].points() if self._scene_of[p.line, p.recovering] == name]


# -- killing ------------------------------------------------------------------------------------------


def kill_at(
    server: Server, chart: Chart, points: Sequence[Point], seed: int, *, until_broken: bool = False
) -> Tally:
    """The story of each point."""
    lines = {point.line for point in points}
    files = {line.rpartition(":")[0] for line in lines}
    tally = Tally(f"{chart.scene.name}, killed at {len(lines)} lines of {len(files)} files", seed)
    for point in points:
        plans = chart.plans(point)
        tally.wanted += len(plans)
        story(server, chart.scene, plans, str(point), tally)
        if until_broken and tally.broken:
            break
    return tally
