"""SIGKILL at the first and at the last visit of every line of the product and of the programs, also while recovering.

A fixed sample of more than 500 points on every change. In the full set every state of the disk that a kill at any of
these points leaves, in every program, and every line of the corpus in one of the programs that execute it.
`ONWARD_CRASH_SEED` chooses others.
"""

import fcntl
import json
import math
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from crash.corpus import BY_NAME, SCENES
from crash.harness import HERE, KILL, Plan, Server, Tally
from crash.lines import (
    Atlas,
    Chart,
    Life,
    Point,
    Visits,
    chart,
    kill_at,
    place,
    read_chart,
    sample,
)
from crash.oracle import look
from crash.scenes import Scene
from crash.test_kills import ALL, SEED, Tell

pytestmark = [pytest.mark.important]
SAMPLE = 520
SLOW = 4
PER_SCENE = math.ceil((SAMPLE - SLOW) / sum(not scene.slow for scene in SCENES))
# First kills after which a recovery is charted. The lines of recovery differ little by where the kill fell.
RECOVERIES = 7
# Of a slow scene one in so many states is tried.
SLOW_SHARE = 8


@pytest.fixture(scope="session")
def atlas(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """Charts are drawn once: all test processes must choose from the same ones, or points would be left out."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with open(shared / "charts.lock", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        drawn = shared / f"charts-{SEED}.json"
        if not drawn.exists():
            charts = [chart(server, scene, recoveries=RECOVERIES).written() for scene in SCENES]
            drawn.write_text(json.dumps(charts))
        return Atlas(map(read_chart, json.loads(drawn.read_text())), SEED, slow_share=SLOW_SHARE)


def accept(tally: Tally, tell: Tell) -> None:
    """Fail on any violation, and if too few of the planned kills have landed."""
    tell(tally)
    # Where threads take turns by chance, or the clock decides, a last visit may not come again.
    assert tally.kills >= tally.wanted * 0.75 - 1, f"vacuous: {tally}"
    assert tally.clean, tally.report()


@ALL
def test_a_program_killed_at_a_line_ends_undisturbed_when_it_is_run_again(
    server: Server, scene: Scene, tell: Tell
) -> None:
    own = chart(server, scene)
    count = SLOW if scene.slow else PER_SCENE
    points = sample(own, count, SEED)
    assert len(points) == count
    accept(kill_at(server, own, points, SEED), tell)


@pytest.mark.full
@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("recovering", [False, True], ids=["undisturbed", "recovering"])
@ALL
def test_a_program_killed_at_any_line_ends_undisturbed(
    server: Server, atlas: Atlas, scene: Scene, recovering: bool, tell: Tell
) -> None:
    points = [point for point in atlas.points(scene.name) if point.recovering == recovering]
    accept(kill_at(server, atlas.charts[scene.name], points, SEED), tell)


@pytest.mark.full
@pytest.mark.timeout(1_500)
def test_the_points_that_are_tried_stand_for_all_of_the_corpus(atlas: Atlas, tell: Tell) -> None:
    names = [scene.name for scene in SCENES]
    points = sum(len(atlas.charts[name].points()) for name in names)
    states = sum(len(atlas.states(name)) for name in names)
    tried = {(name, point.life, point.state) for name in names for point in atlas.points(name)}
    lines = {place.line for place in atlas.places()}
    files = {line.rpartition(":")[0] for line in lines}
    tell(
        f"{len(names)} programs execute {len(lines)} lines of {len(files)} files; first and last visits in each, also "
        f"recovering: {points} points, which leave {states} states of the disk; {len(tried)} of these are tried, by "
        f"kills at {sum(len(atlas.points(name)) for name in names)} points"
    )
    for name in names:
        own = {(life, state) for program, life, state in tried if program == name}
        assert len(own) >= len(atlas.states(name)) // (SLOW_SHARE if BY_NAME[name].slow else 1), name
    assert {place(point) for name in names for point in atlas.points(name)} >= atlas.places()
    assert {"api/walk.py", "runtime/session.py", "storage/sqlite/transaction.py", "programs.py"} <= files


def test_every_state_is_tried_in_its_scene_and_every_line_in_one_that_has_it() -> None:
    quick, slow = replace(BY_NAME["loop"], slow=False), replace(BY_NAME["chores"], slow=True)
    first = Life(None, {"a.py:1": Visits(1, 0, 0), "a.py:2": Visits(5, 1, 7), "a.py:3": Visits(1, 1, 1)})
    again = Life(Plan(3, KILL), {"a.py:1": Visits(1, 2, 2)})
    other = Life(None, {"a.py:2": Visits(3, 0, 1), "b.py:7": Visits(2, 0, 1)})
    atlas = Atlas([Chart(quick, [first, again]), Chart(slow, [other])], 0, slow_share=2)
    assert set(atlas.points("loop")) == {
        Point("a.py:1", 1, 0, 0), Point("a.py:2", 1, 0, 1), Point("a.py:3", 1, 0, 1), Point("a.py:2", 5, 0, 7),
        Point("a.py:1", 1, 1, 2),
    }  # fmt: skip
    assert set(atlas.points("chores")) <= {Point("a.py:2", 1, 0, 0), Point("b.py:7", 1, 0, 0)}
    assert Point("b.py:7", 1, 0, 0) in atlas.points("chores")


@pytest.mark.parametrize("name", ["loop_rows", "chores", "workflow_nested"])
def test_kills_between_two_writes_leave_the_same_disk(server: Server, name: str, tell: Tell) -> None:
    """That is why one of them stands for all."""
    own = chart(server, BY_NAME[name], recoveries=0)
    states = [points for points in Atlas([own], SEED).states(name).values() if len(points) > 2]
    chance = random.Random(SEED)
    for points in chance.sample(states, 8):
        one, other = (_left(server, own, point) for point in chance.sample(points, 2))
        assert one == other, points
    tell(f"{name}: pairs of lines between the same two writes, killed: 8 pairs, each left the same disk")


def _left(server: Server, own: Chart, point: Point) -> tuple[object, ...]:
    """What a kill leaves, but for ids and times."""
    folder = server.fresh()
    assert server.run(folder, own.scene.name, 1, *own.plans(point))["how"] == "killed", point
    files = sorted(
        ("owner" if path.parent.name == "journal.db.owners" else path.name, _extent(path))
        for path in folder.rglob("*")
        if path.is_file()
    )
    moment = look(folder, died=True)
    rows = [(row.seq, row.key, row.kind, row.state, row.attempt, row.fence) for row in moment.rows]
    states = [run["state"] for run in moment.runs.values()]
    effects = [(line["at"], line["key"], line["attempt"]) for line in moment.effects]
    shutil.rmtree(folder)
    return files, rows, states, [key for _, key in moment.begun], effects, len(moment.acks)


def test_the_process_dies_at_that_visit_of_that_line(server: Server) -> None:
    scene, folder = BY_NAME["loop"], server.fresh()
    visits = chart(server, scene).undisturbed
    # The line of the body that has the effect is the one that is visited once for each of the eight items.
    file = "programs.py"
    lines = (HERE / file).read_text().splitlines()
    number = next(n for n, text in enumerate(lines, 1) if text == "        last = world.effect()")
    assert visits[f"{file}:{number}"].count == 8
    assert server.run(folder, "loop", 1, Plan(line=f"{file}:{number}", visit=3))["how"] == "killed"
    begun = [json.loads(line[:-2]) for line in (folder / "effects.log").read_text().split("\n") if line]
    assert [(line["at"], line["key"]) for line in begun] == [
        (at, key) for key in ("each/3", "each/1") for at in ("before", "after")
    ]
    shutil.rmtree(folder)


def _extent(path: Path) -> int:
    """How much is in a file: bytes, frames that were written, or lines where times differ in their digits."""
    content = path.read_bytes()
    if path.suffix == ".log":
        return content.count(b"\n")
    if not path.name.endswith("-wal"):
        return len(content)
    return sum(any(content[at : at + 4_120]) for at in range(32, len(content), 4_120))
