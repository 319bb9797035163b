"""What every store promises about writing: each sentence of the port is a test, on every store."""

from typing import get_args

import pytest

from onward.core.errors import JournalError
from onward.core.model import Applied, Change, Owner, Progress, Refused, Request, RunState
from onward.storage import Store
from storage.conftest import Clock
from storage.rows import a_run, begun, entry, keys, opened, reason, record, recorded


def test_a_created_run_is_read_back_as_it_was_given(store: Store) -> None:
    run = a_run(
        "orders-2026",
        kind="workflow",
        name="checkout",
        identity="checkout(7)",
        args='{"a": 1}',
        direct=False,
        state="waiting",
        fence=7,
        owner=None,
        lease_until=None,
        wake_at=99.5,
        request="pause",
        stalls=2,
        leased_seq=4,
        result="1",
        error="2",
        command="python x.py",
        total=10,
        done=3,
        counted_seq=5,
        created_at=1.25,
        updated_at=2.5,
    )
    [answer] = store.commit([Change(0, 0, after=run, create=True)])
    assert answer == Applied(1, -1, "pause")
    assert store.run("orders-2026") == run._replace(no=1)


def test_entries_get_dense_numbers_from_zero_in_the_order_of_the_changes(store: Store) -> None:
    one, two = opened(store, "one"), opened(store, "two")
    answers = store.commit(
        [
            Change(one.no, 1, (entry("a"), entry("b"))),
            Change(two.no, 1, (entry("a"),)),
            Change(one.no, 1, (entry("c"),)),
        ]
    )
    assert answers == [Applied(one.no, 1, None), Applied(two.no, 0, None), Applied(one.no, 2, None)]
    assert [(e.seq, e.key) for e in store.entries(one.no)] == [(0, "a"), (1, "b"), (2, "c")]
    assert recorded(store, one, entry("d")).seq == 3


def test_an_entry_is_read_back_as_it_was_given_but_for_its_number(store: Store) -> None:
    run = opened(store)
    given = entry(
        "k", "failed", "step", '"é\\u0000"', fingerprint=b"\0\1\2", attempt=3, begun_at=1.5, name="fetch"
    )
    recorded(store, run, given, entry("none", value=None))
    assert store.entries(run.no) == [given._replace(seq=0), entry("none", value=None, seq=1)]


def test_a_change_under_an_old_fence_is_refused_and_leaves_no_trace_while_the_others_go_through(
    store: Store,
) -> None:
    one, two = opened(store, "one"), opened(store, "two", fence=5)
    stale = Change(
        two.no,
        4,
        (entry("stale"),),
        (begun("stale"),),
        after=two._replace(state="done"),
        progress=Progress(9, 9, 9),
    )
    answers = store.commit([Change(one.no, 1, (entry("a"),)), stale, Change(two.no, 5, (entry("b"),))])
    assert reason(answers[1]) == "fence"
    assert answers[0] == Applied(one.no, 0, None)
    assert answers[2] == Applied(two.no, 0, None)
    assert keys(store, two) == ["b"]
    assert store.begun(two.no) == []
    assert store.run("two") == two


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a batch"])
def test_changes_beside_each_other_are_written_together_or_not_at_all(store: Store, alone: bool) -> None:
    """An item was recorded without the cursor that moves with it, if the cursor's lease was lost in between."""
    one, two, third = opened(store, "one"), opened(store, "two", fence=5), opened(store, "third")
    company = [] if alone else [Change(third.no, 1, (entry("c"),))]
    moved = Change(two.no, 5, after=two._replace(result="7"))
    both = Change(one.no, 1, (entry("a"),), ended=("a",), beside=(moved,))
    assert reason(store.commit([both._replace(fence=9), *company])[0]) == "fence"
    refused = store.commit([both._replace(beside=(moved._replace(fence=4),))])[0]
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.run_no) == ("fence", two.no)
    assert (keys(store, one), store.run("two")) == ([], two)
    assert store.commit([both])[0] == Applied(one.no, 0, None)
    again = store.commit([both._replace(beside=(moved._replace(after=two._replace(result="8")),))])
    assert reason(again[0]) == "key"
    assert (keys(store, one), store.run("two")) == (["a"], two._replace(result="7"))


def test_a_change_of_a_run_that_does_not_exist_is_refused(store: Store) -> None:
    assert reason(store.commit([Change(77, 1, (entry("a"),))])[0]) == "missing"


