"""The harness against bugs planted in copies of the code: each must break a promise that the oracle sees."""

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crash.corpus import BY_NAME, modules
from crash.harness import KILL, KILL_AFTER, Plan, Server, Tally, story, sweep
from crash.lines import chart, kill_at
from crash.mutants import Edit, Mutant, NoLongerApplies, planted
from crash.test_durable import unsynced
from crash.test_kills import Tell
from crash.zombies import haunt
from power.disk import Policy
from power.harness import compile_recorder, fail_everywhere, record

pytestmark = [pytest.mark.important]


MUTANTS = [mutant for module in modules("mutants") for mutant in module.MUTANTS]
BY_KILLS = [mutant for mutant in MUTANTS if mutant.judge == "kills"]


def seldom(at: int) -> bool:
    """Whether a mutant waits for the full set: all but the first of each family, and most that came with features."""
    if at >= 12:
        return at % 8 != 0
    family = MUTANTS[at].name.partition(":")[0]
    return any(earlier.name.partition(":")[0] == family for earlier in MUTANTS[:at])


@pytest.mark.parametrize(
    "mutant",
    [pytest.param(m, marks=[pytest.mark.full] * seldom(at), id=m.name) for at, m in enumerate(MUTANTS)],
)
def test_a_planted_bug_is_caught(memory: Path, shim: Path, mutant: Mutant, tell: Tell) -> None:
    with planted_server(memory, shim, mutant) as (server, source):
        found = (
            by_power(memory, server, source, mutant) if "power" in mutant.judge else judged(server, mutant)
        )
    tell(f"{mutant.name}: {len(found)} violations, first: {found[:1]}")
    assert found, f"not caught: {mutant.name}"


@pytest.mark.parametrize(
    "mutant",
    [pytest.param(m, marks=[pytest.mark.full] * (at > 0), id=m.name) for at, m in enumerate(BY_KILLS)],
)
def test_a_bug_that_kills_at_system_calls_show_is_caught_by_kills_at_lines_too(
    memory: Path, shim: Path, mutant: Mutant, tell: Tell
) -> None:
    with planted_server(memory, shim, mutant) as (server, _):
        own = chart(server, BY_NAME[mutant.scene], recoveries=0)
        points = own.points()
        random.Random(0).shuffle(points)
        # Those of the changed files first: all of them would be tried in the end, and would take minutes.
        changed = {edit.file for edit in mutant.edits}
        points.sort(key=lambda point: point.line.rpartition(":")[0] not in changed)
        tally = kill_at(server, own, points, 0, until_broken=True)
    tell(f"{mutant.name}: caught at line {tally.tried} of {len(points)}")
    assert tally.broken, f"not caught at any of {len(points)} lines: {mutant.name}"


@contextmanager
def planted_server(memory: Path, shim: Path, mutant: Mutant) -> Iterator[tuple[Server, Path]]:
    source = planted(mutant, memory)
    server = Server(memory, shim, source)
    try:
        yield server, source
    finally:
        server.close()
        shutil.rmtree(source)


def by_power(memory: Path, server: Server, source: Path, mutant: Mutant) -> list[str]:
    """What a power failure takes away."""
    place = ".onward" if mutant.judge == "power in a new directory" else ""
    story = record(memory, compile_recorder(memory), source, BY_NAME[mutant.scene], place=place)
    again = server if mutant.judge == "power, and run again" else None
    policies: tuple[Policy, ...] = ("dropped", "torn", "torn")
    losses = fail_everywhere(story, again, policies=policies, share=1, seed=0, reruns=0.15, until_lost=True)
    return [one for found in losses.lost.values() for one in found]


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
        case "alone":
            tally = Tally(mutant.name)
            story(server, scene, (), "undisturbed", tally)
            return [one for found in (*tally.broken.values(), *tally.troubles.values()) for one in found]
        case _:
            # The undisturbed run is right, which `sweep` checks: it takes a kill to see the bug.
            tally = sweep(server, scene, KILL, share=1, seed=0, until_broken=True)
    return [one for found in tally.broken.values() for one in found]


def test_a_mutant_that_no_longer_applies_is_an_error(memory: Path) -> None:
    stale = Mutant("stale", "kills", "loop", (Edit("core/keys.py", "no such text", ""),))
    with pytest.raises(NoLongerApplies):
        planted(stale, memory)
