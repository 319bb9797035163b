"""Sinks in maps: items end in any order and at once, and each row is there once all the same."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import onward
from api.lives import Fate, Killed, entries, the_run
from onward.api import connect
from onward.core.errors import RunConflict
from onward.core.model import Change
from onward.runtime.output import rows_of
from onward.runtime.session import Session


def rows(path: str = "rows.jsonl") -> list[Any]:
    return [json.loads(line) for line in Path(path).read_text().split("\n")[:-1]]


def mapped(way: str, fate: Callable[[int], None], count: int = 40) -> list[int]:
    out = onward.jsonl("rows.jsonl")

    def convert(x: int) -> int:
        out.write({"x": x})
        fate(x)
        out.write({"again": x})
        return 2 * x

    async def convert_async(x: int) -> int:
        await asyncio.sleep(0)
        return convert(x)

    fn = convert if way == "sync" else convert_async
    results = onward.map(fn, range(count), name="mapped", concurrency=7, max_attempts=2, backoff=0.001)
    if way != "awaited":
        return list(results)

    async def main() -> list[int]:
        return [value async for value in results]

    return asyncio.run(main())


WAYS = pytest.mark.parametrize("way", ["sync", "async", "awaited"])


def pairs_of(count: int) -> None:
    """Each row once, and the rows of an item together."""
    found = rows()
    assert sorted(row["x"] for row in found[::2]) == list(range(count))
    assert [row["x"] for row in found[::2]] == [row["again"] for row in found[1::2]]


@WAYS
def test_rows_of_a_map_stand_once_and_together(way: str) -> None:
    assert mapped(way, lambda x: None) == [2 * x for x in range(40)]
    pairs_of(40)


@WAYS
def test_the_rows_of_an_attempt_that_failed_are_dropped(way: str) -> None:
    def fails(x: int) -> None:
        here = onward.current()
        assert here is not None
        if x % 3 == 0 and here.attempt == 1:
            raise ConnectionError

    mapped(way, fails)
    pairs_of(40)


@WAYS
@pytest.mark.parametrize("lost", [0, 1, 60])
def test_a_map_that_died_goes_on_with_each_row_once(way: str, lost: int) -> None:
    fate = Fate()

    def strikes(x: int) -> None:
        if x == 25:
            fate()

    with pytest.raises(Killed):
        mapped(way, strikes)
    size = Path("rows.jsonl").stat().st_size
    os.truncate("rows.jsonl", max(0, size - lost))
    mapped(way, lambda x: None)
    pairs_of(40)


def test_a_gap_that_a_dead_map_left_in_the_journal_is_no_foreign_change() -> None:
    """Rows get their place before they are recorded: what dies between the two leaves a gap before its neighbours."""
    committer: Any = connect.engine().committer
    commit, neighbour = committer.commit, threading.Event()
    dead: list[Session] = []

    def dies_with_its_commit(*changes: Change) -> Any:
        keys = [entry.key for change in changes for entry in change.entries]
        if "map/25" in keys:
            assert neighbour.wait(5)
            (session,) = connect.engine().sessions.values()
            dead.append(session)
            raise session.unwind(Killed())
        answers = commit(*changes)
        if any(
            entry.name == "rows" and entry.ended_at > began[0]
            for change in changes
            for entry in change.entries
        ):
            neighbour.set()
        return answers

    began = [float("inf")]

    def strikes(x: int) -> None:
        if x == 25:
            began[0] = time.time()
        elif x > 25:
            time.sleep(0.02)

    committer.commit = dies_with_its_commit
    with pytest.raises(Killed):
        mapped("sync", strikes)
    committer.commit = commit
    placed = sorted(
        (part["at"], part["at"] + len(part["text"]))
        for entry in entries()
        for part in rows_of(entry).values()
    )
    assert any(a[1] != b[0] for a, b in pairwise(placed)), "there is no gap to be seen"
    mapped("sync", lambda x: None)
    pairs_of(40)


def test_a_foreign_change_stops_a_map_before_it_does_anything() -> None:
    fate = Fate()

    def strikes(x: int) -> None:
        if x == 25:
            fate()

    with pytest.raises(Killed):
        mapped("sync", strikes)
    Path("rows.jsonl").write_text("mine")
    began: list[int] = []
    with pytest.raises(RunConflict):
        mapped("sync", began.append)
    assert (began, the_run().state) == ([], "pending")


def test_a_change_in_the_middle_of_a_map_ends_it_with_a_sentence() -> None:
    def strikes(x: int) -> None:
        if x == 20:
            Path("rows.jsonl").write_text("mine")

    with pytest.raises(RunConflict, match="was changed by something else"):
        mapped("sync", strikes)
    Path("rows.jsonl").unlink()
    mapped("sync", lambda x: None)
    pairs_of(40)


def test_a_loop_in_the_items_of_a_map_writes_each_row_once() -> None:
    out = onward.jsonl("rows.jsonl")

    def convert(x: int) -> int:
        for y in onward.each(range(3)):
            out.write([x, y])
        out.write(x)
        return x

    assert list(onward.map(convert, range(20), name="nested", concurrency=5)) == list(range(20))
    expected = [[x, y] for x in range(20) for y in range(3)]
    assert sorted(row for row in rows() if isinstance(row, list)) == expected
    assert sorted(row for row in rows() if isinstance(row, int)) == list(range(20))


def test_a_map_in_a_workflow_writes_each_row_once() -> None:
    out = onward.jsonl("rows.jsonl")
    fate = Fate()

    def convert(x: int) -> int:
        out.write(x)
        return x

    @onward.workflow(name="mapping")
    def mapping() -> int:
        total = sum(onward.map(convert, range(10), concurrency=3))
        fate()
        return total + sum(onward.map(convert, range(10, 15)))

    with pytest.raises(Killed):
        mapping()
    assert mapping() == 105
    assert sorted(rows()) == list(range(15))


def test_an_item_of_a_map_that_is_done_again_for_its_file_writes_no_row_again() -> None:
    out = onward.jsonl("rows.jsonl")

    def save(x: int) -> onward.File:
        out.write(x)
        return onward.atomic_write(f"f{x}", f"file {x}")

    def some(count: int) -> None:
        for at, _ in enumerate(onward.map(save, range(5), name="saving"), 1):
            if at == count < 5:
                break

    some(4)
    os.unlink("f1")
    some(5)
    assert Path("f1").read_text() == "file 1"
    assert sorted(rows()) == list(range(5))


def test_the_result_of_an_item_that_looks_like_rows_is_not_taken_for_them() -> None:
    out = onward.jsonl("rows.jsonl")
    odd = {"rows": {"rows.jsonl": {"at": 0, "crc": 0, "text": "mine"}}}
    fate = Fate()

    def convert(x: int) -> object:
        out.write(x)
        if x == 3:
            fate()
        return odd

    with pytest.raises(Killed):
        list(onward.map(convert, range(5), name="odd", concurrency=1))
    assert list(onward.map(convert, range(5), name="odd", concurrency=1)) == [odd] * 5
    assert rows() == list(range(5))
