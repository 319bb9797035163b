"""SIGKILL at the first and at the last visit of lines of the product and of the programs, also while recovering.

A fixed sample of more than 500 points on every change; in the full set every line that any program executes, in one of
those that do. `ONWARD_CRASH_SEED` chooses others.
"""

import json
import math
import shutil
from dataclasses import replace

import pytest

from crash.corpus import BY_NAME, SCENES
from crash.harness import HERE, Plan, Server, Tally
from crash.lines import Atlas, Chart, Point, chart, kill_at, sample
from crash.scenes import Scene
from crash.test_kills import ALL, SEED, Tell

pytestmark = [pytest.mark.important]
SAMPLE = 520
SLOW = 4
PER_SCENE = math.ceil((SAMPLE - SLOW) / sum(not scene.slow for scene in SCENES))


@pytest.fixture(scope="module")
def atlas(server: Server) -> Atlas:
    return Atlas((chart(server, scene) for scene in SCENES), SEED)


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
def test_the_lines_that_are_tried_are_those_of_the_whole_corpus(atlas: Atlas, tell: Tell) -> None:
    tried = {(p.line, p.recovering) for scene in SCENES for p in atlas.points(scene.name)}
    executed = {line for line, _ in atlas.places()}
    files = {line.rpartition(":")[0] for line in executed}
    tell(f"lines that the corpus executes: {len(executed)} of {len(files)} files")
    assert tried == atlas.places()
    assert {"api/walk.py", "runtime/session.py", "storage/sqlite/transaction.py", "programs.py"} <= files


def test_every_line_is_tried_in_one_scene_that_has_it() -> None:
    quick, slow = replace(BY_NAME["loop"], slow=False), replace(BY_NAME["chores"], slow=True)
    first = Chart(quick, {"a.py:1": 1, "a.py:2": 5}, {"a.py:1": 1}, Plan())
    second = Chart(slow, {"a.py:2": 3, "b.py:7": 2}, {}, Plan())
    atlas = Atlas([first, second], 0)
    assert atlas.points("loop") == [
        Point("a.py:1", 1, False), Point("a.py:2", 1, False), Point("a.py:2", 5, False), Point("a.py:1", 1, True),
    ]  # fmt: skip
    assert atlas.points("chores") == [Point("b.py:7", 1, False), Point("b.py:7", 2, False)]


def test_the_process_dies_at_that_visit_of_that_line(server: Server) -> None:
    scene, folder = BY_NAME["loop"], server.fresh()
    visits = chart(server, scene).undisturbed
    # The line of the body that has the effect is the one that is visited once for each of the eight items.
    file = "programs.py"
    lines = (HERE / file).read_text().splitlines()
    number = next(n for n, text in enumerate(lines, 1) if text == "        last = world.effect()")
    assert visits[f"{file}:{number}"] == 8
    assert server.run(folder, "loop", 1, Plan(line=f"{file}:{number}", visit=3))["how"] == "killed"
    begun = [json.loads(line[:-2]) for line in (folder / "effects.log").read_text().split("\n") if line]
    assert [(line["at"], line["key"]) for line in begun] == [
        (at, key) for key in ("each/3", "each/1") for at in ("before", "after")
    ]
    shutil.rmtree(folder)
