"""The same scrape, spread out: a queued run for every venue, executed by any number of workers.

onward worker examples/venues/spread.py          # as many as you like, on as many machines
python examples/venues/spread.py                 # queue every venue, once
"""

import json
import os
from contextlib import closing
from urllib.request import Request, urlopen

from plain import open_table, parse

import onward

# Where the site and the table are: a worker is told by its environment, as on any machine.
SITE, TABLE = os.environ["VENUES_SITE"], os.environ["VENUES_TABLE"]


@onward.step(max_attempts=5, backoff=0.05)
def fetch(path: str) -> str:
    """The page. A busy server or a broken connection raises; `Retry-After` is heeded."""
    # Says who asks, so that the site's log can tell the workers apart.
    request = Request(SITE + path, headers={"User-Agent": f"worker {os.getpid()}"})
    with urlopen(request, timeout=30) as answer:
        return str(answer.read(), "utf-8")


@onward.step
def store(row: list[str]) -> None:
    with closing(open_table(TABLE)) as table, table:
        table.execute("INSERT OR REPLACE INTO venue VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


@onward.workflow
def scrape_venue(venue: str) -> None:
    store(parse(fetch(f"/venues/{venue}")))


if __name__ == "__main__":
    with urlopen(SITE, timeout=30) as answer:
        venues = [path.rpartition("/")[2] for path in json.load(answer)]
    # An id for each: called again, it queues nothing twice.
    scrape_venue.options(id="venue-{venue}").start_many(venues)
