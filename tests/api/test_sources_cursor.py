"""A cursor: where it stands is durable, moves with the item or by itself, and belongs to one process at a time."""

# ruff: noqa: PT012
from __future__ import annotations

import asyncio
import datetime as dt
import gc
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import onward
from api.lives import Killed, die, environment, outcomes, python, runs, taken_over, told, write_script
from onward.api import connect


def standing(name: str = "orders") -> Any:
    """Where the cursor stands for the next process."""
    connect.disconnect()
    with onward.cursor(name, start="never moved") as cursor:
        return cursor.value


def test_a_cursor_stands_at_its_start_until_it_is_moved_and_then_for_good() -> None:
    with onward.cursor("orders", start=0) as cursor:
        assert (cursor.value, cursor.at) == (0, None)
        cursor.advance(17)
        assert cursor.value == 17
    assert standing() == 17


@pytest.mark.parametrize(
    "value", [None, "token-ü", 2.5, {"page": 3, "since": dt.date(2026, 1, 1)}, (1, b"x")]
)
def test_any_recordable_value_comes_back_as_it_was(value: Any) -> None:
    start: Any = 0
    onward.cursor("orders", start=start).advance(value)
    assert standing() == value


def test_what_cannot_be_recorded_is_refused_and_the_cursor_stays() -> None:
    start: Any = 0
    cursor = onward.cursor("orders", start=start)
    with pytest.raises(onward.NotRecordable, match="the value of cursor `orders`"):
        cursor.advance(object())
    assert cursor.value == 0
    with pytest.raises(onward.NotRecordable, match="the start of cursor `other`"):
        onward.cursor("other", start=object())


def test_at_is_the_time_of_the_last_success_also_where_nothing_was_new() -> None:
    cursor = onward.cursor("orders", start=0)
    cursor.advance(5)
    first = cursor.at
    assert first is not None
    assert abs((dt.datetime.now(dt.UTC) - first).total_seconds()) < 60
    cursor.advance(5)
    assert cursor.at is not None
    assert cursor.at >= first


def test_forward_only_refuses_a_smaller_value() -> None:
    cursor = onward.cursor("orders", start=None, forward_only=True)  # type: onward.Cursor[int | None]
    cursor.advance(5)
    cursor.advance(5)
    with pytest.raises(onward.UsageError, match="stands at 5 and only moves forward: 4 lies before it"):
        cursor.advance(4)
    assert cursor.value == 5


def test_cursors_of_two_names_are_two_and_of_one_name_are_one() -> None:
    orders, again, other = (onward.cursor(name, start=0) for name in ("orders", "orders", "other"))
    orders.advance(3)
    assert (again.value, other.value) == (3, 0)
    del orders
    gc.collect()
    again.advance(4)
    again.close()
    assert standing() == 4


def test_a_closed_cursor_may_be_used_again() -> None:
    cursor = onward.cursor("orders", start=0)
    cursor.close()
    cursor.close()
    cursor.advance(1)
    assert cursor.value == 1


def test_moves_leave_no_trace_but_the_last_one() -> None:
    cursor = onward.cursor("orders", start=0)
    for n in range(50):
        cursor.advance(n)
    (run,) = runs()
    assert (run.name, len(connect.engine().store.entries(run.no))) == ("cursor orders", 2)


def test_fresh_does_not_set_a_cursor_back(monkeypatch: pytest.MonkeyPatch) -> None:
    onward.cursor("orders", start=0).advance(9)
    monkeypatch.setenv("ONWARD_FRESH", "1")
    assert standing() == 9


# -- with the item of a loop --------------------------------------------------------------------------


def pages(dies_at: int | None = None, breaks_at: int | None = None) -> list[int]:
    """Walks the pages after the cursor, one item each; returns those begun."""
    begun = []
    last = onward.cursor("pages", start=0)
    try:
        for page in onward.each(range(1, 6), name="loop", key=str):
            begun.append(page)
            assert last.value == page - 1, "what was done before is where the cursor stands"
            last.advance(page)
            assert last.value == page
            if page == dies_at:
                die()
            if page == breaks_at:
                break
    except Killed:
        pass
    last.close()
    return begun


def test_in_the_body_of_a_loop_it_moves_with_the_item() -> None:
    assert pages(dies_at=3) == [1, 2, 3]
    assert standing("pages") == 2
    assert pages() == [3, 4, 5]
    assert standing("pages") == 5


def test_an_item_left_by_break_leaves_it_where_it_stood() -> None:
    pages(breaks_at=2)
    assert standing("pages") == 1


@pytest.mark.parametrize("options", [{"batch": 2}, {"flush_ms": 10_000}])
def test_so_it_is_with_batches_and_with_grouped_commits(options: Any) -> None:
    last = onward.cursor("pages", start=0)
    with pytest.raises(Killed):
        for item in onward.each(range(1, 7), name="loop", **options):
            value = item[-1] if isinstance(item, list) else item
            last.advance(value)
            if value >= 4:
                die()
    done = [int(key.removeprefix("each/")) for key, state in outcomes(runs()[-1]).items() if state == "done"]
    assert standing("pages") == max(done)


