"""Heartbeats, deaths of other processes, and what a person says of a step in doubt: what each changes."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from onward.core import codec
from onward.core.decide import Beaten, Died, Released, decide
from onward.core.doubts import freed, settled
from onward.core.model import Begun, Entry, Run, RunState
from onward.core.timeline import timeline

RUN = Run("r-1", "workflow", "job", "workflow:job", state="running", fence=3, owner="o", no=7)
BEGUN = Begun("fetch#1", "step", "fetch", attempt=2, crashes=1, fence=3, begun_at=90.0)


def test_a_heartbeat_is_a_numbered_entry_in_the_scope_of_its_unit_and_brings_a_new_marker_along() -> None:
    change = decide(RUN, Beaten(BEGUN, 4, '"half"', new=True), now=100.0)
    [beat] = change.entries
    assert (beat.key, beat.kind, beat.state, beat.attempt, beat.value) == (
        "fetch#1 > beat~4",
        "beat",
        "done",
        2,
        '"half"',
    )
    assert beat.checksum == codec.checksum('"half"')
    assert change.begun == (BEGUN,)
    assert decide(RUN, Beaten(BEGUN, 5, "null"), now=101.0).begun == ()


def test_the_death_of_another_process_is_a_crash_with_its_reason_and_the_run_goes_on() -> None:
    again = BEGUN._replace(crashes=2, fence=0)
    change = decide(RUN, Died(again, '"killed"', 95.0), now=100.0)
    [crashed] = change.entries
    assert (crashed.state, crashed.value, crashed.begun_at, crashed.fence) == ("crashed", '"killed"', 95.0, 3)
    assert change.begun == (again,)
    assert change.after is None


def test_a_doubt_leaves_the_run_stuck_and_its_unit_begun() -> None:
    change = decide(RUN, Released("doubted", '"why"'), now=100.0)
    assert change.after is not None
    assert (change.after.state, change.after.owner, change.after.error) == ("stuck", None, '"why"')
    assert change.ended == ()


@pytest.mark.parametrize(
    "state", [s for s in get_args(RunState) if s not in ("running", "done", "cancelled")]
)
def test_what_a_person_says_of_a_step_is_its_outcome_and_shuts_out_whoever_held_the_run(
    state: RunState,
) -> None:
    run = RUN._replace(state=state, owner=None)
    change = settled(run, BEGUN, "17", by="ann@host", now=100.0)
    done, mark = change.entries
    assert (done.key, done.state, done.value, done.attempt) == ("fetch#1", "done", "17", 0)
    assert (mark.name, codec.decode(mark.value or "")) == ("reset", "ann@host")
    assert change.ended == ("fetch#1",)
    assert change.after is not None
    assert (change.after.state, change.after.fence) == ("pending", 4)
    assert change.before == run


def test_a_step_that_was_not_executed_may_be_begun_again_with_its_crashes_forgiven() -> None:
    change = freed(RUN._replace(state="stuck"), BEGUN, by="ann@host", now=100.0)
    [begun] = change.begun
    assert (begun.fence, begun.crashes, begun.suspect, begun.attempt) == (0, 0, False, 2)
    assert change.entries[0].state == "reopened"
    assert codec.decode(change.entries[0].value or "") == {"freed_by": "ann@host"}


def test_an_interrupted_run_is_left_to_its_own_call() -> None:
    change: Any = settled(RUN, BEGUN, "17", by="ann@host", now=100.0)
    assert change.after is None
    assert change.before == RUN
    assert [entry.state for entry in change.entries] == ["done"]


def test_a_timeline_shows_heartbeats_with_their_unit_and_not_as_units() -> None:
    beats = [
        Entry(f"fetch#1 > beat~{n}", "beat", "done", "fetch", None, str(n), 0, n, 3, None, 90.0 + n, seq=n)
        for n in (1, 2)
    ]
    [unit] = timeline(RUN, beats, [BEGUN], now=100.0, holder_is_dead=False).units
    assert unit.key == "fetch#1"
    assert [(beat.number, beat.attempt, beat.at, beat.details) for beat in unit.beats] == [
        (1, 1, 91.0, "1"),
        (2, 2, 92.0, "2"),
    ]
