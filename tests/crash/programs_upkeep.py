"""Programs that look after journals: runs are cleared away, copied, carried and renamed, and killed while that is done.

What is done to journals beside the program's own is judged by the runs that arrive in its own, or by a look at them.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onward
from crash.programs import world
from crash.world import Unit
from onward.api import connect
from onward.cli import main


@onward.step
def tenfold(x: int) -> int:
    world.effect()
    return x * 10


@onward.workflow
def _kept(x: int) -> list[int]:
    return [tenfold(x), tenfold(x + 1)]


@contextmanager
def _in(name: str) -> Iterator[None]:
    """Programs and commands use the journal of this name, beside the usual one."""
    usual = os.environ["ONWARD_URL"]
    os.environ["ONWARD_URL"] = f"sqlite:///{Path(name).absolute()}"
    onward.connect()
    try:
        yield
    finally:
        os.environ["ONWARD_URL"] = usual
        onward.connect()


def _onward(*words: str) -> None:
    code = main(list(words), standalone_mode=False)
    assert not code, (words, code)


def _note(name: str) -> None:
    onward.atomic_write(name, "yes")  # also for after a power failure


def _order(number: int) -> list[int]:
    found: list[int] = _kept.options(id=f"order-{number}")(1)
    return found


def exported() -> list[int]:
    """Runs of another journal arrive in this one whole, once, whenever the export or the import is broken off."""
    with _in("aside.db"):
        assert _order(1) == _order(3)
        _onward("export", "--all", "-o", "runs.jsonl")
    _onward("import", "runs.jsonl")
    return [10, 20]


def moved() -> list[int]:
    """What is unfinished goes on where it arrives, in one place only."""
    with _in("aside.db"):
        if not Path("broken-off").exists():
            _broken_off()
            _note("broken-off")
        _onward("export", "--all", "--move", "-o", "runs.jsonl")
    _onward("import", "runs.jsonl")
    found: list[int] = _interrupted.options(id="order-7")(7)
    return found


def _broken_off() -> None:
    try:
        _interrupted.options(id="order-7")(7)
    except KeyboardInterrupt:
        pass


@onward.workflow
def _interrupted(x: int) -> list[int]:
    first = tenfold(x)
    if "aside" in os.environ["ONWARD_URL"]:
        raise KeyboardInterrupt
    return [first, tenfold(x + 1)]


def _layout_1() -> bytes:
    """A journal of the first layout, made where no call of it counts as one of the program's."""
    dump = Path(__file__).parents[1] / "golden" / "layout1.sql"
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite3.connect(f"{folder}/old.db")
        database.executescript(dump.read_text(encoding="utf-8"))
        database.close()
        return Path(f"{folder}/old.db").read_bytes()


LAYOUT_1 = _layout_1()


def upgraded() -> str:
    """A journal of an older version is brought to the layout of this one, and gives out what it holds."""
    if not Path("old.db").exists():
        onward.atomic_write("old.db", LAYOUT_1)
    with _in("old.db"):
        _onward("export", "the-one", "-o", "runs.jsonl")
        _onward("doctor")
    _onward("import", "runs.jsonl")
    world.effect_of(Unit("the-one", "told", 1))
    return "00000000-0000-0000-0000-000000000007"


def backed_up() -> list[int]:
    """A copy of a journal in use takes the place of another one, and what it holds arrives here."""
    with _in("aside.db"):
        _order(1)
        _onward("backup", "copy.db")
        _order(3)
        _onward("backup", "copy.db")
    with _in("restored.db"):
        connect.disconnect()  # nobody may have it open
        _onward("restore", "copy.db")
        _onward("export", "--all", "-o", "runs.jsonl")
    _onward("import", "runs.jsonl")
    return [10, 20]


def cleared() -> None:
    """Old runs are removed, whole; the latest of each name stays."""
    with _in("aside.db"):
        for _ in range(3):
            for _ in onward.each("ab", name="cleared"):
                world.effect()
        _onward("gc", "--older-than", "0s")
        _onward("export", "--all", "-o", "runs.jsonl")
    _onward("import", "runs.jsonl")


def renamed() -> None:
    """A loop under its second name goes on where it stopped under the first one."""
    if not onward.Journal().list(name="second"):
        for x in onward.each(range(4), name="first"):
            world.effect()
            if x == 1:
                break
        _onward("rename", "first", "second")
    for _ in onward.each(range(4), name="second"):
        world.effect()


def parked() -> list[Any]:
    """Of two items that fail for good one is asked for again by hand, and one is declared as done."""
    while True:
        mended = Path("mended").exists()
        mapped = onward.map(_fragile, range(4), name="parked", on_error="continue")
        values = [None if isinstance(value, onward.Failure) else value for value in mapped]
        if mended:
            return values
        journal = onward.Journal()
        run = journal.list(name="parked")[0].run
        failed = {item.key for item in journal.failed(run.id)}
        if "3" in failed:
            journal.skip(run.id, "3")
        if "1" in failed:
            journal.retry(run.id, "1")
        _note("mended")


def _fragile(x: int) -> int | None:
    mended = Path("mended").exists()
    world.effect(fails=x == 1 and not mended)
    if x == 3 and not mended:
        raise ConnectionError("it was done, but its answer was lost")
    return None if x == 3 else x * 10
