"""When item after item ends the program, the items are not what is wrong: the loop stops, and parks none of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import onward
from api.lives import Killed, die, outcomes, python, the_run, told, write_script
from onward.core import limits

AT_ONCE, LATER = limits.LOOP_STOP_AT_ONCE, limits.LOOP_STOP_AFTER
tried: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_tried() -> None:
    tried.clear()


def lives(job: Callable[[], Any], most: int = 60) -> int:
    """Begin the job again whenever it has ended its program, by a death or by an exception; how often that was."""
    for life in range(1, most + 1):
        try:
            job()
        except Killed:
            continue
        except onward.OnwardError:
            raise
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
            continue
        return life
    raise AssertionError("it never came to an end")


def loop(fault: Callable[[int], Any], items: Any = range(50), **options: Any) -> Callable[[], None]:
    def job() -> None:
        for item in onward.each(items, name="loop", **options):
            tried.append(item)
            fault(item)

    return job


def down(_: int) -> None:
    raise ConnectionError("no route to host")


def killed(_: int) -> None:
    die()


@pytest.mark.parametrize(
    ("fault", "with_what"),
    [(down, "ConnectionError: no route to host"), (killed, "the death of the process")],
    ids=["exception", "death"],
)
def test_a_loop_in_which_everything_fails_stops_says_why_and_parks_nothing(
    fault: Callable[[int], Any], with_what: str
) -> None:
    with pytest.raises(onward.TooManyFailures) as caught:
        lives(loop(fault))
    assert str(caught.value) == (
        f"`loop` stopped early: the last 3 items in a row ended the program and none succeeded in between, all of them "
        f"with {with_what}. 0 of 50 are done and kept. None of the 3 is parked. The others were not begun. Mend the "
        "cause and run it again, which goes on at the first of them; if the items themselves are bad, pass "
        "stop_after=None."
    )
    assert tried == [0, 0, 0, 1, 1, 1, 2]
    assert "failed" not in outcomes().values()
    assert the_run().state == "failed"
    assert onward.Journal().failed("loop") == []


def test_when_the_cause_is_mended_every_item_is_done_once() -> None:
    with pytest.raises(onward.TooManyFailures):
        lives(loop(down))
    tried.clear()
    assert lives(loop(lambda _: None)) == 1
    assert tried == list(range(50))
    assert the_run().state == "done"


def test_an_outage_in_the_middle_stops_later_and_keeps_the_place() -> None:
    def outage(item: int) -> None:
        if item >= 5:
            raise ConnectionError

    with pytest.raises(onward.TooManyFailures, match=f"the last {LATER} items .* 5 of 50 are done"):
        lives(loop(outage))
    assert set(tried) == set(range(5 + LATER))
    tried.clear()
    lives(loop(lambda _: None))
    assert tried == list(range(5, 50))


def test_while_it_still_fails_the_next_stop_comes_sooner() -> None:
    def outage(item: int) -> None:
        if item >= 5:
            raise ConnectionError

    with pytest.raises(onward.TooManyFailures):
        lives(loop(outage))
    tried.clear()
    with pytest.raises(onward.TooManyFailures, match="the last 3 items"):
        lives(loop(outage))
    assert tried == [5, 5, 5, 6, 6, 6, 7]
    assert "failed" not in outcomes().values()


def test_a_stretch_of_bad_items_is_parked_as_ever() -> None:
    def bad(item: int) -> None:
        if 5 <= item < 5 + LATER - 1:
            raise ValueError(item)

    lives(loop(bad))
    assert [item.key for item in onward.Journal().failed("loop")] == [str(n) for n in range(5, 5 + LATER - 1)]
    assert the_run().state == "failed"


def test_what_was_parked_before_the_row_stays_parked_and_is_tried_last() -> None:
    up = False

    def work(item: int) -> None:
        if item == 1 or (item >= 5 and not up):
            raise ConnectionError

    with pytest.raises(onward.TooManyFailures):
        lives(loop(work))
    assert [item.key for item in onward.Journal().failed("loop")] == ["1"]
    tried.clear()
    up = True
    lives(loop(work))
    assert tried == list(range(5, 50)), "the pass goes on before what it parked is tried again"
    tried.clear()
    lives(loop(work))
    assert tried == [1, 1, 1]


def test_parked_items_that_are_tried_again_are_no_row() -> None:
    """Ten bad items, each between good ones: the next pass tries them one after the other, and must come to its end."""

    def work(item: int) -> None:
        if item % 2:
            raise ValueError

    job = loop(work, range(2 * LATER + 4))
    lives(job, 100)
    parked = onward.Journal().failed("loop")
    assert len(parked) == LATER + 2
    lives(job, 100)
    assert len(onward.Journal().failed("loop")) == len(parked)
    assert the_run().state == "failed"


@pytest.mark.parametrize("stop_after", [1, 2, 5])
def test_how_many_are_too_many_can_be_said(stop_after: int) -> None:
    with pytest.raises(onward.TooManyFailures):
        lives(loop(down, stop_after=stop_after))
    assert set(tried) == set(range(stop_after))


def test_it_can_be_switched_off() -> None:
    lives(loop(down, range(6), stop_after=None))
    assert len(onward.Journal().failed("loop")) == 6


@pytest.mark.parametrize("given", [0, -1, True, "never", 2.5])
def test_what_is_no_number_is_refused_before_anything_is_started(given: Any) -> None:
    with pytest.raises(onward.UsageError, match="nothing was started"):
        onward.each([1], name="loop", stop_after=given)


def test_batches_count_as_one_each() -> None:
    """A batch that died twice is taken apart: then its items end the program one by one."""
    with pytest.raises(onward.TooManyFailures, match="the last 3 items"):
        lives(loop(down, batch=10))
    assert tried == [list(range(10))] * 2 + [[0]] * 3 + [[1]] * 3 + [[2]]
    tried.clear()
    assert lives(loop(lambda _: None, batch=10)) == 1
    assert sorted(item for batch in tried for item in batch) == list(range(50))


def test_loops_in_loops_stop_the_program_too() -> None:
    """A handler around the inner loop must not take the stop for a failure of one outer item, and go on."""

    def job() -> None:
        for outer in onward.each("abcdefgh", name="loop"):
            try:
                for inner in onward.each(range(20)):
                    tried.append(f"{outer}{inner}")
                    die()
            except Exception:
                tried.append("caught")

    with pytest.raises(BaseException, match="stopped early: the last 3 items in a row"):
        lives(job)
    assert "caught" not in tried
    assert {one[0] for one in tried} == {"a"}
    assert "failed" not in outcomes().values()
    assert the_run().state == "failed"


def test_an_async_loop_stops_as_well() -> None:
    async def main() -> None:
        async for item in onward.each(range(50), name="loop"):
            tried.append(item)
            await asyncio.sleep(0)
            die()

    with pytest.raises(onward.TooManyFailures):
        lives(lambda: asyncio.run(main()))
    assert tried == [0, 0, 0, 1, 1, 1, 2]


def test_inside_a_workflow_it_is_the_workflow_that_decides() -> None:
    @onward.workflow
    def flow(**options: Any) -> int:
        return sum(1 for _ in onward.each(range(3), **options))

    assert flow() == 3
    with pytest.raises(onward.UsageError, match="stop_after= is for a loop of a script"):
        flow(stop_after=3)


def test_a_map_whose_items_kill_the_process_stops_as_well() -> None:
    """Each of its lives began anew to count, so that it parked every item, after three deaths each."""

    def fatal(item: int) -> int:
        tried.append(item)
        return die()

    def job() -> None:
        list(onward.map(fatal, range(50), name="m", on_error="continue", concurrency=1))

    with pytest.raises(onward.TooManyFailures, match="the last 3 items in a row ended the program"):
        lives(job)
    assert set(tried) == {0, 1, 2}


def test_the_program_ends_with_the_sentence_and_the_command_that_continues(tmp_path: Path) -> None:
    script = write_script(
        tmp_path,
        """
        import onward

        for item in onward.each(range(5), name="loop", stop_after=1):
            raise ConnectionError("no route to host")
        """,
    )
    assert "Traceback" in told(python(script, cwd=tmp_path))
    stopped = told(python(script, cwd=tmp_path))
    assert "onward: `loop` stopped early: the last item ended the program with ConnectionError" in stopped
    assert f"continue with: python {script}" in stopped
    assert "Traceback" not in stopped