@pytest.mark.parametrize(
    "seen",
    [{"owner": "somebody"}, {"lease_until": 29.0}, {"state": "waiting"}],
    ids=["owner", "lease_until", "state"],
)
def test_a_claim_is_refused_if_owner_lease_or_state_are_not_as_they_were_read(
    store: Store, seen: dict[str, object]
) -> None:
    run = opened(store)
    after = run._replace(fence=2, owner="thief")
    claim = Change(run.no, 1, after=after, before=run._replace(**seen))  # type: ignore[arg-type]
    assert reason(store.commit([claim])[0]) == "lease"
    assert store.run("r") == run
    assert store.commit([claim._replace(before=run)]) == [Applied(run.no, -1, None)]
    assert store.run("r") == after


def test_of_two_claims_in_one_batch_the_first_wins(store: Store) -> None:
    run = opened(store, owner=None, lease_until=None, state="pending")
    claims = [
        Change(run.no, 1, (entry(who),), after=run._replace(fence=2, owner=who, lease_until=9.0), before=run)
        for who in ("first", "second")
    ]
    first, second = store.commit(claims)
    assert first == Applied(run.no, 0, None)
    assert reason(second) == "fence"
    assert keys(store, run) == ["first"]


def test_a_run_is_created_once_whatever_its_identity(store: Store) -> None:
    opened(store, "r", identity="a")
    again = Change(0, 0, (entry("lost"),), after=a_run("r", identity="b"), create=True)
    assert reason(store.commit([again])[0]) == "exists"
    run = store.run("r")
    assert run is not None
    assert run.identity == "a"
    assert keys(store, run) == []


def test_two_creations_of_one_run_in_one_batch_make_one(store: Store) -> None:
    create = Change(0, 0, (entry("a"),), after=a_run("r"), create=True)
    first, second = store.commit([create, create])
    [run] = store.runs()
    assert first == Applied(run.no, 0, None)
    assert reason(second) == "exists"


@pytest.mark.parametrize("state", get_args(RunState))
def test_an_identity_has_one_open_direct_run(store: Store, state: RunState) -> None:
    opened(store, "old", identity="loop", state=state, owner=None, lease_until=None)
    new = Change(0, 0, after=a_run("new", identity="loop"), create=True)
    if state in ("done", "cancelled"):
        assert isinstance(store.commit([new])[0], Applied)
    else:
        assert reason(store.commit([new])[0]) == "exists"
        assert store.run("new") is None


def test_runs_that_are_not_direct_may_share_an_identity(store: Store) -> None:
    for run_id in ("a", "b"):
        opened(store, run_id, identity="job", direct=False)
    assert opened(store, "c", identity="job", direct=True).identity == "job"


def test_a_closed_run_is_not_opened_again_beside_another_of_its_identity(store: Store) -> None:
    old = opened(store, "old", identity="loop", state="cancelled", owner=None, lease_until=None)
    opened(store, "new", identity="loop")
    reopening = Change(old.no, 1, (entry("x"),), after=old._replace(state="pending"), before=old)
    assert reason(store.commit([reopening])[0]) == "exists"
    assert store.run("old") == old
    assert keys(store, old) == []


def test_a_key_is_done_once_and_only_the_second_is_refused(store: Store) -> None:
    one, two = opened(store, "one"), opened(store, "two")
    recorded(store, one, entry("a"))
    answers = store.commit(
        [
            Change(two.no, 1, (entry("a"),)),
            Change(one.no, 1, (entry("b"), entry("a")), (begun("z"),)),
            Change(one.no, 1, (entry("c"),)),
        ]
    )
    assert answers[0] == Applied(two.no, 0, None)
    assert reason(answers[1]) == "key"
    assert answers[2] == Applied(one.no, 1, None)
    assert keys(store, one) == ["a", "c"]
    assert store.begun(one.no) == []


def test_a_key_done_twice_in_one_batch_is_done_by_the_first(store: Store) -> None:
    run = opened(store)
    answers = store.commit([Change(run.no, 1, (entry("a", value=v),)) for v in ("1", "2")])
    assert answers[0] == Applied(run.no, 0, None)
    assert reason(answers[1]) == "key"
    assert [e.value for e in store.entries(run.no)] == ["1"]


def test_a_key_done_twice_in_one_change_refuses_all_of_it(store: Store) -> None:
    run = opened(store)
    assert reason(record(store, run, entry("b"), entry("a"), entry("a"))) == "key"
    assert keys(store, run) == []


