"""The state machine as a table, and what each fact changes."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.core import codec
from onward.core import decide as decide_module
from onward.core.acts import acted, blamed, reopened, skipped
from onward.core.claiming import Past, claimed, first_claimed, may_claim, opened
from onward.core.decide import Ended, Raised, Released, Retried, Returned, Started, Taken, counted, decide
from onward.core.model import (
    ENDED,
    Applied,
    Begun,
    Change,
    Entry,
    Run,
    RunState,
    applied,
    made,
    starts,
    with_entry,
)
from onward.core.transitions import TRANSITIONS, Event, transition

STATES: tuple[RunState, ...] = get_args(RunState)
EVENTS: tuple[Event, ...] = get_args(Event)

# What becomes of a run in each state; what is not here is impossible.
TABLE: dict[RunState, dict[str, RunState]] = {
    "pending": {"claimed": "running", "paused": "paused", "cancelled": "cancelled", "reset": "pending"},
    "running": {
        "orphaned": "waiting",
        "claimed": "running",
        "returned": "done",
        "raised": "failed",
        "released": "pending",
        "suspended": "waiting",
        "retried": "waiting",
        "paused": "paused",
        "diverged": "stuck",
        "doubted": "stuck",
        "cancelled": "cancelled",
    },
    "waiting": {"claimed": "running", "paused": "paused", "cancelled": "cancelled", "reset": "pending"},
    "paused": {"claimed": "running", "cancelled": "cancelled", "resumed": "pending", "reset": "pending"},
    "stuck": {"claimed": "running", "cancelled": "cancelled", "reset": "pending"},
    "failed": {"claimed": "running", "cancelled": "cancelled", "reset": "pending"},
    "done": {},
    "cancelled": {},
}

LEASED = Run(
    "r-1",
    "workflow",
    "job",
    "workflow:job",
    state="running",
    fence=3,
    owner="me",
    lease_until=130.0,
    leased_seq=4,
    no=7,
)


def begun(key: str = "a#1", **fields: Any) -> Begun:
    return Begun(key, "step", key.partition("#")[0], fence=LEASED.fence, begun_at=90.0)._replace(**fields)


def row(change: Change) -> Run:
    assert change.after is not None
    return change.after


# -- transitions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", EVENTS)
def test_every_state_meets_exactly_the_events_of_the_table(state: RunState, event: Event) -> None:
    assert transition(state, event) == TABLE[state].get(event)


def test_nothing_leads_out_of_done_and_cancelled() -> None:
    assert [state for state in STATES if not any(transition(state, event) for event in EVENTS)] == [
        "done",
        "cancelled",
    ]


def test_only_a_claim_makes_a_run_running() -> None:
    assert [event for event, (_, target) in TRANSITIONS.items() if target == "running"] == ["claimed"]


# -- facts about units of work ------------------------------------------------------------------------


def test_a_unit_that_begins_writes_a_marker_and_no_entry() -> None:
    assert decide(LEASED, Started(begun()), now=100) == Change(7, 3, (), (begun(),))


@pytest.mark.parametrize(("ok", "state"), [(True, "done"), (False, "failed")])
def test_an_outcome_is_one_entry_under_the_fence_of_the_lease(ok: bool, state: str) -> None:
    change = decide(LEASED, Ended("a#1", "step", "a", ok, '"x"', b"f", 2, 95.0), now=100)
    [entry] = change.entries
    assert (change.run_no, change.fence, change.ended, change.after) == (7, 3, ("a#1",), None)
    assert (entry.key, entry.state, entry.value, entry.fingerprint) == ("a#1", state, '"x"', b"f")
    assert (entry.attempt, entry.fence, entry.begun_at, entry.ended_at) == (2, 3, 95.0, 100)
    assert entry.checksum == codec.checksum('"x"')


def test_an_outcome_without_a_value_has_no_checksum() -> None:
    [entry] = decide(LEASED, Ended("a#1", "item", "each", True, None, None, 1, None), now=100).entries
    assert (entry.value, entry.checksum) == (None, None)


def test_a_unit_whose_start_was_never_written_has_no_marker_to_remove() -> None:
    fact = Ended("a#1", "step", "a", True, None, None, 1, None, marked=False)
    assert decide(LEASED, fact, now=100).ended == ()


def test_a_value_that_was_taken_is_done_at_once() -> None:
    [entry] = decide(LEASED, Taken("now#1", "value", "now", "17"), now=100).entries
    assert (entry.kind, entry.state, entry.value, entry.begun_at) == ("value", "done", "17", 100)


def test_a_failed_attempt_is_an_entry_and_the_next_one_is_already_marked() -> None:
    again = begun(attempt=3, due_at=108.0, crashes=1, fence=0)
    change = decide(LEASED, Retried(again, '{"e":1}', 95.0), now=100)
    [entry] = change.entries
    assert (entry.state, entry.attempt, entry.begun_at, entry.value) == ("retry", 2, 95.0, '{"e":1}')
    assert entry.fence == LEASED.fence
    assert change.begun == (again,)
    assert change.ended == ()


# -- how a lease ends -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fact", "state"),
    [
        (Returned("1"), "done"),
        (Raised("{}", ("a#1",)), "failed"),
        (Released("released"), "pending"),
        (Released("suspended", wake_at=500.0), "waiting"),
        (Raised("{}", again_at=500.0), "waiting"),
        (Released("paused"), "paused"),
        (Released("cancelled"), "cancelled"),
        (Released("diverged", "{}"), "stuck"),
    ],
)
def test_however_a_lease_ends_nobody_holds_the_run_any_more(fact: Any, state: RunState) -> None:
    change = decide(LEASED._replace(stalls=2), fact, now=100)
    after = row(change)
    assert (after.state, after.owner, after.lease_until, after.stalls) == (state, None, None, 0)
    assert (after.fence, after.updated_at) == (3, 100)
    [mark] = change.entries
    assert (mark.kind, mark.fence, mark.ended_at) == ("mark", 3, 100)


def test_a_result_takes_the_place_of_an_earlier_error() -> None:
    after = row(decide(LEASED._replace(error="old"), Returned("1"), now=100))
    assert (after.result, after.error) == ("1", None)


def test_the_end_with_an_error_names_the_entries_that_it_came_from() -> None:
    change = decide(LEASED, Raised("{}", ("a#1", "b#2")), now=100)
    assert codec.decode(change.entries[0].value or "") == ["a#1", "b#2"]
    assert row(change).error == "{}"


def test_a_run_given_back_without_an_error_keeps_the_one_it_had() -> None:
    assert row(decide(LEASED._replace(error="old"), Released("released"), now=100)).error == "old"


@pytest.mark.parametrize(
    ("request_", "fact", "left"),
    [
        ("pause", Released("paused"), None),
        ("cancel", Released("cancelled"), None),
        ("cancel", Released("paused"), "cancel"),  # came while the pause was granted
        ("cancel", Released("released"), "cancel"),
        ("pause", Raised("{}"), "pause"),
        ("pause", Returned(None), None),
        ("cancel", Returned(None), None),
    ],
)
def test_a_wish_stays_until_it_is_granted_or_the_run_is_over(
    request_: Any, fact: Any, left: str | None
) -> None:
    assert row(decide(LEASED._replace(request=request_), fact, now=100)).request == left


@pytest.mark.parametrize("state", [state for state in STATES if state != "running"])
@pytest.mark.parametrize("fact", [Returned(None), Raised("{}"), Released("released"), Released("suspended")])
def test_only_a_running_run_can_end(state: RunState, fact: Any) -> None:
    with pytest.raises(AssertionError, match=f"cannot happen to a {state} run"):
        decide(LEASED._replace(state=state), fact, now=100)


# -- opening and claiming -------------------------------------------------------------------------------


def test_a_new_run_is_leased_by_who_opens_it() -> None:
    change = opened(Run("r", "loop", "n", "loop:n", args="[1]"), owner="me", now=100, lease_s=30)
    after = row(change)
    assert (change.create, change.before, after.state, after.fence) == (True, None, "running", 1)
    assert (after.owner, after.lease_until, after.created_at) == ("me", 130, 100)
    assert [(e.name, e.fence) for e in change.entries] == [("submitted", 0), ("claimed", 1)]
    assert after.leased_seq == 1


@pytest.mark.parametrize("state", STATES)
def test_who_is_not_running_can_be_claimed_unless_it_is_over(state: RunState) -> None:
    idle = LEASED._replace(state=state, owner=None, lease_until=None)
    assert may_claim(idle, now=0, owner_is_dead=False) == (state not in ("done", "cancelled"))


@pytest.mark.parametrize(
    ("now", "owner_is_dead", "free"),
    [(129.9, False, False), (130.0, False, True), (131.0, False, True), (0.0, True, True)],
)
def test_a_running_run_is_free_once_its_lease_is_over_or_its_holder_proven_dead(
    now: float, owner_is_dead: bool, free: bool
) -> None:
    assert may_claim(LEASED, now=now, owner_is_dead=owner_is_dead) == free


@pytest.mark.parametrize("state", ["done", "cancelled"])
def test_a_run_that_is_over_is_never_claimed(state: RunState) -> None:
    with pytest.raises(AssertionError, match="not to be had"):
        claimed(LEASED._replace(state=state), Past(4, progressed=True), owner="you", now=200, lease_s=30)


def claim(
    run: Run,
    *in_flight: Begun,
    progressed: bool = False,
    reopen: tuple[Entry, ...] = (),
    ended_alive: bool = False,
) -> Change:
    past = Past(9, progressed, in_flight, reopen, ended_alive)
    return claimed(run, past, owner="you", now=200, lease_s=30)


def test_a_claim_raises_the_fence_and_holds_only_against_what_was_read() -> None:
    asked = LEASED._replace(request="pause", error="old", wake_at=1.0)
    change = claim(asked, progressed=True)
    after = row(change)
    assert (change.fence, change.before, change.create) == (3, asked, False)
    assert (after.fence, after.owner, after.lease_until, after.state) == (4, "you", 230, "running")
    assert (after.request, after.error, after.wake_at) == (None, None, None)
    assert [(e.name, e.fence) for e in change.entries] == [("claimed", 4)]
    assert after.leased_seq == 10


def test_what_was_in_flight_alone_is_convicted_of_the_death() -> None:
    change = claim(LEASED, begun(crashes=1), progressed=True)
    assert change.begun == (begun(crashes=2),)
    assert [(e.key, e.state, e.fence) for e in change.entries] == [
        ("a#1", "crashed", 3),
        ("run/claimed", "mark", 4),
    ]
    assert row(change).leased_seq == 11


def test_of_several_in_flight_each_is_a_suspect_and_none_convicted() -> None:
    change = claim(LEASED, begun("a#1"), begun("b#1", crashes=1))
    assert change.begun == (begun("a#1", suspect=True), begun("b#1", crashes=1, suspect=True))
    assert row(change).stalls == 0


def test_what_an_earlier_lease_left_begun_is_not_blamed_for_this_death() -> None:
    older = begun("b#1", fence=2)
    change = claim(LEASED, begun("a#1"), older)
    assert change.begun == (begun("a#1", crashes=1),)


@pytest.mark.parametrize("state", ["pending", "waiting", "paused", "stuck", "failed"])
def test_a_run_that_was_given_back_blames_nobody(state: RunState) -> None:
    change = claim(LEASED._replace(state=state, owner=None, lease_until=None), begun())
    assert change.begun == ()
    assert row(change).stalls == 0


def test_a_lease_that_ended_alive_blames_nobody_and_forgets_no_death_before_it() -> None:
    """A full disk kept a process from giving its run back: what it had in flight counted as if it had died in it."""
    change = claim(LEASED._replace(stalls=2), begun(), ended_alive=True)
    assert change.begun == ()
    assert [e.key for e in change.entries] == ["run/claimed"]
    assert row(change).stalls == 2


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_stalls_count_leases_in_a_row_that_died_without_recording_anything(progress: list[bool]) -> None:
    run = LEASED
    for progressed in progress:
        run = row(claim(run, progressed=progressed))._replace(lease_until=0.0)
    in_a_row = next((n for n, progressed in enumerate(reversed(progress)) if progressed), len(progress))
    assert run.stalls == in_a_row
    assert run.fence == LEASED.fence + len(progress)


def test_a_death_with_something_in_flight_is_no_stall() -> None:
    assert row(claim(LEASED._replace(stalls=1), begun())).stalls == 0


def test_failures_that_are_to_be_repeated_are_reopened_by_the_new_lease() -> None:
    failed = Entry("a#1", "step", "failed", "a", None, "{}", 1, 3, 2)
    change = claim(LEASED._replace(state="failed", owner=None, lease_until=None), reopen=(failed,))
    assert [(e.key, e.state, e.value, e.fence) for e in change.entries] == [
        ("a#1", "reopened", None, 4),
        ("run/claimed", "mark", '"you"', 4),
    ]


@given(
    st.integers(0, 3),
    st.booleans(),
    st.integers(0, 2),
    st.sampled_from([state for state in STATES if state not in ("done", "cancelled")]),
)
def test_the_first_entry_of_a_new_lease_is_known(
    in_flight: int, progressed: bool, reopen: int, state: RunState
) -> None:
    run = LEASED._replace(state=state)
    failed = tuple(Entry(f"f#{n}", "step", "failed", "f") for n in range(reopen))
    change = claim(run, *(begun(f"a#{n}") for n in range(in_flight)), progressed=progressed, reopen=failed)
    assert row(change).leased_seq == 9 + len(change.entries)
    assert change.entries[-1].name == "claimed"


# -- acts of others ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["cancelled", "paused", "resumed", "reset"])
@pytest.mark.parametrize("state", STATES)
def test_a_person_acts_on_a_run_only_where_the_table_says_so(state: RunState, event: Any) -> None:
    change = acted(LEASED._replace(state=state), event, by="ann", now=100)
    if event not in TABLE[state]:
        assert change is None
        return
    assert change is not None
    after = row(change)
    assert (after.state, after.owner, after.request) == (TABLE[state][event], None, None)
    # So that a holder that was thought dead records nothing more.
    assert (change.fence, after.fence, change.entries[0].fence) == (3, 4, 4)
    assert change.before is not None
    assert codec.decode(change.entries[0].value or "") == "ann"


def test_an_exception_that_ended_an_items_body_counts_like_a_crash() -> None:
    change = blamed(LEASED, (begun("each/a", kind="item"),), "{}", now=100)
    assert change.begun == (begun("each/a", kind="item", crashes=1),)
    assert [(e.key, e.state, e.value) for e in change.entries] == [("each/a", "crashed", "{}")]
    assert (row(change).state, row(change).owner, change.before) == ("failed", None, None)


def test_a_skipped_item_is_done_and_says_by_whom() -> None:
    failed = Entry("each/a", "item", "failed", "each", None, "{}", 1, 3, 2)
    change = skipped(LEASED, failed, by="ann", now=100)
    [entry] = change.entries
    assert (entry.key, entry.state, change.ended) == ("each/a", "done", ("each/a",))
    assert codec.decode(entry.value or "") == {"skipped_by": "ann"}


def test_reopened_units_are_begun_no_more() -> None:
    failed = Entry("a#1", "step", "failed", "a", None, "{}", 1, 3, 2)
    change = reopened(LEASED, [failed], now=100)
    assert [(e.state, e.fence) for e in change.entries] == [("reopened", 3)]
    assert (change.ended, change.before) == (("a#1",), LEASED)


def test_progress_changes_nothing_but_the_counts() -> None:
    change = counted(LEASED, done=5, total=9, seq=12)
    assert (change.entries, change.begun, change.ended, change.after) == ((), (), (), None)
    assert change.progress == (5, 9, 12)


@given(st.sampled_from(STATES), st.sampled_from(EVENTS))
def test_a_run_that_has_ended_is_held_by_nobody(state: RunState, event: Event) -> None:
    """Whatever function makes the transition: into an ended state it takes owner and lease away."""
    if event not in ("returned", "raised", "cancelled") or transition(state, event) is None:
        return
    run = LEASED._replace(state=state)
    made: Change | None
    if event == "returned":
        made = decide(run, Returned(None), now=1)
    elif event == "raised":
        made = decide(run, Raised("{}"), now=1)
    else:
        made = acted(run, "cancelled", by="ann", now=1)
    assert made is not None
    assert row(made).state in ENDED
    assert (row(made).owner, row(made).lease_until) == (None, None)


def test_changes_that_are_made_in_one_go_have_every_field() -> None:
    """Their tuples are made without their constructors: a field added to Change would be missing in them."""
    [entry] = decide(LEASED, Taken("now#1", "value", "now", "17"), now=100).entries
    one = begun()
    assert with_entry(LEASED, entry, ("a",)) == Change(LEASED.no, LEASED.fence, (entry,), ended=("a",))
    assert starts(LEASED, one) == Change(LEASED.no, LEASED.fence, begun=(one,))
    assert made(tuple(entry)) == entry
    assert applied(3, 5) == Applied(3, 5, None)


# -- what is decided for many at once ---------------------------------------------------------------------


def test_many_first_claims_are_what_each_would_be_alone() -> None:
    runs = [
        Run(
            f"r{n}",
            "workflow",
            "w",
            f"i{n}",
            args="[[],{}]",
            direct=False,
            priority=n,
            lane="l",
            tags='["t"]',
            no=n,
        )
        for n in range(3)
    ]
    together = first_claimed([(run, 4 + run.no) for run in runs], owner="o", now=9.0, lease_s=30.0)
    alone = [
        claimed(run, Past(4 + run.no, progressed=False), owner="o", now=9.0, lease_s=30.0) for run in runs
    ]
    assert together is not None
    assert [*together.changes()] == alone


@pytest.mark.parametrize(
    "fields",
    [
        {"fence": 1},
        {"state": "waiting"},
        {"stalls": 1},
        {"request": "cancel"},
        {"single": "start:k"},
        {"args": None},
    ],
    ids=str,
)
def test_what_is_not_plain_is_not_claimed_with_others(fields: dict[str, Any]) -> None:
    run = Run("r", "workflow", "w", "i", args="[[],{}]", direct=False)
    taken = [(run, 0), (run._replace(**fields), 0)]
    assert first_claimed(taken, owner="o", now=9.0, lease_s=30.0) is None


@pytest.mark.parametrize("single", [None, "k", "end:k"])
def test_the_end_of_a_run_that_has_returned_is_that_of_any_lease(single: str | None) -> None:
    run = Run(
        "r", "workflow", "w", "i", args="[[],{}]", direct=False, state="running", fence=3, owner="o", lease_until=9.0,
        stalls=2, leased_seq=5, error="{}", command="c", total=4, done=3, counted_seq=2, created_at=1.0, queue="q",
        priority=7, lane="l", single=single, tags="[]", parent="p", attempt=1, no=8,
    )  # fmt: skip
    whole = decide_module._end(run, "returned", 7.0, None, result="1", error=None)
    assert decide(run, Returned("1"), now=7.0) == whole
