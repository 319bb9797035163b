"""Group commit: whoever waits is always answered, and nothing is answered before it is durable."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from onward.core import limits
from onward.core.errors import JournalBroken, JournalBusy
from onward.core.model import Answer, Applied, Change, Entry, Run
from onward.storage.committer import Committer
from onward.storage.memory import MemoryStore
from onward.storage.ticket import Ticket
from runtime.committing import SOON_S, Disk, Gate, change, submitted, until

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


def test_a_change_that_is_not_timed_wakes_nobody_and_rides_with_the_next_commit(open_committer: Any) -> None:
    disk = Disk()
    committer = open_committer(disk)
    before = threading.active_count()
    ticket = committer.later(change(1), timed=False)
    assert threading.active_count() == before
    committer.commit(change(2))
    assert ticket.settled
    assert disk.batches == [[1, 2]]


def test_a_change_that_is_not_timed_is_committed_in_time_once_somebody_watches(open_committer: Any) -> None:
    disk = Disk()
    committer = open_committer(disk)
    ticket = committer.later(change(1), timed=False)
    committer.watch()
    until(lambda: ticket.settled)
    assert disk.batches == [[1]]


def test_waiting_for_one_ticket_leaves_all_in_the_order_in_which_they_came(open_committer: Any) -> None:
    """The one that was waited for went behind the others: of two heartbeats the older was recorded last."""
    gate = Gate()
    disk = Disk(gate)
    committer = open_committer(disk)
    with ThreadPoolExecutor(2) as pool:
        leading = pool.submit(committer.commit, change(1))
        assert gate.reached.wait(SOON_S)
        older = committer.later(change(2), within_s=60)
        committer.later(change(3), within_s=60)
        waiting = pool.submit(committer.wait_for, older)
        until(lambda: not committer._later)
        gate.open.set()
        leading.result(SOON_S)
        assert waiting.result(SOON_S) == [Applied(2, 20, None)]
    committer.flush()
    assert disk.durable == [1, 2, 3]


def test_what_is_handed_over_at_the_last_moment_before_closing_is_committed_too(
    open_committer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service thread ended first, and the ticket was never settled."""
    disk = Disk()
    committer = open_committer(disk)
    committer.wait_for(committer.later(change(1)))  # there is a service thread
    flush = committer.flush
    late: list[Ticket] = []

    def flush_and_go_on() -> None:
        flush()
        late.append(committer.later(change(2)))

    monkeypatch.setattr(committer, "flush", flush_and_go_on)
    committer.close()
    assert late[0].settled
    assert disk.durable == [1, 2]
    monkeypatch.undo()


def test_several_threads_may_wait_for_the_same_ticket(open_committer: Any) -> None:
    """Who flushes waits for the tickets of others: of two that waited for one, the second was never woken."""
    gate = Gate()
    committer = open_committer(Disk(gate))
    with ThreadPoolExecutor(6) as pool:
        leading = pool.submit(committer.commit, change(1))
        assert gate.reached.wait(SOON_S)
        waiting = [pool.submit(committer.commit, change(2))]
        until(lambda: len(committer._queue) == 1)
        waiting += [pool.submit(committer.flush) for _ in range(4)]
        time.sleep(0.1)
        gate.open.set()
        leading.result(SOON_S)
        for one in waiting:
            one.result(SOON_S)
