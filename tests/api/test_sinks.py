"""Sinks of text: rows commit with their item, files are completed from the journal, foreign changes are refused."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import onward
from api.lives import Fate, Killed, die, the_run
from onward.api.sinks import lines
from onward.core.errors import NotRecordable, RunConflict, UsageError
from onward.runtime import disk


def rows(path: str = "rows.jsonl") -> list[Any]:
    return [json.loads(line) for line in Path(path).read_text().split("\n")[:-1]]


def write_all(fate: Callable[[], None] = lambda: None, *, at: int = 3, flush_ms: float = 0) -> None:
    """A pass over six items with a row each; at one of them `fate` strikes after the row was written."""
    out = onward.jsonl("rows.jsonl")
    for x in onward.each(range(6), name="rows", flush_ms=flush_ms):
        out.write({"x": x})
        if x == at:
            fate()


WHOLE = [{"x": x} for x in range(6)]


def die_in(**options: Any) -> None:
    with pytest.raises(Killed):
        write_all(Fate(), **options)


def write_to(*sinks: onward.Jsonl, row: Any = 1) -> None:
    """A pass over one item, whose row goes to each of the sinks."""
    for _ in onward.each([0], name="writing"):
        for sink in sinks:
            sink.write(row)


# -- loops ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("flush_ms", [0, 1000])
def test_a_death_after_a_row_was_written_neither_loses_nor_doubles_it(at: int, flush_ms: float) -> None:
    die_in(at=at, flush_ms=flush_ms)
    write_all(flush_ms=flush_ms)
    assert rows() == WHOLE


@pytest.mark.parametrize("keep", range(0, 25, 2))
def test_a_file_that_is_behind_is_completed_wherever_it_ends(keep: int) -> None:
    """As after a power failure: what was not synced may be missing, in the middle of a row too."""
    die_in()
    os.truncate("rows.jsonl", keep)
    write_all()
    assert rows() == WHOLE


@pytest.mark.parametrize("holes", [(0, 8), (3, 5), (8, 24), (0, 24), (20, 24)])
def test_holes_that_a_power_failure_left_are_filled(holes: tuple[int, int]) -> None:
    """Bytes that were not synced may read as zeros, although those behind them have reached the disk."""
    die_in()
    data = bytearray(Path("rows.jsonl").read_bytes())
    data[slice(*holes)] = bytes(holes[1] - holes[0])
    Path("rows.jsonl").write_bytes(data)
    write_all()
    assert rows() == WHOLE


def test_a_file_that_is_gone_is_written_once_more() -> None:
    die_in()
    os.unlink("rows.jsonl")
    write_all()
    assert rows() == WHOLE


def test_the_file_is_completed_even_if_nothing_more_is_written() -> None:
    def run(fate: Callable[[], None]) -> None:
        out = onward.jsonl("rows.jsonl")
        for x in onward.each(range(3), name="first"):
            if x == 0:
                out.write({"x": x})
            if x == 2:
                fate()

    with pytest.raises(Killed):
        run(Fate())
    os.truncate("rows.jsonl", 0)
    run(lambda: None)
    assert rows() == [{"x": 0}]


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda text: text.replace("1", "7", 1), "is not what was recorded"),
        (lambda text: text + '{"x":9}\n', "bytes more than were recorded"),
        (lambda text: "#" + text, "is not what was recorded"),
        (lambda text: text[:12] + "#", "is not what was recorded"),
    ],
)
def test_a_file_that_something_else_has_changed_is_refused_and_left_alone(
    harm: Callable[[str], str], says: str
) -> None:
    die_in()
    found = harm(Path("rows.jsonl").read_text())
    Path("rows.jsonl").write_text(found)
    with pytest.raises(RunConflict, match=says) as caught:
        write_all()
    assert f"onward cancel {the_run().id}" in str(caught.value)
    assert Path("rows.jsonl").read_text() == found
    assert the_run().state == "pending"


def test_once_the_foreign_change_is_taken_back_the_pass_goes_on() -> None:
    die_in()
    kept = Path("rows.jsonl").read_text()
    Path("rows.jsonl").write_text("mine")
    with pytest.raises(RunConflict):
        write_all()
    Path("rows.jsonl").write_text(kept)
    write_all()
    assert rows() == WHOLE


@pytest.mark.parametrize(
    "harm", [lambda p: p.write_text("mine\n"), lambda p: p.unlink()], ids=["changed", "gone"]
)
def test_a_change_in_the_middle_of_a_pass_is_noticed_with_the_next_row(harm: Callable[[Path], None]) -> None:
    with pytest.raises(RunConflict, match="was changed by something else"):
        write_all(lambda: harm(Path("rows.jsonl")))
    assert the_run().state == "pending"
    Path("rows.jsonl").unlink(missing_ok=True)
    write_all()
    assert rows() == WHOLE


def test_a_full_disk_stops_the_pass_with_a_sentence_and_loses_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal may still have room, or be on another disk."""

    class Full(io.FileIO):
        def write(self, data: Any, /) -> int:
            if self.tell() >= 16:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    with monkeypatch.context() as patched:
        patched.setattr(lines, "open", Full, raising=False)
        with pytest.raises(OSError, match=r"could not be put into the file.*the disk is full"):
            write_all()
    assert (the_run().state, rows()) == ("pending", WHOLE[:2])
    write_all()
    assert rows() == WHOLE


