"""Leases that ended without the journal hearing of it: given back late rather than never, and nobody is blamed."""

from __future__ import annotations

import pytest

from onward.core import limits
from onward.core.errors import (
    JournalBusy,
    JournalFull,
    LeaseLost,
    OutcomeUnknown,
    Stopped,
)
from onward.core.model import Change, Run
from onward.runtime.drive import drive
from onward.runtime.effects import Outcome
from onward.runtime.engine import Engine
from onward.runtime.session import Session
from runtime.flows import Clock
from runtime.keeping import WANT, Journal, begun, ended_by, in_flight, keep, row


@pytest.fixture
def session(engine: Engine) -> Session:
    return begun(engine)


# -- leases that end without the journal hearing of it ----------------------------------------------------------


def test_what_was_in_flight_when_the_journal_failed_is_not_counted_as_having_killed_the_process(
    engine: Engine, journal: Journal, session: Session
) -> None:
    """The same process called again, alive and well, and its first step was taken for deadly."""
    in_flight(engine, session)
    ended_by(JournalFull("no room"), session)
    engine.let_go(session)

    again = engine.claim(row(journal))
    assert again is not None
    assert [(b.crashes, b.suspect) for b in again.begun.values()] == [(0, False)]
    assert not [e for e in journal.entries(again.run.no) if e.state == "crashed"]


def test_a_run_whose_end_could_not_be_recorded_is_given_back_as_soon_as_that_is_possible(
    engine: Engine, journal: Journal, session: Session, clock: Clock
) -> None:
    """It stayed leased as long as the process lived, which renewed it together with its other runs."""
    journal.fails["commit"] = JournalFull("no room")
    ended_by(JournalFull("no room"), session)
    engine.let_go(session)
    keep(engine, clock, seconds=1)
    assert row(journal).state == "running"

    journal.fails.clear()
    engine.committer.flush()
    keep(engine, clock, seconds=1)
    engine.committer.flush()
    assert (row(journal).state, row(journal).owner) == ("pending", None)
    keep(engine, clock, seconds=1)
    assert engine._owed == {}


def test_giving_back_late_never_takes_back_an_end_that_was_recorded_after_all(
    engine: Engine, journal: Journal, session: Session, clock: Clock
) -> None:
    """The answer to the last commit was lost: it had ended the run, and the late release opened that again."""
    journal.loses = OutcomeUnknown("no answer")
    flow = session.finish(Outcome("done", None, 0.0, 0.0))
    with pytest.raises(Stopped):
        drive(flow, engine, session)
    journal.loses = None
    engine.let_go(session)
    keep(engine, clock, seconds=1)
    engine.committer.flush()
    assert (row(journal).state, row(journal).result) == ("done", '"done"')


def test_giving_back_late_leaves_a_run_alone_that_was_begun_anew(
    engine: Engine, journal: Journal, session: Session, clock: Clock
) -> None:
    """A claim that failed was still to be given back when the same process had claimed the run for good."""
    session.unwind(LeaseLost("r-1", 1))
    engine.let_go(session)
    before = row(journal)
    journal.fails["commit"] = JournalBusy("locked")
    with pytest.raises(JournalBusy):
        engine.claim(before)
    journal.fails.clear()
    again = engine.claim(before)
    assert again is not None
    keep(engine, clock, seconds=1)
    engine.committer.flush()
    assert (row(journal).state, row(journal).fence) == ("running", again.run.fence)


def test_a_claim_whose_answer_was_lost_is_given_back(engine: Engine, journal: Journal, clock: Clock) -> None:
    journal.loses = OutcomeUnknown("no answer")
    with pytest.raises(OutcomeUnknown):
        engine.open(WANT)
    journal.loses = None
    assert row(journal).state == "running"
    keep(engine, clock, seconds=1)
    engine.committer.flush()
    assert row(journal).state == "pending"


def test_a_run_leased_by_two_claims_in_a_row_whose_answers_were_lost_is_given_back_twice(
    engine: Engine, journal: Journal, clock: Clock
) -> None:
    """What was owed of the first lease hid the second: a healthy worker held the run until its lease was over."""
    queue_one(engine, journal)
    for _ in range(2):
        journal.loses = OutcomeUnknown("no answer")
        with pytest.raises(OutcomeUnknown):
            engine.claim_ready(["job"], [], 5)
        journal.loses = None
        assert row(journal).state == "running"
        keep(engine, clock, seconds=0.25)
        engine.committer.flush()
        assert row(journal).state == "pending"
    assert row(journal).fence == 2