def test_several_cursors_move_with_one_item() -> None:
    a, b = onward.cursor("a", start=0), onward.cursor("b", start=0)
    for n in onward.each([1, 2], name="loop"):
        a.advance(n)
        b.advance(10 * n)
        a.advance(n + 100)
    del a, b
    assert (standing("a"), standing("b")) == (102, 20)


def test_an_item_is_not_recorded_without_its_move_when_somebody_takes_the_cursor_meanwhile() -> None:
    """The item's record and the move were two changes of one commit, of which each had its own guard: a cursor whose
    lease was lost after it was looked at left the item done and the cursor where it stood.
    """
    last = onward.cursor("pages", start=0)
    with pytest.raises(onward.RunError, match="was taken over"):
        for page in onward.each([1, 2, 3], name="loop"):
            last.advance(page)
            if page == 2:
                taken_over(next(run for run in runs() if run.name == "cursor pages").id)
    assert last._held is not None
    assert last._held.value == 1, "in memory it stands where it stands on the disk"
    loop = next(run for run in runs() if run.name == "loop")
    assert outcomes(loop) == {"each/1": "done"}
    assert (loop.state, [one.key for one in connect.engine().store.begun(loop.no)]) == ("pending", ["each/2"])


def test_a_workflow_does_not_record_a_move_that_was_not_made() -> None:
    @onward.workflow
    def sync() -> None:
        last = onward.cursor("orders", start=0)
        taken_over(next(run for run in runs() if run.name == "cursor orders").id)
        last.advance(5)

    with pytest.raises(onward.RunError, match="was taken over"):
        sync()
    run = next(run for run in runs() if run.name != "cursor orders")
    assert outcomes(run) == {"cursor:orders#1": "done"}


def test_with_grouped_commits_an_item_that_moved_a_cursor_is_no_longer_in_flight() -> None:
    """Its start marker stayed in memory and was written a second after the item was done: every item of the loop was
    in flight for ever, and a death of the process was blamed on all of them.
    """
    last = onward.cursor("pages", start=0)
    for page in onward.each([1, 2, 3], name="loop", flush_ms=10):
        last.advance(page)
        assert [one.key for one in next(iter_loops()).in_flight()] == [f"each/{page}"]


def iter_loops() -> Iterator[Any]:
    """The sessions of the loops of this process."""
    return (one for one in connect.engine().sessions.values() if one.run.identity.startswith("loop:"))


PAGES = """
    import os, sys
    import onward

    last = onward.cursor("orders", start=0)
    stop, how = int(sys.argv[1]), sys.argv[2]

    def fetch(after):
        print("fetch", after, flush=True)
        if after == stop and how == "fetching":
            raise KeyboardInterrupt
        return [{"id": n} for n in range(after + 1, min(after + 3, 13))]

    def pages():
        while page := fetch(last.value):
            yield page

    for page in onward.each(pages(), **({"name": "orders"} if "unnamed" not in sys.argv else {})):
        print("page", page[0]["id"], flush=True)
        if last.value == stop and how == "killed":
            os.kill(os.getpid(), 9)
        if last.value == stop and how == "stopped":
            os.kill(os.getpid(), 15)
        last.advance(page[-1]["id"])
"""


