"""The main job: a scrape that is killed again and again keeps its promise, and the demo's check can tell."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

pytestmark = pytest.mark.faults

VENUES = Path(__file__).resolve().parents[2] / "examples" / "venues"
A, B, C = ("LIRA", "Ciampino"), ("LIRF", "Fiumicino"), ("LIRQ", "Firenze")
DATA = {row[0]: row for row in (A, B, C)}


@pytest.fixture
def evidence(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(VENUES)
    return import_module("evidence")


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(VENUES)
    return import_module("scene")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(VENUES)
    return import_module("server")


RECORDS_BEFORE_DOING = """
import os
from pathlib import Path

def each(items, name):
    record = Path(os.environ["ONWARD_URL"].removeprefix("sqlite:///"))
    done = record.read_text().split() if record.exists() else []
    for item in items:
        if item not in done:
            with record.open("a") as file:
                file.write(item + "\\n")
            yield item
"""


def demo(folder: Path, *options: str, instead: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The demo as a reader runs it, but with a quicker server, and a seed with few `Retry-After: 1`."""
    command = [
        sys.executable,
        str(VENUES / "demo.py"),
        "--dir",
        str(folder),
        "--latency",
        "0.01",
        "--seed",
        "2",
        *options,
    ]
    source = str(instead or VENUES.parents[1] / "src")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.important
@pytest.mark.slow
def test_a_scrape_killed_in_the_middle_of_five_items_repeats_only_those(tmp_path: Path) -> None:
    ended = demo(tmp_path / "run", "--kills", "6", "--latency", "0.02")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Kept: 117 of 117 rows" in ended.stdout
    kills, mid_item = map(int, re.findall(r"(\d+) kills, (\d+) in the middle", ended.stdout)[0])
    assert kills >= mid_item >= 5


@pytest.mark.important
@pytest.mark.slow
def test_the_same_scrape_as_a_plain_loop_fails_because_it_fetches_again_what_it_had(tmp_path: Path) -> None:
    ended = demo(tmp_path / "run", "--plain", "--kills", "5")

    assert ended.returncode == 1, ended.stdout + ended.stderr
    broken_in, *shown, _and_more, _files = ended.stdout.partition("Broken in ")[2].splitlines()
    assert int(broken_in.removesuffix(" places:")) > 50
    for violation in shown:
        fetched, allowed = re.findall(r"was fetched (\d+) times; .* allow (\d+)$", violation)[0]
        assert int(fetched) > int(allowed)


def test_a_library_that_records_an_item_before_it_is_done_loses_rows_and_is_caught(tmp_path: Path) -> None:
    (tmp_path / "onward.py").write_text(RECORDS_BEFORE_DOING)

    ended = demo(tmp_path / "run", "--country", "CV", "--kills", "3", instead=tmp_path)

    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert re.search(r"^  GV\w\w has no row$", ended.stdout, re.MULTILINE)


