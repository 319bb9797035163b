"""Scrape every venue of a country while being killed again and again, and judge the outcome.

The scraper is `scrape.py`, or `plain.py` with `--plain`: the same without onward. It is killed with SIGKILL
at random moments, started again with the same command, and in the end left to finish. Exit codes: 0, it kept
the promise; 1, it did not; 2, the demo cannot be run as asked; 3, vacuous, as too few kills hit the middle of
an item.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from evidence import LEAST_KILLS, Kill, ServerLog, rows_in, violations
from scene import HERE, Broken, Pass, Scene, latency_for, next_ambush, run_pass, serving
from server import venues_of

KEPT, BROKEN, USAGE, VACUOUS, INTERRUPTED = 0, 1, 2, 3, 130
MOST_VIOLATIONS_SHOWN = 5


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--plain", action="store_true", help="run the loop without onward; it fails the check"
    )
    parser.add_argument(
        "--country", default=os.environ.get("COUNTRY") or "IT", help="two letters; IT has 117 venues"
    )
    parser.add_argument("--kills", type=int, default=6, help="kills in the middle of an item to aim for")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the server's faults and the moments of the kills"
    )
    parser.add_argument("--latency", type=float, help="the server's mean delay in seconds")
    parser.add_argument("--dir", type=Path, help="an empty directory for all files, which are then kept")
    return parser.parse_args(arguments)


def main() -> int:
    options = options_of()
    venues = venues_of(options.country.upper())
    if refusal := refused(options, len(venues)):
        print(refusal, file=sys.stderr)
        return USAGE
    folder = options.dir or Path(tempfile.mkdtemp(prefix="onward-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    code = BROKEN
    try:
        code = perform(options, folder.resolve(), venues)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Broken as broken:
        print(f"\nBroken. {broken}")
    if code == BROKEN or options.dir:
        print(f"The server's log, the table and the journal are in {folder}.")
    else:
        shutil.rmtree(folder)
    return code


def refused(options: argparse.Namespace, venues: int) -> str | None:
    """Why the demo cannot be run with these options, as a sentence; None if it can."""
    if not venues:
        return f"There is no country {options.country!r} in the data set; try IT, US or FR."
    if options.kills < 1 or venues < 3 * options.kills:
        return (
            f"{options.kills} kills do not fit into {venues} venues; choose --kills from 1 to {venues // 3}."
        )
    if options.dir and options.dir.exists() and (not options.dir.is_dir() or any(options.dir.iterdir())):
        return f"{options.dir} is not an empty directory; name one that is, or a new one."
    if not options.plain and importlib.util.find_spec("onward") is None:
        return f"{sys.executable} cannot import onward; install it with `make setup`, or try --plain."
    return None


def perform(options: argparse.Namespace, folder: Path, venues: dict[str, tuple[str, ...]]) -> int:
    latency_s = latency_for(len(venues)) if options.latency is None else options.latency
    script = HERE / ("plain.py" if options.plain else "scrape.py")
    log = folder / "server.jsonl"
    log.touch()
    began_at = time.monotonic()
    with serving(log, options.country.upper(), options.seed, latency_s) as site:
        scene = Scene(folder, script, site, venues, latency_s, Random(options.seed), ServerLog(log))
        print(
            f"{len(venues):,} venues, a page each; the server stalls, refuses, drops (seed {options.seed})."
        )
        print(
            f"The loop: {script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script}\n"
        )
        play(scene, options.kills)
    report_totals(scene, time.monotonic() - began_at)
    return verdict(scene)


def play(scene: Scene, wanted: int) -> None:
    """Kill until `wanted` kills have hit the middle of an item, then let the scraper finish."""
    while not scene.passes or scene.passes[-1].kill:
        ended = run_pass(scene, next_ambush(scene, wanted), lambda: show_progress(scene))
        print(pass_line(scene, ended))


def show_progress(scene: Scene) -> None:
    """A line that the next one overwrites, for terminals only."""
    if sys.stdout.isatty():
        begun = f"{len(scene.log.venues):,} of {len(scene.venues):,}"
        print(f"pass {len(scene.passes) + 1}: {begun} venues asked for\x1b[K", end="\r", flush=True)


def pass_line(scene: Scene, ended: Pass) -> str:
    """What one process did, in a line: where it went on, what that saved, and what ended it."""
    position = {venue: place for place, venue in enumerate(scene.venues, 1)}
    began = f"began at {position[ended.requests[0].venue]:,}" if ended.requests else "asked for nothing"
    if ended.requests and len(scene.passes) > 1:
        began = f"continued at {position[ended.requests[0].venue]:,}, {ended.kept:,} pages not fetched again"
    end = (
        "finished" if ended.kill is None else f"kill {len(scene.kills)} {aim(ended.kill, len(scene.venues))}"
    )
    return f"pass {len(scene.passes):>2}  {began:<56}{end}"


def aim(kill: Kill, venues: int) -> str:
    where = f"at {kill.rows:,} of {venues:,}, "
    match kill.moment:
        case "fetching":
            return f"{where}{kill.venue} on its way"
        case "before its retry":
            return f"{where}{kill.venue} refused and not yet asked for again"
        case "before its row":
            return f"{where}{kill.venue} received and not yet stored"
        case "between items":
            return where + (f"{kill.venue} just stored" if kill.venue else "before its first request")


def report_totals(scene: Scene, seconds: float) -> None:
    """What was asked for in all, against the cost of starting over after each kill."""
    requests = scene.log.requests
    failures = sum(request.last_event in ("503", "dropped") for request in requests)
    again = len(requests) - failures - len(scene.log.venues)
    print(f"\n{len(scene.kills)} kills, {scene.mid_item_kills} in the middle of an item; {seconds:.1f} s.")
    print(
        f"Pages asked for: {len(requests):,} = {len(scene.log.venues):,} venues"
        f" + {failures:,} for failures of the server + {again:,} again after a kill."
    )
    print(f"From the first venue after each kill: {from_zero(scene) + failures:,}.")


def from_zero(scene: Scene) -> int:
    """The pages to fetch, failures apart, had every process begun at the first venue."""
    position = {venue: place for place, venue in enumerate(scene.venues, 1)}
    return len(scene.venues) + sum(position[kill.venue] for kill in scene.kills if kill.venue)


def verdict(scene: Scene) -> int:
    """Print the judgement; returns the exit code."""
    rows = rows_in(scene.table)
    if found := violations(scene.venues, scene.log.requests, rows, scene.kills):
        print(f"Broken in {len(found):,} places:")
        print(*(f"  {violation}" for violation in found[:MOST_VIOLATIONS_SHOWN]), sep="\n")
        if len(found) > MOST_VIOLATIONS_SHOWN:
            print(f"  and {len(found) - MOST_VIOLATIONS_SHOWN:,} more")
        return BROKEN
    if scene.mid_item_kills < LEAST_KILLS:
        print(f"Vacuous: only {scene.mid_item_kills} kills in the middle of an item; it takes {LEAST_KILLS}.")
        return VACUOUS
    print(
        f"Kept: {len(rows):,} of {len(scene.venues):,} rows equal the server's data;"
        " no page was fetched more often than once + its failures + the kills that hit it."
    )
    return KEPT


if __name__ == "__main__":
    sys.exit(main())
