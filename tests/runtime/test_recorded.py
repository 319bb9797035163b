"""What is recorded of a run, by key: rows as the store gave them, Entries for whoever asks."""

from __future__ import annotations

from onward.core.errors import PayloadError
from onward.core.model import Entry
from onward.runtime.recorded import Recorded
from onward.runtime.session import Session
from runtime.flows import Clock, entry, made, work


def recorded(*entries: Entry) -> Recorded:
    found = Recorded()
    for one in entries:
        found.rows[one.key] = tuple(one)
    return found


def test_a_row_becomes_an_entry_for_whoever_asks() -> None:
    one, other = entry("fetch#1"), entry("fetch#2")
    found = recorded(one, other)
    assert type(found.get("fetch#1")) is Entry
    assert found.get("fetch#1") == one
    assert found.get("fetch#3") is None
    assert found.values() == [one, other]
    assert found.items() == [("fetch#1", one), ("fetch#2", other)]


def test_what_is_recorded_is_counted_by_kind() -> None:
    found = recorded(entry("fetch#1"), entry("fetch#2"), Entry("now#1", "value", "done", "now"))
    assert found.count("step", "item") == 2
    assert found.count("value") == 1


def test_rows_replace_and_reopen_each_other_as_entries_do(session: Session) -> None:
    failed = entry("fetch#1")._replace(state="failed", value=None)
    session.learn([tuple(failed), tuple(failed._replace(state="reopened", seq=2))])
    assert "fetch#1" not in session.recorded
    session.learn([tuple(failed), tuple(entry("fetch#1", value=5))])
    assert session.recorded.get("fetch#1") == entry("fetch#1", value=5)


def test_a_row_is_replayed_like_an_entry(clock: Clock) -> None:
    session = made(clock)
    session.learn([tuple(entry(value={"a": 1}))])
    assert work(session).ends() == {"a": 1}


def test_a_damaged_row_is_not_given_out(clock: Clock) -> None:
    session = made(clock)
    session.learn([tuple(entry(value="whole")._replace(value='"hole"'))])
    work(session).fails(PayloadError)
