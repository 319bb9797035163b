"""Units of work, effect by effect: what is asked of the world, in which order, and when memory changes."""

from __future__ import annotations

import pytest

from onward.core import limits
from onward.core.errors import (
    LeaseLost,
    NotRecordable,
    StepCrashed,
    StepFailed,
)
from onward.core.model import Begun, Entry, Run
from onward.core.retry import Policy
from onward.runtime.effects import Call, Keep, Now, Reconfirm, Wait
from onward.runtime.session import Session, Unit
from runtime.flows import FETCH, RUN, Clock, applied, body, entry, made, went, work

# -- a step that goes well ----------------------------------------------------------------------------


def test_a_recorded_step_asks_nothing_of_the_world(clock: Clock) -> None:
    assert work(made(clock, entry(value={"a": [1]}))).ends() == {"a": [1]}


def test_a_new_step_is_one_call_and_one_commit(session: Session) -> None:
    play = work(session)
    call = play.next(Call)
    assert (call.fn, call.args, call.everything, call.here.key) == (body, (1,), False, "fetch#1")
    change = play.kept(went())
    assert (change.run_no, change.fence) == (7, 2)
    assert [(e.key, e.state, e.value, e.fingerprint) for e in change.entries] == [
        ("fetch#1", "done", "17", b"args")
    ]
    assert play.ends(applied()) == 17
    assert session.last_seq == 5


def test_memory_follows_the_disk(session: Session) -> None:
    play = work(session)
    play.next(Call)
    play.next(Keep, went())
    assert not list(session.recorded)
    assert session.last_seq == 4
    play.ends(applied())
    assert list(session.recorded) == ["fetch#1"]
    assert work(session).ends() == 17


def test_steps_in_its_body_are_named_below_the_step(session: Session) -> None:
    here = work(session).next(Call).here
    assert here.scope.next("get") == "fetch#1 > get#1"
    assert (here.attempt, here.inside_step) == (1, True)


# -- a step that fails ----------------------------------------------------------------------------------


def test_a_failed_attempt_is_recorded_then_waited_for_then_repeated(session: Session) -> None:
    play = work(session)
    play.next(Call)
    change = play.kept(went(error=ValueError("no"), at=1_000))
    assert [(e.state, e.attempt) for e in change.entries] == [("retry", 1)]
    [again] = change.begun
    assert (again.attempt, again.due_at) == (2, 1_004)
    play.next(Now, applied())
    assert play.next(Wait, 1_001).seconds == 3
    play.next(Now, False)
    assert play.next(Call, 1_004).here.attempt == 2
    assert play.kept(went(at=1_005)).entries[0].attempt == 2
    assert play.ends(applied()) == 17
    assert session.begun == {}


def test_a_unit_that_waits_for_its_next_attempt_is_not_in_flight(session: Session) -> None:
    """Processes that were killed while a step waited for its next attempt counted as crashes of that step."""
    play = work(session)
    play.next(Call)
    [again] = play.kept(went(error=ValueError("no"))).begun
    assert again.fence != RUN.fence
    play.next(Now, applied())
    assert session.in_flight() == []


def test_the_count_of_attempts_and_the_pause_survive_a_restart(clock: Clock) -> None:
    waiting = Begun("fetch#1", "step", "fetch", attempt=3, due_at=1_050.0, fence=0)
    play = work(made(clock, begun=[waiting]))
    play.next(Now)
    assert play.next(Wait, 1_040.0).seconds == 10
    play.next(Now, False)
    assert play.next(Call, 1_050.0).here.attempt == 3
    change = play.kept(went(error=ValueError("no")))
    assert [(e.state, e.attempt) for e in change.entries] == [("failed", 3)]
    play.fails(ValueError, applied())


def test_the_last_failure_is_recorded_and_raised_as_itself(session: Session) -> None:
    play = work(session, FETCH._replace(policy=Policy()))
    play.next(Call)
    error = ValueError("no")
    change = play.kept(went(error=error))
    assert change.entries[0].state == "failed"
    assert play.fails(ValueError, applied()) is error


def test_what_is_caught_live_is_what_is_caught_in_a_replay(session: Session) -> None:
    class Local(Exception):
        """Cannot come back: its class is not to be found by name."""

    raised: list[list[str]] = [[], []]
    for error in (ValueError("no"), KeyError("k"), Local("gone")):
        key = f"{type(error).__name__}#1"
        unit = Unit(key, "step", type(error).__name__, Policy())
        play = work(session, unit)
        play.next(Call)
        play.next(Keep, went(error=error))
        raised[0].append(repr(play.fails(Exception, applied())))
        raised[1].append(repr(work(session, unit).fails(Exception)))
    assert raised[0] == raised[1]
    assert "StepFailed" in raised[0][2]


