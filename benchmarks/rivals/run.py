"""Measure other ways to continue a job after kill -9, and print the table of docs/comparison.md.

    python benchmarks/rivals/run.py [NAME ...] [--folder DIR] [--items N] [--rounds N] [--write FILE]

Each rival gets an environment of its own with pinned versions (requirements/NAME.txt) below the folder. One that cannot
be installed or started here stands in the table with the reason. Linux; syncs are counted where strace is installed.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from cost import microseconds, syncs
from field import FIELD, Rival
from job import PATIENCE_S, Contest
from pages import Site
from place import Unavailable, python_of, version_of
from story import Outcome, story

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
from machine import busy, described, refuse_memory

MOMENTS = ("received", "kept")
_LATENCY_S = 0.005
# Some take a hundredth of a second per item, and there are three rounds.
_COST_ITEMS = 300


@dataclass
class Entry:
    """A row of the table: one rival in one setting."""

    rival: Rival
    setting: str
    version: str = ""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    cost_us: list[float] = field(default_factory=list)
    syncs: float | None = None
    unavailable: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(r.name for r in FIELD))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on a real disk")
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3, help="of the measurement of costs")
    parser.add_argument("--write", type=Path, help="also write the table to this file")
    given = parser.parse_args()
    if unknown := set(given.names) - {rival.name for rival in FIELD}:
        parser.error(
            f"there is no {', '.join(sorted(unknown))}; there are {', '.join(r.name for r in FIELD)}"
        )
    refuse_memory(given.folder)
    others = busy()
    # The plain loop is what all costs are compared with.
    chosen = [r for r in FIELD if not given.names or r.name in given.names or r.name == "plain"]
    entries = [Entry(rival, setting) for rival in chosen for setting in rival.settings]
    environments = given.folder / "onward-rivals"
    environments.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="onward-rivals-", dir=given.folder) as place:
        measure(entries, environments, Path(place), given.items, given.rounds)
    text = f"{table(entries, given.items)}\n\n{note(given.folder, given.items)}{others}\n"
    print(text, end="")
    if given.write:
        given.write.write_text(text, "utf-8")
    return 0


def measure(entries: list[Entry], environments: Path, place: Path, items: int, rounds: int) -> None:
    with Site(latency_s=_LATENCY_S) as site:
        for entry in entries:
            say(f"{entry.rival.name} {entry.setting} ...")
            try:
                deaths(entry, environments, place, Contest(site, items, items * 3 // 10))
            except Unavailable as reason:
                entry.unavailable = str(reason)
                say(f"  {reason}")
    for number in range(rounds):
        for entry in entries:
            if not entry.unavailable:
                say(f"cost of {entry.rival.name} {entry.setting}, round {number + 1} ...")
                costs(entry, environments, place / f"cost-{number}", min(items, _COST_ITEMS))


def deaths(entry: Entry, environments: Path, place: Path, contest: Contest) -> None:
    rival = entry.rival
    python = python_of(rival.name, environments)
    entry.version = version_of(rival.package, python)
    for moment in MOMENTS:
        folder = place / f"{rival.job}-{entry.setting}-{moment}"
        entry.outcomes[moment] = story(rival, entry.setting, python, moment, folder, contest)
        say(f"  {moment}: {entry.outcomes[moment]}")
    entry.syncs = syncs(rival, entry.setting, python, place / f"{rival.job}-{entry.setting}-syncs")


def costs(entry: Entry, environments: Path, place: Path, items: int) -> None:
    """One round of one rival. Where it crawls, the plain loop over the same pages is taken off right away."""
    rival = entry.rival
    folder = place / f"{rival.job}-{entry.setting}"
    python = python_of(rival.name, environments)
    taken = microseconds(rival, entry.setting, python, folder, items, crawls=rival.crawls)
    if rival.crawls:
        plain = FIELD[0]
        taken -= microseconds(
            plain, "default", python_of(plain.name, environments), folder / "plain", items, crawls=True
        )
    entry.cost_us.append(taken)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(entries: list[Entry], items: int) -> str:
    """Markdown; where two numbers stand in a cell, they are those of the two deaths."""
    lines = [
        "| | version | never processed | pages fetched again | rows lost | rows doubled "
        "| continued after | last page after | cost per item | syncs per item |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    plain_us = median(entries[0].cost_us) if entries[0].cost_us else 0.0
    lines += [line(entry, plain_us, items) for entry in entries]
    return "\n".join(lines)


def line(entry: Entry, plain_us: float, items: int) -> str:
    title = entry.rival.title + (f", {entry.setting}" if len(entry.rival.settings) > 1 else "")
    if entry.unavailable:
        return f"| {title} | {entry.version} | not measured: {entry.unavailable} | | | | | | | |"
    first, second = (entry.outcomes[moment] for moment in MOMENTS)
    cells = [
        title,
        entry.version,
        f"{first.never}, {second.never}",
        f"{first.again}, {second.again}",
        f"{first.lost}, {second.lost}",
        f"{first.doubled}, {second.doubled}",
        f"{continued(first)}, {continued(second)}",
        f"{first.finished_s:.0f} s, {second.finished_s:.0f} s",
        cost(entry, plain_us),
        "by Redis" if entry.rival.redis else "?" if entry.syncs is None else f"{entry.syncs:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def continued(outcome: Outcome) -> str:
    return "never" if outcome.continued_s is None else f"{outcome.continued_s:.1f} s"


def cost(entry: Entry, plain_us: float) -> str:
    if entry.rival.name == "plain":
        return f"({plain_us:,.0f} µs in all)"
    above = median(entry.cost_us) - (0 if entry.rival.crawls else plain_us)
    return f"{above:,.0f} µs"


def note(folder: Path, items: int) -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    return (
        f"{items:,} pages of {_LATENCY_S * 1000:.0f} ms; killed at {items * 3 // 10}; a worker without a request for "
        f"{PATIENCE_S} s was taken to be through. Measured on {today} on {described(folder)}."
    )


if __name__ == "__main__":
    sys.exit(main())
