"""The power fails at any point of a recorded story: all that was acknowledged is on the disk, the journal is sound.

A recorder notes every change of the disk while a program of the crash corpus runs. The replay keeps what was synced;
what was not is kept, dropped or torn into sectors. `ONWARD_CRASH_SEED` chooses other pieces.
"""

from pathlib import Path

import pytest

from crash.corpus import BY_NAME, SCENES
from crash.harness import Server
from crash.scenes import Scene
from crash.test_kills import ALL, SEED, Tell
from power.disk import Policy
from power.harness import Losses, fail_everywhere, record

pytestmark = [pytest.mark.important]
POLICIES: tuple[Policy, ...] = ("kept", "dropped", "torn", "torn")
# Scenes whose calls are acknowledged one by one, each durable by itself.
ACKNOWLEDGING = [
    scene for scene in SCENES if scene.name in ("loop", "workflow", "workflow_async", "map_threads")
]


def accept(losses: Losses, tell: Tell) -> None:
    """Tell what was tried; fail on any loss, and if next to nothing was."""
    tell(losses)
    assert losses.images > 30, f"vacuous: {losses}"
    assert losses.images > losses.empty, f"nothing was acknowledged before the power failed: {losses}"
    assert losses.reruns, f"nothing was run again: {losses}"
    assert not losses.lost, losses.report()


@pytest.mark.parametrize(
    "scene",
    # Every fourth one, and all of them in the full set: each takes seconds, and they do much the same to the disk.
    [pytest.param(one, marks=[pytest.mark.full] * (at % 4 > 0)) for at, one in enumerate(SCENES)],
    ids=[one.name for one in SCENES],
)
def test_what_was_acknowledged_survives_a_power_failure(
    memory: Path, recorder: Path, source: Path, server: Server, scene: Scene, tell: Tell
) -> None:
    # One half of the scenes with checkpoints, the other without; both of all in the full set.
    story = record(memory, recorder, source, scene, tidies=SCENES.index(scene) % 8 == 0)
    accept(fail_everywhere(story, server, policies=POLICIES, share=0.1, seed=SEED, reruns=0.05), tell)


@pytest.mark.full
@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("tidies", [False, True], ids=["one log", "checkpoints"])
@ALL
def test_what_was_acknowledged_survives_power_failures_all_over_the_story(
    memory: Path, recorder: Path, source: Path, server: Server, scene: Scene, tidies: bool, tell: Tell
) -> None:
    story = record(memory, recorder, source, scene, tidies=tidies)
    share = 0.5 if tidies else 1  # most of the story is the same
    accept(fail_everywhere(story, server, policies=POLICIES, share=share, seed=SEED, reruns=0.05), tell)


def test_a_journal_in_a_directory_that_was_made_for_it_survives_too(
    memory: Path, recorder: Path, source: Path, tell: Tell
) -> None:
    """As a project's first run does it: `.onward` is made by the very process that records there."""
    story = record(memory, recorder, source, BY_NAME["chores"], place=".onward")
    losses = fail_everywhere(story, None, policies=POLICIES, share=0.4, seed=SEED)
    tell(f"in a new directory, {losses}")
    assert losses.images > 60
    assert not losses.lost, losses.report()


@pytest.mark.parametrize(
    "scene",
    [pytest.param(scene, marks=() if scene.name == "loop" else pytest.mark.full) for scene in ACKNOWLEDGING],
    ids=lambda scene: scene.name,
)
def test_the_weaker_durability_loses_outcomes_and_the_harness_sees_it(
    memory: Path, recorder: Path, source: Path, server: Server, scene: Scene, tell: Tell
) -> None:
    """`durability="process"` promises no more: what is acknowledged may be lost, but the journal stays sound."""
    story = record(memory, recorder, source, scene, durability="process")
    losses = fail_everywhere(story, server, policies=POLICIES, share=0.25, seed=SEED, reruns=0.1)
    tell(f'durability="process", {losses}')
    broken = [one for found in losses.lost.values() for one in found]
    lost = [one for one in broken if "was acknowledged but is not recorded" in one]
    assert lost
    told = ("was acknowledged but", "was handed out but", "the program returned but")
    assert [one for one in broken if not any(part in one for part in told)] == []
