"""Several processes, one journal and every fault, seed by seed: nothing that was promised is broken, and all
comes to its end.

A seed that fails is a story that can be told again: `World(seed, ...)` with the same number goes the same way.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from onward.storage import Store
from onward.storage.memory import MemoryStore
from onward.storage.sqlite.store import SqliteStore
from simulation import oracle, programs
from simulation.mutants import Mutant, mutants
from simulation.world import World

SEEDS = 200
CHUNK = 50
# A run in which one of these never happened has shown nothing.
MUST_HAPPEN = (
    "kills", "pauses", "stolen leases", "refused stale writes", "lost answers", "delayed commits", "wishes",
    "certain beginnings",
)  # fmt: skip

Clock = Callable[[], float]
Opener = Callable[[Clock], Store]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ONWARD_QUIET", "1")
    before = random.getstate()  # the product draws its jitter from the global generator
    yield
    random.setstate(before)


@pytest.fixture(params=["memory", "sqlite"])
def journals(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens an empty journal each time it is called; those in files are on a disk in memory if there is one."""
    if request.param == "memory":
        yield lambda clock: MemoryStore(clock=clock)
        return
    fast = Path("/dev/shm")
    with TemporaryDirectory(dir=fast if fast.is_dir() else tmp_path) as folder:
        count = iter(range(1_000_000))
        yield lambda clock: SqliteStore(Path(folder) / f"{next(count)}.db", durability="process", clock=clock)


def tell(seed: int, journals: Opener, mutant: Mutant) -> tuple[World, list[str]]:
    """One story, and what it breaks."""
    random.seed(seed)
    with mutant.alive():
        world = World(seed, journals, programs.some, mutant)
        world.run()
    breaches = oracle.breaches(world)
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


def say(capsys: pytest.CaptureFixture[str], what: str, counts: Counter[str]) -> None:
    with capsys.disabled():
        print(f"\n{what}: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))


@pytest.mark.important
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_whatever_happens_to_processes_and_answers_no_promise_is_broken(
    first: int, journals: Opener, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = range(first, first + CHUNK)
    counts = tell_all(seeds, journals)
    say(capsys, f"seeds {first} to {seeds[-1]}", counts)
    assert not [name for name in MUST_HAPPEN if not counts[name]]


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("first", range(SEEDS, 4_200, 250))
def test_thousands_of_stories_break_no_promise(
    first: int, journals: Opener, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = tell_all(range(first, first + 250), journals)
    say(capsys, f"seeds {first} to {first + 249}", counts)
    assert not [name for name in MUST_HAPPEN if not counts[name]]


@pytest.mark.important
@pytest.mark.faults
@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_bug_put_in_on_purpose_is_found_within_200_seeds(
    mutant: Mutant, journals: Opener, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(SEEDS):
        _, breaches = tell(seed, journals, mutant)
        if breaches:
            with capsys.disabled():
                print(f"\n{mutant.name}: found by seed {seed}: {breaches[0]}")
            return
    pytest.fail(f"{mutant.name} was not found in {SEEDS} seeds")


def test_the_same_seed_tells_the_same_story(journals: Opener) -> None:
    def story() -> list[tuple[str, int, str, str, float]]:
        world, _ = tell(7, journals, Mutant())
        return [(w.run_id, w.seq, w.key, w.process, w.at) for w in world.log.written]

    first = story()
    assert first == story()
    assert len(first) > 20
