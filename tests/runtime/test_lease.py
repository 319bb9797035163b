"""The lease of one run, effect by effect: when it is confirmed, what is asked of it, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest

from onward.core import limits
from onward.core.errors import (
    JournalBroken,
    JournalBusy,
    JournalError,
    JournalFull,
    LeaseLost,
    OutcomeUnknown,
    RunConflict,
    Stopped,
)
from onward.core.model import Refused
from onward.runtime.effects import Call, Keep, Now, Outcome, Reconfirm, Wait
from onward.runtime.session import Session
from runtime.flows import FETCH, Clock, Player, applied, body, went, work

# -- the lease ----------------------------------------------------------------------------------------------


def test_a_refused_outcome_ends_the_session_and_its_value_is_not_given_out(session: Session) -> None:
    play = work(session)
    play.next(Call)
    play.next(Keep, went())
    play.fails(LeaseLost, [Refused("fence", "fence 2 is old")])
    assert isinstance(session.unwinding, LeaseLost)
    assert not list(session.recorded)


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
def test_a_request_lets_no_further_unit_begin_and_is_granted_when_all_has_come_to_rest(
    session: Session, request_: Any, state: str
) -> None:
    play = work(session)
    play.next(Call)
    play.next(Keep, went())
    assert play.ends(applied(request=request_)) == 17

    work(session, FETCH._replace(key="fetch#2")).fails(Stopped)
    assert session.unwinding is None
    end = Player(session.finish(went("whatever user code made of it")))
    end.next(Now)
    change = end.kept(1_000.0)
    assert change.after is not None
    assert change.after.state == state
    end.fails(Stopped, applied(6))
    work(session, FETCH._replace(key="fetch#3")).fails(Stopped)


def test_of_two_branches_only_the_end_of_the_run_grants_a_request_and_what_is_in_flight_is_recorded(
    session: Session,
) -> None:
    """Both used to record that the run was cancelled, and a sibling recorded its outcome after that."""
    sibling = work(session, FETCH._replace(key="gather#1/2 > fetch#1"))
    sibling.next(Call)
    session.asked = "cancel"
    work(session, FETCH._replace(key="gather#1/0 > fetch#1")).fails(Stopped)
    work(session, FETCH._replace(key="gather#1/1 > fetch#1")).fails(Stopped)
    sibling.next(Keep, went())
    assert sibling.ends(applied()) == 17
    end = Player(session.finish(Outcome(None, session.halt(), 0.0, 0.0)))
    end.next(Now)
    assert end.kept(1_000.0).after.state == "cancelled"
    end.fails(Stopped, applied(6))


def test_a_request_that_is_withdrawn_when_some_have_heard_it_gives_the_run_back(session: Session) -> None:
    session.asked = "pause"
    work(session).fails(Stopped)
    session.withdrawn = True
    work(session, FETCH._replace(key="fetch#2")).fails(Stopped)
    end = Player(session.finish(went()))
    end.next(Now)
    assert end.kept(1_000.0).after.state == "pending"
    end.fails(Stopped, applied(6))


def test_a_journal_that_failed_stops_whatever_user_code_catches(session: Session) -> None:
    error = JournalBusy("locked")
    signal = session.unwind(Stopped("locked"), cause=error)
    assert signal.__cause__ is error
    work(session).fails(Stopped)
    Player(session.finish(went("all is well"))).fails(Stopped)


# -- a journal that cannot say whether the lease holds ------------------------------------------------------------


def test_a_lease_that_cannot_be_confirmed_is_asked_for_again_in_a_moment(
    session: Session, clock: Clock
) -> None:
    """A journal that was locked for a moment, just when a lease had to be confirmed, ended the run."""
    clock.at = 100.0
    play = work(session)
    play.next(Reconfirm)
    assert play.next(Wait, JournalBusy("locked")).seconds == limits.FULL_RETRY_S
    clock.at += limits.FULL_RETRY_S
    play.next(Reconfirm, False)
    session.safe_until = 130.0
    play.next(Call, True)


@pytest.mark.parametrize(
    "error", [JournalBusy("It is locked."), JournalFull("No room."), OutcomeUnknown("No answer.")]
)
def test_at_the_end_of_its_lease_a_run_that_could_not_confirm_it_ends_with_a_sentence(
    session: Session, clock: Clock, error: JournalError
) -> None:
    clock.at = 100.0
    play = work(session)
    play.next(Reconfirm)
    play.next(Wait, error)
    clock.at = 100.0 + limits.LEASE_MARGIN_S
    play.next(Reconfirm, False)
    stopped = play.fails(Stopped, error)
    assert type(stopped.__cause__) is type(error)
    assert str(stopped.__cause__) == (
        f"the lease of run r-1 is over and could not be renewed in time: {error} Nothing new was begun, and what is "
        "recorded is kept. Call again to continue it."
    )
    work(session).fails(Stopped)


def test_a_journal_that_broke_while_a_lease_was_to_be_confirmed_ends_the_run_at_once(
    session: Session, clock: Clock
) -> None:
    clock.at = 100.0
    play = work(session)
    play.next(Reconfirm)
    error = JournalBroken("I/O error")
    assert play.fails(Stopped, error).__cause__ is error


def test_a_lease_that_was_lost_while_the_journal_could_not_say_so_ends_without_a_further_question(
    session: Session, clock: Clock
) -> None:
    clock.at = 100.0
    play = work(session)
    play.next(Reconfirm)
    play.next(Wait, JournalBusy("locked"))
    session.unwind(LeaseLost("r-1", 2))
    play.fails(LeaseLost, True)


def test_a_request_that_comes_while_the_lease_is_in_doubt_stops_it_before_it_is_asked_for_again(
    session: Session, clock: Clock
) -> None:
    clock.at = 100.0
    play = work(session)
    play.next(Reconfirm)
    play.next(Wait, JournalBusy("locked"))
    session.asked = "pause"
    play.fails(Stopped, True)


# -- whether the journal knows of the end ------------------------------------------------------------------------


def test_a_lease_is_given_back_once_the_journal_has_taken_its_end_and_not_before(session: Session) -> None:
    play = Player(session.finish(went()))
    play.next(Now)
    play.next(Keep, 1_000.0)
    assert not session.given_back
    play.ends(applied())
    assert session.given_back


def test_a_pause_that_was_granted_has_given_the_run_back(session: Session) -> None:
    session.asked = "pause"
    work(session).fails(Stopped)
    play = Player(session.release())
    play.next(Now)
    play.next(Keep, 1_000.0)
    assert not session.given_back
    play.fails(Stopped, applied())
    assert session.given_back