def test_a_key_may_fail_and_be_retried_often_before_it_is_done(store: Store) -> None:
    run = opened(store)
    recorded(
        store, run, *(entry("a", s) for s in ("retry", "failed", "reopened", "failed", "crashed", "done"))
    )
    assert [e.state for e in store.entries(run.no)] == [
        "retry",
        "failed",
        "reopened",
        "failed",
        "crashed",
        "done",
    ]


def test_units_are_begun_replaced_and_ended(store: Store) -> None:
    run = opened(store)
    second = begun("b", 2.0, crashes=2, suspect=True, due_at=7.5, attempt=3, fence=1)
    recorded(store, run, begun=(second, begun("a", 1.0), begun("c", 3.0)))
    assert store.begun(run.no) == [begun("a", 1.0), second, begun("c", 3.0)]
    recorded(store, run, begun=(begun("a", 9.0, crashes=1),), ended=("c", "unknown"))
    assert store.begun(run.no) == [second, begun("a", 9.0, crashes=1)]


def test_in_one_change_units_end_before_others_begin(store: Store) -> None:
    run = opened(store)
    recorded(store, run, begun=(begun("a"),))
    recorded(store, run, ended=("a",), begun=(begun("a", 5.0),))
    assert store.begun(run.no) == [begun("a", 5.0)]


def test_a_unit_that_begins_and_ends_within_one_batch_is_not_in_flight(store: Store) -> None:
    run = opened(store)
    store.commit(
        [Change(run.no, 1, begun=(begun("a"), begun("b"))), Change(run.no, 1, (entry("a"),), ended=("a",))]
    )
    assert store.begun(run.no) == [begun("b")]


def test_progress_is_written_to_the_run_and_nothing_else(store: Store) -> None:
    run = opened(store)
    recorded(store, run, progress=Progress(3, 10, 4))
    assert store.run("r") == run._replace(done=3, total=10, counted_seq=4)


def test_what_a_run_is_never_changes(store: Store) -> None:
    run = opened(store)
    other = a_run(
        "other", kind="map", name="b", identity="c", direct=False, created_at=9.0, state="paused", no=run.no
    )
    recorded(store, run, after=other._replace(owner=None, lease_until=None))
    assert store.run("r") == run._replace(state="paused", owner=None, lease_until=None)


# -- leases and requests ----------------------------------------------------------------------------


def test_renewal_extends_every_lease_of_the_owner_and_says_what_is_asked(store: Store) -> None:
    mine, asked = opened(store, "mine"), opened(store, "asked", lease_until=2.0)
    opened(store, "theirs", owner="them")
    assert store.request(asked.no, "cancel")
    assert sorted(store.renew("me", 60.0)) == [(mine.no, None), (asked.no, "cancel")]
    leases = {run.id: run.lease_until for run in store.runs()}
    assert leases == {"mine": 60.0, "asked": 60.0, "theirs": 30.0}


def test_renewal_never_shortens_a_lease(store: Store) -> None:
    opened(store, lease_until=90.0)
    store.renew("me", 60.0)
    run = store.run("r")
    assert run is not None
    assert run.lease_until == 90.0


def test_a_lease_that_has_ended_is_renewed_if_nobody_has_claimed_the_run(store: Store, clock: Clock) -> None:
    run = opened(store, lease_until=clock.at - 100)
    assert store.renew("me", clock.at + 30) == [(run.no, None)]


def test_a_run_that_was_claimed_is_not_renewed_by_its_former_holder(store: Store) -> None:
    run = opened(store)
    store.commit([Change(run.no, 1, after=run._replace(fence=2, owner="them", lease_until=40.0), before=run)])
    assert store.renew("me", 60.0) == []
    stored = store.run("r")
    assert stored is not None
    assert stored.lease_until == 40.0


def test_a_change_by_the_holder_does_not_undo_a_renewal(store: Store) -> None:
    """The holder remembers the lease as it was claimed; renewals are made for all runs at once, past its memory."""
    run = opened(store)
    store.renew("me", 60.0)
    recorded(store, run, after=run._replace(stalls=1))
    assert store.run("r") == run._replace(stalls=1, lease_until=60.0)
    recorded(store, run, after=run._replace(state="waiting", owner=None, lease_until=None))
    assert store.run("r") == run._replace(state="waiting", owner=None, lease_until=None)


