"""`onward schedule`: what is shown of schedules, and what a person does to them, with and without a worker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import onward
from onward.api import connect
from onward.core.schedules import Move, Schedule, Spec, carried, declared, spec_of
from onward.core.when import Timing
from onward.runtime.registry import Plan
from onward.runtime.scheduler import Scheduler
from onward.runtime.worker import Worker
from onward.storage.open import open_store
from surfaces.conftest import Cli, Programs

pytestmark = pytest.mark.important

NIGHTLY = Spec("import_orders", '[["IT"],{}]', Timing("30 2 * * *", tz="Europe/Rome"))


@pytest.fixture
def store(journal: object) -> Any:
    return connect.engine().store


def defined(store: Any, spec: Spec = NIGHTLY, name: str = "nightly", **fields: Any) -> Schedule:
    """A schedule that a worker has defined which is gone."""
    after = declared(None, name, spec, declarer="gone", began_at=1.0, now=store.now()).after
    assert after is not None
    assert store.move_schedules([Move(None, after._replace(**fields))]) == [True]
    return after


def stored(store: Any, name: str = "nightly") -> Schedule:
    return next(one for one in store.schedules() if one.name == name)


# -- looking --------------------------------------------------------------------------------------------


def test_the_list_shows_state_next_times_and_counts(cli: Cli, store: Any) -> None:
    defined(store, started=31, skipped=2, missed=1, note="2025-03-30T01:00:00Z was skipped, because \x1b[31m")
    result = cli("schedule")
    assert result.exit_code == 0
    assert "nightly  orphaned  import_orders at 30 2 * * * (Europe/Rome)" in result.stdout
    assert "no living worker defines it, so nothing starts" in result.stdout
    assert result.stdout.count(" 02:30 ") + result.stdout.count(" 03:00 ") == 5
    assert "so far  31 started, 2 skipped, 1 missed" in result.stdout
    assert "\x1b[31m" not in result.stdout
    assert cli("schedule", "list").stdout == result.stdout


def test_the_list_for_programs(cli: Cli, store: Any) -> None:
    defined(store, NIGHTLY._replace(overlap="queue", catch_up="window", window_s=60.0))
    [one] = json.loads(cli("schedule", "--json").stdout)["schedules"]
    assert one["name"] == "nightly"
    assert (one["state"], one["workflow"], one["cron"]) == ("orphaned", "import_orders", "30 2 * * *")
    assert (one["overlap"], one["catch_up"], one["window_s"]) == ("queue", "window", 60.0)
    assert len(one["next"]) == 5
    assert one["runs"] == one["waiting"] == one["unfinished"] == []


def test_a_time_that_does_not_exist_or_comes_twice_is_said(cli: Cli, store: Any) -> None:
    """Whatever day it is: clocks change on the last Sundays of these months."""
    defined(store, NIGHTLY._replace(timing=Timing("30 2 * 3,10 0L", tz="Europe/Rome")))
    shown = cli("schedule").stdout
    assert shown.count("02:30 does not exist on") + shown.count("02:30 comes twice on") == 5
    remarks = [one["remark"] for one in json.loads(cli("schedule", "--json").stdout)["schedules"][0]["next"]]
    assert sum("does not exist" in remark for remark in remarks) in (2, 3)


def test_status_tells_of_times_that_nobody_starts(cli: Cli, store: Any) -> None:
    defined(store)
    assert "is due since" not in cli("status").stdout
    now = stored(store)
    late = now._replace(next_at=store.now() - 7_300, due_at=store.now() - 7_200)
    store.move_schedules([Move(now, late)])
    assert "schedule nightly is due since 2 h, and no living worker defines it" in cli("status").stdout
    cli("schedule", "pause", "nightly")
    assert "is due since" not in cli("status").stdout


def test_no_schedule_is_no_error(cli: Cli, store: Any) -> None:
    result = cli("schedule")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "there is no schedule; define one in code" in result.stderr


def test_show_tells_how_it_is_defined_and_what_waits(cli: Cli, store: Any) -> None:
    timing = Timing(every_s=3_600, jitter_s=30.0)
    spec = NIGHTLY._replace(timing=timing, overlap="queue", priority=3)
    defined(store, spec, backlog=tuple(f"2025-01-01T{hour:02}:00:00Z" for hour in range(12)))
    shown = cli("schedule", "show", "nightly").stdout
    assert "import_orders every 1 h" in shown
    assert "overlap   queue" in shown
    assert 'args      [["IT"],{}]' in shown
    assert "waits   Wed 2025-01-01 00:00 UTC" in shown
    assert "and 2 more" in shown
    assert "12 times wait for its run to end" in shown
    assert "with jitter" in shown


def test_what_cannot_be_read_hides_nothing_else(cli: Cli, store: Any) -> None:
    defined(store)
    for name, text in (("damaged", "nonsense"), ("odd", NIGHTLY.text.replace("Europe/Rome", "Mars/Base"))):
        defined(store, name=name)
        now = stored(store, name)
        store.move_schedules([Move(now, now._replace(spec=text))])
    shown = cli("schedule").stdout
    assert "damaged  damaged" in shown
    assert "the time zone 'Mars/Base' is not known here" in shown
    assert "nightly  orphaned" in shown
    for act in ("trigger", "show"):
        result = cli("schedule", act, "odd")
        assert "Mars/Base" in result.stderr + result.stdout
    assert cli("schedule", "trigger", "damaged").exit_code != 0
    assert cli("schedule", "remove", "damaged").exit_code == 0


# -- acting ---------------------------------------------------------------------------------------------


def test_pause_and_resume(cli: Cli, store: Any) -> None:
    defined(store)
    assert (
        "is paused; go on with: onward schedule resume nightly" in cli("schedule", "pause", "nightly").stderr
    )
    assert stored(store).paused
    again = cli("schedule", "pause", "nightly")
    assert (again.exit_code, "is paused already; nothing was changed" in again.stderr) == (2, True)
    assert "nightly  paused" in cli("schedule").stdout
    assert "goes on; next: " in cli("schedule", "resume", "nightly").stderr
    assert not stored(store).paused
    assert cli("schedule", "resume", "nightly").exit_code == 2
    assert json.loads(cli("schedule", "pause", "nightly", "--json").stdout)["schedule"]["state"] == "paused"


def test_trigger_starts_a_run_with_the_arguments_of_the_schedule(cli: Cli, store: Any) -> None:
    defined(store)
    run_id = json.loads(cli("schedule", "trigger", "nightly", "--json").stdout)["run_id"]
    run = store.run(run_id)
    assert (run.name, run.args, run.state) == ("import_orders", '[["IT"],{}]', "pending")
    refused = cli("schedule", "trigger", "nightly")
    assert refused.exit_code == 2
    assert f"{run_id} has not ended; nothing was started" in refused.stderr
    assert "goes on" in cli("schedule").stdout
    cli("cancel", run_id)
    assert "is queued as nightly@" in cli("schedule", "trigger", "nightly").stderr


def test_a_trigger_waits_where_runs_are_queued(cli: Cli, store: Any) -> None:
    defined(store, NIGHTLY._replace(overlap="queue"))
    cli("schedule", "trigger", "nightly")
    assert "begins when the run before it has ended" in cli("schedule", "trigger", "nightly").stderr
    assert len(stored(store).backlog) == 1
    third = cli("schedule", "trigger", "nightly").stderr
    assert (
        "begins when the 2 before it have ended; see what waits with: onward schedule show nightly" in third
    )
    answer = json.loads(cli("schedule", "trigger", "nightly", "--json").stdout)
    assert (answer["waits"], answer["behind"], answer["held"]) == (True, 3, False)


def test_what_a_trigger_names_is_there(cli: Cli, store: Any) -> None:
    """It named the triggered run as queued, where the next one of a backfill was, or cancel had nothing to cancel."""
    defined(store)
    cli("schedule", "backfill", "nightly", "--from", "2025-03-01", "--to", "2025-03-03")
    first = store.runs()[0].id
    refused = cli("schedule", "trigger", "nightly")
    assert refused.exit_code == 2
    assert f"{first} has not ended and 2 times wait behind it; nothing was started" in refused.stderr
    cli("cancel", first)
    refused = cli("schedule", "trigger", "nightly")
    assert (refused.exit_code, "2 times wait to be started; nothing was" in refused.stderr) == (2, True)
    assert "hold what waits with: onward schedule pause nightly" in refused.stderr
    assert len(store.runs()) == 1
    cli("schedule", "pause", "nightly")
    answer = json.loads(cli("schedule", "trigger", "nightly", "--json").stdout)
    assert (store.run(answer["run_id"]).state, answer["behind"]) == ("pending", 0)
    assert len(stored(store).backlog) == 2


def test_a_trigger_that_a_pause_holds_says_how_it_goes_on(cli: Cli, store: Any) -> None:
    defined(store, NIGHTLY._replace(overlap="queue"))
    cli("schedule", "trigger", "nightly"), cli("schedule", "pause", "nightly")
    said = cli("schedule", "trigger", "nightly").stderr
    assert "run before it has ended and the schedule goes on: onward schedule resume nightly" in said


def test_backfill_starts_what_is_missing_once(cli: Cli, store: Any) -> None:
    defined(store, NIGHTLY._replace(overlap="allow"))
    march = ("schedule", "backfill", "nightly", "--from", "2025-03-29", "--to", "2025-03-31")
    dry = cli(*march, "--dry-run")
    assert [line.split()[4] for line in dry.stdout.splitlines()] == [
        "nightly@2025-03-29T01:30:00Z",
        "nightly@2025-03-30T01:00:00Z",  # 02:30 does not exist
        "nightly@2025-03-31T00:30:00Z",
    ]
    assert "3 runs would be started; 0 are there already" in dry.stderr
    assert store.runs() == []
    assert "3 runs are queued; 0 are there already" in cli(*march).stderr
    assert {run.id for run in store.runs()} == {line.split()[4] for line in dry.stdout.splitlines()}
    assert "no run is missing; 3 are there already" in cli(*march).stderr
    more = cli(
        "schedule", "backfill", "nightly", "--from", "2025-03-28T12:00", "--to", "2025-04-01T02:29", "--json"
    )
    assert [one["known"] for one in json.loads(more.stdout)["times"]] == ["pending"] * 3
    more = cli("schedule", "backfill", "nightly", "--from", "2025-03-31", "--to", "2025-04-01T00:30+00:00")
    assert "1 run is queued; 1 are there already" in more.stderr


def test_a_backfill_goes_one_after_the_other_where_runs_must_not_overlap(cli: Cli, store: Any) -> None:
    defined(store)
    result = cli("schedule", "backfill", "nightly", "--from", "2025-03-01", "--to", "2025-03-10")
    assert "10 runs are queued, one after the other" in result.stderr
    assert [run.id for run in store.runs()] == ["nightly@2025-03-01T01:30:00Z"]
    assert len(stored(store).backlog) == 9
    again = cli("schedule", "backfill", "nightly", "--from", "2025-03-09", "--to", "2025-03-11", "--dry-run")
    assert [line.split()[-1] for line in again.stdout.splitlines()] == ["waits", "waits", "started"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "2025-03-31", "--to", "2025-03-01"], "2025-03-31 00:00 lies behind 2025-03-01 23:59"),
        (["--from", "2125-01-01"], "lies behind"),
        (["--from", "2125-01-01", "--to", "2125-01-02"], "lies in the future"),
        (
            ["--from", "2020-01-01"],
            "has more than 1,000 times from 2020-01-01 00:00 on, the first 1,000 of them up to",
        ),
        (["--from", "2025-03-01T04:00", "--to", "2025-03-01T05:00"], "has no time from 2025-03-01 04:00 to"),
        (["--from", "yesterday"], "yesterday is no time; nothing was started"),
        (["--from", "2025-02-30"], "2025-02-30 is no time; nothing was started"),
        (["--from", "9999-12-31", "--to", "9999-12-31"], "nothing was started"),
        (["--from", "0001-01-01", "--to", "0001-01-02"], "nothing was started"),
        (["--from", "\x1b[31m"], "is no time; nothing was started"),
        (["--to", "2025-03-01"], "Missing option '--from'"),
    ],
)
def test_an_impossible_range_is_answered_with_a_sentence_and_starts_nothing(
    cli: Cli, store: Any, words: list[str], said: str
) -> None:
    defined(store)
    before = stored(store)
    result = cli("schedule", "backfill", "nightly", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "\x1b" not in result.stderr
    assert store.runs() == []
    assert stored(store) == before


def test_a_backfill_of_more_than_may_wait_is_refused_whole(cli: Cli, store: Any) -> None:
    waiting = tuple(f"2024-01-{day:02}T{hour:02}:00:00Z" for day in range(1, 32) for hour in range(24))
    defined(store, backlog=waiting, going=("r",))
    result = cli("schedule", "backfill", "nightly", "--from", "2024-01-01", "--to", "2025-03-01")
    assert result.exit_code == 2
    assert "744 times of schedule nightly wait already" in result.stderr
    assert stored(store).backlog == waiting


def test_remove_forgets_a_schedule_that_nobody_defines(cli: Cli, store: Any) -> None:
    defined(store)
    cli("schedule", "trigger", "nightly")
    assert "is removed; the runs that it has started stay" in cli("schedule", "remove", "nightly").stderr
    assert store.schedules() == []
    assert len(store.runs()) == 1


@pytest.mark.parametrize("act", ["show", "pause", "resume", "trigger", "remove"])
def test_a_name_that_is_not_there_is_answered_with_the_nearest(cli: Cli, store: Any, act: str) -> None:
    defined(store)
    result = cli("schedule", act, "nightli")
    assert (result.exit_code, "Did you mean `nightly`?" in result.stderr) == (5, True)
    result = cli("schedule", act, "\x1b[31m" + "x" * 5_000)
    assert result.exit_code == 5
    assert "\x1b" not in result.stderr
    assert len(result.stderr) < 500


def test_without_a_journal_nothing_is_created(cli: Cli, journal: Any) -> None:
    result = cli("schedule")
    assert (result.exit_code, journal.exists()) == (5, False)


def test_json_stands_behind_the_command(cli: Cli, store: Any) -> None:
    assert "onward schedule list --json" in cli("schedule", "--json", "list").stderr


# -- in another journal ---------------------------------------------------------------------------------


def test_a_moved_journal_takes_its_schedules_along_and_follows_them_no_more(
    cli: Cli, store: Any, tmp_path: Path
) -> None:
    defined(store, NIGHTLY._replace(overlap="queue"), started=4)
    cli("schedule", "trigger", "nightly"), cli("schedule", "trigger", "nightly")
    before = stored(store)
    assert cli("move", "--to", f"sqlite:///{tmp_path}/there.db").exit_code == 0
    for act in ("pause", "trigger"):
        refused = cli("schedule", act, "nightly")
        assert refused.exit_code != 0
        assert "there.db; nothing was begun here" in refused.stderr
    there = open_store(f"sqlite:///{tmp_path}/there.db")
    [after] = there.schedules()
    assert after == before._replace(declarer=None, declared_at=0.0)
    assert there.unfinished(after.going) == list(after.going)
    # A worker there defines it as it is there; moved once more, nothing is forgotten.
    anew = declared(after, "nightly", NIGHTLY, declarer="me", began_at=5.0, now=there.now())
    assert there.move_schedules([anew]) == [True]
    carried_again = carried(before, there.schedules()[0])
    assert there.move_schedules([carried_again]) == [True]
    [merged] = there.schedules()
    assert (merged.spec, merged.started, merged.going, merged.backlog) == (
        NIGHTLY.text,
        before.started,
        before.going,
        before.backlog,
    )
    there.close()


def test_a_worker_of_a_moved_journal_says_so_and_comes_to_rest(cli: Cli, store: Any, tmp_path: Path) -> None:
    said: list[str] = []
    engine = connect.engine()
    engine.register()

    @onward.workflow(name="left_behind")
    def job() -> None: ...

    plan = Plan("nightly", NIGHTLY._replace(workflow="left_behind", timing=Timing(every_s=1)), job)
    scheduler = Scheduler(engine, [plan], say=said.append)
    scheduler.look(store.version())
    store.set_moved("elsewhere")
    for _ in range(3):
        scheduler.look(store.version())
    assert said == ["the journal was moved to elsewhere: its schedules are followed there"]
    assert scheduler.next_at is None
    assert store.runs() == []


# -- with workers -----------------------------------------------------------------------------------------

APP = """
@onward.schedule("0 0 1 1 *", name="yearly", tz="Europe/Rome")
@onward.workflow
def tidy():
    pathlib.Path("tidied").touch()
