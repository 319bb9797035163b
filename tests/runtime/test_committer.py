"""Group commit: whoever waits is always answered, and nothing is answered before it is durable."""

from __future__ import annotations

import asyncio
import dis
import linecache
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from onward.core import limits
from onward.core.errors import JournalBroken, JournalBusy, JournalFull, OutcomeUnknown
from onward.core.model import Answer, Applied, Change, Entry, Refused, Run
from onward.storage import committer as committer_module
from onward.storage import masked as masked_module
from onward.storage.committer import Committer, Ticket
from onward.storage.memory import MemoryStore

# Far more than any of these waits takes; only a lost wake-up or a lost answer makes a test wait so long.
SOON_S = 20


def change(number: int, fence: int = 1) -> Change:
    return Change(number, fence)


class Disk:
    """A store of which only `commit` exists. `script` is asked before each batch: it may wait or raise."""

    place = "the test's disk"

    def __init__(self, script: Callable[[int], None] = lambda batch: None) -> None:
        self.script = script
        self.batches: list[list[int]] = []
        self.tries = 0
        self.inside = 0

    def commit(self, changes: Sequence[Change]) -> list[Answer]:
        self.inside += 1
        try:
            assert self.inside == 1, "two batches at once"
            self.tries += 1
            self.script(self.tries)
            self.batches.append([c.run_no for c in changes])
            return [
                Applied(c.run_no, c.run_no * 10, None) if c.fence else Refused("fence", "old")
                for c in changes
            ]
        finally:
            self.inside -= 1

    @property
    def durable(self) -> list[int]:
        return [number for batch in self.batches for number in batch]


