"""What the processes and the nemesis wrote down outside of the journal, and what these logs say by themselves."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from chaos import jobs

Line = dict[str, Any]
Lease = tuple[int, int]  # number of a run, and fence
# What is written down of every run, and tells nothing by its number.
_EVERY_TIME = ("claimed", "renewed", "recorded", "returned")


class Deeds(NamedTuple):
    """What was done to the processes, and what the clients know."""

    acknowledged: dict[str, int]  # runs whose start was answered, and their arguments
    tried: set[str]  # all that were asked for, with or without an answer
    killed: dict[int, float]  # pid -> when it was dead
    stops: int


class Logs(NamedTuple):
    effects: list[Line]
    workers: list[Line]

    def of(self, what: str) -> list[Line]:
        return [line for line in self.workers if line["what"] == what]


def read(folder: Path) -> Logs:
    """The logs, as far as they go now."""

    def lines(name: str) -> list[Line]:
        # Read while workers write: the last line may not be whole yet.
        whole, _, _ = (folder / name).read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    return Logs(lines(jobs.EFFECTS), lines(jobs.WORKERS))


def claims(logs: Logs) -> dict[Lease, Line]:
    """Who was told that it has which lease."""
    return {(line["no"], line["fence"]): line for line in logs.of("claimed")}


def steals(logs: Logs, killed: dict[int, float]) -> list[tuple[Line, Line]]:
    """Leases that were taken from processes that lived: who had claimed it, and who took it."""
    holders = claims(logs)
    ended = dict(killed)
    for line in logs.of("down"):
        ended.setdefault(line["pid"], line["mono"])
    found = []
    for taken in logs.of("orphaned"):
        held = holders.get((taken["no"], taken["fence"]))
        if held is not None and ended.get(held["pid"], float("inf")) > taken["mono"]:
            found.append((held, taken))
    return found


def breaches(logs: Logs, deeds: Deeds, numbers: dict[str, int]) -> Iterator[str]:
    """Promises that the logs alone show to be broken. `numbers`: of the runs, by their ids."""
    yield from _held_by_two(logs, numbers)
    yield from _done_again(logs, numbers)
    yield from _begun_late(logs, deeds, numbers)
    yield from _taken_early(logs, deeds)


def _held_by_two(logs: Logs, numbers: dict[str, int]) -> Iterator[str]:
    holders: dict[Lease, set[int]] = defaultdict(set)
    for line in logs.of("claimed"):
        holders[line["no"], line["fence"]].add(line["pid"])
    for line in logs.effects:
        holders[numbers.get(line["run"], 0), line["fence"]].add(line["pid"])
    for (no, fence), pids in holders.items():
        if len(pids) > 1:
            yield f"15: lease {fence} of run {no} was executed by {len(pids)} processes"


def _done_again(logs: Logs, numbers: dict[str, int]) -> Iterator[str]:
    """No effect of a lease that is as new as the record or newer begins once the record was acknowledged."""
    recorded = {(line["no"], line["key"]): line for line in logs.of("recorded")}
    for effect in logs.effects:
        record = recorded.get((numbers.get(effect["run"], 0), effect["key"]))
        if record is None or effect["at"] != "before":
            continue
        if effect["fence"] >= record["fence"] and effect["mono"] > record["mono"]:
            yield f"23: {effect['key']} of {effect['run']} was done again after its record was acknowledged"


def _begun_late(logs: Logs, deeds: Deeds, numbers: dict[str, int]) -> Iterator[str]:
    """Effects that began after it was acknowledged that their lease was taken."""
    taken = {(line["no"], line["fence"]): line["mono"] for line in logs.of("orphaned")}
    late = [
        line
        for line in logs.effects
        if line["at"] == "before"
        and line["mono"] > taken.get((numbers.get(line["run"], 0), line["fence"]), float("inf"))
    ]
    if len(late) > deeds.stops:  # one that is stopped between its last look and the effect does not know
        yield f"18: {len(late)} effects began after their lease was taken, in {deeds.stops} stopped processes"


def _taken_early(logs: Logs, deeds: Deeds) -> Iterator[str]:
    """Clocks that are measured over a connection are off by half of the call's time at most, on either side."""
    confirmed: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for line in logs.of("renewed"):
        for no in line["nos"]:
            confirmed[line["pid"], no].append((line["mono"], line["asked"]))
    for held, taken in steals(logs, deeds.killed):
        renewed = [
            asked
            for answered, asked in confirmed[held["pid"], held["no"]]
            if held["mono"] < answered < taken["mono"]
        ]
        since = max([held["asked"], *renewed])
        if taken["mono"] - since < jobs.LEASE_S - jobs.CALL_S:
            yield (
                f"16: lease {held['fence']} of run {held['no']} was taken {taken['mono'] - since:.1f} s after it was "
                f"confirmed to a process that lived"
            )


def counts(logs: Logs, killed: dict[int, float]) -> Counter[str]:
    """What happened, to tell a test that showed nothing."""
    found = Counter(
        line["what"] for line in logs.workers if line["what"] not in ("unknown", "orphaned", *_EVERY_TIME)
    )
    for line in logs.of("unknown"):
        found["unknown, and committed" if line["found"] else "unknown, and not committed"] += 1
    found["stolen leases"] = len(steals(logs, killed))
    found["leases of the dead"] = len(logs.of("orphaned")) - found["stolen leases"]
    return found
