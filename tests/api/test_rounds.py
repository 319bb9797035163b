"""A loop without a name, to whose place a program comes again and again: which pass it goes on with after a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.lives import python, write_script

pytestmark = pytest.mark.faults

LOOP = """
for item in onward.each(items): work(item)
"""
ASYNC_LOOP = """
async def main():
    async for item in onward.each(source()): work(item)
async def source():
    for item in items: yield item
asyncio.run(main())
"""
MAP = """
for _ in onward.map(work, items, concurrency=1): pass
"""
ASYNC_MAP = """
async def main():
    async for _ in onward.map(work, items, concurrency=1): pass
asyncio.run(main())
"""
PLACES = pytest.mark.parametrize(
    "place", [LOOP, ASYNC_LOOP, MAP, ASYNC_MAP], ids=["each", "async each", "map", "async map"]
)

CITIES = """
import asyncio, os, pathlib, onward
def work(item):
    print(item, flush=True)
    if item == "c3" and not pathlib.Path("go").exists():
        os.kill(os.getpid(), 9)
def walk(items):
PLACE
for city in CITIES:
    walk([f"{city}{n}" for n in range(5)])
"""


def passes(folder: Path, place: str, cities: str) -> tuple[list[str], str]:
    """What a script works on that walks through each of the cities in turn, and what it says."""
    body = "\n".join(f"    {line}" for line in place.splitlines())
    text = CITIES.replace("PLACE", body).replace("CITIES", repr(list(cities)))
    ended = python(write_script(folder, text), cwd=folder)
    return ended.stdout.split(), ended.stderr


@PLACES
def test_killed_in_a_later_list_a_script_continues_that_one_when_it_comes_to_it(
    place: str, tmp_path: Path
) -> None:
    """All passes shared one name: after a kill in the third list the first one was taken for it and refused."""
    begun, _ = passes(tmp_path, place, "abc")
    assert begun[-4:] == ["c0", "c1", "c2", "c3"]
    (tmp_path / "go").touch()
    again, said = passes(tmp_path, place, "abc")
    assert again == [f"{city}{n}" for city in "ab" for n in range(5)] + ["c3", "c4"], said
    assert said.count("this is another list than that of the unfinished pass") == 1
    assert "at 3" in said
    afresh, said = passes(tmp_path, place, "abc")
    assert (len(afresh), "another list" in said) == (15, False), said


@PLACES
def test_a_program_that_looks_for_new_work_for_ever_continues_what_it_died_in(
    place: str, tmp_path: Path
) -> None:
    passes(tmp_path, place, "abc")
    (tmp_path / "go").touch()
    again, said = passes(tmp_path, place, "cd")
    assert again == ["c3", "c4", *(f"d{n}" for n in range(5))], said


def test_a_pass_that_an_exception_ended_is_continued_by_the_next_one_of_the_same_process(
    tmp_path: Path,
) -> None:
    script = write_script(
        tmp_path,
        """
        import onward
        for attempt in range(3):
            try:
                for item in onward.each(range(4)):
                    print(item)
                    if attempt < 2 and item == attempt + 1:
                        raise OSError
            except OSError:
                pass
        """,
    )
    assert python(script, cwd=tmp_path).stdout.split() == ["0", "1", "1", "2", "2", "3"]


def test_another_process_in_a_later_pass_is_not_overtaken(tmp_path: Path) -> None:
    script = write_script(
        tmp_path,
        """
        import subprocess, sys, onward
        def walk(items):
            for item in onward.each(items):
                if item == 3:
                    other = subprocess.run([sys.executable, __file__, "other"], capture_output=True, text=True)
                    print(other.stdout + other.stderr)
        if len(sys.argv) == 1:
            walk([1, 2])
        walk([3, 4] if len(sys.argv) == 1 else [5])
        """,
    )
    assert "is already running (process" in python(script, cwd=tmp_path).stdout
