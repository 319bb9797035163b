"""What a schedule does when its times come, late or not: catching up, overlapping, being defined, paused, triggered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from onward.core import limits, nominal
from onward.core import schedules as s
from onward.core.errors import PayloadError
from onward.core.schedules import Move, Schedule, Spec
from onward.core.when import Timing

MINUTELY = Timing("* * * * *")


def spec(timing: Timing = MINUTELY, **fields: Any) -> Spec:
    return Spec("job", "[[],{}]", timing, **fields)


def tails(*minutes: float) -> list[str]:
    return [s.tail_of(60.0 * one) for one in minutes]


def ids(*minutes: float) -> list[str]:
    return [s.run_id("n", tail) for tail in tails(*minutes)]


class Following:
    """One worker that follows a schedule, defined at the time 0, and the runs that it has started."""

    def __init__(self, spec: Spec, now: float = 0.0) -> None:
        self.spec = spec
        move = s.declared(None, "n", spec, declarer="me", began_at=now, now=now)
        assert move.after is not None
        self.schedule: Schedule = move.after
        self.unfinished: set[str] = set()
        self.cancelled: list[str] = []

    def take(self, move: Move | None) -> list[str]:
        """Apply a move; the ids of the runs that it starts."""
        if move is None:
            return []
        assert move.before == self.schedule
        assert move.after is not None
        assert move.after.revision == self.schedule.revision + 1
        self.schedule = move.after
        started = [change.after.id for change in move.starts if change.after is not None]
        self.unfinished |= set(started)
        self.cancelled += move.cancels
        return started

    def at(self, minute: float) -> list[str]:
        """What is started by a worker that looks at this time until there is nothing to do."""
        started: list[str] = []
        while (
            move := nominal.advanced(self.schedule, self.spec, now=60.0 * minute, unfinished=self.unfinished)
        ) is not None:
            started += self.take(move)
        return started

    def end(self, *run_ids: str) -> None:
        self.unfinished -= set(run_ids)

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.schedule.started, self.schedule.skipped, self.schedule.missed


# -- in time --------------------------------------------------------------------------------------------------


def test_a_time_starts_one_run_when_it_comes_and_not_before() -> None:
    one = Following(spec())
    assert one.at(0.999) == []
    assert one.at(1) == ids(1)
    assert one.at(1.5) == []
    one.end(*ids(1))
    assert one.at(2.01) == ids(2)
    assert one.counts == (2, 0, 0)


def test_a_time_of_cron_that_is_this_very_second_is_not_started_by_defining_it() -> None:
    assert Following(spec(), now=60.0).at(1.5) == []


def test_an_interval_begins_at_once() -> None:
    one = Following(spec(Timing(every_s=90), overlap="latest"), now=30.7)
    assert one.at(0.52) == ["n@1970-01-01T00:00:30Z"]
    assert one.at(1.99) == []
    one.end("n@1970-01-01T00:00:30Z")
    assert one.at(2) == ["n@1970-01-01T00:02:00Z"]


def test_a_run_knows_what_started_it_and_for_which_time() -> None:
    one = Following(spec(queue="slow", priority=3, tags='["a"]', lane="it"))
    move = nominal.advanced(one.schedule, one.spec, now=60.0, unfinished=())
    assert move is not None
    [change] = move.starts
    run = change.after
    assert run is not None
    assert (run.id, run.name, run.args, run.state) == (ids(1)[0], "job", "[[],{}]", "pending")
    assert (run.queue, run.priority, run.tags, run.lane, run.direct) == ("slow", 3, '["a"]', "it", False)
    assert s.origin(run.identity) == ("n", 60.0)
    assert s.origin("workflow:job:id:n@1970-01-01T00:01:00Z") is None
    assert s.origin("schedule:n@yesterday") is None


# -- late -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("catch_up", "fields", "started", "counts"),
    [
        ("latest", {}, [10], (1, 0, 9)),
        ("none", {}, [], (0, 0, 10)),
        ("all", {"overlap": "allow"}, range(1, 11), (10, 0, 0)),
        ("window", {"overlap": "allow", "window_s": 180.0}, [8, 9, 10], (3, 0, 7)),
    ],
)
def test_what_came_while_no_worker_was_there_is_caught_up_as_the_policy_says(
    catch_up: Any, fields: dict[str, Any], started: Sequence[int], counts: tuple[int, int, int]
) -> None:
    one = Following(spec(Timing("* * * * *"), catch_up=catch_up, **fields))
    now = 10.9 if catch_up == "window" else 10.5
    if catch_up == "none":  # ten minutes, and then more than the moment that a restart takes
        one.spec = one.spec._replace(timing=Timing("1-10 * * * *"))
        now = 11.5
    assert one.at(now) == ids(*started)
    assert one.counts == counts


def test_a_worker_that_restarts_costs_no_schedule_its_time() -> None:
    one = Following(spec(Timing("0 * * * *"), catch_up="none"))
    assert one.at(60 + (limits.MISSED_S - 1) / 60) == ids(60)


def test_all_that_was_missed_is_started_one_after_the_other() -> None:
    one = Following(spec(overlap="queue", catch_up="all"))
    assert one.at(3.5) == ids(1)
    for minute in (2, 3):
        one.end(*ids(minute - 1))
        assert one.at(3.6) == ids(minute)
    one.end(*ids(3))
    assert one.at(3.7) == []
    assert one.counts == (3, 0, 0)


def test_after_years_the_latest_time_is_found_and_what_was_missed_is_counted_up_to_a_bound() -> None:
    one = Following(spec())
    years = 3 * 366 * 24 * 60
    assert one.at(years + 0.5) == ids(years)
    assert one.counts == (1, 0, limits.CATCH_UP_TIMES - 1)


def test_after_long_all_is_caught_up_in_several_goes() -> None:
    one = Following(spec(overlap="allow", catch_up="all"))
    count = 2 * limits.CATCH_UP_TIMES + 7
    assert one.at(count + 0.5) == ids(*range(1, count + 1))
    assert one.counts == (count, 0, 0)


def test_what_is_to_be_caught_up_is_not_lost_where_so_much_waits_already() -> None:
    one = Following(spec(overlap="queue", catch_up="all"))
    count = limits.BACKLOG_TIMES + 50
    assert one.at(count + 0.5) == ids(1)
    assert len(one.schedule.backlog) == limits.BACKLOG_TIMES
    for minute in range(1, count):
        one.end(*ids(minute))
        assert one.at(count + 0.5) == ids(minute + 1)
    assert one.counts == (count, 0, 0)


def test_jitter_keeps_the_times_in_their_order() -> None:
    one = Following(spec(Timing("* * * * *", jitter_s=300.0), overlap="allow", catch_up="all"))
    started = [run for step in range(4_000) for run in one.at(step / 100)]
    assert started == sorted(started)
    assert set(ids(*range(1, 35))) <= set(started) <= set(ids(*range(1, 41)))


# -- while a run goes on ------------------------------------------------------------------------------------------


def test_skip_leaves_out_what_comes_while_a_run_goes_on_and_says_so() -> None:
    one = Following(spec())
    assert one.at(1) == ids(1)
    assert one.at(2) == one.at(3) == []
    assert one.schedule.note == f"{tails(3)[0]} was skipped, because {ids(1)[0]} had not ended"
    one.end(*ids(1))
    assert one.at(3.5) == []
    assert one.at(4) == ids(4)
    assert one.counts == (2, 2, 0)


def test_queue_starts_each_time_after_the_one_before() -> None:
    one = Following(spec(overlap="queue"))
    assert one.at(1) == ids(1)
    assert one.at(2) == one.at(3) == []
    one.end(*ids(1))
    assert one.at(3.1) == ids(2)
    assert one.at(4) == []
    one.end(*ids(2))
    assert one.at(4.1) == ids(3)
    one.end(*ids(3))
    assert one.at(4.2) == ids(4)
    assert one.counts == (4, 0, 0)


def test_a_queue_has_a_bound_beyond_which_times_are_skipped() -> None:
    one = Following(spec(overlap="queue"))
    for minute in range(1, limits.BACKLOG_TIMES + 4):
        one.at(minute)
    assert one.counts == (1, 2, 0)
    assert "1,000 times wait already" in (one.schedule.note or "")


def test_latest_starts_the_last_time_that_came_once_the_run_has_ended() -> None:
    one = Following(spec(overlap="latest"))
    assert one.at(1) == ids(1)
    before = one.schedule
    assert one.at(2) == one.at(5.5) == []
    assert one.schedule == before  # nothing is written while it waits
    one.end(*ids(1))
    assert one.at(5.6) == ids(5)
    one.end(*ids(5))
    assert one.at(5.7) == []
    assert one.at(6) == ids(6)


def test_cancel_old_cancels_the_run_that_goes_on_and_starts_the_new_one_when_that_has_ended() -> None:
    one = Following(spec(overlap="cancel_old"))
    assert one.at(1) == ids(1)
    assert one.at(2) == []
    assert one.cancelled == ids(1)
    assert one.at(3) == []  # it still cleans up: the third time takes the place of the second
    assert one.schedule.skipped == 1
    one.end(*ids(1))
    assert one.at(3.1) == ids(3)
    assert one.cancelled == ids(1)


def test_allow_lets_runs_go_on_beside_each_other() -> None:
    one = Following(spec(overlap="allow"))
    assert [one.at(minute) for minute in (1, 2, 3)] == [ids(1), ids(2), ids(3)]


# -- definitions ----------------------------------------------------------------------------------------------------


def test_another_time_of_day_is_followed_from_now_on() -> None:
    """What the new definition would have started before it was there was not missed."""
    one = Following(spec(Timing("10 * * * *")))
    changed = spec(Timing("20 * * * *"), catch_up="all", overlap="allow")
    one.take(s.declared(one.schedule, "n", changed, declarer="other", began_at=1_800.0, now=1_800.0))
    one.spec = changed
    assert one.at(30) == []
    assert one.at(80) == ids(80)
    assert one.schedule.declarer == "other"


def test_other_arguments_do_not_make_it_forget_what_was_missed() -> None:
    one = Following(spec(Timing("10 * * * *")))
    changed = one.spec._replace(args='[["x"],{}]', timing=Timing("10 * * * *", jitter_s=1.0))
    one.take(s.declared(one.schedule, "n", changed, declarer="me", began_at=0.0, now=1_800.0))
    one.spec = changed
    assert one.at(31) == ids(10)


def test_a_longer_interval_is_counted_from_the_last_time() -> None:
    one = Following(spec(Timing(every_s=60), overlap="latest"))
    assert one.at(0) == ids(0)
    one.end(*ids(0))
    changed = spec(Timing(every_s=600), overlap="latest")
    one.take(s.declared(one.schedule, "n", changed, declarer="me", began_at=0.0, now=30.0))
    one.spec = changed
    assert one.at(9.9) == []
    assert one.at(10) == ids(10)


def test_an_interval_in_the_place_of_cron_begins_at_once() -> None:
    one = Following(spec(Timing("10 * * * *")))
    changed = spec(Timing(every_s=60), overlap="latest")
    one.take(s.declared(one.schedule, "n", changed, declarer="me", began_at=0.0, now=120.0))
    one.spec = changed
    assert one.at(2) == ids(2)


def test_a_paused_schedule_stays_paused_when_it_is_defined_anew() -> None:
    one = Following(spec())
    one.take(s.paused(one.schedule))
    one.take(
        s.declared(one.schedule, "n", spec(Timing("*/2 * * * *")), declarer="me", began_at=0.0, now=30.0)
    )
    assert one.schedule.paused
    assert one.at(10) == []


def test_a_definition_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    text = spec().text.replace('"queue"', '"colour": "red", "queue"').replace('"tz"', '"moon": 1, "tz"')
    assert s.spec_of(text) == spec()
    assert s.spec_of(spec().text) == spec()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"timing": 1}', '{"timing": {}}', "null", "nonsense"])
def test_a_damaged_definition_is_said_to_be_so(text: str) -> None:
    with pytest.raises(PayloadError, match="the definition of a schedule"):
        s.spec_of(text)
    damaged = Following(spec()).schedule._replace(spec=text)
    assert s.workflow_of(damaged) == ""
    anew = s.declared(damaged, "n", spec(), declarer="me", began_at=0.0, now=90.0)
    assert anew.after is not None
    assert anew.after.next_at == 120.0


# -- what a person does -----------------------------------------------------------------------------------------------


def test_what_passes_in_a_pause_was_not_missed() -> None:
    one = Following(spec(overlap="allow", catch_up="all"))
    one.take(s.paused(one.schedule))
    assert one.at(5) == []
    one.take(s.resumed(one.schedule, one.spec, now=330.0))
    assert one.at(5.6) == []
    assert one.at(6) == ids(6)
    assert one.counts == (1, 0, 0)


def test_a_pause_holds_what_waits_and_resuming_lets_it_go_on() -> None:
    one = Following(spec(overlap="queue"))
    one.at(1), one.at(2)
    one.take(s.paused(one.schedule))
    one.end(*ids(1))
    assert one.at(2.5) == []
    one.take(s.resumed(one.schedule, one.spec, now=160.0))
    assert one.at(2.7) == ids(2)


def test_a_clock_that_was_far_ahead_is_healed_by_resuming() -> None:
    one = Following(spec())
    ahead = 10 * 366 * 24 * 60.0
    assert one.at(ahead) == ids(ahead)
    one.end(*ids(ahead))
    assert one.at(5) == []  # by itself it only waits: nothing may be started twice
    one.take(s.resumed(one.schedule, one.spec, now=330.0))
    assert one.at(6) == ids(6)


def test_an_interval_that_began_in_the_future_is_healed_too() -> None:
    one = Following(spec(Timing(every_s=60), overlap="latest"), now=1e9)
    one.take(s.resumed(one.schedule, one.spec, now=330.0))
    assert one.at(6.5) == ["n@1970-01-01T00:06:30Z"]


def trigger(one: Following, minute: float, mark: str = "ab12") -> list[str]:
    asked = nominal.triggered(one.schedule, one.spec, now=60 * minute, mark=mark, unfinished=one.unfinished)
    assert not isinstance(asked, nominal.InTheWay), asked
    started = one.take(asked.move)
    assert (asked.run_id in started) == (asked.behind == 0)
    return started


def test_a_trigger_starts_a_run_of_its_own_beside_the_times() -> None:
    one = Following(spec(Timing("0 * * * *")))
    assert trigger(one, 1) == [ids(1)[0] + "+ab12"]
    assert s.origin("schedule:" + ids(1)[0] + "+ab12") == ("n", 60.0)
    one.end(*one.unfinished)
    assert one.at(60) == ids(60)


def refused(one: Following, minute: float) -> nominal.InTheWay:
    asked = nominal.triggered(one.schedule, one.spec, now=60 * minute, mark="x", unfinished=one.unfinished)
    assert isinstance(asked, nominal.InTheWay), asked
    return asked


def test_a_trigger_is_refused_where_a_run_goes_on_and_the_policy_is_to_skip() -> None:
    one = Following(spec())
    one.at(1)
    assert refused(one, 1.2) == (ids(1)[0], 0)
    one.end(*ids(1))
    assert trigger(one, 1.5) == ["n@1970-01-01T00:01:30Z+ab12"]
    assert one.at(2) == []  # the triggered run counts as one that goes on
    assert one.schedule.skipped == 1


def test_a_trigger_waits_its_turn_where_runs_are_queued() -> None:
    one = Following(spec(Timing("0 * * * *"), overlap="queue"))
    one.at(60)
    assert trigger(one, 61) == []
    one.end(*ids(60))
    assert one.at(62) == [ids(61)[0] + "+ab12"]


def test_a_trigger_of_a_paused_schedule_starts_what_was_asked_for_and_nothing_else() -> None:
    one = Following(spec())
    one.take(s.paused(one.schedule))
    assert trigger(one, 5) == [ids(5)[0] + "+ab12"]
    assert one.schedule.paused


def fill(one: Following, now: float, *minutes: int) -> list[str]:
    past = [60.0 * minute for minute in minutes]
    move = nominal.backfilled(one.schedule, one.spec, past, now=60 * now, unfinished=one.unfinished)
    return one.take(move)


def test_a_backfill_goes_through_past_times_one_after_the_other_and_keeps_no_new_one_from_starting() -> None:
    one = Following(spec(Timing("0 * * * *")), now=36_000.0)
    assert fill(one, 610, 60, 120) == ids(60)
    assert one.at(660) == []  # not skipped: only a run of its own time is in the way of the next
    one.end(*ids(60))
    assert one.at(660.1) == ids(120)
    one.end(*ids(120))
    assert one.at(660.2) == ids(660)
    assert one.counts == (3, 0, 0)


def test_where_the_policy_is_to_skip_a_trigger_is_refused_until_a_backfill_is_through() -> None:
    """It was put behind the backlog, whose first run began in its place, and its own was said to be queued."""
    one = Following(spec(Timing("0 * * * *")), now=36_000.0)
    fill(one, 610, 60, 120)
    assert refused(one, 611) == (ids(60)[0], 1)
    one.end(*ids(60))
    assert refused(one, 612) == (None, 1)
    assert one.at(613) == ids(120)
    assert refused(one, 614) == (ids(120)[0], 0)
    one.end(*ids(120))
    assert trigger(one, 615) == [ids(615)[0] + "+ab12"]


def test_a_trigger_behind_a_backlog_says_how_many_are_before_it() -> None:
    one = Following(spec(Timing("0 * * * *"), overlap="queue"), now=36_000.0)
    fill(one, 610, 60, 120, 180)
    one.end(*ids(60))
    asked = nominal.triggered(one.schedule, one.spec, now=60 * 611, mark="x", unfinished=one.unfinished)
    assert not isinstance(asked, nominal.InTheWay)
    assert asked.behind == 2
    assert one.take(asked.move) == ids(120)
    assert one.at(612) == []
    for before, after in ((120, ids(180)), (180, [asked.run_id])):
        one.end(*ids(before))
        assert one.at(613) == after


@pytest.mark.parametrize("overlap", s.OVERLAPS)
def test_a_trigger_of_a_paused_schedule_passes_what_the_pause_holds(overlap: s.Overlap) -> None:
    one = Following(spec(Timing("0 * * * *"), overlap=overlap), now=36_000.0)
    one.take(s.paused(one.schedule))
    assert fill(one, 610, 60, 120) == []
    assert trigger(one, 611) == [ids(611)[0] + "+ab12"]
    assert list(one.schedule.backlog) == tails(60, 120)


def test_a_backfill_starts_all_at_once_where_runs_may_overlap() -> None:
    one = Following(spec(Timing("0 * * * *"), overlap="allow"), now=36_000.0)
    assert fill(one, 610, 60, 120) == ids(60, 120)


def test_a_backfilled_run_is_not_cancelled_for_a_new_time() -> None:
    one = Following(spec(Timing("0 * * * *"), overlap="cancel_old"), now=36_000.0)
    assert fill(one, 610, 60, 120) == ids(60)
    assert one.at(660) == one.at(720) == []
    assert one.cancelled == []
    one.end(*ids(60))
    assert one.at(721) == ids(120)
    one.end(*ids(120))
    assert one.at(722) == ids(720)
