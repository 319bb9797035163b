"""Leases are kept through hiccups of the journal, and what is asked of a run is heard."""

from __future__ import annotations

import asyncio
import threading

import pytest

from onward.core import limits
from onward.core.decide import Started, decide
from onward.core.errors import (
    JournalBroken,
    JournalBusy,
    JournalError,
    JournalFull,
    OutcomeUnknown,
    Stopped,
)
from onward.core.model import Begun, Request
from onward.runtime.drive import drive, drive_async
from onward.runtime.effects import Flow, Later
from onward.runtime.engine import Engine
from onward.runtime.session import Session
from runtime.flows import Clock
from runtime.keeping import WANT, Journal, begun, keep, row

PASSING = [JournalBusy("locked"), JournalFull("no room"), OutcomeUnknown("no answer")]


@pytest.fixture
def session(engine: Engine) -> Session:
    return begun(engine)


# -- renewals that fail -------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_a_renewal_that_fails_for_a_moment_is_tried_again_and_nothing_ends(
    engine: Engine, journal: Journal, session: Session, clock: Clock, error: JournalError
) -> None:
    """One renewal that failed ended every run of the process, with most of the lease still ahead."""
    journal.fails["renew"] = error
    renewed = keep(engine, clock, seconds=15)
    assert session.unwinding is None
    assert clock() < session.safe_until

    journal.fails.clear()
    keep(engine, clock, seconds=0.25, renewed=renewed)
    assert session.unwinding is None
    assert session.safe_until == clock() + limits.LEASE_S - limits.LEASE_MARGIN_S
    assert row(journal).lease_until == clock() + limits.LEASE_S