def test_a_request_is_answered_to_the_holder_with_its_next_commit(store: Store) -> None:
    run = opened(store)
    assert recorded(store, run, entry("a")).request is None
    assert store.request(run.no, "pause")
    assert recorded(store, run, entry("b")).request == "pause"
    assert store.request(run.no, None)
    assert recorded(store, run, entry("c")).request is None
    assert not store.request(99, "pause")


def test_that_a_run_is_to_be_cancelled_is_not_taken_back(store: Store) -> None:
    """A pause that was asked for after it won: the run went on as soon as somebody resumed it."""
    run = opened(store)
    assert store.request(run.no, "pause")
    assert store.request(run.no, "cancel")
    assert not store.request(run.no, "pause")
    assert not store.request(run.no, None)
    assert store.request(run.no, "cancel")
    assert store.requests("me") == [(run.no, "cancel")]


@pytest.mark.parametrize(
    ("asked", "state", "left"),
    [
        ("pause", "waiting", "pause"),
        ("cancel", "waiting", "cancel"),
        ("pause", "paused", None),
        ("cancel", "paused", "cancel"),
        ("cancel", "cancelled", None),
        ("pause", "done", None),
        ("cancel", "failed", "cancel"),
    ],
)
def test_a_wish_the_holder_has_not_seen_stays_unless_its_change_grants_it(
    store: Store, asked: Request, state: RunState, left: Request | None
) -> None:
    run = opened(store)
    store.request(run.no, asked)
    answer = recorded(store, run, after=run._replace(state=state, owner=None, lease_until=None, request=None))
    stored = store.run("r")
    assert stored is not None
    assert stored.request == answer.request == left


def test_a_claim_clears_the_wish_it_has_seen_and_keeps_a_newer_one(store: Store) -> None:
    run = opened(store, request="pause")
    claim = Change(run.no, 1, after=run._replace(fence=2, owner="new", request=None), before=run)
    assert store.request(run.no, "cancel")
    assert store.commit([claim]) == [Applied(run.no, -1, "cancel")]

    other = opened(store, "other", request="pause")
    claim = Change(other.no, 1, after=other._replace(fence=2, owner="new", request=None), before=other)
    assert store.commit([claim]) == [Applied(other.no, -1, None)]


# -- owners, deletion, life ---------------------------------------------------------------------------


def test_an_owner_is_known_from_register_to_unregister(store: Store) -> None:
    owner = Owner("o-1", "host", "boot", 42, "python x.py", 1.5)
    store.register(owner)
    assert store.owner("o-1") == owner
    assert not store.owner_is_dead("o-1")
    store.unregister("o-1")
    assert store.owner("o-1") is None
    assert not store.owner_is_dead("o-1")


def test_a_deleted_run_is_gone_with_everything_of_it_and_its_number_is_never_given_again(
    store: Store,
) -> None:
    """A holder that knows only number and fence would otherwise write into the new run."""
    opened(store, "kept")
    run = opened(store)
    recorded(store, run, entry("a"), begun=(begun("b"),))
    store.delete(run.no)
    assert store.run("r") is None
    assert store.entries(run.no) == []
    assert store.begun(run.no) == []
    assert opened(store).no > run.no
    assert reason(record(store, run, entry("late"))) == "missing"
    assert store.run("kept") is not None


def test_an_empty_batch_is_answered(store: Store) -> None:
    assert store.commit([]) == []


def test_the_clock_is_the_one_it_was_given(store: Store, clock: Clock) -> None:
    clock.at = 77.5
    assert store.now() == 77.5


def test_every_write_changes_the_version_and_no_read_does(store: Store) -> None:
    run = opened(store)
    seen = [store.version()]
    for write in (
        lambda: recorded(store, run, entry("a")),
        lambda: store.renew("me", 60.0),
        lambda: store.request(run.no, "pause"),
        lambda: store.delete(run.no),
    ):
        write()
        store.runs()
        assert store.version() == store.version()
        assert store.version() not in seen
        seen.append(store.version())


def test_tidying_changes_nothing(store: Store) -> None:
    run = opened(store)
    recorded(store, run, entry("a"))
    store.tidy()
    assert keys(store, run) == ["a"]


def test_an_abandoned_store_refuses_everything_with_a_sentence(store: Store) -> None:
    store.abandon()
    for use in (lambda: store.commit([]), lambda: store.run("r"), lambda: store.renew("me", 1.0)):
        with pytest.raises(JournalError, match="forked"):
            use()


def test_closing_twice_is_harmless(store: Store) -> None:
    store.close()
    store.close()