class Gate:
    """Holds the first commit until it is let go."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, batch: int) -> None:
        if batch == 1:
            self.reached.set()
            assert self.open.wait(SOON_S)


@pytest.fixture
def open_committer() -> Iterator[Callable[..., Committer]]:
    made: list[Committer] = []

    def make(disk: Any, **options: Any) -> Committer:
        made.append(Committer(disk, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.001)


# -- one writer, many writers -----------------------------------------------------------------------


def test_a_lone_writer_commits_in_its_own_thread_at_once(open_committer: Any) -> None:
    threads: list[str] = []
    disk = Disk(lambda batch: threads.append(threading.current_thread().name))
    committer = open_committer(disk)
    before = threading.active_count()
    assert committer.commit(change(1), change(2)) == [Applied(1, 10, None), Applied(2, 20, None)]
    assert committer.commit(change(3)) == [Applied(3, 30, None)]
    assert disk.batches == [[1, 2], [3]]
    assert threads == [threading.current_thread().name] * 2
    assert threading.active_count() == before


def test_what_arrives_during_a_commit_rides_together_in_the_next(open_committer: Any) -> None:
    gate = Gate()
    disk = Disk(gate)
    committer = open_committer(disk)
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(committer.commit, change(1))
        assert gate.reached.wait(SOON_S)
        rest = [pool.submit(committer.commit, change(n)) for n in range(2, 7)]
        until(lambda: len(committer._queue) == 5)
        gate.open.set()
        assert first.result(SOON_S) == [Applied(1, 10, None)]
        assert [f.result(SOON_S) for f in rest] == [[Applied(n, n * 10, None)] for n in range(2, 7)]
    assert sorted(map(sorted, disk.batches)) == [[1], [2, 3, 4, 5, 6]]


def test_many_threads_each_get_their_own_answers(open_committer: Any) -> None:
    disk = Disk()
    committer = open_committer(disk)

    def write(thread: int) -> list[list[Answer]]:
        return [committer.commit(change(thread * 1_000 + n)) for n in range(50)]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(write, range(16)))
    for thread, given in enumerate(answers):
        assert given == [[Applied(thread * 1_000 + n, (thread * 1_000 + n) * 10, None)] for n in range(50)]
    assert len(disk.durable) == len(set(disk.durable)) == 800


def test_a_writer_is_not_answered_before_its_batch_is_durable(open_committer: Any) -> None:
    gate = Gate()
    committer = open_committer(Disk(gate))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(committer.commit, change(1))
        assert gate.reached.wait(SOON_S)
        assert not answer.done()
        gate.open.set()
        assert answer.result(SOON_S)


def test_a_batch_has_a_bound_and_what_is_beyond_follows(
    open_committer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BATCH_CHANGES", 3)
    gate = Gate()
    disk = Disk(gate)
    committer = open_committer(disk)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(committer.commit, change(1))]
        assert gate.reached.wait(SOON_S)
        waiting += [pool.submit(committer.commit, change(n)) for n in range(2, 9)]
        until(lambda: len(committer._queue) == 7)
        gate.open.set()
        assert sorted(f.result(SOON_S)[0].run_no for f in waiting) == list(range(1, 9))
    assert max(map(len, disk.batches)) == 3


def test_a_refused_change_does_not_touch_its_neighbours() -> None:
    store = MemoryStore()
    committer = Committer(store)
    run = Run("r", "workflow", "r", "r", state="running", fence=1, owner="me", lease_until=1e12)
    [opened] = committer.commit(Change(0, 0, after=run, create=True))
    no = opened.run_no

    def entry(key: str, fence: int) -> Change:
        return Change(no, fence, (Entry(key, "step", "done", key, fence=fence),))

    answers = committer.commit(entry("a", 1), entry("b", 7), entry("a", 1), entry("c", 1))
    assert [type(a).__name__ for a in answers] == ["Applied", "Refused", "Refused", "Applied"]
    assert [e.key for e in store.entries(no)] == ["a", "c"]
    committer.close()


# -- changes that may wait ----------------------------------------------------------------------------


def test_a_later_change_rides_with_the_next_commit_and_stands_before_it(open_committer: Any) -> None:
    disk = Disk()
    committer = open_committer(disk)
    ticket = committer.later(change(1), within_s=SOON_S)
    committer.commit(change(2))
    assert disk.batches == [[1, 2]]
    assert ticket.settled
    assert committer.wait_for(ticket) == [Applied(1, 10, None)]


def test_a_later_change_without_company_is_committed_within_its_time(open_committer: Any) -> None:
    disk = Disk()
    committer = open_committer(disk)
    for number in range(1, 4):
        ticket = committer.later(change(number), within_s=0.005)
        until(lambda ticket=ticket: ticket.settled)
    assert disk.durable == [1, 2, 3]


def test_who_waits_for_a_later_change_has_it_committed_now(open_committer: Any) -> None:
    disk = Disk()
    committer = open_committer(disk)
    ticket = committer.later(change(1), within_s=1e6)
    assert committer.wait_for(ticket) == [Applied(1, 10, None)]
    assert committer.wait_for(ticket) == [Applied(1, 10, None)]
    assert disk.batches == [[1]]


def test_who_waits_for_a_later_change_during_a_commit_gets_it_with_the_next(open_committer: Any) -> None:
    gate = Gate()
    disk = Disk(gate)
    committer = open_committer(disk)
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(committer.commit, change(1))
        assert gate.reached.wait(SOON_S)
        ticket = committer.later(change(2), within_s=1e6)
        waiter = pool.submit(committer.wait_for, ticket)
        until(lambda: len(committer._queue) == 1)
        gate.open.set()
        assert leader.result(SOON_S)
        assert waiter.result(SOON_S) == [Applied(2, 20, None)]


def test_a_later_change_that_comes_while_two_others_commit_in_turn_is_not_forgotten(
    open_committer: Any,
) -> None:
    """The service thread, back from a commit of its own, went to sleep for good while somebody else was leading.

    Nobody rang for the change that came in this moment, and the leader took nothing but its own batch.
    """
    disk = Disk()
    committer = open_committer(disk)
    reached, go_on = threading.Event(), threading.Event()

    def script(batch: int) -> None:
        if threading.current_thread().name == "leader":
            reached.set()
            assert go_on.wait(SOON_S)

    disk.script = script
    in_lead = committer._lead

    def lead() -> None:
        in_lead()
        if threading.current_thread() is committer._service and not reached.is_set():
            # The service is between its commit and its next look when somebody else begins one.
            leader = threading.Thread(target=committer.commit, args=(change(2),), name="leader")
            leader.start()
            assert reached.wait(SOON_S)
            late.append(committer.later(change(3), within_s=0.005))

    late: list[Ticket] = []
    committer._lead = lead
    committer.later(change(1), within_s=0.001)
    assert reached.wait(SOON_S)
    time.sleep(0.05)  # the service looks, and finds somebody leading
    go_on.set()
    until(lambda: bool(late) and late[0].settled)
    assert disk.durable == [1, 2, 3]


def test_closing_commits_what_may_still_wait(open_committer: Any) -> None:
    disk = Disk()
    committer = open_committer(disk)
    committer.later(change(1), within_s=1e6)
    committer.later(change(2), within_s=1e6)
    committer.close()
    assert disk.durable == [1, 2]
    with pytest.raises(JournalBroken, match="is closed in this process; nothing was recorded"):
        committer.commit(change(3))
    assert disk.durable == [1, 2]


# -- asyncio ------------------------------------------------------------------------------------------


async def submitted(committer: Committer, *changes: Change) -> list[Answer]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[Answer]] = loop.create_future()

    def notify(ticket: Ticket) -> None:
        assert asyncio.get_running_loop() is loop
        if ticket.error is not None:
            future.set_exception(ticket.error)
        else:
            future.set_result(ticket.result())

    committer.submit(changes, loop, notify)
    return await asyncio.wait_for(future, SOON_S)


def test_hundreds_of_tasks_share_few_commits_and_the_loop_is_never_blocked(open_committer: Any) -> None:
    loops: list[int] = []
    disk = Disk(lambda batch: (time.sleep(0.01), loops.append(threading.get_ident()))[0])
    committer = open_committer(disk)

    async def main() -> tuple[list[list[Answer]], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.ensure_future(tick())
        answers = await asyncio.gather(*(submitted(committer, change(n)) for n in range(300)))
        ticking.cancel()
        return answers, ticks

    answers, ticks = asyncio.run(main())
    assert answers == [[Applied(n, n * 10, None)] for n in range(300)]
    assert len(disk.batches) <= 10
    assert threading.get_ident() not in loops
    assert ticks > 10


def test_an_error_reaches_every_task_that_was_in_the_batch(open_committer: Any) -> None:
    def script(batch: int) -> None:
        raise JournalBusy("locked")

    committer = open_committer(Disk(script))

    async def main() -> list[Any]:
        return await asyncio.gather(
            *(submitted(committer, change(n)) for n in range(5)), return_exceptions=True
        )

    assert [type(error) for error in asyncio.run(main())] == [JournalBusy] * 5


def test_a_loop_that_closed_meanwhile_harms_nobody_else(open_committer: Any) -> None:
    gate = Gate()
    disk = Disk(gate)
    committer = open_committer(disk)
    loop = asyncio.new_event_loop()
    committer.submit([change(1)], loop, lambda ticket: None)
    assert gate.reached.wait(SOON_S)
    loop.close()
    gate.open.set()
    assert committer.commit(change(2)) == [Applied(2, 20, None)]
    assert disk.durable == [1, 2]


# -- a store that fails -------------------------------------------------------------------------------


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


# -- Ctrl-C -------------------------------------------------------------------------------------------

_FILES = {str(Path(module.__file__ or "")) for module in (committer_module, masked_module)}


def _leaves_with(frame: FrameType) -> bool:
    """Whether the line is a `with` that has come to its end, where the tracer stops but no signal can strike.

    The interpreter looks for signals after calls and at jumps back, not between the body and the call of `__exit__`.
    """
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
    return line.startswith("with ") and dis.opname[frame.f_code.co_code[frame.f_lasti]] == "LOAD_CONST"


class Interrupt:
    """Raises a signal when the nth line of the committer's code is about to run in this thread."""

    def __init__(self, at: int, number: signal.Signals) -> None:
        self.at, self.number = at, number
        self.lines = 0
        self.struck = False

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename not in _FILES:
            return None
        if event == "line" and not _leaves_with(frame):
            self.lines += 1
            if self.lines == self.at:
                self.struck = True
                signal.raise_signal(self.number)
        return self


