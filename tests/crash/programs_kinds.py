"""Programs over other kinds of sources: each is killed while it goes through one, and must go on in the same place."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import sqlalchemy as sa

import onward
from crash.programs import world

TABLE = {"name": ["ada", "bob", "cy"], "age": [36, 41, None]}


def _go_through(items: Iterable[Any], **options: Any) -> None:
    last = None
    for _ in onward.each(items, **options):
        if last is not None:
            world.ack(last.key, run=last.run)
        last = world.effect()
    if last is not None:
        world.ack(last.key, run=last.run)


def kind_dict() -> None:
    _go_through({"linate": 1, "malpensa": 2, "orio": 3}, name="dict")


def kind_pairs() -> None:
    _go_through({"linate": [1, 2], "malpensa": None, "orio": 3}.items(), name="pairs")


def kind_generator() -> None:
    def numbers() -> Iterator[int]:
        yield from (2, 3, 5, 2)

    _go_through(numbers(), name="generator")


def kind_async_generator() -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in (2, 3, 5):
            await asyncio.sleep(0)
            yield number

    async def main() -> None:
        async for _ in onward.each(numbers(), name="async-generator"):
            world.effect()

    asyncio.run(main())


def _laid(name: str, text: str) -> Path:
    """A file that was there before the program; made by it, whole or not at all, and never touched again."""
    path = Path(name)
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(f"part-{path.name}")
        part.write_text(text)
        _sync(part)
        part.rename(path)
        _sync(path.parent)
        _sync(path.parent.parent)
    return path


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def kind_lines() -> None:
    with open(_laid("lines.txt", "one\ntwo\n\ntwo\n")) as lines:
        _go_through(lines, name="lines")


def kind_folder() -> None:
    for name in ("a.csv", "b c.csv", "ü.csv"):
        _laid(f"inbox/{name}", name)
    # By content: a disk after a power failure is made anew, and its files with other times.
    _go_through(onward.files("inbox/[!p]*.csv", key="hash"), name="folder", once=True)


def kind_dbapi() -> None:
    database = sqlite3.connect(":memory:")
    try:
        database.execute("CREATE TABLE person (name TEXT, age INTEGER)")
        database.executemany("INSERT INTO person VALUES (?, ?)", zip(*TABLE.values(), strict=True))
        _go_through(database.execute("SELECT * FROM person ORDER BY name"), name="dbapi")
    finally:
        database.close()


_PEOPLE = sa.text("SELECT 'ada' AS name, 36 AS age UNION ALL SELECT 'bob', NULL UNION ALL SELECT 'cy', 2.5")


def kind_sqlalchemy() -> None:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as database:
        _go_through(database.execute(_PEOPLE), name="sqlalchemy")
    engine.dispose()


def kind_pandas() -> None:
    _go_through(pd.DataFrame(TABLE).itertuples(index=False), name="pandas")


def kind_polars() -> None:
    _go_through(pl.DataFrame(TABLE).iter_rows(named=True), name="polars")


def kind_repeats() -> None:
    _go_through([3, 1, 3, 1, 2, 1], name="repeats", duplicates="skip")


def several_loops() -> None:
    """Two loops of one script, one after the other: what is done of the first is not done again for the second."""
    _go_through("abc", name="first")
    _go_through("abc", name="second")
