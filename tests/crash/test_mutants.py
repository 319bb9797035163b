"""The harness against bugs planted in copies of the code: each must break a promise that the oracle sees."""

import shutil
from pathlib import Path

import pytest

from crash.harness import KILL, KILL_AFTER, Plan, Server, Tally, story, sweep
from crash.mutants import MUTANTS, Edit, Mutant, NoLongerApplies, planted
from crash.scenes import BY_NAME
from crash.test_durable import unsynced
from crash.test_kills import Tell
from crash.zombies import haunt

pytestmark = [pytest.mark.important]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_caught(memory: Path, shim: Path, mutant: Mutant, tell: Tell) -> None:
    source = planted(mutant, memory)
    server = Server(memory, shim, source)
    try:
        found = judged(server, mutant)
    finally:
        server.close()
        shutil.rmtree(source)
    tell(f"{mutant.name}: {len(found)} violations, first: {found[:1]}")
    assert found, f"not caught: {mutant.name}"


def judged(server: Server, mutant: Mutant) -> list[str]:
    """The promises that the oracle saw broken. A phase that merely failed is none of them."""
    scene = BY_NAME[mutant.scene]
    match mutant.judge:
        case "syncs":
            return unsynced(server, scene)[1]
        case "zombies":
            tally = haunt(server, scene, continued=True, until_broken=True)
        case "acks":
            tally = Tally(mutant.name)
            for at in range(1, 5):
                story(
                    server,
                    scene,
                    [Plan(at, KILL_AFTER, letters="w", name_end="acks.log")],
                    f"call {at}",
                    tally,
                )
        case "kills":
            # The undisturbed run is right, which `sweep` checks: it takes a kill to see the bug.
            tally = sweep(server, scene, KILL, share=1, seed=0, until_broken=True)
    return [one for found in tally.broken.values() for one in found]


def test_a_mutant_that_no_longer_applies_is_an_error(memory: Path) -> None:
    stale = Mutant("stale", "kills", "loop", (Edit("core/keys.py", "no such text", ""),))
    with pytest.raises(NoLongerApplies):
        planted(stale, memory)
