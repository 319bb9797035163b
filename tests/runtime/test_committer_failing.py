"""Group commit over a store that fails: told to whom it concerns, and never acknowledged in doubt."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from onward.core import limits
from onward.core.errors import JournalBroken, JournalBusy, JournalFull, OutcomeUnknown
from onward.core.model import Applied, Refused
from runtime.committing import SOON_S, Disk, Gate, change, until


@pytest.mark.parametrize("error", [JournalBusy, OutcomeUnknown])
@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_failed_batch_is_told_to_its_own_writers_and_the_next_goes_through(
    error: type[Exception], failing: int, open_committer: Any
) -> None:
    def script(batch: int) -> None:
        if batch == failing:
            raise error("simulated")

    disk = Disk(script)
    committer = open_committer(disk)
    for number in range(1, 5):
        if number == failing:
            with pytest.raises(error, match="simulated"):
                committer.commit(change(number))
        else:
            assert committer.commit(change(number)) == [Applied(number, number * 10, None)]
    assert disk.durable == [n for n in range(1, 5) if n != failing]


@pytest.mark.parametrize("error", [JournalBroken("disk gone"), RuntimeError("our fault"), MemoryError()])
def test_after_an_error_that_leaves_doubt_nothing_is_acknowledged_any_more(
    error: Exception, open_committer: Any
) -> None:
    gate = Gate()

    def script(batch: int) -> None:
        gate(batch)
        raise error

    disk = Disk(script)
    committer = open_committer(disk)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(committer.commit, change(1))]
        assert gate.reached.wait(SOON_S)
        waiting += [pool.submit(committer.commit, change(n)) for n in (2, 3)]
        late = committer.later(change(4), within_s=1e6)
        until(lambda: len(committer._queue) == 2)
        gate.open.set()
        assert [type(f.exception(SOON_S)) for f in waiting] == [type(error)] * 3
    until(lambda: late.settled)
    with pytest.raises(type(error)):
        committer.wait_for(late)
    for late_call in (lambda: committer.commit(change(5)), lambda: committer.later(change(6))):
        with pytest.raises(type(error)):
            late_call()
    assert disk.tries == 1
    assert disk.durable == []


class Full:
    """A disk that is full for its first so many tries, and a clock that only pauses move."""

    def __init__(self, tries: int) -> None:
        self.tries, self.at, self.pauses = tries, 0.0, 0

    def __call__(self, batch: int) -> None:
        if batch <= self.tries:
            raise JournalFull("no space left")

    def clock(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds
        self.pauses += 1


def test_while_the_disk_is_full_outcomes_are_held_and_then_recorded_in_order(open_committer: Any) -> None:
    full = Full(tries=8)
    disk = Disk(full)
    committer = open_committer(disk, clock=full.clock, sleep=full.sleep)
    committer.later(change(1), within_s=1e6)
    assert committer.commit(change(2)) == [Applied(2, 20, None)]
    assert disk.durable == [1, 2]
    assert full.pauses >= 6


def test_what_is_held_for_lack_of_room_goes_before_what_came_later(open_committer: Any) -> None:
    """A held marker was overtaken by the later change that removes it, and stayed for ever."""
    full = Full(tries=2)
    disk = Disk(full)
    committer = open_committer(disk, clock=full.clock, sleep=full.sleep)
    disk.script = lambda batch: (full(batch), batch == 2 and None)[1]

    def second_try(batch: int) -> None:
        if batch == 2:
            committer.later(change(3), within_s=0.0)
        full(batch)

    disk.script = second_try
    committer.commit(change(1), change(2))
    until(lambda: len(disk.durable) == 3)
    assert disk.durable == [1, 2, 3]


def test_when_the_disk_stays_full_for_too_long_everybody_hears_of_it(open_committer: Any) -> None:
    full = Full(tries=10**9)
    disk = Disk(full)
    committer = open_committer(disk, full_s=5, clock=full.clock, sleep=full.sleep)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(committer.commit, change(n)) for n in range(3)]
        for one in waiting:
            with pytest.raises(JournalFull, match="no space left"):
                one.result(SOON_S)
    assert 5 <= full.at <= 5 + 2 * limits.FULL_RETRY_S
    full.tries = 0  # somebody made room: the same committer works on
    assert committer.commit(change(9)) == [Applied(9, 90, None)]


def test_a_random_store_answers_every_writer(open_committer: Any) -> None:
    """Each call of the store may go through, fail or refuse; nobody is left waiting, no answer goes astray."""

    def script(batch: int) -> None:
        if batch % 5 == 0:
            raise JournalBusy("simulated")
        if batch % 7 == 0:
            raise OutcomeUnknown("simulated")
        if batch % 11 == 0:
            raise JournalFull("simulated")

    disk = Disk(script)
    committer = open_committer(disk, sleep=lambda seconds: None)

    def write(thread: int) -> int:
        done = 0
        for n in range(40):
            number = thread * 100 + n + 1
            fence = n % 3
            try:
                [answer] = committer.commit(change(number, fence))
            except (JournalBusy, OutcomeUnknown):
                continue
            assert answer == (Applied(number, number * 10, None) if fence else Refused("fence", "old"))
            done += 1
        return done

    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(write, range(8), timeout=SOON_S))
    assert sum(counts) == len(disk.durable)
