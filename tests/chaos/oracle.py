"""Judges what is left after the chaos: the journal's rows against the logs.

The numbers are those of the invariants in docs/guarantees. Of the product it uses nothing but the reading of rows.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator

from chaos import evidence
from chaos.evidence import Deeds, Logs
from onward.core.model import ENDED, Entry, Run
from onward.storage import Store

_LEAVES = 2  # that a family has


def breaches(store: Store, logs: Logs, deeds: Deeds) -> list[str]:
    """Every promise that was broken, a sentence each."""
    found = list(store.problems())
    runs = {run.id: run for run in store.runs(limit=1_000_000)}
    found += _started(runs, deeds)
    rows = {run.id: store.entries(run.no) for run in runs.values()}
    for run in runs.values():
        found += [f"{run.id}: {breach}" for breach in _of_run(run, rows[run.id], logs, runs)]
    found += _acknowledged(runs, rows, logs)
    found += evidence.breaches(logs, deeds, {run.id: run.no for run in runs.values()})
    return found


def _started(runs: dict[str, Run], deeds: Deeds) -> Iterator[str]:
    for run_id, n in deeds.acknowledged.items():
        if run_id not in runs:
            yield f"1: {run_id} was started and is not in the journal"
        elif json.loads(runs[run_id].args or "null") != [[n], {}]:
            yield f"1: {run_id} was started with {n} and has {runs[run_id].args}"
    for run in runs.values():
        if run.parent is None and run.id not in deeds.tried:
            yield f"4: nobody has started {run.id}"


def _acknowledged(runs: dict[str, Run], rows: dict[str, list[Entry]], logs: Logs) -> Iterator[str]:
    """What a process was told is recorded is there, under its fence."""
    recorded = {
        (runs[run_id].no, row.key, row.fence)
        for run_id, entries in rows.items()
        for row in entries
        if row.state == "done"
    }
    returned = {
        (runs[run_id].no, row.fence) for run_id in rows for row in rows[run_id] if row.name == "returned"
    }
    for line in logs.of("recorded"):
        if (line["no"], line["key"], line["fence"]) not in recorded:
            yield f"2: {line['key']} of run {line['no']} was acknowledged and is not recorded"
    for line in logs.of("returned"):
        if (line["no"], line["fence"]) not in returned:
            yield f"2: the end of run {line['no']} was acknowledged and is not recorded"


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
    if run.state == "done":
        yield from _result(run, rows, runs)
    elif run.state == "failed":
        yield f"35: it failed with {run.error}"


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


def _result(run: Run, rows: list[Entry], runs: dict[str, Run]) -> Iterator[str]:
    """The result is what the workflow gives where nothing disturbs it."""
    children = [
        json.loads(row.value or "null") for row in rows if row.name == "start leaf" and row.state == "done"
    ]
    for child in children:
        if child not in runs or runs[child].parent != run.id:
            yield f"41: it has started {child}, which is not there or not its own"
    own = {
        "chain": ["act#1", "act#2"],
        "drip": ["gather#1/0 > act#1", "gather#1/1 > act#1"],
        "family": ["gather#1/2 > act#1"],
        "leaf": ["act#1"],
        "bare": [""],
    }[run.name]
    expected = [f"{child}/act#1" for child in children] + [f"{run.id}/{key}" for key in own]
    if run.name == "family" and len(set(children)) != _LEAVES:
        yield f"41: it has started {children}"
    result = json.loads(run.result or "null")
    if (result if isinstance(result, list) else [result]) != expected:
        yield f"35: the result is {result}, not {expected}"
    recorded = {row.key for row in rows if row.state == "done"}
    yield from (
        f"35: {key} is in the result and is not recorded" for key in own if key and key not in recorded
    )


def counts(store: Store) -> Counter[str]:
    """What the journal has of it."""
    found: Counter[str] = Counter()
    for run in store.runs(limit=1_000_000):
        found[f"runs {run.state}"] += 1
        for row in store.entries(run.no):
            if row.state == "crashed":
                found["units in flight at a death"] += 1
    return found