def queue_one(engine: Engine, journal: Journal) -> None:
    engine.register()
    journal.commit(
        [Change(0, 0, after=Run("r-1", "workflow", "job", "q", args="[[],{}]", direct=False), create=True)]
    )


def test_a_lease_that_is_executed_still_though_it_was_lost_does_not_hide_a_lost_claim_of_the_same_run(
    engine: Engine, journal: Journal, clock: Clock
) -> None:
    """A worker that had stood still kept the run's new lease for as long as it lived, and executed nothing of it."""
    queue_one(engine, journal)
    claimed, safe_until = engine.claim_ready(["job"], [], 5)
    old = engine.adopt(*claimed.runs[0], safe_until)
    assert old is not None
    clock.at += 2 * limits.LEASE_S
    other = Engine(journal, clock=clock, keeper=False)
    other.register()
    assert other.take_over() == 1

    journal.loses = OutcomeUnknown("no answer")
    with pytest.raises(OutcomeUnknown):
        engine.claim_ready(["job"], [], 5)
    journal.loses = None
    assert row(journal).owner == engine.owner
    keep(engine, clock, seconds=0.25)
    engine.committer.flush()
    assert (row(journal).state, row(journal).owner) == ("pending", None)


def test_of_two_leases_of_one_run_the_later_is_executed_whichever_has_its_turn_first(
    engine: Engine, journal: Journal, clock: Clock
) -> None:
    """The worker had stood still with the run in hand: its old lease took the place of the one that it had got anew."""
    queue_one(engine, journal)
    claimed, safe_until = engine.claim_ready(["job"], [], 5)
    other = Engine(journal, clock=clock, keeper=False)
    other.register()
    clock.at += 2 * limits.LEASE_S
    assert other.take_over() == 1
    again, until = engine.claim_ready(["job"], [], 5)

    assert engine.adopt(*claimed.runs[0], safe_until) is None
    later = engine.adopt(*again.runs[0], until)
    assert later is not None
    assert engine.adopt(*claimed.runs[0], safe_until) is None
    assert engine.sessions[later.run.no] is later


def test_closing_gives_back_what_could_not_be_given_back_before(
    engine: Engine, journal: Journal, session: Session
) -> None:
    in_flight(engine, session)
    ended_by(JournalFull("no room"), session)
    engine.let_go(session)
    written: list[Change] = []
    commit = journal.commit
    journal.commit = lambda changes: (written.extend(changes), commit(changes))[1]  # type: ignore[method-assign]
    engine.close()
    assert [change.after.state for change in written if change.after] == ["pending"]
    assert journal.noted == []


def test_a_process_that_ends_while_the_journal_takes_nothing_leaves_a_note(
    engine: Engine, journal: Journal, session: Session, clock: Clock
) -> None:
    """A nightly job that found its disk full three times had its first item parked, which had done nothing wrong."""
    in_flight(engine, session)
    ended_by(JournalFull("no room"), session)
    engine.let_go(session)
    journal.fails = {"commit": JournalFull("no room"), "unregister": JournalFull("no room")}
    engine.leave()
    assert journal.noted == [engine.owner]

    journal.fails.clear()
    clock.at += limits.LEASE_S
    next_one = Engine(journal, clock=clock, keeper=False)
    again = next_one.claim(row(journal))
    assert again is not None
    assert [(b.crashes, b.suspect) for b in again.begun.values()] == [(0, False)]
    next_one.let_go(again)


def test_a_process_that_left_no_note_is_taken_for_dead(
    engine: Engine, journal: Journal, session: Session, clock: Clock
) -> None:
    in_flight(engine, session)
    clock.at += limits.LEASE_S
    next_one = Engine(journal, clock=clock, keeper=False)
    again = next_one.claim(row(journal))
    assert again is not None
    assert [b.crashes for b in again.begun.values()] == [1]


def test_a_lost_lease_is_not_given_back(engine: Engine, journal: Journal, session: Session) -> None:
    session.unwind(LeaseLost("r-1", 1))
    engine.let_go(session)
    assert engine._owed == {}
