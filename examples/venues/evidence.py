"""What the server's log and the scraper's table prove about a disturbed pass, and the verdict on it.

Nothing here asks the scraper, or onward, what happened. The rules are in `violations`.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Event = Literal["begun", "ok", "503", "dropped", "aborted"]
Moment = Literal["between items", "fetching", "before its retry", "before its row"]
Row = tuple[str, ...]

# Fewer kills in the middle of an item than this prove nothing.
LEAST_KILLS = 5


@dataclass
class Request:
    """One request for a venue's page. It stays `begun` until the server has answered or given up."""

    venue: str
    last_event: Event
    client: str = ""  # who asked, as it calls itself
    begun_at: float = 0.0
    ended_at: float = 0.0


class ServerLog:
    """The server's log, read as it grows. `requests` are in the order in which they reached the server."""

    def __init__(self, path: Path) -> None:
        self.requests: list[Request] = []
        self.venues: set[str] = set()
        self._path = path
        self._read_bytes = 0

    def read(self) -> None:
        """Add what was written since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            whole_lines, _, _ = file.read().rpartition(b"\n")
        if whole_lines:
            self._read_bytes += len(whole_lines) + 1
        for line in whole_lines.splitlines():
            entry = json.loads(line)
            if entry["event"] == "begun":
                self.requests.append(Request(entry["venue"], "begun", entry["client"], entry["at"]))
                self.venues.add(entry["venue"])
                assert len(self.requests) == entry["request"]
            else:
                request = self.requests[entry["request"] - 1]
                request.last_event, request.ended_at = entry["event"], entry["at"]


def rows_in(table: Path) -> list[Row]:
    """The scraper's rows as text; none while it has not come to create its table."""
    with closing(sqlite3.connect(table)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'venue'").fetchone():
            return []
        return [tuple(str(value) for value in row) for row in db.execute("SELECT * FROM venue")]


@dataclass(frozen=True)
class Kill:
    """One SIGKILL, looked at after the process was gone and the server had settled."""

    rows: int
    venue: str | None  # the last one the killed process asked for; None when it had asked for none
    moment: Moment

    @property
    def mid_item(self) -> bool:
        return self.moment != "between items"


def kill_seen(asked: Sequence[Request], rows: Iterable[Row]) -> Kill:
    """Where a kill hit, from what the killed process had asked for and the rows there are.

    It is called mid-item only on proof: the server could not finish answering the item's last request,
    or answered it with a failure, or answered it and the row is missing. With the row in place the kill may
    still have come before the item was recorded as done: an excuse for a repetition, but not called mid-item.
    """
    stored = {row[0] for row in rows}
    if not asked:
        return Kill(len(stored), None, "between items")
    last = asked[-1]
    return Kill(len(stored), last.venue, _moment(last, stored))


def _moment(last: Request, stored: set[str]) -> Moment:
    match last.last_event:
        case "aborted":
            return "fetching"
        case "503" | "dropped":
            return "before its retry"
        case "ok":
            return "between items" if last.venue in stored else "before its row"
        case "begun":
            raise AssertionError(f"the server had not settled: {last.venue} is still being answered")


def violations(
    venues: dict[str, Row], requests: Iterable[Request], rows: Sequence[Row], kills: Iterable[Kill]
) -> list[str]:
    """Every way in which the finished pass broke its promise, as sentences. None means that it kept it."""
    return [*_too_many_fetches(venues, list(requests), list(kills)), *_wrong_rows(venues, rows)]


def _too_many_fetches(venues: dict[str, Row], requests: list[Request], kills: list[Kill]) -> list[str]:
    asked = Counter(request.venue for request in requests)
    failures = Counter(request.venue for request in requests if request.last_event in ("503", "dropped"))
    hits = Counter(kill.venue for kill in kills)
    allowed = {venue: 1 + failures[venue] + hits[venue] for venue in venues}
    return [
        f"{venue} was fetched {asked[venue]} times; once + {failures[venue]} failures"
        f" + {hits[venue]} kills that hit it allow {allowed[venue]}"
        for venue in venues
        if asked[venue] > allowed[venue]
    ]


def _wrong_rows(venues: dict[str, Row], rows: Sequence[Row]) -> list[str]:
    count = Counter(row[0] for row in rows)
    missing = [f"{venue} has no row" for venue in venues if venue not in count]
    repeated = [f"{venue} has {n} rows" for venue, n in count.items() if n > 1]
    unequal = [
        f"the row of {row[0]} is {row}, the server's data {venues.get(row[0], 'has no such venue')}"
        for row in rows
        if row != venues.get(row[0])
    ]
    return missing + repeated + unequal
