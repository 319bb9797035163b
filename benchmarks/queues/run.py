"""Measure job queues beside each other and print the table of docs/comparison.md.

    python benchmarks/queues/run.py [NAME ...] [--folder DIR] [--scale X] [--rounds N] [--asked N] [--bound S]
        [--write F]

Each contestant gets an environment of its own with pinned versions (../rivals/requirements) below the folder. One that
cannot be installed or started here stands in the table with the reason. PostgreSQL comes from the test extra's
wheel, Redis is the program `redis-server` of this machine. Linux.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

# What it shares with the other measurements, and the server of the tests.
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "rivals"))
sys.path.insert(2, str(Path(__file__).resolve().parents[1]))
sys.path.insert(3, str(Path(__file__).resolve().parents[2] / "tests"))

from contestants import FIELD, Contestant
from machine import busy, described, refuse_memory
from measure import Outcome, Script, death, idle, measured, rates
from place import Unavailable, python_of, version_of
from stores import Stores


@dataclass
class Entry:
    """A row of the table: one contestant in one setting."""

    contestant: Contestant
    setting: str
    version: str = ""
    outcome: Outcome = field(default_factory=Outcome)
    reasons: dict[str, str] = field(default_factory=dict)  # of each measurement that could not be taken


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(c.name for c in FIELD))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on a real disk")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of jobs")
    parser.add_argument("--rounds", type=int, default=3, help="of the rates, taken in turn")
    parser.add_argument("--asked", type=int, default=50, help="single jobs for an idle worker")
    parser.add_argument("--bound", type=float, default=120.0, help="seconds to wait for a dead worker's job")
    parser.add_argument("--write", type=Path, help="also write the table to this file")
    given = parser.parse_args()
    if unknown := set(given.names) - {c.name for c in FIELD}:
        parser.error(
            f"there is no {', '.join(sorted(unknown))}; there are {', '.join(c.name for c in FIELD)}"
        )
    refuse_memory(given.folder)
    others = busy()
    chosen = [c for c in FIELD if not given.names or c.name in given.names]
    entries = [Entry(contestant, setting) for contestant in chosen for setting in contestant.settings]
    environments = given.folder / "onward-rivals"
    environments.mkdir(exist_ok=True)
    stores = Stores()
    try:
        with tempfile.TemporaryDirectory(prefix="onward-queues-", dir=given.folder) as place:
            measure(entries, stores, environments, Path(place), given)
    finally:
        stores.close()
    text = f"{table(entries)}\n\n{note(given)}{others}\n"
    print(text, end="")
    if given.write:
        given.write.write_text(text, "utf-8")
    return 0


def measure(
    entries: list[Entry], stores: Stores, environments: Path, place: Path, given: argparse.Namespace
) -> None:
    def take(entry: Entry, what: str, how: Callable[[Outcome, Script, Script], None], tag: str) -> None:
        """One measurement; its reason is kept if it cannot be taken."""
        if what in entry.reasons:
            return
        say(f"{what} of {entry.contestant.name}, {entry.setting}, {tag} ...")
        folder = place / f"{entry.contestant.name}-{entry.setting}-{what}-{tag}"
        try:
            measured(
                entry.outcome, entry.contestant, entry.setting, stores, environments, folder,
                lambda script, floor: how(entry.outcome, script, floor),
            )  # fmt: skip
        except Unavailable as reason:
            entry.reasons[what] = str(reason)
            say(f"  {reason}")

    for entry in entries:
        try:
            name = entry.contestant.environment
            entry.version = version_of(entry.contestant.package, python_of(name or "onward", environments))
        except Unavailable as reason:
            entry.reasons = dict.fromkeys(("rates", "idle", "death"), str(reason))
    for number in range(given.rounds):
        for entry in entries:
            jobs = max(20, int(entry.contestant.jobs * given.scale))
            take(
                entry,
                "rates",
                lambda out, script, floor, n=jobs: rates(out, script, floor, n),
                f"round {number + 1}",
            )
    for entry in entries:
        take(entry, "idle", lambda out, script, _: idle(out, script, given.asked), "once")
        take(entry, "death", lambda out, script, _: death(out, script, given.bound), "once")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(entries: list[Entry]) -> str:
    """Markdown; in parentheses how many times the floor of the same store in the same minute."""
    lines = [
        "| | store | version | enqueued per second (× batch insert) | drained per second (× two commits) "
        "| idle: start → executed, median, worst | start → result, median, worst | kill -9 → executed elsewhere |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [line(entry) for entry in entries])


def line(entry: Entry) -> str:
    out, reasons = entry.outcome, entry.reasons
    drained = reasons.get("rates") or rate(out.drain, out.pair_floor)
    cells = [
        f"{entry.contestant.title}, {entry.setting}",
        entry.contestant.store,
        entry.version,
        rate(out.enqueue, out.insert_floor) if out.enqueue else "–",
        drained if len(out.drain) else f"not measured: {drained}",
        latency(out.executed_s) if out.executed_s else reasons.get("idle", "–"),
        latency(out.result_s) if out.result_s else "–",
        out.elsewhere or reasons.get("death", "–"),
    ]
    return f"| {' | '.join(cells)} |"


def rate(values: list[float], floors: list[float]) -> str:
    """The median, and that of its ratios to the floor that was measured right before each."""
    ratio = median(value / floor for value, floor in zip(values, floors, strict=False)) if values else 0.0
    return f"{median(values):,.0f} ({ratio:.2g} ×)" if values else "–"


def latency(seconds: list[float]) -> str:
    return f"{1000 * median(seconds):,.0f} ms, {1000 * max(seconds):,.0f} ms"


def note(given: argparse.Namespace) -> str:
    today = datetime.datetime.now(datetime.UTC).date()
    return (
        f"Medians of {given.rounds} rounds that were taken in turn; {given.asked} single jobs with pauses of 50 to "
        f"150 ms; one death. Measured on {today} on {described(given.folder)}."
    )


if __name__ == "__main__":
    sys.exit(main())
