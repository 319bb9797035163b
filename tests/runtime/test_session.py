"""The flows of a session, effect by effect: what is recorded, values and time, and the end of a run."""

from __future__ import annotations

import random

import pytest

from onward.core import codec
from onward.core.errors import (
    Diverged,
    NotRecordable,
    Stopped,
)
from onward.core.model import Run
from onward.core.retry import Policy
from onward.runtime.effects import Call, Keep, Now, Wait
from onward.runtime.session import Session
from runtime.flows import FETCH, Clock, Player, applied, body, entry, made, went, work

# -- divergence -------------------------------------------------------------------------------------------------


def test_a_record_of_other_arguments_stops_the_run_and_nothing_is_executed(clock: Clock) -> None:
    session = made(clock, entry(fingerprint=b"others"))
    play = work(session)
    play.next(Now)
    change = play.kept(1_000.0)
    assert change.after is not None
    assert (change.after.state, change.after.owner) == ("stuck", None)
    stopped = play.fails(Stopped, applied())
    assert isinstance(stopped.__cause__, Diverged)
    assert "with other arguments" in str(stopped)
    work(session, FETCH._replace(key="fetch#2")).fails(Stopped)


def test_a_failure_is_raised_again_whatever_the_arguments_are_now(clock: Clock) -> None:
    session = made(clock, entry(state="failed", value=ValueError("no"), fingerprint=b"others"))
    assert str(work(session).fails(ValueError)) == "no"


def test_a_reopened_failure_is_executed_again(clock: Clock) -> None:
    session = made(clock, entry(state="failed", value=ValueError("no")), entry(state="reopened", value=None))
    work(session).next(Call)


def test_a_success_stands_whatever_comes_after_it(clock: Clock) -> None:
    session = made(
        clock,
        entry(state="failed", value=ValueError("no")),
        entry(state="reopened", value=None),
        entry(value=17),
        entry(state="reopened", value=None),
    )
    assert work(session).ends() == 17


# -- values and time ----------------------------------------------------------------------------------------------


def test_a_value_is_drawn_once_and_is_the_same_ever_after(session: Session) -> None:
    draws = iter(("first", "second"))
    play = Player(session.take("rng#1", "value", "rng", lambda now: next(draws)))
    play.next(Now)
    change = play.kept(1_000.0)
    assert [(e.kind, e.state, e.value) for e in change.entries] == [("value", "done", '"first"')]
    assert play.ends(applied()) == "first"
    assert Player(session.take("rng#1", "value", "rng", lambda now: next(draws))).ends() == "first"
    assert next(draws) == "second"


def test_a_sleep_records_when_it_ends_and_then_waits(session: Session) -> None:
    play = Player(session.sleep("sleep#1", lambda now: now + 60))
    play.next(Now)
    assert play.kept(1_000.0).entries[0].value == "1060.0"
    play.next(Now, applied())
    assert play.next(Wait, 1_000.5).seconds == 59.5
    play.next(Now, False)
    play.ends(1_060.0)


def test_a_restarted_sleep_sleeps_only_the_rest(clock: Clock) -> None:
    slept = entry("sleep#1", value=1_060.0, kind="sleep", fingerprint=None)
    play = Player(made(clock, slept).sleep("sleep#1", lambda now: now + 60))
    play.next(Now)
    assert play.next(Wait, 1_059.0).seconds == 1
    play.next(Now, False)
    play.ends(1_060.0)


def test_a_clock_that_was_set_back_delays_a_sleep_and_never_ends_it_early(session: Session) -> None:
    play = Player(session.sleep("sleep#1", lambda now: now + 60))
    play.next(Now)
    play.next(Keep, 1_000.0)
    play.next(Now, applied())
    play.next(Wait, 1_059.0)
    play.next(Now, False)
    assert play.next(Wait, 500.0).seconds == 560


def test_chance_belongs_to_the_place_and_not_to_the_moment(clock: Clock) -> None:
    one, same = made(clock), made(clock)
    other = made(clock, run=Run("r-2", "workflow", "job", "workflow:job"))
    assert one.uuid4("uuid4#1") == same.uuid4("uuid4#1")
    assert len({one.seed("a"), one.seed("b"), other.seed("a"), other.seed("b")}) == 4
    assert one.uuid4("uuid4#1").version == 4
    assert random.Random(one.seed("rng#1")).random() == random.Random(same.seed("rng#1")).random()


# -- the end --------------------------------------------------------------------------------------------------------


def test_a_result_ends_the_run(session: Session) -> None:
    play = Player(session.whole(body, (), {}))
    play.next(Call)
    play.next(Now, went([1, 2]))
    change = play.kept(1_000.0)
    assert change.after is not None
    assert (change.after.state, change.after.result, change.after.owner) == ("done", "[1,2]", None)
    assert play.ends(applied()) == [1, 2]


def test_an_error_ends_the_run_and_names_the_steps_that_it_came_from(session: Session) -> None:
    step = work(session, FETCH._replace(policy=Policy()))
    step.next(Call)
    step.next(Keep, went(error=ValueError("no")))
    cause = step.fails(ValueError, applied())
    error = RuntimeError("gave up")
    error.__cause__ = cause
    play = Player(session.finish(went(error=error)))
    play.next(Now)
    change = play.kept(1_000.0)
    assert change.after is not None
    assert change.after.state == "failed"
    assert codec.decode(change.entries[0].value or "") == ["fetch#1"]
    assert play.fails(RuntimeError, applied()) is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_an_interruption_gives_the_run_back_and_blames_nobody(session: Session, error: BaseException) -> None:
    play = Player(session.finish(went(error=error)))
    play.next(Now)
    change = play.kept(1_000.0)
    assert change.after is not None
    assert (change.after.state, change.after.error) == ("pending", None)
    assert play.fails(type(error), applied()) is error


def test_a_result_that_cannot_be_recorded_fails_the_run(session: Session) -> None:
    play = Player(session.finish(went(object())))
    play.next(Now)
    change = play.kept(1_000.0)
    assert change.after is not None
    assert change.after.state == "failed"
    play.fails(NotRecordable, applied())
