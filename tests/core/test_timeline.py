"""What is shown of a run, from its entries alone."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.core import codec
from onward.core.errors import StepCrashed
from onward.core.estimates import LEARNING, estimate, rate, time_left
from onward.core.model import Begun, Entry, EntryKind, EntryState, ItemCounts, Run, RunState
from onward.core.strip import strip
from onward.core.texts import Failure, failure_of, plain, plain_lines
from onward.core.timeline import Timeline, timeline


def run(state: RunState = "running", fence: int = 1) -> Run:
    return Run("r", "loop", "scrape", "loop:scrape", state=state, fence=fence)


def mark(name: str, at: float, fence: int = 1, value: str | None = None) -> Entry:
    return Entry(f"run/{name}", "mark", "mark", name, value=value, fence=fence, ended_at=at)


def claimed(at: float, fence: int) -> Entry:
    return mark("claimed", at, fence, codec.encode(f"owner-{fence}"))


def unit(
    key: str,
    state: EntryState = "done",
    *,
    kind: EntryKind = "item",
    begun: float | None = 0.0,
    ended: float = 0.0,
    fence: int = 1,
    attempt: int = 1,
    error: Exception | None = None,
) -> Entry:
    value = None if error is None else codec.encode_error(error)
    return Entry(key, kind, state, "n", None, value, None, attempt, fence, begun, ended)


def of(
    run: Run, *entries: Entry, begun: tuple[Begun, ...] = (), now: float = 100.0, dead: bool = False
) -> Timeline:
    numbered = [entry._replace(seq=seq) for seq, entry in enumerate(entries)]
    return timeline(run, numbered, begun, now=now, holder_is_dead=dead)


# -- leases and dead time ---------------------------------------------------------------------------


def test_a_running_run_whose_holder_is_dead_is_interrupted() -> None:
    assert of(run(), claimed(0, 1), dead=True).state == "interrupted"
    assert of(run(), claimed(0, 1), dead=False).state == "running"
    assert of(run("failed"), claimed(0, 1), dead=True).state == "failed"


def test_a_lease_that_another_one_follows_without_an_end_has_died() -> None:
    line = of(
        run("done", 2),
        claimed(10, 1),
        unit("each/a", ended=12),
        claimed(60, 2),
        unit("each/b", ended=61, fence=2),
        mark("returned", 62, 2),
    )
    assert [(lease.end, lease.units_done) for lease in line.leases] == [("died", 1), ("returned", 1)]
    assert [(gap.begun_at, gap.ended_at, gap.died) for gap in line.gaps] == [(12, 60, True)]
    assert line.dead_s == 48


def test_the_crash_that_the_next_holder_notes_is_no_sign_of_life_of_the_dead_one() -> None:
    line = of(
        run("running", 2),
        claimed(10, 1),
        unit("each/a", "crashed", begun=15, ended=60),
        claimed(60, 2),
    )
    assert line.leases[0].last_sign_at == 15
    assert line.dead_s == 45


def test_what_a_person_does_later_is_no_work_of_the_last_holder() -> None:
    """An item that was skipped hours later counted as done by the lease before, which then had taken those hours."""
    by = codec.encode({"skipped_by": "ann@host"})
    said = (
        unit("each/b", begun=None, ended=60, attempt=0)._replace(value=by),
        unit("each/c", "reopened", begun=None, ended=70),
        mark("renamed", 80, value=codec.encode("ann@host")),
    )
    tried = (unit("each/a", ended=12), unit("each/b", "failed", ended=13), unit("each/c", "failed", ended=14))
    ended = of(run("failed"), claimed(10, 1), *tried, mark("raised", 15), *said)
    died = of(run(), claimed(10, 1), *tried, *said, dead=True)
    for line, end, last in ((ended, "raised", 15), (died, "died", 14)):
        [lease] = line.leases
        assert (lease.end, lease.units_done, lease.units_failed, lease.last_sign_at) == (end, 1, 2, last)
        assert [(gap.begun_at, gap.ended_at) for gap in line.gaps] == [(last, 100)]


def test_a_run_that_is_cancelled_once_more_has_ended_when_it_was_first() -> None:
    line = of(run("cancelled"), claimed(10, 1), mark("cancelled", 20), mark("cancelled", 60))
    assert [lease.last_sign_at for lease in line.leases] == [20]


def test_time_after_a_clean_end_is_a_gap_but_not_dead_time() -> None:
    line = of(run("running", 2), claimed(10, 1), mark("released", 20), claimed(70, 2))
    assert [(gap.begun_at, gap.ended_at, gap.died) for gap in line.gaps] == [(20, 70, False)]
    assert line.dead_s == 0


def test_an_interrupted_run_is_dead_until_now_and_a_done_one_is_not() -> None:
    assert of(run(), claimed(10, 1), dead=True, now=40).dead_s == 30
    assert of(run("done"), claimed(10, 1), mark("returned", 20), now=40).gaps == ()


def test_a_live_lease_is_open_and_followed_by_no_gap() -> None:
    line = of(run(), claimed(10, 1))
    assert [lease.end for lease in line.leases] == ["open"]
    assert line.gaps == ()


def test_who_acted_is_told_and_who_owned_is_not_taken_for_them() -> None:
    line = of(run("cancelled"), claimed(0, 1), mark("cancelled", 5, value=codec.encode("ann@host")))
    assert [(mark.event, mark.by) for mark in line.marks] == [("claimed", None), ("cancelled", "ann@host")]
    assert line.leases[0].owner == "owner-1"


def test_a_timeline_of_the_latest_entries_alone_says_so() -> None:
    seen = [claimed(0, 1), unit("each/a", ended=3), unit("each/b", ended=4)]

    def line(*numbers: int) -> Timeline:
        entries = [entry._replace(seq=seq) for entry, seq in zip(seen, numbers, strict=True)]
        return timeline(run(), entries, (), now=5, holder_is_dead=False)

    assert not line(0, 1, 2).cut
    assert line(0, 1, 2).leases[0].whole
    assert line(7, 8, 9).cut
    assert line(0, 8, 9).cut
    assert not line(0, 8, 9).leases[0].whole
    assert not timeline(run(), [], (), now=5, holder_is_dead=False).cut


# -- units ------------------------------------------------------------------------------------------


def test_attempts_of_a_unit_stand_together_with_their_errors() -> None:
    line = of(
        run(),
        unit("fetch#1", "retry", kind="step", attempt=1, error=OSError("first")),
        unit("other#1", kind="step"),
        unit("fetch#1", "failed", kind="step", attempt=2, error=OSError("second")),
    )
    fetch = line.units[0]
    assert fetch.state == "failed"
    assert [attempt.failure.message for attempt in fetch.attempts if attempt.failure] == ["first", "second"]
    assert fetch.failure is not None
    assert fetch.failure.line == "OSError: second"
    assert [one.key for one in line.failed] == ["fetch#1"]


@pytest.mark.parametrize(
    ("states", "shown"),
    [
        (["done"], "done"),
        (["failed"], "failed"),
        (["crashed", "done"], "done"),
        (["failed", "reopened"], "again"),
        (["failed", "reopened", "done"], "done"),
        (["failed", "reopened", "failed"], "failed"),
        (["crashed"], "again"),
        (["retry"], "again"),
    ],
)
def test_the_state_of_a_unit_follows_from_its_entries(states: list[EntryState], shown: str) -> None:
    line = of(run("pending"), *(unit("each/a", state) for state in states))
    assert [one.state for one in line.units] == [shown]


def test_an_item_that_a_person_declared_done_is_skipped() -> None:
    line = of(run("pending"), unit("each/a", "failed", error=ValueError()), unit("each/a", "done", attempt=0))
    assert [one.state for one in line.units] == ["skipped"]
    assert line.units[0].failure is None


@pytest.mark.parametrize(
    ("state", "fence", "dead", "shown"),
    [
        ("running", 2, False, "running"),
        ("running", 2, True, "interrupted"),
        ("running", 1, False, "again"),  # begun under an older lease, not yet again
        ("failed", 2, False, "again"),
    ],
)
def test_what_has_begun_is_running_only_under_the_living_lease(
    state: RunState, fence: int, dead: bool, shown: str
) -> None:
    begun = Begun("each/a", "item", "n", crashes=1, fence=fence, begun_at=3.0)
    line = of(run(state, 2), claimed(0, 1), begun=(begun,), dead=dead)
    assert [(one.key, one.state, one.crashes) for one in line.in_flight] == [("each/a", shown, 1)]


def test_kept_work_is_what_earlier_leases_did_counted_once() -> None:
    line = of(
        run("running", 2),
        claimed(0, 1),
        unit("each/a > fetch#1", kind="step", begun=1, ended=4),
        unit("each/a", begun=0, ended=5),
        claimed(10, 2),
        unit("each/b", begun=10, ended=30, fence=2),
    )
    assert line.kept == (1, 5)


# -- time left --------------------------------------------------------------------------------------


def test_nothing_is_said_of_the_time_left_before_enough_is_known() -> None:
    assert time_left(10, [1.0] * (LEARNING - 1)) is None
    assert time_left(0, [1.0] * 50) is None
    assert time_left(10, [1.0] * LEARNING) == (10, 10)


def test_an_outlier_widens_the_range_but_does_not_move_its_lower_end() -> None:
    low, high = time_left(10, [1.0] * 9 + [11.0]) or (0, 0)
    assert (low, high) == (10, 20)


def test_items_done_in_parallel_leave_less_time() -> None:
    counts = ItemCounts(20, 0, 40)
    alone = [unit(f"each/{n}", begun=n, ended=n + 1) for n in range(20)]
    at_once = [unit(f"map/{n}", begun=n // 4, ended=n // 4 + 1) for n in range(20)]
    assert estimate(counts, alone) == (20, 20)
    assert estimate(counts, at_once) == (5, 5)


def test_dead_time_does_not_count_as_time_that_an_item_takes() -> None:
    before = [unit(f"each/{n}", begun=n, ended=n + 1) for n in range(10)]
    after = [unit(f"each/{n}", begun=9_000 + n, ended=9_001 + n, fence=2) for n in range(10, 20)]
    assert estimate(ItemCounts(20, 0, 30), before + after) == (10, 10)


def test_without_a_total_nothing_is_said_of_the_time_left() -> None:
    assert estimate(ItemCounts(20, 0, None), [unit(f"each/{n}", ended=1) for n in range(20)]) is None


@given(st.integers(0, 10**6), st.lists(st.floats(0, 1e6), max_size=50))
def test_the_range_of_the_time_left_is_in_order_and_not_negative(remaining: int, paces: list[float]) -> None:
    left = time_left(remaining, paces)
    if left is not None:
        assert 0 <= left.low_s <= left.high_s


# -- texts ------------------------------------------------------------------------------------------


def test_an_error_is_read_without_its_class() -> None:
    class Gone(Exception):
        pass

    found = failure_of(codec.encode_error(Gone("no such page", {"a": (1, 2)})))
    assert found is not None
    assert found.class_name.endswith("Gone")
    assert "no such page" in found.message
    assert failure_of(None) is None


@pytest.mark.parametrize("text", ["", "[1]", "null", "{", '{"class":3,"message":[]}', "[" * 100_000])
def test_an_error_that_cannot_be_read_is_said_to_be_unreadable(text: str) -> None:
    found = failure_of(text)
    assert found is not None
    assert found.class_name in ("unreadable", "unknown")


@given(st.text(st.characters(), max_size=400))
def test_nothing_that_a_terminal_obeys_is_left_in_a_plain_text(text: str) -> None:
    assert plain(text).isprintable()
    assert all(c.isprintable() for line in plain_lines(text).split("\n") for c in line)


def test_a_plain_text_still_says_what_was_in_it() -> None:
    assert plain("a\x1b]0;x\x07b\nc\ud800") == r"a\x1b]0;x\x07b c\ud800"
    assert plain("größe – ok") == "größe – ok"
    assert len(plain("x" * 1_000_000)) == 300
    assert plain_lines("a\n\tb\r\x1b[2K") == "a\n        b\n" + r"\x1b[2K"


def test_the_line_of_an_error_has_no_line_breaks() -> None:
    assert Failure("builtins:ValueError", "a\nb", "").line == "ValueError: a b"
    assert Failure("m:Quiet", "", "").line == "Quiet"


def test_every_order_of_two_claims_gives_leases_in_the_order_of_their_entries() -> None:
    for first, second in itertools.permutations((1, 2)):
        line = of(run("running", 2), claimed(1, first), claimed(2, second))
        assert [lease.fence for lease in line.leases] == [first, second]


def test_parking_and_skipping_are_no_attempts() -> None:
    parked = unit("each/a", "failed", begun=2, ended=2, error=StepCrashed("the process died"))
    line = of(run("failed"), unit("each/a", "crashed"), parked, unit("each/a", "done", attempt=0))
    assert line.units[0].tries == 1


# -- what was kept, lost and how the time went ---------------------------------------------------------


def test_the_time_of_a_run_is_drawn_as_a_strip() -> None:
    line = of(
        run("done", 3),
        claimed(0, 1),
        unit("each/a", ended=40),
        claimed(60, 2),
        mark("released", 70, 2),
        claimed(90, 3),
        mark("returned", 100, 3),
    )
    assert strip(line, now=500, width=10) == ["worked"] * 4 + ["dead"] * 2 + ["worked"] + ["idle"] * 2 + [
        "worked"
    ]
    assert (line.worked_s, line.dead_s) == (60, 20)
    assert strip(of(run()), now=5, width=10) == []
    assert strip(of(run(), claimed(7, 1)), now=7, width=3) == ["worked"] * 3


def test_an_interrupted_run_is_dead_to_the_end_of_its_strip() -> None:
    line = of(run(), claimed(0, 1), unit("each/a", ended=50), now=100, dead=True)
    assert strip(line, now=100, width=4) == ["worked", "worked", "dead", "dead"]


def test_what_was_kept_is_known_although_only_the_latest_entries_were_looked_at() -> None:
    entries = [claimed(90, 2), *(unit(f"each/{n}", begun=n, ended=n + 2.0, fence=2) for n in range(3))]
    line = timeline(run("running", 2), entries, (), now=100, holder_is_dead=False, kept=1_000)
    assert line.kept == (1_000, 2_000)
    assert timeline(run("running", 2), entries, (), now=100, holder_is_dead=False).kept == (0, 0)
    assert timeline(run("running", 2), [], (), now=100, holder_is_dead=False, kept=9).kept == (9, 0)


def test_executions_that_a_death_cut_off_are_counted() -> None:
    line = of(
        run("running", 2),
        claimed(0, 1),
        unit("each/a", "crashed", begun=1, ended=9),
        unit("each/b", "crashed", begun=1, ended=9),
        claimed(9, 2),
        unit("each/a", ended=12, fence=2),
    )
    assert line.repeated == 2


def test_a_run_that_was_moved_away_tells_who_did_it() -> None:
    value = codec.encode({"carried_by": "ann@host", "from": "failed"})
    line = of(run("cancelled"), claimed(0, 1), mark("cancelled", 5, value=value))
    assert (line.marks[-1].event, line.marks[-1].by) == ("closed here, to go on elsewhere,", "ann@host")


def test_the_rate_is_that_of_the_present_lease() -> None:
    old = [unit(f"each/o{n}", ended=n / 100) for n in range(50)]
    new = [unit(f"each/n{n}", ended=100 + n * 2, fence=2) for n in range(LEARNING)]
    assert rate([*old, *new], 2) == 0.5
    assert rate(new[:-1], 2) is None
    assert rate([unit(f"each/{n}", ended=7) for n in range(50)], 1) is None