def test_a_batch_commits_with_its_rows() -> None:
    def run(fate: Callable[[], None]) -> None:
        out = onward.jsonl("rows.jsonl")
        for batch in onward.each(range(6), name="batches", batch=2):
            for x in batch:
                out.write({"x": x})
            if 3 in batch:
                fate()

    with pytest.raises(Killed):
        run(Fate())
    assert rows() == WHOLE[:2]
    run(lambda: None)
    assert rows() == WHOLE


def test_a_loop_that_does_its_items_once_goes_on_in_one_file_over_all_passes() -> None:
    for items in ([0, 1], [1, 2, 0], [3, 2]):
        out = onward.jsonl("rows.jsonl")
        for x in onward.each(items, name="once", once=True):
            out.write({"x": x})
    assert rows() == WHOLE[:4]


def test_a_new_pass_begins_with_an_empty_file_and_an_appending_one_behind_what_is_there() -> None:
    for mode, count in (("new", 1), ("new", 1), ("append", 2), ("append", 3)):
        out = onward.jsonl("rows.jsonl", mode=mode)  # type: ignore[arg-type]
        for x in onward.each([0], name="passes"):
            out.write(x)
        assert rows() == [0] * count


def test_what_stood_there_before_an_appending_pass_is_guarded_too() -> None:
    Path("rows.jsonl").write_text("1\n")

    def run(fate: Callable[[], None]) -> None:
        out = onward.jsonl("rows.jsonl", mode="append")
        for x in onward.each([2, 3], name="appending"):
            out.write(x)
            if x == 3:
                fate()

    with pytest.raises(Killed):
        run(Fate())
    Path("rows.jsonl").write_text("9\n2\n")
    with pytest.raises(RunConflict):
        run(lambda: None)
    Path("rows.jsonl").write_text("1\n2")
    run(lambda: None)
    assert rows() == [1, 2, 3]


def test_rows_are_not_appended_to_a_line_that_has_not_ended() -> None:
    Path("rows.jsonl").write_text("1")
    out = onward.jsonl("rows.jsonl", mode="append")
    with pytest.raises(UsageError, match="does not end with a line end"):
        write_to(out)
    assert Path("rows.jsonl").read_text() == "1"


def test_a_sink_made_anew_for_each_item_is_the_same_sink() -> None:
    for x in onward.each(range(3), name="anew"):
        onward.jsonl("rows.jsonl").write(x)
    assert rows() == [0, 1, 2]


def test_two_names_of_one_file_are_refused() -> None:
    with pytest.raises(UsageError, match="is the same file"):
        write_to(onward.jsonl("rows.jsonl"), onward.jsonl("./rows.jsonl"))


def test_one_file_with_two_modes_is_refused() -> None:
    with pytest.raises(RunConflict, match="was begun as jsonl"):
        write_to(onward.jsonl("rows.jsonl"), onward.jsonl("rows.jsonl", mode="append"))


def test_several_sinks_in_one_loop_keep_apart() -> None:
    a, b = onward.jsonl("a.jsonl"), onward.jsonl("b.jsonl")
    for x in onward.each(range(4), name="several"):
        (a if x % 2 else b).write(x)
        a.write(-x)
    assert (rows("a.jsonl"), rows("b.jsonl")) == ([0, 1, -1, -2, 3, -3], [0, 2])


def test_rows_of_a_project_that_has_moved_go_on_in_its_new_place(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    os.chdir(tmp_path / "old")
    die_in()
    os.chdir(tmp_path)
    shutil.move("old", "new")
    os.chdir("new")
    write_all()
    assert rows() == WHOLE
    assert not (tmp_path / "old").exists()


def test_a_pass_continued_from_another_folder_goes_on_in_the_file_that_it_began(tmp_path: Path) -> None:
    die_in()
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")
    write_all()
    assert rows("../rows.jsonl") == WHOLE
    assert os.listdir() == []


@pytest.mark.parametrize("row", [{"a": "\ud800"}, "\u2028", {"ü": [1.5, None, True]}, [], {}, 2**70])
def test_whatever_json_holds_exactly_comes_back(row: Any) -> None:
    for _ in onward.each([0], name="odd"):
        onward.jsonl("rows.jsonl").write(row)
    assert rows() == [row]


@pytest.mark.parametrize("row", [{1: 2}, (1, 2), float("nan"), {"a": object()}, {"a": b""}, [[]]])
def test_what_json_would_bend_is_refused_before_anything_is_written(row: Any) -> None:
    if row == [[]]:
        row[0].append(row)  # it contains itself
    with pytest.raises(NotRecordable):
        write_to(onward.jsonl("rows.jsonl"), row=row)
    assert rows() == []


def test_a_pass_with_an_item_that_was_parked_appends_its_row_when_that_is_retried() -> None:
    parked = [True]

    def run() -> None:
        out = onward.jsonl("rows.jsonl")
        for x in onward.each(range(3), name="parking", max_crashes=1):
            out.write(x)
            if x == 1 and parked[0]:
                die()

    with pytest.raises(Killed):
        run()
    run()
    assert (rows(), the_run().state) == ([0, 2], "failed")
    parked.clear()
    parked.append(False)
    run()
    assert (rows(), the_run().state) == ([0, 2, 1], "done")


def test_the_folders_that_a_sink_makes_are_on_the_disk_before_its_first_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A power failure could have taken the new folder away, and the file of a finished pass with it."""
    synced: list[str] = []
    real = disk.sync_folder
    monkeypatch.setattr(disk, "sync_folder", lambda path: (synced.append(path), real(path))[1])
    out = onward.jsonl("new/deep/rows.jsonl")
    for number in onward.each([1], name="rows"):
        out.write({"n": number})
    assert [path.rpartition("/")[2] for path in synced][:2] == ["new", "deep"]
