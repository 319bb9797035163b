"""Branches of which one kills its process: it is found out, however long its siblings take."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

import onward
from api.lives import entries, python, the_run, write_script

pytestmark = pytest.mark.faults

PROGRAM = """
import asyncio, os, time
import onward

def note(what):
    with open("log", "a") as file:
        file.write(what + "\\n")

@onward.step
def deadly():
    note("deadly")
    time.sleep(0.03)
    os._exit(9)

@onward.step
def long():
    note("long")
    time.sleep(0.3)
    return "long"

@onward.step
async def deadly_async():
    note("deadly")
    await asyncio.sleep(0.03)
    os._exit(9)

@onward.step
async def long_async():
    note("long")
    await asyncio.sleep(0.3)
    return "long"

def outer(number):
    return deadly() if number else long()

@onward.workflow
def job():
    %s

@onward.workflow
async def job_async():
    await onward.aio.gather(long_async(), deadly_async())

try:
    asyncio.run(job_async()) if %s else job()
except onward.StepCrashed as error:
    note("convicted")
"""

WAYS = {
    "gather": ("onward.gather(long, deadly)", False),
    "gather in an event loop": ("pass", True),
    "map": ("list(onward.map(outer, [0, 1]))", False),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_branch_that_kills_its_process_is_convicted_beside_a_long_one(tmp_path: Path, way: str) -> None:
    """It used to be executed again and again: both were in flight at each death, so neither was to blame."""
    script = write_script(tmp_path, PROGRAM % WAYS[way])
    lives = 0
    while lives < 12:
        lives += 1
        ended = python(script, cwd=tmp_path)
        if ended.returncode == 0:
            break
        assert ended.returncode == 9, ended.stderr
    log = Counter((tmp_path / "log").read_text().split())
    assert log["convicted"] == 1, log
    assert log["deadly"] <= 6
    assert log["long"] <= 4
    assert lives <= 7
    shown = python("-m", "onward.cli", "show", "--json", "--all", run_name(way), cwd=tmp_path)
    units = {u["name"]: u["state"] for u in json.loads(shown.stdout)["units"]}
    assert (units.get("long") or units.get("long_async")) == "done"


def run_name(way: str) -> str:
    return "job_async" if WAYS[way][1] else "job"


@pytest.mark.parametrize("in_loop", [False, True])
def test_a_cancelled_run_records_what_its_branches_have_in_flight_and_nothing_after_it(in_loop: bool) -> None:
    """Each branch used to record that the run was cancelled, and a sibling its outcome after that."""
    started = threading.Event()

    @onward.step
    def short(number: int) -> int:
        started.wait(100)
        return number

    @onward.step
    def long() -> str:
        started.set()
        onward.Journal().cancel(name)
        time.sleep(0.3)
        return "long"

    @onward.step
    async def short_async(number: int) -> int:
        await asyncio.sleep(0.01)
        return number

    @onward.step
    async def long_async() -> str:
        onward.Journal().cancel(name)
        await asyncio.sleep(0.3)
        return "long"

    async def many_async() -> None:
        for number in range(1_000):
            await short_async(number)

    @onward.workflow(name="job")
    def job() -> None:
        def many() -> None:
            for number in range(1_000):
                short(number)

        onward.gather(many, long, many)

    @onward.workflow(name="async job")
    async def job_async() -> None:
        await onward.aio.gather(many_async(), long_async(), many_async())

    name = "async job" if in_loop else "job"
    with pytest.raises(onward.RunCancelled):
        asyncio.run(job_async()) if in_loop else job()
    states = [(entry.name, entry.state) for entry in entries()]
    assert states[-1] == ("cancelled", "mark")
    assert states.count(("cancelled", "mark")) == 1
    assert ("long_async" if in_loop else "long", "done") in states
    assert the_run().state == "cancelled"
