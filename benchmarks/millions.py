"""A loop over ten million distinct items, killed after nine: memory, and how soon and how fast it continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import apsw
from row import Row

import onward

_MORE = 5_000  # new items that the continued pass does before it has shown enough
_MB = 1_000_000


class Source:
    """Numbers and texts in turn, all different, made one at a time. Notes when the first was asked for."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.pulled_at = 0.0
        self.memory = 0

    def __iter__(self) -> Iterator[int | str]:
        self.pulled_at, self.memory = perf_counter(), _memory("VmRSS")
        for number in range(self._count):
            yield number if number % 2 == 0 else f"venue-{number}"


def _memory(field: str) -> int:
    """This process's memory in bytes: `VmRSS` now, `VmHWM` at its highest."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise SystemExit(f"/proc/self/status does not tell {field}")


def _place(item: int | str) -> int:
    return item if isinstance(item, int) else int(item.removeprefix("venue-"))


def walked(folder: Path, count: int, until: int) -> None:
    """The body of the child process: one pass, killed in the middle of item `until` or after `_MORE` new ones."""
    source = Source(count)
    onward.connect(folder / "journal.db")
    begun_at = perf_counter()
    first = -1
    first_at = 0.0
    for bodies, item in enumerate(onward.each(source, name="millions", flush_ms=20), 1):
        if first < 0:
            first, first_at = _place(item), perf_counter()
        if _place(item) == until or (first > 0 and bodies == _MORE):
            break_s = perf_counter() - first_at
            said = {
                "first": first,
                "pulled_s": source.pulled_at - begun_at,
                "skipped_s": first_at - source.pulled_at,
                "bodies_s": break_s,
                "bodies": bodies,
                "grown": _memory("VmHWM") - source.memory,
            }
            print(json.dumps(said), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)


def _child(folder: Path, count: int, until: int) -> dict[str, Any]:
    command = [sys.executable, __file__, str(folder), str(count), str(until)]
    child = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if child.returncode != -signal.SIGKILL:
        raise SystemExit(f"the loop ended with {child.returncode} instead of being killed")
    said: dict[str, Any] = json.loads(child.stdout)
    return said


def _recorded(folder: Path) -> int:
    connection = apsw.Connection(str(folder / "journal.db"))
    ((count,),) = connection.execute("SELECT count(*) FROM entry WHERE kind = 'item' AND state = 'done'")
    connection.close()
    return int(count)


def measure(folder: Path) -> list[Row]:
    count = int(os.environ["ONWARD_BENCH_ITEMS"])
    until = count * 9 // 10
    before = _child(folder, count, until)
    recorded = _recorded(folder)
    after = _child(folder, count, count)
    grown_mb = max(before["grown"], after["grown"]) / _MB
    repeated = recorded - after["first"]
    skipped = after["first"] / after["skipped_s"]
    what = f"loop over {count:,} items, killed at {until:,}"
    done = before["bodies"] / before["bodies_s"]
    return [
        Row(what, "–", f"memory grew by {grown_mb:.0f} MB", "≤ 50 MB over the first item", grown_mb, 50),
        Row(
            "resume of that loop: until the source is asked",
            "–",
            f"{after['pulled_s']:.2f} s",
            "< 1 s",
            after["pulled_s"],
            1,
        ),
        Row(
            "resume of that loop: bodies run for recorded items",
            f"{recorded:,} recorded ({done:,.0f} items/s)",
            f"{repeated}, skipped at {skipped:,.0f} items/s",
            "0",
            abs(repeated),
            0,
        ),
    ]


if __name__ == "__main__":
    walked(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
