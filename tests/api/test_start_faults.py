"""What goes wrong around queued runs: answers that are lost, workers that die, code that misbehaves."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

import onward
from api.steps import calls, note
from api.working import burst, die, other_process, settle, stored, until
from onward.api import connect
from onward.api.journal import Journal
from onward.core import limits
from onward.core.acts import unkeyed
from onward.core.errors import JournalBusy, OutcomeUnknown, StepCrashed
from onward.core.model import Begun, Change, Claim, Entry
from onward.runtime import registry
from onward.runtime.worker import Worker

pytestmark = pytest.mark.important


@onward.workflow(name="noted")
def job(what: Any) -> Any:
    return note(what)


@onward.workflow(name="plainly")
def plain(what: Any) -> Any:
    calls.append(what)
    return what


# -- claims --------------------------------------------------------------------------------------------------


def test_runs_whose_claim_was_not_answered_are_executed_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim was durable and its answer lost: its runs were leased to a worker that knew nothing of them, renewed
    them for ever, and never looked among its own for what was left behind.
    """
    runs = [job.start(n) for n in range(3)]
    store = connect.engine().store
    commit, lost = store.commit, []

    def losing(changes: Sequence[Any]) -> list[Any]:
        answers = commit(changes)
        if not lost and any(isinstance(one, Claim) for one in changes):
            lost.append(changes)
            raise OutcomeUnknown("the answer was lost")
        return answers

    monkeypatch.setattr(store, "commit", losing)
    worker = Worker(connect.engine())
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        assert [run.result(5) for run in runs] == [0, 1, 2]
    finally:
        worker.drain()
        thread.join()
        worker.rest(1)
    assert lost
    assert sorted(calls) == [0, 1, 2]


