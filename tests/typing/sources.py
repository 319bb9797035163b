"""What a type checker sees of loops over every kind of source, of batches, files and cursors. Checked, never run."""

import sqlite3
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO, assert_type

import onward


class Numbered:
    def __getitem__(self, index: int) -> bytes:
        return b""


def sources(lines: TextIO, prices: dict[str, float], database: sqlite3.Connection, rows: Numbered) -> None:
    for line in onward.each(lines):
        assert_type(line, str)
    for name in onward.each(prices):
        assert_type(name, str)
    for pair in onward.each(prices.items(), name="pairs"):
        assert_type(pair, tuple[str, float])
    for row in onward.each(database.execute("SELECT 1"), name="rows"):
        assert_type(row, Any)
    for one in onward.each(rows, name="numbered"):
        assert_type(one, bytes)
    for number, word in enumerate(onward.each(["a"], name="counted")):
        assert_type((number, word), tuple[int, str])


def options(words: list[str]) -> None:
    for batch in onward.each(words, name="batches", batch=100, key=lambda word: word.lower()):
        assert_type(batch, list[str])
    for word in onward.each(words, name="feed", once=True, duplicates="skip", max_age=None, total=5):
        assert_type(word, str)
    onward.each(words, duplicates="ignore")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    onward.each(words, batch="many")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    onward.each(5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


async def asynchronous(words: AsyncIterator[str], last: onward.Cursor[int]) -> None:
    async for batch in onward.each(words, name="batches", batch=2):
        assert_type(batch, list[str])
    await onward.aio.advance(last, 3)
    await onward.aio.advance(last, "3")  # type: ignore[misc]  # pyright: ignore[reportArgumentType]


def inbox() -> None:
    for path in onward.each(onward.files("inbox/**/*.csv", min_age=5), once=True, name="inbox"):
        assert_type(path, Path)
    for size in onward.map(lambda path: path.stat().st_size, onward.files(Path("inbox"), key="hash")):
        assert_type(size, int)
    onward.files("inbox", key="name")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def cursors() -> None:
    with onward.cursor("orders", start=0, forward_only=True) as last:
        assert_type(last.value, int)
        assert_type(last.at, datetime | None)
        last.advance(5)
        last.advance("5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    token: onward.Cursor[str | None] = onward.cursor("pages", start=None)
    token.advance("next")
    assert_type(token.value, str | None)
