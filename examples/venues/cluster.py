"""Spread the scrape over three workers, kill one and the database in the middle, and judge the outcome.

Every venue is a queued run (`spread.py`); three worker processes execute them on PostgreSQL. One of them is killed with
SIGKILL while it works; later the database server is stopped as by a crash, stays down, and comes back. Exit codes
as those of `demo.py`: 0, the promise was kept; 1, it was not; 2, it cannot be run as asked; 3, vacuous.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from database import Database, postgres
from demo import BROKEN, INTERRUPTED, KEPT, MOST_VIOLATIONS_SHOWN, USAGE, VACUOUS
from evidence import ServerLog, rows_in, violations
from evidence_cluster import Loss, Outage, hits, taken_over, vacuous
from scene import Broken, serving
from server import venues_of
from workers import CONCURRENCY, Crew

# Twelve venues are asked for at once: with this much delay in all, 117 of them take about six seconds.
LATENCY_BUDGET_S = 60.0
MOST_LATENCY_S = 0.5
WORKERS = 3
# When this share of the venues has been asked for, a worker is killed; later the database is.
KILL_AT, OUTAGE_AT = 0.25, 0.55
DOWN_S = 1.5


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--country", default=os.environ.get("COUNTRY") or "IT", help="two letters")
    parser.add_argument("--seed", type=int, default=1, help="of the web server's faults")
    parser.add_argument("--latency", type=float, help="the web server's mean delay in seconds")
    parser.add_argument(
        "--sqlite", action="store_true", help="one journal file instead of PostgreSQL: no server to stop"
    )
    parser.add_argument(
        "--patience", type=float, default=60.0, help="seconds without a request after which it stands still"
    )
    parser.add_argument("--dir", type=Path, help="an empty directory for all files, which are then kept")
    return parser.parse_args(arguments)


def main() -> int:
    options = options_of()
    venues = venues_of(options.country.upper())
    if refusal := refused(options, len(venues)):
        print(refusal, file=sys.stderr)
        return USAGE
    folder = options.dir or Path(tempfile.mkdtemp(prefix="onward-cluster-"))
    folder.mkdir(parents=True, exist_ok=True)
    code = BROKEN
    try:
        code = perform(options, folder.resolve(), venues)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Broken as broken:
        print(f"\nBroken. {broken}")
    if code == BROKEN or options.dir:
        print(f"The logs, the table and the journal are in {folder}.")
    else:
        shutil.rmtree(folder)
    return code


def refused(options: argparse.Namespace, venues: int) -> str | None:
    """Why it cannot be run with these options, as a sentence; None if it can."""
    if not venues:
        return f"There is no country {options.country!r} in the data set; try IT, US or FR."
    if venues < 50:
        return f"{options.country} has {venues} venues, too few to strike twice in the middle; it takes 50."
    if options.dir and options.dir.exists() and (not options.dir.is_dir() or any(options.dir.iterdir())):
        return f"{options.dir} is not an empty directory; name one that is, or a new one."
    if not options.sqlite and importlib.util.find_spec("psycopg") is None:
        return "PostgreSQL needs its driver, which is not installed here: `make setup`; or try --sqlite."
    return None


def perform(options: argparse.Namespace, folder: Path, venues: dict[str, tuple[str, ...]]) -> int:
    latency_s = (
        min(MOST_LATENCY_S, LATENCY_BUDGET_S / len(venues)) if options.latency is None else options.latency
    )
    log = folder / "server.jsonl"
    log.touch()
    with serving(log, options.country.upper(), options.seed, latency_s) as site, place(options) as database:
        url = f"sqlite:///{folder / 'journal.db'}" if database is None else database.url
        where = "one SQLite journal" if database is None else "PostgreSQL"
        print(
            f"{len(venues):,} venues, a queued run each; {WORKERS} workers of {CONCURRENCY} runs on {where}.\n"
        )
        crew = Crew(folder, site, url, ServerLog(log), len(venues), options.patience)
        try:
            loss, outage = play(crew, database)
        finally:
            crew.dismiss()
    return verdict(crew, venues, loss, outage, with_outage=database is not None)


def place(options: argparse.Namespace) -> AbstractContextManager[Database | None]:
    """The server that the workers' journal is on; None for a file."""
    return nullcontext() if options.sqlite else postgres()


def play(crew: Crew, database: Database | None) -> tuple[Loss, Outage | None]:
    """The story: workers, work, a death, an outage, the rest, and a clean end."""
    began_at = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began_at:5.1f} s  {text}", flush=True)

    for _ in range(WORKERS):
        crew.hire()
    crew.queue_all()
    tell(f"{crew.venues:,} runs queued, {WORKERS} workers hired")
    crew.until(lambda: crew.asked >= KILL_AT * crew.venues and len(crew.busy) == WORKERS)
    loss = crew.kill_one()
    tell(
        f"{loss.client} killed with {loss.cut_off} pages on their way, at {loss.rows} of {crew.venues:,} rows"
    )
    crew.until(lambda: crew.asked >= OUTAGE_AT * crew.venues)
    outage = None
    if database is not None:
        outage = strike(crew, database)
        tell(
            f"the database was gone for {outage.seconds:.1f} s, at {outage.rows_before:,} rows; it refused"
            f" {outage.refused} connections"
        )
    crew.until(lambda: crew.rows == crew.venues)
    tell("every venue has a row")
    crew.end_well()
    asked = crew.asked_in_all
    crew.look_again()
    more = crew.asked_in_all - asked
    tell(f"the workers ended when asked to; one more worker asked for {more or 'nothing'}")
    return loss, outage


def strike(crew: Crew, database: Database) -> Outage:
    """Stop the database server as a crash would, make sure that it is gone, and start it again."""
    rows = crew.rows
    stopped_at = time.monotonic()
    database.crash()
    refused = 0
    while time.monotonic() - stopped_at < DOWN_S:
        refused += database.refuses()
        time.sleep(0.1)
    rows_down = crew.rows
    database.start()
    return Outage(time.monotonic() - stopped_at, refused, rows, rows_down)


def verdict(
    crew: Crew, venues: dict[str, tuple[str, ...]], loss: Loss, outage: Outage | None, *, with_outage: bool
) -> int:
    """Print the judgement; returns the exit code."""
    requests, rows = crew.log.requests, rows_in(crew.table)
    excused = hits(loss, requests)
    by_worker = ", ".join(f"{count:,} by {client}" for client, count in sorted(crew.asked_by.items()))
    failures = sum(request.last_event in ("503", "dropped") for request in requests)
    again = len(requests) - failures - len(crew.log.venues)
    print(
        f"\nPages asked for: {len(requests):,} = {len(crew.log.venues):,} venues + {failures:,} for failures of the"
        f" web server + {again:,} again after the kill; {by_worker}."
    )
    if found := violations(venues, requests, rows, excused):
        print(f"Broken in {len(found):,} places:")
        print(*(f"  {violation}" for violation in found[:MOST_VIOLATIONS_SHOWN]), sep="\n")
        return BROKEN
    if reason := vacuous(loss, outage, requests, workers=WORKERS, with_outage=with_outage):
        print(f"Vacuous: {reason}.")
        return VACUOUS
    print(
        f"{len(taken_over(loss, requests))} of the dead worker's pages were asked for again by another worker."
    )
    print(
        f"Kept: {len(rows):,} of {len(venues):,} rows equal the web server's data; no page was fetched more often than"
        " once + its failures + the kill that hit it."
    )
    return KEPT


if __name__ == "__main__":
    sys.exit(main())
