"""The measurement behind docs/comparison.md runs, judges by what site and file say, and its table is current."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from types import ModuleType

import pytest

from api.lives import environment

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parents[2]
RIVALS = ROOT / "benchmarks" / "rivals"
PAGE = ROOT / "docs" / "comparison.md"


@pytest.fixture
def rivals(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules of the measurement, which import each other by their bare names."""
    monkeypatch.syspath_prepend(str(RIVALS))
    names = ("field", "pages", "place", "job", "story")
    found = {name: __import__(name) for name in names}
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    return found


@pytest.mark.slow
def test_the_measurement_tells_a_loop_that_continues_from_one_that_does_not(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(RIVALS / "run.py"),
        "onward.each",
        "done.txt",
        "--items",
        "20",
        "--rounds",
        "1",
    ]
    ended = subprocess.run(
        [*command, "--folder", str(tmp_path)], capture_output=True, text=True, env=environment(), timeout=100
    )
    if "where syncing costs nothing" in ended.stderr:
        pytest.skip("the temporary directory is memory")
    assert ended.returncode == 0, ended.stderr
    rows = {cells[0]: cells[2:6] for cells in table(ended.stdout)}
    # Killed at item 6: six were done, and the seventh was in hand.
    assert rows["plain loop"] == ["0, 0", "7, 7", "0, 0", "6, 7"]
    assert rows["onward.each"] == ["0, 0", "1, 1", "0, 0", "0, 0"]
    assert rows["done.txt by hand, default"] == ["0, 0", "1, 1", "0, 0", "0, 1"]


def table(text: str, number: int = 0) -> list[list[str]]:
    """The cells of every row of a table below its head."""
    groups = groupby(text.splitlines(), key=lambda line: line.startswith("|"))
    tables = [list(lines)[2:] for is_table, lines in groups if is_table]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in tables[number]]


def test_the_judge_counts_what_is_missing_and_what_is_there_twice(
    rivals: dict[str, ModuleType], tmp_path: Path
) -> None:
    answer = rivals["pages"].Answer
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"number": 0}\n{"number": 0}\n{"number": 2}\n{"num')
    sent = [answer(0, 1.0), answer(0, 2.0), answer(1, 11.5), answer(2, 13.0)]
    outcome = rivals["story"].judged(rows, sent, 4, 10.0)
    assert (outcome.never, outcome.again, outcome.lost, outcome.doubled) == (1, 1, 2, 1)
    assert (outcome.continued_s, outcome.finished_s) == (1.5, 3.0)


def test_the_page_has_a_row_for_everybody_in_every_setting(rivals: dict[str, ModuleType]) -> None:
    titles = [cells[0] for cells in table(PAGE.read_text("utf-8"))]
    expected = [
        rival.title + (f", {setting}" if len(rival.settings) > 1 else "")
        for rival in rivals["field"].FIELD
        for setting in rival.settings
    ]
    assert titles == expected


def test_the_page_has_a_row_for_every_queue_in_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(RIVALS.parent / "queues"))
    field = importlib.import_module("contestants").FIELD
    expected = [(f"{one.title}, {setting}", one.store) for one in field for setting in one.settings]
    assert [(cells[0], cells[1]) for cells in table(PAGE.read_text("utf-8"), 1)] == expected


def test_every_rival_has_its_script_and_pins_without_addresses(rivals: dict[str, ModuleType]) -> None:
    for rival in rivals["field"].FIELD:
        assert (RIVALS / "jobs" / f"{rival.job}.py").exists()
        if rival.package and rival.package != "onward":
            pins = (RIVALS / "requirements" / f"{rival.name}.txt").read_text().splitlines()
            names = [
                re.fullmatch(r"([A-Za-z0-9._-]+)==[A-Za-z0-9.!+_-]+", pin) for pin in pins if pin[:1] != "#"
            ]
            assert all(names), pins
            assert rival.package in {name[1].lower() for name in names if name}


def test_the_page_shows_the_versions_that_are_pinned(rivals: dict[str, ModuleType]) -> None:
    shown = {cells[0]: cells[1] for cells in table(PAGE.read_text("utf-8"))}
    for rival in rivals["field"].FIELD:
        file = RIVALS / "requirements" / f"{rival.name}.txt"
        if file.exists():
            pinned = re.search(rf"(?im)^{rival.package}==(\S+)$", file.read_text())
            assert pinned is not None
            for title, version in shown.items():
                if title.startswith(rival.title):
                    assert version == pinned[1], f"{title}: the page was measured with another version"