def test_a_result_that_cannot_be_recorded_fails_the_step_and_is_not_repeated(session: Session) -> None:
    play = work(session)
    play.next(Call)
    change = play.kept(went(object()))
    assert change.entries[0].state == "failed"
    error = play.fails(NotRecordable, applied())
    assert "the result of step `fetch`" in str(error)


def test_the_pause_between_attempts_ends_when_the_run_has_to_stop(session: Session) -> None:
    play = work(session)
    play.next(Call)
    play.next(Keep, went(error=ValueError("no")))
    play.next(Now, applied())
    play.next(Wait, 1_001)
    session.unwind(LeaseLost("r-1", 2))
    play.fails(LeaseLost, True)


# -- what the process died in -----------------------------------------------------------------------------


def test_a_unit_that_the_process_died_in_too_often_is_given_up_without_running(clock: Clock) -> None:
    session = made(clock, begun=[Begun("fetch#1", "step", "fetch", crashes=3, fence=1)])
    play = work(session)
    play.next(Now)
    change = play.kept(1_000.0)
    assert [(e.state, e.name) for e in change.entries] == [("failed", "fetch")]
    assert change.ended == ("fetch#1",)
    assert "died 3 times" in str(play.fails(StepCrashed, applied()))
    work(session).fails(StepCrashed)


@pytest.mark.parametrize(
    "past", [Begun("fetch#1", "step", "fetch", crashes=1), Begun("fetch#1", "step", "fetch", suspect=True)]
)
def test_what_an_earlier_lease_died_in_begins_with_a_durable_marker(clock: Clock, past: Begun) -> None:
    play = work(made(clock, begun=[past]))
    play.next(Now)
    [begun] = play.kept(1_000.0).begun
    assert (begun.fence, begun.begun_at, begun.crashes) == (2, 1_000, past.crashes)
    play.next(Call, applied())
    assert play.kept(went()).ended == ("fetch#1",)


def test_after_a_death_without_a_trace_units_begin_with_a_durable_marker_until_one_is_recorded(
    session: Session,
) -> None:
    session.run_stalls = 1
    play = work(session)
    play.next(Now)
    play.next(Keep, 1_000.0)
    play.next(Call, applied())
    play.next(Keep, went())
    play.ends(applied())
    assert work(session, FETCH._replace(key="fetch#2")).next(Call)


def test_a_marker_whose_commit_outlasted_the_lease_does_not_let_the_unit_begin(
    session: Session, clock: Clock
) -> None:
    play = work(session, FETCH._replace(certain_start=True))
    play.next(Now)
    play.next(Keep, 1_000.0)
    clock.at = 101.0  # the disk was slow
    play.next(Reconfirm, applied())
    play.fails(LeaseLost, False)


def test_short_units_never_write_a_marker_and_long_ones_write_one(session: Session, clock: Clock) -> None:
    written: list[Begun] = []
    play = work(session)
    play.next(Call)
    session.overdue_markers(written.extend, now=limits.MARKER_S / 2, wall=1_000.0)
    assert written == []
    session.overdue_markers(written.extend, now=limits.MARKER_S, wall=1_000.0)
    assert [(b.key, b.fence, b.begun_at) for b in written] == [("fetch#1", 2, 1_000.0 - limits.MARKER_S)]
    session.overdue_markers(written.extend, now=9.0, wall=1_009.0)
    assert len(written) == 1
    assert [b.key for b in session.in_flight()] == ["fetch#1"]
    assert play.kept(went()).ended == ("fetch#1",)
    play.ends(applied())

    short = work(session, FETCH._replace(key="fetch#2"))
    short.next(Call)
    assert short.kept(went()).ended == ()  # there is nothing to take back


# -- what is kept in memory -------------------------------------------------------------------------------------------


def test_a_long_loop_keeps_nothing_of_the_items_that_ended(clock: Clock) -> None:
    session = made(clock, run=Run("r", "loop", "n", "loop:n", state="running", fence=1, no=7))
    for number in range(100):
        item = f"each/{number}"
        session.remember(entry(f"{item} > look#1"))
        session.remember(Entry(item, "item", "done", "each"))
        assert list(session.recorded) == [f"{item} > look#1"]
        session.forget_scope(item)
    assert not list(session.recorded)


def test_a_failure_that_cannot_come_back_as_itself_says_what_it_was(session: Session) -> None:
    class Local(Exception):
        pass

    play = work(session, FETCH._replace(policy=Policy()))
    play.next(Call)
    play.next(Keep, went(error=Local("gone")))
    failed = play.fails(StepFailed, applied())
    assert isinstance(failed, StepFailed)
    assert failed.message == "gone"
    assert "Local" in failed.class_name
    assert isinstance(failed.__cause__, Local)