@pytest.mark.parametrize("step", ["register", "queues", "announce"])
def test_a_worker_that_begins_while_its_journal_is_away_begins_as_soon_as_it_is_back(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was restarted at that moment ended the worker."""
    run = job.start(1)
    monkeypatch.setattr(registry, "_queues", dict(registry._queues))
    onward.Queue("other", concurrency=3)
    monkeypatch.setattr(limits, "FULL_RETRY_S", 0.01)
    store = connect.engine().store
    call, refused = getattr(store, step), []

    def away(*args: Any) -> Any:
        if len(refused) < 2:
            refused.append(args)
            raise JournalBusy("it cannot be reached")
        return call(*args)

    monkeypatch.setattr(store, step, away)
    assert [one.run.id for one in burst()] == [run.id]
    assert len(refused) == 2


def test_what_was_claimed_ahead_by_a_worker_that_died_goes_on_at_once_and_nobody_is_to_blame() -> None:
    """They were taken over ten at a time, each was a suspect, and suspects were executed one after the other."""
    runs = [sleepy.start(n) for n in range(40)]
    with other_process() as dead:
        dead.register()
        claimed, _ = dead.claim_ready(["sleepy"], [], 100)
        assert len(claimed.runs) == 40
        die(dead)
        started = time.monotonic()
        burst(concurrency=40)
    assert time.monotonic() - started < 2.0  # one after the other it would be 4 s
    assert [run.result() for run in runs] == list(range(40))
    assert {stored(run.id).fence for run in runs} == {3}  # the dead worker's, its end, and ours


@onward.workflow
def sleepy(n: int) -> int:
    time.sleep(0.1)
    return n


def test_take_over_reaches_what_lies_behind_runs_that_this_worker_does_not_know() -> None:
    """It looked at the first few runs of a dead worker only: if it knew none of those, it never came to the others."""

    @onward.workflow(name="elsewhere")
    def elsewhere() -> None: ...

    others = [elsewhere.start() for _ in range(5)]
    mine = job.start("mine")
    with other_process() as dead:
        dead.register()
        dead.claim_ready(["elsewhere", "noted"], [], 100)
        die(dead)
        burst(concurrency=2, names=["noted"])
    assert mine.result() == "mine"
    assert {run.state for run in others} == {"waiting"}  # for a worker that knows them


def test_a_worker_takes_over_only_from_the_queues_that_it_serves() -> None:
    """A dead worker's runs were continued by whoever came first, a queue for other machines or not."""
    run = job.options(queue="gpu").start("a")
    with other_process() as dead:
        dead.register()
        dead.claim_ready(["noted"], [], 1)
        die(dead)
        burst(queues=["default"])
        assert calls == []
        burst(queues=["gpu"])
    assert run.result() == "a"


def test_a_run_that_was_taken_over_while_it_waited_for_its_turn_is_not_begun() -> None:
    """A worker that was stopped for longer than its leases woke up and executed all that it had claimed ahead."""
    plain.start("a")
    with other_process() as zombie:
        zombie.register()
        claimed, safe_until = zombie.claim_ready(["plainly"], [], 1)
        ((run, seq),) = claimed.runs
        with other_process() as heir:
            heir.shift[0] = 100.0  # type: ignore[attr-defined]
            heir.register()
            assert heir.take_over() == 1
            zombie.shift[0] = 100.0  # type: ignore[attr-defined]
            worker = Worker(zombie)
            worker._held[run.no] = run
            worker._begin([(run, seq)], safe_until)
            until(lambda: not worker.active)
            assert calls == []
            worker.rest(1)
            burst(heir)
    assert calls == ["a"]


def test_a_cancellation_is_heard_by_a_run_that_was_claimed_and_has_not_begun() -> None:
    """Asked was a holder who had not begun: its body was executed all the same, without a step to hear it in."""
    run = plain.start("a")
    with other_process() as worker:
        worker.register()
        claimed, safe_until = worker.claim_ready(["plainly"], [], 1)
        assert run.cancel().asked
        worker._listen()
        ((claim, seq),) = claimed.runs
        mine = Worker(worker)
        mine._held[claim.no] = claim
        mine._begin([(claim, seq)], safe_until)
        assert mine.rest(5) == 0
    assert (calls, run.state) == ([], "cancelled")


def test_drain_gives_back_at_once_what_has_not_begun() -> None:
    """It waited for a hand that was free, up to the end of the grace, and then looked as if its worker had died."""
    release = threading.Event()

    @onward.workflow(name="blocking")
    def blocking() -> None:
        release.wait(100)

    first, second = blocking.start(), blocking.start()
    engine = connect.engine()
    engine.register()
    worker = Worker(engine, concurrency=1)
    claimed, safe_until = engine.claim_ready(["blocking"], [], 2)
    for run, seq in claimed.runs:
        worker._held[run.no] = run
        worker._begin([(run, seq)], safe_until)
    until(lambda: engine.sessions)
    resting = threading.Thread(target=worker.rest)
    resting.start()
    until(lambda: second.state == "pending")
    assert first.state == "running"
    release.set()
    resting.join()
    assert (first.state, stored(second.id).stalls) == ("done", 0)


# -- waiting -------------------------------------------------------------------------------------------------


def test_a_second_wait_for_the_same_run_costs_a_row_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first wait had timed out and left its row. The second one found it there, took the awaited run for ended, and
    was woken at once: claimed, replayed and given back without a pause until that ended.
    """
    monkeypatch.setattr(limits, "SUSPEND_S", 0.05)

    @onward.workflow(name="slow")
    def slow() -> str:
        onward.sleep(1.5)
        return "slow"

    @onward.workflow(name="impatient")
    def impatient(run_id: str) -> str:
        handle: onward.Handle[str] = onward.Handle(run_id)
        try:
            return handle.result(timeout=0.2)
        except TimeoutError:
            calls.append("timeout")
        return handle.result()

    awaited = slow.start()
    run = impatient.start(awaited.id)
    settle()
    assert run.result() == "slow"
    assert stored(run.id).fence <= 4


def test_whoever_waits_for_a_run_that_was_removed_is_told() -> None:
    """It was told that a None cannot be formatted."""

    @onward.workflow(name="waiting")
    def waiting(run_id: str) -> None:
        handle: onward.Handle[None] = onward.Handle(run_id)
        handle.result()

    gone = job.start("a")
    run = waiting.start(gone.id)
    connect.engine().store.delete(stored(gone.id).no)
    burst()
    with pytest.raises(onward.RunNotFound, match=gone.id):
        run.result()


def test_a_step_that_sleeps_is_not_begun_again_when_it_wakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run was given back in the middle of the step, and what the step had done before was done once more."""
    monkeypatch.setattr(limits, "SUSPEND_S", 0.05)

    @onward.step
    def charge() -> str:
        calls.append("charge")
        onward.sleep(0.3)
        return "charged"

    @onward.workflow(name="charging")
    def charging() -> str:
        return charge()

    run = charging.start()
    settle()
    assert (run.result(), calls) == ("charged", ["charge"])


def test_a_deadline_ends_a_block_whose_run_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run was a row until the end of the sleep, and nothing in a row ends a block."""
    monkeypatch.setattr(limits, "SUSPEND_S", 0.05)

    @onward.workflow(name="limited")
    async def limited() -> str:
        try:
            async with onward.timeout(0.3):
                await onward.aio.sleep(hours=1)
        except TimeoutError:
            return "in time"
        return "late"

    run = limited.start()
    ended = settle()
    assert run.result() == "in time"
    assert [one.how for one in ended] == ["waiting", "done"]


def test_a_wake_up_is_not_undone_by_a_change_that_was_decided_before_it() -> None:
    """Freeing its key wrote back the row as it had been read: asleep, for a run that had just been woken."""
    awaited = job.start("a")

    @onward.workflow(name="keyed")
    def keyed(run_id: str) -> Any:
        handle: onward.Handle[Any] = onward.Handle(run_id)
        return handle.result()

    run = keyed.options(key="k", unique=0.01).start(awaited.id)
    burst(names=["keyed"])
    read = stored(run.id)
    burst(names=["noted"])
    connect.engine().committer.commit(unkeyed(read, now=time.time()))
    burst()
    assert run.result() == "a"


# -- keys and acts -------------------------------------------------------------------------------------------


def test_a_run_ends_although_its_key_has_gone_to_another_meanwhile() -> None:
    """Its end wrote the key back that it had been given up: two runs of one key are refused, so it could not end, was
    given back and executed again.
    """
    first: list[onward.Handle[Any]] = []

    @onward.workflow(name="once_a_moment")
    def once_a_moment(n: int) -> int:
        calls.append(n)
        if n == 1:
            time.sleep(0.02)
            first.append(once.start(2))
        return n

    once = once_a_moment.options(key="k", unique=0.01)
    run = once.start(1)
    settle(concurrency=1)
    assert (run.result(), first[0].result()) == (1, 2)
    assert calls == [1, 2]


def test_a_delayed_run_that_was_paused_and_resumed_does_not_begin_before_its_time() -> None:
    run = job.options(delay=3_600).start("a")
    run.pause()
    assert run.resume().run.state == "waiting"
    burst()
    assert (calls, run.state) == ([], "waiting")
    run.retry()  # now, whatever was said before
    burst()
    assert calls == ["a"]


def test_a_run_that_is_awaited_by_a_paused_one_wakes_it_when_that_is_resumed() -> None:
    awaited = job.start("a")

    @onward.workflow(name="patient")
    def patient(run_id: str) -> Any:
        handle: onward.Handle[Any] = onward.Handle(run_id)
        return handle.result(timeout=3_600)

    run = patient.start(awaited.id)
    burst(names=["patient"])
    run.pause()
    burst(names=["noted"])
    assert run.resume().run.state == "pending"
    burst()
    assert run.result() == "a"


@pytest.mark.parametrize(("act", "state"), [("cancel", "cancelled"), ("pause", "paused")])
def test_what_is_asked_of_a_run_that_goes_to_sleep_just_then_is_done(
    act: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run was read as held; until it was asked it had gone to sleep. The wish stood in its row, and nobody there
    to hear it: three days later, when it woke, or never.
    """
    monkeypatch.setattr(limits, "SUSPEND_S", 0.05)

    @onward.workflow(name="sleeping")
    def sleeping() -> None:
        onward.sleep(hours=1)

    run = sleeping.start()
    engine = connect.engine()
    engine.register()
    claimed, safe_until = engine.claim_ready(["sleeping"], [], 1)
    read = stored(run.id)
    worker = Worker(engine)
    ((claim, seq),) = claimed.runs
    worker._held[claim.no] = claim
    worker._begin([(claim, seq)], safe_until)
    until(lambda: run.state == "waiting")
    worker.rest(5)
    journal = Journal(engine)
    looks = iter([read])
    find = journal._find
    monkeypatch.setattr(journal, "_find", lambda run_id: next(looks, None) or find(run_id))
    assert not getattr(journal, act)(run.id).asked
    assert run.state == state


@pytest.mark.parametrize(("act", "state"), [("cancel", "cancelled"), ("pause", "paused")])
@pytest.mark.parametrize("end", ["suspended", "retried"])
def test_what_is_asked_while_a_run_is_being_given_back_is_done_by_whoever_gives_it_back(
    act: Any, state: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder heard of it in the answer to its last word. After a failed attempt it did nothing about it."""
    monkeypatch.setattr(limits, "SUSPEND_S", 0.05)

    @onward.workflow(name="leaving", max_attempts=2, backoff=3_600, backoff_max=3_600)
    def leaving() -> None:
        if end == "retried":
            raise ValueError
        onward.sleep(hours=1)

    run = leaving.start()
    store = connect.engine().store
    commit = store.commit

    def asked_first(changes: Sequence[Any]) -> list[Any]:
        if any(isinstance(one, Change) and any(e.name == end for e in one.entries) for one in changes):
            assert store.request(stored(run.id).no, act)
        return commit(changes)

    monkeypatch.setattr(store, "commit", asked_first)
    burst()
    assert run.state == state


def test_a_worker_of_very_short_runs_goes_on_claiming() -> None:
    """It counted how much it would like to have claimed ahead, not how much it may: with runs shorter than half a
    millisecond there was never room enough, and it claimed nothing any more.
    """
    worker = Worker(connect.engine(), concurrency=100)
    worker._mean_s = 1e-5
    assert worker._room() > 0


def test_a_journal_that_takes_nothing_is_no_outcome_of_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start inside of a run was recorded as failed, because another process held the lock for too long."""

    @onward.workflow(name="starting")
    def starting() -> str:
        return job.start("child").id

    store = connect.engine().store
    commit, refused = store.commit, []

    def busy(changes: Sequence[Any]) -> list[Any]:
        creates = any(isinstance(one, Change) and one.create and one.after.name == "noted" for one in changes)  # type: ignore[union-attr]
        if creates and not refused:
            refused.append(1)
            raise JournalBusy("somebody writes for too long")
        return commit(changes)

    run = starting.start()
    monkeypatch.setattr(store, "commit", busy)
    settle()
    assert refused
    assert connect.engine().store.run(run.result()) is not None


def test_a_pause_that_a_dead_worker_was_asked_for_is_granted_by_the_next_one() -> None:
    """Calling a paused run again lets it go on. That was applied to workers, whose claims are nobody's wish."""
    run = plain.start("a")
    with other_process() as dead:
        dead.register()
        dead.claim_ready(["plainly"], [], 1)
        assert run.pause().asked
        die(dead)
        burst()
    assert (run.state, calls) == ("paused", [])
    run.resume()
    burst()
    assert run.result() == "a"


# -- code that misbehaves ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()]
)
def test_what_ends_a_program_ends_its_run_and_not_its_worker(error: BaseException) -> None:
    """Such a run was given back, claimed again, and executed again, as fast as the machine could."""

    @onward.workflow(name="leaving", max_attempts=3)
    def leaving() -> None:
        calls.append("left")
        raise error

    @onward.workflow(name="leaving_async")
    async def leaving_async() -> None:
        calls.append("left")
        raise error

    runs = [leaving.start(), leaving_async.start()]
    other = job.start("a")
    burst(concurrency=1)
    assert other.result() == "a"
    assert calls.count("left") == 2
    for run in runs:
        assert run.state == "failed"
        with pytest.raises(onward.StepFailed, match=type(error).__name__):
            run.result()


def test_a_task_that_ends_the_event_loop_does_not_end_the_other_runs() -> None:
    """asyncio lets SystemExit out of a task through its loop: all async runs of the worker hung for ever."""

    @onward.workflow(name="exiting")
    async def exiting() -> None:
        async def leave() -> None:
            raise SystemExit(1)

        await asyncio.gather(asyncio.create_task(leave()), return_exceptions=True)

    @onward.workflow(name="steady")
    async def steady() -> str:
        await asyncio.sleep(0.2)
        return "steady"

    runs: list[onward.Handle[Any]] = [steady.start(), exiting.start()]
    burst()
    assert runs[0].result() == "steady"
    assert runs[1].state in ("done", "failed")


def test_async_runs_keep_to_the_concurrency_of_their_worker() -> None:
    """All that a worker had claimed ahead was executed at once."""
    active = most = 0

    @onward.workflow(name="counting")
    async def counting() -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.01)
        active -= 1

    for _ in range(60):
        counting.start()
    engine = connect.engine()
    engine.register()
    worker = Worker(engine, concurrency=3)
    claimed, safe_until = engine.claim_ready(["counting"], [], 60)
    for run, seq in claimed.runs:
        worker._held[run.no] = run
        worker._begin([(run, seq)], safe_until)
    until(lambda: not worker.active)
    worker.rest(1)
    assert most == 3


