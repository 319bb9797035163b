"""What a rival costs per item: time above the plain loop, and how often the disk is made to sync.

The item is next to nothing (a hash, a row appended to a file), so that what is left is the rival. The two that ask for
pages by themselves are compared with a plain loop over the same pages, from a server without delay.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from field import Rival
from job import Contest, Job, kill
from pages import Site
from place import Unavailable, redis_for

_LONGEST_S = 300
# Enough items for a slope, few enough for strace.
_FEW, _MORE = 50, 150


def microseconds(
    rival: Rival, setting: str, python: Path, folder: Path, items: int, *, crawls: bool
) -> float:
    """Time per item, from the first item's end to the last's; with a queue also that of putting it there."""
    folder.mkdir(parents=True)
    if crawls:
        with Site(latency_s=0) as site:
            _perform(rival, setting, python, folder, Contest(site, items, 0))
            ends = [answer.at * 1e9 for answer in site.answers]
    else:
        _perform(rival, setting, python, folder, Contest(None, items, 0))
        ends = [float(line) for line in (folder / "times").read_text().split()]
    between_us = (max(ends) - min(ends)) / (len(ends) - 1) / 1_000
    return between_us + _enqueued_us(folder, items)


def _perform(rival: Rival, setting: str, python: Path, folder: Path, contest: Contest) -> None:
    with redis_for(rival, setting, folder) as url:
        _to_the_end(Job(rival, setting, python, folder, contest, url), rival, contest.items)


def _to_the_end(job: Job, rival: Rival, items: int) -> None:
    job.prepare()
    process = job.start("work")
    until = time.monotonic() + _LONGEST_S
    while process.poll() is None:
        if rival.queue and _lines(job.folder / "times") >= items:
            break
        if time.monotonic() > until:
            kill(process)
            raise Unavailable(f"not finished after {_LONGEST_S} s")
        time.sleep(0.05)
    if rival.queue:
        kill(process)
    elif process.wait() != 0:
        raise Unavailable(f"it failed: {job.last_words()}")


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _enqueued_us(folder: Path, items: int) -> float:
    """`prepare` prints how many seconds it took."""
    for line in (folder / "output.txt").read_text(errors="replace").splitlines():
        try:
            return float(line) * 1e6 / items
        except ValueError:
            continue
    return 0.0


def syncs(rival: Rival, setting: str, python: Path, folder: Path) -> float | None:
    """fsync calls of the job's own processes per item; None where they cannot be counted."""
    if shutil.which("strace") is None or rival.redis:
        return None  # Redis syncs by itself, as it is told to
    counts = []
    for items in (_FEW, _MORE):
        place = folder / str(items)
        place.mkdir(parents=True)
        trace = place / "trace"
        wrapper = ("strace", "-f", "-qq", "-e", "trace=fsync,fdatasync,msync", "-o", str(trace))
        with Site(latency_s=0) as site:
            contest = Contest(site if rival.crawls else None, items, 0)
            job = Job(rival, setting, python, place, contest, "", wrapper)
            try:
                _to_the_end(job, rival, items)
            except subprocess.SubprocessError:
                return None
        text = trace.read_text(errors="replace")
        counts.append(sum(text.count(f"{call}(") for call in ("fsync", "fdatasync", "msync")))
    return (counts[1] - counts[0]) / (_MORE - _FEW)
