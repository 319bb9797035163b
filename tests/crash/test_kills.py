"""SIGKILL at every call that writes, in small programs of every kind: run again, they end as if nothing had happened.

A share of the points is tried on every change, all of them in the full set. `ONWARD_CRASH_SEED` chooses other ones.
"""

import os
from collections.abc import Callable

import pytest

from crash.corpus import BY_NAME, SCENES
from crash.harness import KILL, KILL_AFTER, TEAR, Plan, Server, Tally, story, sweep
from crash.scenes import Scene

SEED = int(os.environ.get("ONWARD_CRASH_SEED", "0"))
ALL = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
OWN_WAYS = [scene for scene in SCENES if not scene.alike]
pytestmark = [pytest.mark.important]


Tell = Callable[[object], None]


def every_other(first: int) -> pytest.MarkDecorator:
    """One half of the scenes that have a way of their own on every change, the other half in the full set.

    What takes the way of another scene is torn, and killed in recovery, there only: at any write.
    """
    scenes = [
        pytest.param(scene, marks=[pytest.mark.full] * (at % 2 != first), id=scene.name)
        for at, scene in enumerate(OWN_WAYS)
    ]
    return pytest.mark.parametrize("scene", scenes)


def accept(tally: Tally, tell: Tell) -> None:
    """Tell what was tried; fail on any violation, and if next to nothing was killed."""
    tell(tally)
    assert tally.kills > tally.tried // 2, f"vacuous: {tally}"
    assert tally.clean, tally.report()


def share(scene: Scene, usual: float, *, sample: bool = False) -> float:
    """The part of the scene's calls that is tried; of a sample for every change, if not of the full set."""
    return usual / 4 if scene.slow or (sample and scene.alike) else usual


@ALL
def test_a_program_killed_before_a_write_ends_undisturbed_when_it_is_run_again(
    server: Server, scene: Scene, tell: Tell
) -> None:
    accept(sweep(server, scene, KILL, share=share(scene, 1 / 20, sample=True), seed=SEED), tell)


@every_other(0)
def test_a_program_killed_in_the_middle_of_a_write_ends_undisturbed(
    server: Server, scene: Scene, tell: Tell
) -> None:
    accept(sweep(server, scene, TEAR, share=share(scene, 1 / 30), seed=SEED), tell)


@every_other(1)
def test_a_program_killed_again_while_it_recovers_ends_undisturbed(
    server: Server, scene: Scene, tell: Tell
) -> None:
    accept(sweep(server, scene, KILL, share=share(scene, 1 / 50), seed=SEED, twice=True), tell)


@pytest.mark.full
@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("action", [KILL, TEAR], ids=["killed", "torn"])
@ALL
def test_a_program_killed_at_any_write_or_torn_at_a_third_of_them_ends_undisturbed(
    server: Server, scene: Scene, action: int, tell: Tell
) -> None:
    # A write is torn where it is also not begun: what that can leave beyond is seen at a part of the calls.
    usual = 1 if action == KILL else 1 / 3
    writes_files = scene.rows is not None or scene.also is not None
    accept(
        sweep(server, scene, action, share=usual if writes_files else share(scene, usual), seed=SEED), tell
    )


@pytest.mark.full
@pytest.mark.timeout(1_500)
@ALL
def test_a_program_killed_at_writes_all_over_and_again_in_recovery_ends_undisturbed(
    server: Server, scene: Scene, tell: Tell
) -> None:
    accept(sweep(server, scene, KILL, share=share(scene, 1 / 10), seed=SEED, twice=True), tell)


def test_rows_reach_their_file_when_the_process_died_before_it_wrote_them(server: Server, tell: Tell) -> None:
    """The rows of an item are recorded first; whoever continues completes the file, also behind the last item."""
    tally = Tally("loop_rows, killed before a write to its file")
    for at in range(1, 7):
        plan = Plan(at, KILL, letters="w", name_end="rows.jsonl")
        story(server, BY_NAME["loop_rows"], [plan], f"write {at}", tally)
    accept(tally, tell)
    assert tally.kills == 6


@pytest.mark.parametrize(
    "name", ["loop_steps", "loop_async", "workflow", "workflow_async", "chores", "map_threads", "map_tasks"]
)
def test_a_completed_call_survives_a_kill_right_after_it(server: Server, name: str, tell: Tell) -> None:
    """The program's own log of completed calls is what dies with it: step, item, sleep and time, sync and async."""
    tally = Tally(f"{name}, killed right after a completed call")
    story(server, BY_NAME[name], [Plan(1, KILL_AFTER, letters="w", name_end="results.log")], "the end", tally)
    while tally.kills == tally.tried:
        at = tally.tried
        story(
            server,
            BY_NAME[name],
            [Plan(at, KILL_AFTER, letters="w", name_end="acks.log")],
            f"call {at}",
            tally,
        )
    tell(tally)
    assert tally.kills > 5
    assert tally.clean, tally.report()
