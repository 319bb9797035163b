"""The oracle finds bugs that are put into the workers' code on purpose: it counts only as long as it does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaos import mutants
from chaos.play import Place, course
from chaos.staff import AHEAD_S

pytestmark = [pytest.mark.full, pytest.mark.slow, pytest.mark.important]
SEEDS = 4


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_the_oracle_finds(name: str, postgres: Place, tell: Callable[[object], None]) -> None:
    """In one of a few courses: most bugs show every time, some need a fault at a certain moment."""
    for seed in range(SEEDS):
        place = postgres.fresh(f"{seed}")
        often = mutants.MUTANTS[name].often
        found = course(place, seed, seconds=20.0, ahead_s=AHEAD_S, mutant=name, often=often)
        if found.breaches:
            tell(f"{name}: seed {seed}: {found.breaches[0][:150]}")
            return
    pytest.fail(f"`{name}` was not found in {SEEDS} courses")
