"""SIGKILL at lines: which lines a program executes, undisturbed and when it recovers, and stories that end at them.

A line's first visit and its last are the points: what it is like before the first outcome and after the last. A kill
leaves the disk and nothing else, so all points between two calls that write are one *state*, and have one story: that
of a real kill at one of them. `Atlas` chooses which.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

from crash.corpus import BY_NAME
from crash.harness import KILL, Plan, Server, Tally, story
from crash.scenes import Scene
from crash.tracer import EVERY

_COUNTED: Final = Plan(line=EVERY)


class Visits(NamedTuple):
    """How often a line was visited, and how many writing calls had been begun at its first visit and at its last."""

    count: int
    first: int
    last: int


class Point(NamedTuple):
    """A place to die at, in one of the lives of a chart."""

    line: str
    visit: int
    life: int = 0
    state: int = 0

    @property
    def recovering(self) -> bool:
        """Whether the program has been killed before."""
        return self.life > 0

    def __str__(self) -> str:
        return f"{self.line}, visit {self.visit}{f', in recovery {self.life}' if self.recovering else ''}"


@dataclass
class Life:
    """The lines of one execution: undisturbed, or after a first kill."""

    killed: Plan | None
    visits: dict[str, Visits]


@dataclass
class Chart:
    """The lines of one scene: undisturbed, after a kill halfway, and after kills elsewhere."""

    scene: Scene
    lives: list[Life]

    @property
    def undisturbed(self) -> dict[str, Visits]:
        return self.lives[0].visits

    def points(self) -> list[Point]:
        """First and last visit of every line; of a later recovery, of the lines that no earlier one has executed."""
        found: list[Point] = []
        recovered: set[str] = set()
        for number, life in enumerate(self.lives):
            for line, (count, first, last) in life.visits.items():
                if line in recovered:
                    continue
                found.append(Point(line, 1, number, first))
                if count > 1:
                    found.append(Point(line, count, number, last))
            if number:
                recovered |= life.visits.keys()
        return found

    def plans(self, point: Point) -> list[Plan]:
        plan = Plan(line=point.line, visit=point.visit)
        killed = self.lives[point.life].killed
        return [plan] if killed is None else [killed, plan]

    def written(self) -> dict[str, Any]:
        return {"scene": self.scene.name, "lives": [asdict(life) for life in self.lives]}


def read_chart(written: dict[str, Any]) -> Chart:
    """What `Chart.written` gave, after it was JSON."""
    lives = [
        Life(
            None if life["killed"] is None else Plan(**life["killed"]),
            {line: Visits(*visits) for line, visits in life["visits"].items()},
        )
        for life in written["lives"]
    ]
    return Chart(BY_NAME[written["scene"]], lives)


def chart(server: Server, scene: Scene, *, recoveries: int = 1) -> Chart:
    """Run the scene once undisturbed, and after that many first kills: one halfway, the others evenly spread."""
    folder = server.fresh()
    lives = [Life(None, _noted(server, scene, 1, folder))]
    notes = (folder / "notes.1").read_text().splitlines()
    calls = int((folder / "count.1").read_text())
    shutil.rmtree(folder)
    # Effects that happen in processes of their own are not counted: then half of the calls have returned.
    log = "effects.log" if "w effects.log" in notes else "acks.log"
    halfway = Plan(notes.count(f"w {log}") // 2 + 1, KILL, letters="w", name_end=log)
    elsewhere = [Plan(calls * n // recoveries, KILL) for n in range(1, recoveries)]
    for plan in [halfway, *elsewhere][:recoveries]:
        folder = server.fresh()
        ending = server.run(folder, scene.name, 1, plan)
        # Where threads take turns by chance, a run may have fewer calls than the one before.
        if ending["how"] == "killed":
            lives.append(Life(plan, _noted(server, scene, 2, folder)))
        else:
            assert plan is not halfway, f"{scene.name}: {plan} came never; it ended: {ending}"
        shutil.rmtree(folder)
    return Chart(scene, lives)


def _noted(server: Server, scene: Scene, phase: int, folder: Path) -> dict[str, Visits]:
    ending = server.run(folder, scene.name, phase, _COUNTED)
    assert (ending["how"], ending["code"]) == ("ended", 0), f"{scene.name}, traced, ended: {ending}"
    noted = json.loads((folder / f"lines.{phase}").read_text())
    return {line: Visits(*visits) for line, visits in noted.items()}


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


class Place(NamedTuple):
    """What is to be tried at least once in the corpus: a line, at its first visit or at its last."""

    line: str
    last: bool


def place(point: Point) -> Place:
    return Place(point.line, point.visit > 1)


class Atlas:
    """All charts, and of each scene the points that are tried: every state of the disk that its points leave, by one of
    them, and every place of the corpus, in one of the scenes that have it.

    Of a slow scene every so many states, and of what it alone executes the first visit: the rest is tried elsewhere.
    """

    def __init__(self, charts: Iterable[Chart], seed: int, *, slow_share: int = 1) -> None:
        self.charts = {chart.scene.name: chart for chart in charts}
        self._seed, self._slow_share = seed, slow_share
        self._chosen: dict[str, list[Point]] = {name: [] for name in self.charts}
        self._tried: set[Place] = set()
        for name in sorted(self.charts, key=lambda name: self.charts[name].scene.slow):
            self._choose_states(name)
        self._choose_places()

    def states(self, name: str) -> dict[tuple[int, int], list[Point]]:
        """The points of the scene by the state of the disk that they leave: life, and number of writing calls."""
        found: dict[tuple[int, int], list[Point]] = {}
        for point in self.charts[name].points():
            found.setdefault((point.life, point.state), []).append(point)
        return found

    def places(self) -> set[Place]:
        """All there are, but for last visits that only slow scenes have."""
        return {
            place(point)
            for chart in self.charts.values()
            for point in chart.points()
            if not (chart.scene.slow and place(point).last)
        }

    def points(self, name: str) -> list[Point]:
        """Those of the scene that are tried."""
        return self._chosen[name]

    def _choose_states(self, name: str) -> None:
        share = self._slow_share if self.charts[name].scene.slow else 1
        for points in list(self.states(name).values())[::share]:
            # One whose place has not been tried, if there is one; else by the seed's choice.
            self._choose(name, min(points, key=lambda p: (place(p) in self._tried, self._lot(name, p))))

    def _choose_places(self) -> None:
        having: dict[Place, list[tuple[str, Point]]] = {}
        for name, chart in self.charts.items():
            for point in chart.points():
                if place(point) not in self._tried and not (chart.scene.slow and place(point).last):
                    having.setdefault(place(point), []).append((name, point))
        for found in having.values():
            # Slow scenes have what no other one has.
            quick = [one for one in found if not self.charts[one[0]].scene.slow] or found
            self._choose(*min(quick, key=lambda one: self._lot(*one)))

    def _choose(self, name: str, point: Point) -> None:
        self._chosen[name].append(point)
        self._tried.add(place(point))

    def _lot(self, name: str, point: Point) -> bytes:
        return blake2b(f"{self._seed}/{name}/{point}".encode()).digest()


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
