"""Judges what is left after the chaos: the journal's rows against the logs.

The numbers are those of the invariants in docs/guarantees.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from onward.core.model import ENDED, Entry, Run
from onward.storage import Store


class Logs(NamedTuple):
    effects: list[dict[str, Any]]
    workers: list[dict[str, Any]]


def read(folder: Path) -> Logs:
    def lines(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (folder / name).read_text().splitlines()]

    return Logs(lines("effects.log"), lines("workers.log"))


def breaches(store: Store, logs: Logs, acknowledged: set[str], stops: int) -> list[str]:
    """Every promise that was broken, a sentence each."""
    found = list(store.problems())
    runs = {run.id: run for run in store.runs(limit=1_000_000)}
    found += [f"1: {lost} was started and is not in the journal" for lost in acknowledged - runs.keys()]
    late = 0
    for run in runs.values():
        rows = store.entries(run.no)
        found += [f"{run.id}: {breach}" for breach in _of_run(run, rows, logs, runs)]
        late += _begun_late(run, rows, logs)
    if late > stops:  # a process that is stopped between its last look and the effect does not know
        found.append(f"18: {late} effects began after their lease was taken, in {stops} stopped processes")
    return found


def _of_run(run: Run, rows: list[Entry], logs: Logs, runs: dict[str, Run]) -> Iterator[str]:
    if run.state not in ENDED:
        yield f"44: it is {run.state} long after healing"
    if run.owner is not None or run.lease_until is not None:
        yield f"17: a {run.state} run with owner {run.owner}"
    if [row.seq for row in rows] != list(range(len(rows))):
        yield f"8: entries are numbered {[row.seq for row in rows]}"
    marks = [row for row in rows if row.state == "mark"]
    if (
        sum(mark.name in ("returned", "raised", "cancelled") for mark in marks) != 1
        or rows[-1].state != "mark"
    ):
        yield f"9: it ended as {[mark.name for mark in marks]}"
    fences = [row.fence for row in rows]
    if fences != sorted(fences):
        yield f"14: fences are {fences}"
    yield from _executions(run, rows, logs)
    done = {row.key: row for row in rows if row.state == "done"}
    if run.state == "done":
        yield from _result(run, done)
    elif run.state == "failed":
        yield f"35: it failed with {run.error}"
    for row in done.values():
        if row.name == "start leaf" and json.loads(row.value or "null") not in runs:
            yield f"41: {row.key} names {row.value}, which is not there"


def _executions(run: Run, rows: list[Entry], logs: Logs) -> Iterator[str]:
    done = {row.key: row for row in rows if row.state == "done"}
    counts = Counter(row.key for row in rows if row.state == "done")
    yield from (f"22: {key} is done {count} times" for key, count in counts.items() if count > 1)
    effects: dict[tuple[str, str], list[int]] = defaultdict(list)
    for line in logs.effects:
        if line["run"] == run.id:
            effects[line["key"], line["at"]].append(line["fence"])
    for key, row in done.items():
        if row.kind != "step":
            continue
        if not [fence for fence in effects[key, "after"] if fence <= row.fence]:
            yield f"20: {key} is recorded and was never done"
        if [fence for fence in effects[key, "before"] if fence > row.fence]:
            yield f"23: {key} was done again after it was recorded"
    for (key, at), found in effects.items():
        if at == "before" and max(Counter(found).values()) > 1:
            yield f"24: {key} began twice under one lease: {found}"


def _result(run: Run, done: dict[str, Entry]) -> Iterator[str]:
    """Every text that it gives back names a unit that was recorded, in this run or in a child of it."""
    result = json.loads(run.result or "null")
    for text in result if isinstance(result, list) else [result]:
        of, _, key = str(text).partition("/")
        if of == run.id and key and key not in done:
            yield f"35: the result names {text}, which is not recorded"
    if isinstance(result, list) and len(set(result)) != len(result):
        yield f"35: the result is {result}"


def _begun_late(run: Run, rows: list[Entry], logs: Logs) -> int:
    taken = {row.fence - 1: row.ended_at for row in rows if row.state == "mark" and row.name == "orphaned"}
    mine = [line for line in logs.effects if line["run"] == run.id and line["at"] == "before"]
    return sum(line["wall"] > taken.get(line["fence"], float("inf")) + 0.2 for line in mine)


def counts(store: Store, logs: Logs) -> Counter[str]:
    """What happened, to tell a test that showed nothing."""
    found = Counter(f"worker: {line['what']}" for line in logs.workers)
    for run in store.runs(limit=1_000_000):
        found[f"runs {run.state}"] += 1
        for row in store.entries(run.no):
            if row.state == "mark":
                found[f"{row.name}"] += 1
            elif row.state == "crashed":
                found["units in flight at a death"] += 1
    return found