def test_a_listener_that_fails_costs_no_hand() -> None:
    """The thread in which it raised ended, and after as many of them as there are the worker stood still."""
    runs = [job.start(n) for n in range(8)]

    def told(ended: object) -> None:
        raise SystemExit("the listener is broken")

    worker = Worker(connect.engine(), concurrency=2, told=told)
    worker.run(burst=True)
    assert worker.rest(5) == 0
    assert [run.result() for run in runs] == list(range(8))


def test_what_can_never_be_recorded_fails_its_run_and_is_not_tried_for_ever() -> None:
    """Two units of one key: the second was refused, its run given back, claimed, and met the same again."""

    @onward.step
    def load() -> int:
        calls.append("load")
        (run,) = connect.engine().store.runs(name="clashing")
        entry = Entry("load#1", "step", "done", "load", fence=run.fence)
        connect.engine().committer.commit(Change(run.no, run.fence, (entry,)))
        return 1

    @onward.workflow(name="clashing")
    def clashing() -> int:
        return load()

    run = clashing.start()
    burst()
    with pytest.raises(onward.RunConflict, match="two units of work share that key"):
        run.result()
    assert (run.state, calls) == ("failed", ["load"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_user_code_forks_and_lets_run_out_executes_nothing_of_the_worker() -> None:
    """It went on as a hand of the worker: with a copy of its queue, and locks that nobody would ever free."""
    pids: list[int] = []

    @onward.workflow(name="forking")
    def forking() -> str:
        pid = os.fork()
        if pid == 0:
            return "in the child"
        pids.append(pid)
        return "in the parent"

    run = forking.start()
    others = [job.start(n) for n in range(3)]
    burst(concurrency=1)
    assert run.result() == "in the parent"
    assert [other.result() for other in others] == [0, 1, 2]
    until(lambda: os.waitpid(pids[0], os.WNOHANG) != (0, 0))


# -- suspects ------------------------------------------------------------------------------------------------


def suspected(run_id: str, deaths: int) -> None:
    """As if the workers that executed it had died that often in a row."""
    run = stored(run_id)
    connect.engine().committer.commit(
        Change(run.no, run.fence, after=run._replace(stalls=deaths), before=run)
    )


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_suspects_take_turns_and_keep_no_hand_from_the_others(asynchronous: bool) -> None:
    """Each of them held a hand while it waited for its turn; async ones held the threads that the one in its turn
    needed to go on, so that none of them ever ended.
    """
    active = most = 0

    @onward.workflow(name="suspect")
    def suspect(n: int) -> int:
        nonlocal active, most
        active += 1
        most = max(most, active)
        time.sleep(0.01)
        active -= 1
        return n

    @onward.workflow(name="suspect_async")
    async def suspect_async(n: int) -> int:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.to_thread(time.sleep, 0.01)
        active -= 1
        return n

    kind: Any = suspect_async if asynchronous else suspect
    suspects = [kind.start(n) for n in range(40)]
    for run in suspects:
        suspected(run.id, 2)
    innocents = [job.start(n) for n in range(5)]
    burst(concurrency=2)
    assert [run.result() for run in innocents] == list(range(5))
    assert [run.result() for run in suspects] == list(range(40))
    assert most == 1


def test_only_a_death_in_its_turn_counts_against_a_run() -> None:
    """A worker executes many runs. Each of them was convicted of every death, and failed after three."""
    run = job.start("a")
    for death in range(1, 6):
        with other_process() as dead:
            dead.register()
            dead.shift[0] = 3_600.0 * death  # type: ignore[attr-defined]
            claimed, safe_until = dead.claim_ready(["noted"], [], 1)
            ((claim, seq),) = claimed.runs
            session = dead.adopt(claim, seq, safe_until)
            whole = session.whole(job.fn, ("a",), {})
            effect = next(whole)
            while type(effect).__name__ in ("Now", "Keep"):  # up to its body, in which it dies
                reply: Any = dead.store.now()
                if type(effect).__name__ == "Keep":
                    reply = dead.committer.commit(*effect.changes)  # type: ignore[union-attr]
                effect = whole.send(reply)
            die(dead)
            dead.sessions.clear()
            with other_process() as heir:
                heir.shift[0] = dead.shift[0]  # type: ignore[attr-defined]
                heir.register()
                assert heir.take_over() == 1
        row = stored(run.id)
        whole_begun = [b for b in connect.engine().store.begun(row.no) if b.key == "run/whole"]
        assert row.stalls == death
        # The first one left no trace, at the second others may have been there: the third and later ones count.
        assert sum(b.crashes for b in whole_begun) == max(0, death - 2)
    suspected_at = stored(run.id)
    assert suspected_at.wake_at is not None
    suspected(run.id, 5)
    row = stored(run.id)
    connect.engine().committer.commit(
        Change(row.no, row.fence, after=row._replace(state="pending", wake_at=None), before=row)
    )
    burst()
    with pytest.raises(StepCrashed, match="died 3 times"):
        run.result()
    assert calls == []


def test_what_was_claimed_and_never_begun_does_not_become_a_suspect_by_the_second_death() -> None:
    run = job.start("a")
    for _ in range(3):
        with other_process() as dead:
            dead.register()
            dead.claim_ready(["noted"], [], 1)
            die(dead)
            with other_process() as heir:
                heir.register()
                assert heir.take_over() == 1
    assert stored(run.id).stalls == 1
    assert connect.engine().store.begun(stored(run.id).no) == []
    burst()
    assert run.result() == "a"


def test_an_innocent_long_step_is_not_convicted_of_the_deaths_that_others_caused() -> None:
    """Its start marker was alone in its own run, whatever else its worker had in hand when it died."""
    run = job.start("a")
    with other_process() as dead:
        dead.register()
        claimed, safe_until = dead.claim_ready(["noted"], [], 1)
        ((claim, seq),) = claimed.runs
        session = dead.adopt(claim, seq, safe_until)
        begun = Begun("note#1", "step", "note", fence=session.run.fence, begun_at=time.time())
        dead.committer.commit(Change(claim.no, session.run.fence, (), (begun,)))
        die(dead)
        dead.sessions.clear()
        with other_process() as heir:
            heir.register()
            assert heir.take_over() == 1
    (marker,) = connect.engine().store.begun(stored(run.id).no)
    assert (marker.crashes, marker.suspect) == (0, True)
    burst()
    assert run.result() == "a"
