"""Passes over a source that die and go on with a fresh one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import onward
from api.lives import Killed, die, the_run


def walk(items: Any, *, dies_after: int | None = None, **options: Any) -> list[Any]:
    """One pass; the items begun. It dies in the item after so many."""
    begun: list[Any] = []
    try:
        for item in onward.each(items, **{"name": "loop", **options}):
            begun.append(item)
            if dies_after is not None and len(begun) > dies_after:
                die()
    except Killed:
        pass
    return begun


def plain(item: Any) -> str:
    return repr(tuple(item) if isinstance(item, sqlite3.Row) else item)


def continues(make: Callable[[], Any], **options: Any) -> list[Any]:
    """A pass over a fresh source that dies in its third item goes on there with another fresh source."""
    first = walk(make(), dies_after=2, **options)
    assert len(first) == 3
    rest = walk(make(), **options)
    assert plain(rest[0]) == plain(first[2])
    assert the_run().state == "done"
    return first[:2] + rest