@contextmanager
def interrupted(at: int, number: signal.Signals) -> Iterator[Interrupt]:
    strike = Interrupt(at, number)
    before = sys.gettrace()
    sys.settrace(strike)
    try:
        yield strike
    finally:
        sys.settrace(before)


class _Terminated(BaseException):
    pass


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated


@pytest.fixture
def handlers() -> Iterator[dict[signal.Signals, Any]]:
    """The handlers that must still be in place after every interruption."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    wanted = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _terminate}
    for number, handler in wanted.items():
        signal.signal(number, handler)
    yield wanted
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.important
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("way", ["commit", "later"])
def test_a_signal_at_any_line_of_a_commit_loses_neither_the_commit_nor_the_committer(
    way: str, number: signal.Signals, handlers: dict[signal.Signals, Any]
) -> None:
    points = struck = 0
    while True:
        points += 1
        disk = Disk()
        committer = Committer(disk)
        answer: list[Answer] | None = None
        with interrupted(points, number) as strike:
            try:
                if way == "commit":
                    answer = committer.commit(change(1))
                else:
                    answer = committer.wait_for(committer.later(change(1), within_s=1e6))
            except (KeyboardInterrupt, _Terminated):
                struck += 1
            sys.settrace(None)
        for each, handler in handlers.items():
            assert signal.getsignal(each) is handler, f"after line {points} {each.name} is handled by another"
        assert answer in (None, [Applied(1, 10, None)])
        # The committer still works, and nothing was committed twice or answered without being durable.
        assert committer.commit(change(2)) == [Applied(2, 20, None)]
        assert disk.durable in ([1, 2], [2])
        assert answer is None or disk.durable == [1, 2]
        committer.close()
        if not strike.struck:
            break
    assert points > 30
    assert struck > 20
