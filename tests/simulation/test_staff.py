"""Several workers, one journal with queues, and every fault, seed by seed: nothing that was promised is broken, and all
that was started comes to its end.

A seed that fails is a story that can be told again: `StaffedWorld(seed, ...)` with the same number goes the same way.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from onward.runtime import registry
from simulation import queued, verdict
from simulation.mutants import Mutant
from simulation.mutants_staff import mutants
from simulation.staffed import StaffedWorld
from simulation.test_simulation import Opener, journals, say

pytestmark = pytest.mark.faults

__all__ = ["journals"]  # a fixture

SEEDS = 200
CHUNK = 50
# A run in which one of these never happened has shown nothing.
MUST_HAPPEN = (
    "kills", "pauses", "stolen leases", "refused stale writes", "lost answers", "delayed commits", "wishes", "drains",
    "poisoned", "claims whose answer was lost", "suspended", "starts that found another run",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ONWARD_QUIET", "1")
    monkeypatch.setattr(registry, "_jobs", {kind.name: kind for kind in queued.KINDS})
    before = random.getstate()  # the product draws its jitter from the global generator
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)
    random.setstate(before)


def tell(seed: int, journals: Opener, mutant: Mutant) -> tuple[StaffedWorld, list[str]]:
    """One story, and what it breaks."""
    random.seed(seed)
    with mutant.alive():
        world = StaffedWorld(seed, journals, mutant)
        world.run()
    breaches = verdict.breaches(world)
    world.log.counts["suspended"] = sum(written.key == "run/suspended" for written in world.log.written)
    world.close()
    return world, breaches


def tell_all(seeds: range, journals: Opener) -> Counter[str]:
    counts: Counter[str] = Counter()
    for seed in seeds:
        world, breaches = tell(seed, journals, Mutant())
        assert not breaches, f"seed {seed}, {[p.name for p in world.programs]}: " + "; ".join(breaches[:5])
        counts += world.log.counts
        counts["executions"] += len(world.log.effects)
        counts["simulated seconds"] += round(world.at)
    return counts


def on_both(values: Sequence[Any], *, of_the_file: int) -> pytest.MarkDecorator:
    """All of them on the journal in memory; on that in a file so many, and the others in the full set."""
    full = pytest.mark.full
    return pytest.mark.parametrize(
        ("journals", "value"),
        [
            *(pytest.param("memory", value) for value in values),
            *(
                pytest.param("sqlite", value, marks=() if at < of_the_file else full)
                for at, value in enumerate(values)
            ),
        ],
        indirect=["journals"],
        ids=lambda value: value.name.replace(" ", "-") if isinstance(value, Mutant) else str(value),
    )


@pytest.mark.important
@on_both(range(0, SEEDS, CHUNK), of_the_file=1)
def test_whatever_happens_to_workers_and_answers_no_promise_is_broken(
    journals: Opener, value: int, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = range(value, value + CHUNK)
    counts = tell_all(seeds, journals)
    say(capsys, f"workers, seeds {value} to {seeds[-1]}", counts)
    assert not [name for name in MUST_HAPPEN if not counts[name]]


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(SEEDS, 3_200, 500))
def test_thousands_of_stories_of_workers_break_no_promise(
    first: int, journals: Opener, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = tell_all(range(first, first + 500), journals)
    say(capsys, f"workers, seeds {first} to {first + 499}", counts)


@pytest.mark.important
@on_both(mutants(), of_the_file=0)
def test_a_bug_in_what_workers_do_is_found_within_200_seeds(
    journals: Opener, value: Mutant, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(SEEDS):
        _, breaches = tell(seed, journals, value)
        if breaches:
            with capsys.disabled():
                print(f"\n{value.name}: found by seed {seed}: {breaches[0][:300]}")
            return
    pytest.fail(f"{value.name} was not found in {SEEDS} seeds")


def test_the_same_seed_tells_the_same_story_of_workers(journals: Opener) -> None:
    def story() -> list[tuple[str, int, str, str, float]]:
        world, _ = tell(7, journals, Mutant())
        return [(w.run_id, w.seq, w.key, w.process, w.at) for w in world.log.written]

    first = story()
    assert first == story()
    assert len(first) > 20
