"""Fetch every venue's page and keep what it says in a table."""

import html
import json
import re
import sqlite3
import sys
import time
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import urlopen


def fetch(url: str) -> str:
    """The page; asked for again when the server is busy or the connection breaks."""
    for attempt in range(5):
        try:
            with urlopen(url, timeout=30) as answer:
                return str(answer.read(), "utf-8")
        except HTTPError as error:
            if error.code != 503:
                raise
            time.sleep(float(error.headers.get("Retry-After", 1)))
        except (OSError, HTTPException):
            time.sleep(0.02 * 2**attempt)
    raise RuntimeError(f"{url} failed five times")


def parse(page: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(r"<dd>(.*?)</dd>", page)]


def open_table(path: str) -> sqlite3.Connection:
    table = sqlite3.connect(path)
    table.execute("PRAGMA journal_mode = WAL")
    table.execute(
        "CREATE TABLE IF NOT EXISTS venue"
        " (icao PRIMARY KEY, name, city, region, country, elevation, lat, lon, tz)"
    )
    return table


def main(site: str, table_path: str) -> None:
    table = open_table(table_path)
    venues = json.loads(fetch(site))
    for venue in venues:
        row = parse(fetch(site + venue))
        with table:
            table.execute("INSERT OR REPLACE INTO venue VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


if __name__ == "__main__":
    main(*sys.argv[1:])
