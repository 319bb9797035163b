"""Measure against the targets and print the table; exits with 1 if one is missed by more than 15 %.

    python benchmarks/run.py [--only NAME ...] [--folder DIR] [--items N] [--sleepers N] [--write FILE]

Each group of rows runs in a process of its own, one after the other, with its floors interleaved in the same process.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_GROUPS = (
    "sequential",
    "fleet",
    "resume",
    "working",
    "millions",
    "importing",
    "jobs",
    "latency",
    "takeover",
    "sleeping",
    "postgresql",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=_GROUPS, default=_GROUPS, help="these groups of rows")
    parser.add_argument(
        "--folder", type=Path, default=Path.cwd(), help="where the journals are put: on a real disk"
    )
    parser.add_argument("--items", type=int, default=10_000_000, help="length of the long loop")
    parser.add_argument("--sleepers", type=int, default=1_000_000, help="runs that sleep")
    parser.add_argument("--write", type=Path, help="also write the table to this file")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ["ONWARD_QUIET"] = "1"
    os.environ["ONWARD_BENCH_ITEMS"] = str(given.items)
    os.environ["ONWARD_BENCH_SLEEPERS"] = str(given.sleepers)
    if given.measure:
        return _measure(given.measure, given.folder)
    return _all(given.only, given.folder, given.write)


def _all(groups: list[str], folder: Path, file: Path | None) -> int:
    from machine import busy, described, refuse_memory
    from row import Row, loaded, table

    refuse_memory(folder)
    others = busy()
    rows: list[Row] = []
    for group in groups:
        begun_at = time.perf_counter()
        print(f"measuring {group} ...", file=sys.stderr, end="", flush=True)
        with tempfile.TemporaryDirectory(prefix="onward-bench-", dir=folder) as place:
            rows += loaded(_process(group, place))
        print(f" {time.perf_counter() - begun_at:.0f} s", file=sys.stderr)
    text = f"{table(rows)}\n\nMeasured on {described(folder)}. Medians of interleaved rounds.{others}\n"
    print(text, end="")
    if file is not None:
        file.write_text(text, "utf-8")
    failed = [row.what for row in rows if row.failed]
    if failed:
        print(f"missed by more than 15 %: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _process(group: str, place: str) -> str:
    """What the group's process prints: its rows."""
    environment = dict(os.environ)
    # This checkout, installed or not.
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, (str(_HERE.parent / "src"), environment.get("PYTHONPATH")))
    )
    command = [
        sys.executable,
        __file__,
        "--measure",
        group,
        "--folder",
        place,
        "--items",
        os.environ["ONWARD_BENCH_ITEMS"],
        "--sleepers",
        os.environ["ONWARD_BENCH_SLEEPERS"],
    ]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=place)
    if child.returncode != 0:
        raise SystemExit(f"the benchmark `{group}` ended with {child.returncode}; nothing was measured")
    return child.stdout


def _measure(group: str, place: Path) -> int:
    from row import dumped

    print(dumped(importlib.import_module(group).measure(place)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