def test_too_few_kills_in_the_middle_of_an_item_are_called_vacuous(tmp_path: Path) -> None:
    ended = demo(tmp_path / "run", "--country", "CV", "--kills", "1")

    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert re.search(r"Vacuous: only [01] kills in the middle of an item; it takes 5\.", ended.stdout)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--country", "XX"), "There is no country 'XX' in the data set"),
        (("--kills", "50"), "50 kills do not fit into 117 venues; choose --kills from 1 to 39."),
        (("--kills", "0"), "0 kills do not fit"),
    ],
)
def test_what_the_demo_cannot_do_it_refuses_in_a_sentence(
    tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    ended = demo(tmp_path / "run", *options)

    assert ended.returncode == 2
    assert ended.stderr.startswith(sentence)
    assert ended.stdout == ""


def test_a_directory_with_old_files_is_refused_because_they_would_count(tmp_path: Path) -> None:
    (tmp_path / "server.jsonl").touch()

    ended = demo(tmp_path)

    assert ended.returncode == 2
    assert "is not an empty directory" in ended.stderr


def test_the_scraper_is_the_plain_script_and_two_lines() -> None:
    plain = (VENUES / "plain.py").read_text().splitlines()
    durable = (VENUES / "scrape.py").read_text().splitlines()

    changed = [
        line for line in difflib.ndiff(plain, durable) if line[:2] in ("+ ", "- ") and line[2:].strip()
    ]

    assert changed == [
        "+ import onward",
        "-     for venue in venues:",
        '+     for venue in onward.each(venues, name="scrape-venues"):',
    ]


# What the check catches, one broken promise at a time.


def test_a_page_fetched_once_more_than_failures_and_kills_allow_is_a_violation(evidence: ModuleType) -> None:
    requests = [
        evidence.Request(*r) for r in [("LIRA", "503"), ("LIRA", "ok"), ("LIRA", "aborted"), *answered(B, C)]
    ]
    hit = evidence.Kill(0, "LIRA", "fetching")
    elsewhere = evidence.Kill(0, "LIRF", "fetching")

    assert evidence.violations(DATA, requests, [A, B, C], [hit]) == []
    assert evidence.violations(DATA, requests, [A, B, C], [elsewhere]) == [
        "LIRA was fetched 3 times; once + 1 failures + 0 kills that hit it allow 2"
    ]


@pytest.mark.parametrize(
    ("rows", "violation"),
    [
        ([A, B], "LIRQ has no row"),
        ([A, B, C, C], "LIRQ has 2 rows"),
        ([A, B, ("LIRQ", "Fiumicino")], "the row of LIRQ is ('LIRQ', 'Fiumicino'), the server's data"),
        ([A, B, C, ("LIXX", "Nowhere")], "the row of LIXX is ('LIXX', 'Nowhere'), the server's data has no"),
    ],
)
def test_a_lost_repeated_wrong_or_foreign_row_is_a_violation(
    evidence: ModuleType, rows: list[tuple[str, ...]], violation: str
) -> None:
    requests = [evidence.Request(*r) for r in answered(A, B, C)]

    found = evidence.violations(DATA, requests, rows, [])

    assert len(found) == 1
    assert found[0].startswith(violation)


@pytest.mark.parametrize(
    ("asked", "rows", "moment", "mid_item"),
    [
        ([], [A], "between items", False),
        ([("LIRA", "ok"), ("LIRF", "aborted")], [A], "fetching", True),
        ([("LIRA", "ok"), ("LIRF", "503")], [A], "before its retry", True),
        ([("LIRA", "ok"), ("LIRF", "ok")], [A], "before its row", True),
        ([("LIRA", "ok"), ("LIRF", "ok")], [A, B], "between items", False),
    ],
)
def test_a_kill_is_in_the_middle_of_an_item_only_where_log_and_table_prove_it(
    evidence: ModuleType,
    asked: list[tuple[str, str]],
    rows: list[tuple[str, ...]],
    moment: str,
    mid_item: bool,
) -> None:
    kill = evidence.kill_seen([evidence.Request(*request) for request in asked], rows)

    assert (kill.moment, kill.mid_item) == (moment, mid_item)
    assert kill.venue == (asked[-1][0] if asked else None)


def answered(*rows: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(row[0], "ok") for row in rows]


# The server: its log must be true, or nothing above is worth anything.


def test_italy_has_117_venues_and_the_united_states_12_579(server: ModuleType) -> None:
    """The documentation names these counts; a new release of the data set may change both."""
    assert len(server.venues_of("IT")) == 117
    assert len(server.venues_of("US")) == 12_579


def test_the_server_misbehaves_by_its_seed_alone_and_lets_every_third_request_through(
    server: ModuleType,
) -> None:
    codes = list(server.venues_of("IT"))
    weather = server.Weather(seed=1, latency_s=0.01, venues=len(codes))
    again = server.Weather(seed=1, latency_s=0.01, venues=len(codes))
    other = server.Weather(seed=2, latency_s=0.01, venues=len(codes))

    fates = [weather.fate(code, 0) for code in codes]

    assert fates == [again.fate(code, 0) for code in codes]
    assert fates != [other.fate(code, 0) for code in codes]
    assert {fate.answer for fate in fates} == {"ok", "503", "dropped"}
    assert any(fate.answer == "503" and fate.retry_after_s for fate in fates)
    assert {weather.fate(code, 2).answer for code in codes} == {"ok"}


def test_the_log_says_aborted_when_the_client_is_killed_while_it_waits(
    evidence: ModuleType, scene: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "log").touch()
    log = evidence.ServerLog(tmp_path / "log")
    with scene.serving(tmp_path / "log", "IT", 1, 20.0) as site:
        get = f"import urllib.request as u; u.urlopen({site + '/venues/LIRF'!r})"
        with subprocess.Popen(
            [sys.executable, "-c", get], env=os.environ | {"no_proxy": "127.0.0.1"}
        ) as client:
            until(lambda: log.read() or log.requests)
            client.kill()
        stage = scene.Scene(tmp_path, Path(), site, {}, 20.0, None, log)
        scene.settle(stage)

    assert [(request.venue, request.last_event) for request in log.requests] == [("LIRF", "aborted")]


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"nothing happened in {seconds} s"
        time.sleep(0.005)


def test_kills_that_miss_are_followed_by_others_further_on_until_no_venue_is_left(
    evidence: ModuleType, scene: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "log").touch()
    codes = [f"V{n}" for n in range(100)]
    log = evidence.ServerLog(tmp_path / "log")
    stage = scene.Scene(tmp_path, Path(), "", dict.fromkeys(codes, ()), 0.01, Random(1), log)

    ambushes = []
    while ambush := scene.next_ambush(stage, wanted=5):
        ambushes.append(ambush)
        log.venues.update(codes[: ambush.venues])
    late = [ambush.venues for ambush in ambushes if ambush.venues]

    assert len(late) >= 5
    assert late == sorted(set(late))
    assert len(log.venues) == 100
    assert all(not (one.venues == two.venues == 0) for one, two in pairwise(ambushes))