"""


def until(true: Callable[[], bool], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def test_a_worker_defines_its_schedules_executes_what_is_triggered_and_keeps_them_from_being_removed(
    programs: Programs, cli: Cli, store: Any
) -> None:
    programs.write(APP, "app.py")
    worker = programs.start("-m", "onward.cli", "worker", "app.py")
    until(lambda: bool(store.schedules()))
    assert "yearly  active  tidy at 0 0 1 1 * (Europe/Rome)" in cli("schedule").stdout
    refused = cli("schedule", "remove", "yearly")
    assert refused.exit_code == 2
    assert "is defined by a worker that lives" in refused.stderr
    cli("schedule", "trigger", "yearly")
    programs.wait_for("tidied")
    until(lambda: cli("schedule").stdout.count(" done") == 1)
    worker.terminate()
    worker.wait(100)
    assert "yearly  orphaned" in cli("schedule").stdout
    assert cli("schedule", "remove", "yearly").exit_code == 0


def test_a_worker_says_which_schedules_have_left_the_code(programs: Programs, store: Any) -> None:
    programs.write(APP, "app.py")
    assert programs.onward("worker", "app.py", "--burst").returncode == 0
    programs.write(APP.replace("yearly", "annually"), "app.py")
    ended = programs.onward("worker", "app.py", "--burst")
    assert "schedule yearly of tidy is in the journal and not in this code" in ended.stderr
    assert [one.name for one in store.schedules()] == ["annually", "yearly"]


def test_a_changed_definition_is_taken_over_and_said(programs: Programs, store: Any) -> None:
    programs.write(APP, "app.py")
    programs.onward("worker", "app.py", "--burst")
    programs.write(APP.replace("0 0 1 1 *", "0 0 1 6 *"), "app.py")
    ended = programs.onward("worker", "app.py", "--burst")
    assert "schedule yearly is followed as it is defined here, no longer as before" in ended.stderr
    assert spec_of(stored(store, "yearly").spec).timing.cron == "0 0 1 6 *"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('onward.schedule("0 25 * * *")', "bad hour; nothing was scheduled"),
        ('onward.schedule("0 3 * * *", tz="Europe/Rom")', "the time zone 'Europe/Rom' is not known here"),
        ("onward.schedule(every=0)", "every= takes 1 to"),
    ],
)
def test_a_definition_that_cannot_be_followed_ends_the_worker_with_a_sentence(
    programs: Programs, line: str, said: str
) -> None:
    programs.write(f"@{line}\n@onward.workflow\ndef job(): ...\n", "app.py")
    ended = programs.onward("worker", "app.py", "--burst")
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_system_without_time_zones_is_told_the_cure(programs: Programs) -> None:
    """As in a slim container: no zone files, no package tzdata."""
    programs.write(
        'import sys, zoneinfo; zoneinfo.reset_tzpath(to=[]); sys.modules["tzdata"] = None\n'
        '@onward.schedule("0 3 * * *")\n@onward.workflow\ndef fine(): ...\n'
        '@onward.schedule("0 3 * * *", tz="Europe/Rome")\n@onward.workflow\ndef job(): ...\n',
        "app.py",
    )
    ended = programs.onward("worker", "app.py", "--burst")
    assert ended.returncode == 2
    assert "This system has no time zones at all" in ended.stderr
    assert "pip install tzdata" in ended.stderr


def test_a_worker_in_this_process_follows_what_this_process_defines(store: Any) -> None:
    """With `args=`, and a name of its own; the run knows its nominal time."""
    seen: list[Any] = []

    @onward.workflow(name="seen_by_the_schedule")
    def job(what: str) -> None:
        seen.append((what, onward.current()))

    onward.schedule(every=3_600, name="hourly", args=["IT"])(job)
    Worker(connect.engine(), names=["seen_by_the_schedule"]).run(burst=True)
    [(what, here)] = seen
    assert what == "IT"
    assert here.scheduled_at.timestamp() == stored(store, "hourly").last
    assert here.run_id == f"hourly@{here.scheduled_at:%Y-%m-%dT%H:%M:%SZ}"