def test_a_renewal_that_fails_is_said_once(
    engine: Engine, journal: Journal, session: Session, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    journal.fails["renew"] = JournalFull("no room")
    keep(engine, clock, seconds=20)
    assert [record.message for record in caplog.records] == [
        f"the leases in {journal.place} are looked after again soon: no room"
    ]


def test_what_runs_goes_on_while_the_lease_cannot_be_renewed_and_is_recorded_once_it_can(
    engine: Engine, journal: Journal, session: Session, clock: Clock
) -> None:
    """Whoever waited longer than a lease for room on the disk would lose what he has done meanwhile."""
    journal.fails["renew"] = JournalFull("no room")
    renewed = keep(engine, clock, seconds=2 * limits.LEASE_S)
    assert session.unwinding is None
    journal.fails.clear()
    keep(engine, clock, seconds=0.25, renewed=renewed)
    assert drive(session.take("now#1", "value", "now", float), engine, session) == clock()


def test_a_journal_that_broke_ends_every_run_at_once(
    engine: Engine, journal: Journal, session: Session, clock: Clock
) -> None:
    journal.fails["renew"] = error = JournalBroken("I/O error")
    keep(engine, clock, seconds=11)
    assert isinstance(session.unwinding, Stopped)
    assert session.unwinding.__cause__ is error


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_housekeeping_that_fails_ends_no_run(
    engine: Engine, journal: Journal, session: Session, clock: Clock, error: JournalError
) -> None:
    journal.fails["tidy"] = error
    keep(engine, clock, seconds=60)
    assert session.unwinding is None
    assert clock() < session.safe_until


def test_a_fault_in_one_round_of_the_keeper_is_seen_and_costs_no_lease(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keeper's thread died of it, and all leases of the process ran out."""
    engine, rounds, again, shown = Engine(journal), [1, 2], threading.Event(), []
    monkeypatch.setattr(threading, "excepthook", lambda args: shown.append(str(args.exc_value)))

    def look_after(sessions: object, renewed: float) -> float:
        if rounds:
            rounds.pop()
            raise RuntimeError("a mistake of ours")
        again.set()
        return renewed

    monkeypatch.setattr(engine, "look_after", look_after)
    begun(engine)
    assert again.wait(5)
    assert shown == ["a mistake of ours"]
    engine.close()


def test_the_keeper_ends_with_its_journal(journal: Journal) -> None:
    """Every journal that was opened and closed left a thread behind for as long as the process lived."""
    engine = Engine(journal)
    engine.let_go(begun(engine))
    keeper = engine._keeper
    assert keeper is not None
    engine.close()
    keeper.join(5)
    assert not keeper.is_alive()


def test_of_many_sessions_that_ask_at_once_one_renews_for_all(
    engine: Engine, journal: Journal, session: Session, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewals = []
    monkeypatch.setattr(engine, "renew", lambda: (renewals.append(1), Engine.renew(engine))[1])
    clock.at = session.safe_until
    assert engine.reconfirm(session) is True
    assert engine.reconfirm(session) is True
    assert len(renewals) == 1


# -- a journal that fails while changes are handed over ------------------------------------------------------------


def handing_over(session: Session) -> Flow[None]:
    unit = Begun("work#1", "step", "work", fence=session.run.fence)
    yield Later(decide(session.run, Started(unit), now=0.0))


def broken(engine: Engine, journal: Journal, session: Session) -> JournalError:
    """A committer that has seen an I/O error."""
    journal.fails["commit"] = error = JournalBroken("I/O error")
    with pytest.raises(JournalBroken):
        engine.committer.commit(decide(session.run, Started(Begun("a", "step", "a")), now=0.0))
    return error


def test_a_change_that_cannot_be_handed_over_ends_the_session(
    engine: Engine, journal: Journal, session: Session
) -> None:
    """It was an error that user code could catch, and then go on without a record."""
    error = broken(engine, journal, session)
    with pytest.raises(Stopped) as stopped:
        drive(handing_over(session), engine, session)
    assert stopped.value.__cause__ is error
    assert session.unwinding is stopped.value


def test_in_async_code_too(engine: Engine, journal: Journal, session: Session) -> None:
    broken(engine, journal, session)
    with pytest.raises(Stopped):
        asyncio.run(drive_async(handing_over(session), engine, session))
    assert isinstance(session.unwinding, Stopped)


# -- requests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", ["pause", "cancel"])
def test_a_request_reaches_a_session_that_commits_nothing_within_one_round(
    engine: Engine, journal: Journal, session: Session, clock: Clock, request_: Request
) -> None:
    """It was heard of at the next renewal only, ten seconds later."""
    keep(engine, clock, seconds=1)
    journal.request(session.run.no, request_)
    keep(engine, clock, seconds=0.25)
    assert session.asked == request_
    assert session.woken.is_set()


def test_a_request_that_was_withdrawn_is_forgotten(
    engine: Engine, journal: Journal, session: Session, clock: Clock
) -> None:
    journal.request(session.run.no, "pause")
    keep(engine, clock, seconds=0.25)
    journal.request(session.run.no, None)
    keep(engine, clock, seconds=0.25)
    assert session.asked is None
    assert not session.woken.is_set()


def test_a_journal_that_nobody_wrote_to_is_not_searched_for_requests(
    engine: Engine, journal: Journal, session: Session, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(engine, clock, seconds=0.25)
    asked: list[str] = []
    monkeypatch.setattr(journal, "requests", lambda owner: asked.append(owner) or [])
    keep(engine, clock, seconds=5)
    assert asked == []


def test_a_request_to_another_run_asks_nothing_of_ours(
    engine: Engine, journal: Journal, session: Session, clock: Clock
) -> None:
    other = engine.open(WANT._replace(id="r-2", identity="workflow:other"))
    assert other is not None
    journal.request(other.run.no, "cancel")
    keep(engine, clock, seconds=0.25)
    assert (session.asked, other.asked) == (None, "cancel")


def test_a_renewal_just_after_a_run_has_ended_does_not_take_it_for_lost(
    engine: Engine, session: Session, clock: Clock
) -> None:
    """A run that was being paused said it had been taken over, if the keeper came between its commit and its end."""
    drive(session.release(), engine, session)
    keep(engine, clock, seconds=15)
    assert session.unwinding is None
    engine.let_go(session)