@pytest.mark.parametrize("unnamed", [False, True])
@pytest.mark.parametrize("how", ["fetching", "killed", "stopped"])
def test_a_source_that_begins_where_the_cursor_stands_goes_on_there(
    how: str, unnamed: bool, tmp_path: Path
) -> None:
    """After Ctrl-C between two pages none of the pages that followed had been begun: the loop looked for one that it
    knew, got the same page a hundred times, since the cursor did not move, and said that this was another list.
    """
    script = write_script(tmp_path, PAGES)
    more = ["unnamed"] if unnamed else []
    first = python(script, "4", how, *more, cwd=tmp_path)
    assert first.returncode != 0
    second = python(script, "-1", how, *more, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    lines = second.stdout.split("\n")
    assert [line for line in lines if "page" in line] == ["page 5", "page 7", "page 9", "page 11"]
    assert [line for line in lines if "fetch" in line] == [f"fetch {n}" for n in (4, 6, 8, 10, 12)]


def test_it_does_not_move_inside_steps_and_maps() -> None:
    last = onward.cursor("pages", start=0)

    @onward.step
    def step(page: int) -> None:
        last.advance(page)

    for page in onward.each([1], name="loop"):
        with pytest.raises(onward.UsageError, match=r"inside steps, maps and branches .* nothing was moved"):
            step(page)
    with pytest.raises(onward.UsageError, match="inside steps, maps and branches"):
        for _ in onward.map(last.advance, [1, 2], name="map"):
            pass
    assert last.value == 0


def test_in_async_for_it_moves_with_the_item_and_outside_it_is_awaited() -> None:
    async def job(dies: bool) -> list[int]:
        last = onward.cursor("pages", start=0)
        begun = []
        async for page in onward.each([1, 2, 3], name="loop"):
            begun.append(page)
            last.advance(page)
            if dies and page == 2:
                die()
        await onward.aio.advance(last, last.value + 10)
        return begun

    with pytest.raises(Killed):
        asyncio.run(job(dies=True))
    gc.collect()
    assert asyncio.run(job(dies=False)) == [2, 3]
    gc.collect()
    assert standing("pages") == 13


# -- in a workflow ------------------------------------------------------------------------------------


def test_a_replay_sees_what_the_first_execution_saw_and_moves_nothing_twice() -> None:
    seen: list[list[int]] = []
    lives = [True]

    @onward.workflow
    def sync() -> int:
        last = onward.cursor("orders", start=0)
        values = [last.value]
        seen.append(values)
        for page in (1, 2, 3):
            last.advance(page * 10)
            values.append(last.value)
            if page == 2 and lives and lives.pop():
                die()
        return last.value

    with pytest.raises(Killed):
        sync()
    gc.collect()
    assert sync() == 30
    assert seen == [[0, 10, 20], [0, 10, 20, 30]]
    assert standing() == 30
    assert sync() == 30, "the next run begins where the last one has left it"
    assert seen[-1] == [30, 10, 20, 30]


def test_a_run_does_not_move_a_cursor_back_that_another_one_has_moved() -> None:
    lives = [True, False]

    @onward.workflow
    def sync() -> None:
        last = onward.cursor("orders", start=0)
        if lives.pop(0):
            die()
        last.advance(5)

    with pytest.raises(Killed):
        sync()
    gc.collect()
    onward.cursor("orders", start=0).advance(9)
    with pytest.raises(onward.RunConflict, match="stands at 9, not at 0 as this run knows it"):
        sync()
    gc.collect()
    assert standing() == 9


def test_another_move_than_the_recorded_one_is_divergence() -> None:
    lives = [True, False]

    @onward.workflow
    def sync() -> None:
        last = onward.cursor("orders", start=0)
        first = lives.pop(0)
        last.advance(5 if first else 6)
        if first:
            die()

    with pytest.raises(Killed):
        sync()
    gc.collect()
    with pytest.raises(onward.Diverged, match="recorded was a move to 5, the code now asks for one to 6"):
        sync()


# -- processes ----------------------------------------------------------------------------------------

HOLDER = """
    import sys, time
    import onward
    last = onward.cursor("orders", start=0)
    for n in range(1, 10_000):
        last.advance(n)
        print(n, flush=True)
        time.sleep(0.01)
"""


def holding(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A process that moves the cursor, and where it stood when it was looked at."""
    script = write_script(folder, HOLDER)
    process = subprocess.Popen(
        [sys.executable, script], cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, [int(process.stdout.readline()) for _ in range(3)][-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_what_was_said_before_a_signal_is_kept(number: int, tmp_path: Path) -> None:
    process, last = holding(tmp_path)
    process.send_signal(number)
    assert process.stdout is not None
    # To its end from the same stream: `communicate` knows nothing of lines that came with the first ones.
    with process.stdout:
        said = process.stdout.read().split()
    process.wait()
    last = int(said[-1]) if said else last
    reader = write_script(
        tmp_path, "import onward; c = onward.cursor('orders', start=0); print(c.value)", name="reader.py"
    )
    after = python(reader, cwd=tmp_path)
    assert int(after.stdout) in (last, last + 1)
    if number == signal.SIGKILL:
        assert "continuing cursor orders, begun" in after.stderr
        assert f"ago, at {after.stdout}" in after.stderr, "it was said to be at 0, which counted its items"
    status = python("-m", "onward.cli", "status", cwd=tmp_path).stdout
    _, heading, kept = status.partition("kept for the next time")
    assert heading, status
    assert "cursor orders" in kept
    assert "needs you" not in status


def test_a_second_process_is_refused_with_who_has_it(tmp_path: Path) -> None:
    process, _ = holding(tmp_path)
    try:
        reader = write_script(tmp_path, "import onward; onward.cursor('orders', start=0)", name="reader.py")
        said = told(python(reader, cwd=tmp_path))
        assert f"`cursor orders` is already running (process {process.pid}" in said
    finally:
        process.kill()
        process.communicate()


def test_a_script_that_ends_well_gives_it_back_and_exits_with_nothing_to_complain(tmp_path: Path) -> None:
    script = write_script(tmp_path, "import onward; c = onward.cursor('orders', start=0); c.advance(1)")
    ended = python("-m", "onward.cli", "run", script, cwd=tmp_path)
    assert (ended.returncode, "continuing" in ended.stderr) == (0, False), ended.stderr
    again = python("-m", "onward.cli", "run", script, cwd=tmp_path)
    assert (again.returncode, "continuing" in again.stderr) == (0, False), again.stderr


def test_threads_of_a_program_that_holds_a_cursor_may_call_steps() -> None:
    """The cursor's run counted as one that executes code, from which other threads are kept away."""
    from concurrent.futures import ThreadPoolExecutor

    @onward.step
    def double(n: int) -> int:
        return 2 * n

    cursor = onward.cursor("orders", start=0)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(double, [1, 2, 3])) == [2, 4, 6]
    assert cursor.value == 0
