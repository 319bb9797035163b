"""The flows of a session, effect by effect: what is asked of the world, in which order, and when memory changes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from onward.core import codec, limits
from onward.core.errors import (
    Diverged,
    JournalBusy,
    LeaseLost,
    NotRecordable,
    RunConflict,
    StepCrashed,
    StepFailed,
    Stopped,
)
from onward.core.model import Applied, Begun, Change, Entry, Refused, Run
from onward.core.retry import Policy
from onward.runtime.effects import Call, Flow, Keep, Now, Outcome, Reconfirm, Wait
from onward.runtime.session import Session, Unit

POLICY = Policy(max_attempts=3, max_crashes=3, backoff_s=4, backoff_max_s=60, jitter=False)
FETCH = Unit("fetch#1", "step", "fetch", POLICY, b"args")
RUN = Run("r-1", "workflow", "job", "workflow:job", state="running", fence=2, owner="me", no=7)


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def session(clock: Clock) -> Session:
    return made(clock)


def made(clock: Clock, *entries: Entry, begun: Sequence[Begun] = (), run: Run = RUN) -> Session:
    return Session(run, last_seq=4, entries=entries, begun=begun, safe_until=100.0, clock=clock)


def body() -> int:
    raise AssertionError("flows do not call user code, drivers do")


def work(session: Session, unit: Unit = FETCH) -> Player:
    return Player(session.perform(unit, body, (1,), {}))


def went(value: Any = 17, error: BaseException | None = None, at: float = 1_000.0) -> Outcome:
    return Outcome(value, error, at - 2, at)


def applied(seq: int = 5, request: Any = None) -> list[Any]:
    return [Applied(7, seq, request)]


class Player:
    """Takes the place of the driver: `next` gives the reply to one effect and returns the next one."""

    def __init__(self, flow: Flow[Any]) -> None:
        self._flow = flow

    def next(self, kind: type, reply: Any = None) -> Any:
        effect = self._flow.send(reply)
        assert type(effect) is kind, effect
        return effect

    def kept(self, reply: Any = None) -> Change:
        """The one change that is to be committed next."""
        [change] = self.next(Keep, reply).changes
        assert isinstance(change, Change)
        return change

    def ends(self, reply: Any = None) -> Any:
        with pytest.raises(StopIteration) as stop:
            self._flow.send(reply)
        return stop.value.value

    def fails(self, error: type[BaseException], reply: Any = None) -> BaseException:
        with pytest.raises(error) as caught:
            self._flow.send(reply)
        return caught.value


def entry(key: str = "fetch#1", state: str = "done", value: Any = 17, **fields: Any) -> Entry:
    text = codec.encode_error(value) if isinstance(value, BaseException) else codec.encode(value)
    name = key.rpartition(" > ")[2].partition("#")[0]
    made = Entry(key, "step", state, name, b"args", text, codec.checksum(text), fence=1)  # type: ignore[arg-type]
    return made._replace(**fields)


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
    assert session.recorded == {}
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


# -- the lease ----------------------------------------------------------------------------------------------


def test_a_refused_outcome_ends_the_session_and_its_value_is_not_given_out(session: Session) -> None:
    play = work(session)
    play.next(Call)
    play.next(Keep, went())
    play.fails(LeaseLost, [Refused("fence", "fence 2 is old")])
    assert isinstance(session.unwinding, LeaseLost)
    assert session.recorded == {}


def test_after_the_lease_is_lost_every_durable_call_says_so_and_asks_nothing(session: Session) -> None:
    session.unwind(LeaseLost("r-1", 2))
    work(session).fails(LeaseLost)
    Player(session.take("now#1", "value", "now", float)).fails(LeaseLost)
    Player(session.sleep("sleep#1", lambda now: now)).fails(LeaseLost)
    Player(session.finish(went())).fails(LeaseLost)
    Player(session.release()).ends()


def test_the_first_reason_to_unwind_stays(session: Session) -> None:
    first = session.unwind(LeaseLost("r-1", 2))
    assert session.unwind(Stopped("later")) is first
    assert session.woken.is_set()


def test_user_code_that_swallows_the_signal_gets_nothing_recorded(session: Session) -> None:
    play = Player(session.whole(body, (), {}))
    assert play.next(Call).everything
    session.unwind(LeaseLost("r-1", 2))
    play.fails(LeaseLost, went("a fine result"))


def test_an_outcome_of_a_call_that_lost_its_lease_meanwhile_is_discarded(session: Session) -> None:
    play = work(session)
    play.next(Call)
    session.unwind(LeaseLost("r-1", 2))
    play.fails(LeaseLost, went())


def test_while_the_lease_is_confirmed_nobody_is_asked(session: Session, clock: Clock) -> None:
    clock.at = 99.9
    work(session).next(Call)


def test_beyond_its_lease_a_session_starts_nothing_before_it_is_confirmed_anew(
    session: Session, clock: Clock
) -> None:
    clock.at = 100.0
    play = work(session)
    play.next(Reconfirm)
    session.safe_until = 130.0
    play.next(Call, True)


def test_a_confirmation_that_came_too_late_is_asked_for_once_more(session: Session, clock: Clock) -> None:
    clock.at = 100.0
    play = work(session)
    play.next(Reconfirm)
    session.safe_until, clock.at = 130.0, 140.0  # the answer took 40 s
    play.next(Reconfirm, True)
    session.safe_until = 170.0
    play.next(Call, True)


def test_a_lease_that_is_not_confirmed_is_lost(session: Session, clock: Clock) -> None:
    clock.at = 100.0
    play = work(session)
    play.next(Reconfirm)
    play.fails(LeaseLost, False)
    work(session).fails(LeaseLost)


def test_two_units_under_one_key_stop_the_run_with_a_sentence(session: Session) -> None:
    play = work(session)
    play.next(Call)
    play.next(Keep, went())
    stopped = play.fails(Stopped, [Refused("key", "`fetch#1` is done already")])
    assert isinstance(stopped.__cause__, RunConflict)
    assert "give one of them its own key=" in str(stopped.__cause__)


# -- requests -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("request_", "state"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_request_is_granted_before_the_next_unit_and_the_finished_one_is_kept(
    session: Session, request_: Any, state: str
) -> None:
    play = work(session)
    play.next(Call)
    play.next(Keep, went())
    assert play.ends(applied(request=request_)) == 17

    following = work(session, FETCH._replace(key="fetch#2"))
    following.next(Now)
    change = following.kept(1_000.0)
    assert change.after is not None
    assert change.after.state == state
    following.fails(Stopped, applied(6))
    work(session, FETCH._replace(key="fetch#3")).fails(Stopped)


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


def test_a_journal_that_failed_stops_whatever_user_code_catches(session: Session) -> None:
    error = JournalBusy("locked")
    signal = session.unwind(Stopped("locked"), cause=error)
    assert signal.__cause__ is error
    work(session).fails(Stopped)
    Player(session.finish(went("all is well"))).fails(Stopped)


# -- what is kept in memory -------------------------------------------------------------------------------------------


def test_a_long_loop_keeps_nothing_of_the_items_that_ended(clock: Clock) -> None:
    session = made(clock, run=Run("r", "loop", "n", "loop:n", state="running", fence=1, no=7))
    for number in range(100):
        item = f"each/{number}"
        session.remember(entry(f"{item} > look#1"))
        session.remember(Entry(item, "item", "done", "each"))
        assert list(session.recorded) == [f"{item} > look#1"]
        session.forget_scope(item)
    assert session.recorded == {}


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
