"""Three worker processes on one journal, and a nemesis: what is done to processes, and to servers and networks.

All promises hold, and when the faults are over everything comes to its end. `ONWARD_CHAOS_SEED` chooses another course.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from chaos.play import Course, Nemesis, Place, course
from chaos.staff import AHEAD_S

pytestmark = [pytest.mark.important, pytest.mark.slow]
SEED = int(os.environ.get("ONWARD_CHAOS_SEED", "0"))


def judged(found: Course, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{found}")
    assert not found.breaches, f"seed {found.seed}: " + "; ".join(found.breaches[:8])
    assert not found.missing, f"seed {found.seed} showed nothing of {', '.join(found.missing)}"


@pytest.mark.timeout(180)
def test_three_workers_keep_every_promise_whatever_is_done_to_them(
    sqlite: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    judged(course(sqlite, SEED, seconds=15.0), capsys)


@pytest.mark.timeout(180)
def test_so_they_do_over_networks_that_fail_to_servers_that_crash_and_with_a_wrong_clock(
    postgres: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    judged(course(postgres, SEED, seconds=15.0, ahead_s=AHEAD_S), capsys)


@pytest.mark.full
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(1, 6))
def test_and_for_longer(seed: int, sqlite: Place, capsys: pytest.CaptureFixture[str]) -> None:
    judged(course(sqlite, SEED + seed, seconds=60.0), capsys)


@pytest.mark.full
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(1, 6))
def test_and_for_longer_over_networks(seed: int, postgres: Place, capsys: pytest.CaptureFixture[str]) -> None:
    judged(course(postgres, SEED + seed, seconds=60.0, ahead_s=AHEAD_S), capsys)


@pytest.mark.full
@pytest.mark.timeout(300)
def test_a_clock_that_is_wrong_beside_a_journal_in_a_file_costs_work_and_breaks_nothing_else(
    sqlite: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file is used on one machine, whose clock all leases go by. A process that reads another time thinks that all
    leases are over, and takes them from the living: what these had in hand is done again, and nothing recorded twice.
    """
    found = course(sqlite, SEED, seconds=15.0, ahead_s=AHEAD_S)
    early = [breach for breach in found.breaches if breach.startswith("16:")]
    assert early, "it was not noticed"
    judged(found._replace(breaches=[breach for breach in found.breaches if breach not in early]), capsys)


@pytest.mark.full
@pytest.mark.timeout(180)
def test_a_course_in_which_nothing_is_done_to_anybody_is_told_from_one_that_shows_something(
    sqlite: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(self: Nemesis, goes_on: Callable[[], bool]) -> None:
        while goes_on():
            time.sleep(0.1)

    monkeypatch.setattr(Nemesis, "strike_while", waits)
    found = course(sqlite, SEED, seconds=2.0)
    assert not found.breaches
    assert {"stolen leases", "taken over", "refused"} <= set(found.missing)
