"""What must hold after kills: judged from the journal's rows and the logs of the outside world alone.

Shares no code with the engine and reads the journal with the standard library's SQLite, from a copy, in a process that
never opens a journal. Numbers in brackets are those of the project's list of invariants.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from crash.scenes import Scene

# What a mark says happened, and the state it leaves.
_ENDS = {
    "returned": "done",
    "raised": "failed",
    "released": "pending",
    "diverged": "stuck",
    "cancelled": "cancelled",
    "suspended": "waiting",
    "submitted": "pending",
    "reset": "pending",
}
# Of a queued run whose worker died: ready again at once, or after a pause.
_AGAIN = {"orphaned": ("pending", "waiting")}


class Row(NamedTuple):
    """One entry."""

    run: str
    seq: int
    key: str
    kind: str
    state: str
    name: str
    value: str | None
    checksum: int | None
    attempt: int
    fence: int


class Moment(NamedTuple):
    """What was there when a phase had ended."""

    died: bool
    runs: dict[str, dict[str, Any]]
    rows: list[Row]
    begun: list[tuple[str, str]]
    effects: list[dict[str, Any]]
    acks: list[dict[str, Any]]
    results: list[Any]
    damage: list[str]

    def of(self, run: str) -> list[Row]:
        return [row for row in self.rows if row.run == run]

    def done(self) -> dict[tuple[str, str], Row]:
        return {(row.run, row.key): row for row in self.rows if row.state == "done"}


# -- reading ------------------------------------------------------------------------------------------


def look(folder: Path, *, died: bool, journal: Path | None = None) -> Moment:
    """The present contents of the journal (in `folder` unless said otherwise) and the logs."""
    runs, rows, begun, damage = _journal(folder if journal is None else journal)
    effects, acks, results = (list(_lines(folder / f"{name}.log")) for name in ("effects", "acks", "results"))
    return Moment(died, runs, rows, begun, effects, acks, [line["result"] for line in results], damage)


def _journal(
    folder: Path,
) -> tuple[dict[str, dict[str, Any]], list[Row], list[tuple[str, str]], list[str]]:
    copy = folder / "copy"
    copy.mkdir()
    for name in ("journal.db", "journal.db-wal", "journal.db-journal"):
        if (folder / name).exists():
            shutil.copyfile(folder / name, copy / name)
    db = sqlite3.connect(copy / "journal.db")
    try:
        db.row_factory = sqlite3.Row
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if not names:  # killed before the tables were there
            return {}, [], [], []
        damage = [what for (what,) in db.execute("PRAGMA integrity_check") if what != "ok"]
        damage += [
            f"a row of {table[0]} refers to nothing" for table in db.execute("PRAGMA foreign_key_check")
        ]
        runs = {row["id"]: dict(row) for row in db.execute("SELECT * FROM run ORDER BY no")}
        columns = ", ".join(f"entry.{name}" for name in Row._fields[1:])
        rows = [
            Row(*row)
            for row in db.execute(
                f"SELECT run.id, {columns} FROM entry JOIN run ON run.no = entry.run ORDER BY run.no, seq"
            )
        ]
        rows = [row for run in runs.values() for row in (*_of(run, rows), *_untold(run))]
        begun = [
            tuple(row) for row in db.execute("SELECT run.id, key FROM begun JOIN run ON run.no = begun.run")
        ]
        return runs, rows, begun, damage
    finally:
        db.close()
        shutil.rmtree(copy)


def _of(run: dict[str, Any], rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.run == run["id"]]


def _untold(run: dict[str, Any]) -> Iterator[Row]:
    """The marks that a run's row tells: who claimed it first and, where there are two, that it has returned."""
    count, at, fence = run.get("untold", 0), run.get("claimed_seq"), run["fence"]
    if count > 0:
        owner = json.dumps(run["claimed_by"] if count == 2 else run["owner"])
        crc = zlib.crc32(owner.encode())
        yield Row(run["id"], at, "run/claimed", "mark", "mark", "claimed", owner, crc, 1, fence)
    if count > 1:
        yield Row(run["id"], at + 1, "run/returned", "mark", "mark", "returned", None, None, 1, fence)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().split("\n") if path.exists() else ():
        if line.endswith(" ."):
            yield json.loads(line[:-2])


# -- judging ------------------------------------------------------------------------------------------


def violations(scene: Scene, moments: list[Moment], folder: Path) -> list[str]:
    """Every promise that was broken on the way through `moments`, a sentence each. The last phase ended undisturbed."""
    found: list[str] = []
    for number, moment in enumerate(moments, 1):
        found += [f"after phase {number}: {what}" for what in promised(scene, moment)]
    for number, (earlier, later) in enumerate(pairwise(moments), 1):
        found += [f"in phase {number + 1}: {what}" for what in _continued(scene, number, earlier, later)]
    return [*found, *_complete(scene, moments, folder)]


def promised(scene: Scene, moment: Moment) -> list[str]:
    """What is wrong at any moment, whatever ended the process: structure, acknowledged calls, items handed out."""
    return [*_state(moment), *_acknowledged(moment), *(_begun(moment) if scene.begins else ())]


def structure(moment: Moment) -> list[str]:
    """What is wrong with the journal in itself."""
    return list(_state(moment))


def changes(before: Moment, after: Moment) -> list[str]:
    """What has changed in the journal's runs between two moments, when nothing may."""
    new = [row for row in after.rows if row not in before.rows]
    found = [f"{row.state} {row.key} was written under fence {row.fence}" for row in new]
    found += [f"{row.key} has vanished" for row in before.rows if row not in after.rows]
    if before.runs != after.runs:
        found.append(f"the runs were {before.runs} and are {after.runs}")
    if before.begun != after.begun:
        found.append(f"the begun units were {before.begun} and are {after.begun}")
    return found


def ending_of(scene: Scene, moments: list[Moment], folder: Path) -> list[str]:
    """What is wrong with the end."""
    return [*_state(moments[-1]), *_complete(scene, moments, folder)]


def _state(moment: Moment) -> Iterator[str]:
    """Structure: numbering, marks, fences, leases, checksums. [8-10, 12-14, 17, 20, 22]"""
    yield from moment.damage
    for run_id, run in moment.runs.items():
        rows = moment.of(run_id)
        if [row.seq for row in rows] != list(range(len(rows))):
            yield f"the entries of {run_id} are numbered {[row.seq for row in rows]}"
        if not rows or (rows[0].key, rows[0].fence) != ("run/submitted", 0):
            yield f"{run_id} does not begin with its submission but with {rows[:1]}"
        yield from _fences(run, rows)
        yield from _ending(run, rows)
        yield from _outcomes(moment, rows)
    for row in moment.rows:
        if row.value is not None and row.checksum != zlib.crc32(row.value.encode("utf-8", "surrogatepass")):
            yield f"entry {row.seq} ({row.key}) does not match its checksum"
    done = moment.done()
    for run_id, key in moment.begun:
        if (run_id, key) in done:
            yield f"{key} is done and still counts as begun"


def _fences(run: dict[str, Any], rows: list[Row]) -> Iterator[str]:
    claims = [row.fence for row in rows if row.key in ("run/claimed", "run/orphaned", "run/reset")]
    if claims != list(range(1, len(claims) + 1)):
        yield f"the leases of {run['id']} have the fences {claims}"
    if run["fence"] != len(claims):
        yield f"{run['id']} has fence {run['fence']} after {len(claims)} leases"
    for before, after in pairwise(rows):
        if after.fence < before.fence:
            yield f"entry {after.seq} ({after.key}) was written under fence {after.fence} after fence {before.fence}"


def _ending(run: dict[str, Any], rows: list[Row]) -> Iterator[str]:
    rows = [row for row in rows if not _by_hand(row)]  # which leaves the run in its state
    last = rows[-1] if rows else None
    mark = last.name if last is not None and last.kind == "mark" else ""
    ended = _ENDS.get(mark)
    if ended is None and run["state"] in _AGAIN.get(mark, ()):
        ended = run["state"]
    if ended is not None and run["state"] != ended:
        yield f"{run['id']} is {run['state']} although its last entry is {last and last.name}"
    # An exception that left a loop's body is charged to its item when the program ends: after the run was given back.
    charged = last is not None and last.state == "crashed" and last.kind == "item"
    if ended is None and run["state"] != "running" and not (charged and run["state"] == "failed"):
        yield f"{run['id']} is {run['state']} although its last entry is {last and last.key}"
    if any(row.key == "run/returned" for row in rows[:-1]):
        yield f"{run['id']} goes on after its end"
    if (run["state"] == "running") != (run["owner"] is not None) or (run["owner"] is None) != (
        run["lease_until"] is None
    ):
        yield f"{run['id']} is {run['state']} with owner {run['owner']} until {run['lease_until']}"


def _by_hand(row: Row) -> bool:
    """Whether a person has said it of a run that nobody executes: another name, an item that is done or tried again."""
    return row.key == "run/renamed" or row.state == "reopened" or (row.state == "done" and row.attempt == 0)


def _outcomes(moment: Moment, rows: list[Row]) -> Iterator[str]:
    """At most one outcome a key, nothing after it, and none without its effect. [20, 22, 23]"""
    finished: set[str] = set()
    happened = {
        (line["run"], key)
        for line in moment.effects
        if line["at"] == "after"
        for key in _with_outer(line["key"])
    }
    for row in rows:
        if row.kind == "mark":
            continue
        if row.key in finished:
            yield f"entry {row.seq} ({row.state} {row.key}) follows the outcome of its key"
        if row.state == "done":
            finished.add(row.key)
            if row.kind in _WORK and not _is_remade(row.key) and (row.run, row.key) not in happened:
                yield f"{row.kind} {row.key} is recorded as done but was never done"


_WORK = ("step", "item", "child")


def _is_remade(key: str) -> bool:
    """Whether it is a unit that was executed again because a file that it had recorded was gone."""
    return key.rpartition(" > ")[2].startswith("remade#")


def _with_outer(key: str) -> list[str]:
    """The key and those of the units around it, which leave the work to it."""
    parts = key.split(" > ")
    return [" > ".join(parts[: n + 1]) for n in range(len(parts))]


def _acknowledged(moment: Moment) -> Iterator[str]:
    """What the program was told is in the journal, with the value it was told, in every phase. [2, 30, 36]"""
    done = moment.done()
    anywhere = {key for _, key in done}
    if moment.results and not any(run["state"] in ("done", "waiting") for run in moment.runs.values()):
        yield "the program returned but no run is done"
    for ack in moment.acks:
        row = done.get((ack["run"], ack["key"]))
        if row is None:
            if ack["run"] is not None or ack["key"] not in anywhere:
                yield f"{ack['key']} was acknowledged but is not recorded"
            continue
        if ack["value"] and not _equal(row.value, ack["value"][0]):
            yield f"{ack['key']} gave the program {ack['value'][0]!r} but {row.value} is recorded"
        if row.kind == "sleep" and row.value is not None and ack["time"] < float(row.value) - 0.001:
            yield f"{ack['key']} ended {float(row.value) - ack['time']:.3f} s early"


def _equal(recorded: str | None, told: Any) -> bool:
    value: Any = None if recorded is None else json.loads(recorded)
    # A time passes through a datetime, which has microseconds.
    if isinstance(value, float) and isinstance(told, float):
        return abs(value - told) < 1e-5
    return bool(value == told)


def _begun(moment: Moment) -> Iterator[str]:
    """An item is handed out only after its beginning is recorded. [21]"""
    known = set(moment.begun) | set(moment.done())
    known |= {(row.run, row.key) for row in moment.rows if row.state == "crashed"}
    for line in moment.effects:
        if "each" in line["key"].split(" > ")[-1].split("/")[0] and (line["run"], line["key"]) not in known:
            yield f"{line['key']} was handed out but is not recorded as begun"


def _continued(scene: Scene, phase: int, earlier: Moment, later: Moment) -> Iterator[str]:
    """From one phase to the next: nothing is lost, nothing recorded runs again, few units repeat. [1, 2, 23, 24, 26]"""
    if later.rows and earlier.rows:
        kept = {(row.run, row.seq): row for row in later.rows}
        for row in earlier.rows:
            if kept.get((row.run, row.seq)) != row:
                yield f"entry {row.seq} ({row.key}) was {row}, and is now {kept.get((row.run, row.seq))}"
    begun = {_work(run) for run in _ending_runs(later) if run["id"] not in earlier.runs}
    for run in _ending_runs(earlier):
        now = later.runs.get(run["id"], run)
        if run["state"] != "done" and now["state"] != "done" and _work(now) in begun:
            yield f"{run['id']} was not continued, another run was begun"
    yield from _repeats(scene, phase, earlier, later)


def _repeats(scene: Scene, phase: int, earlier: Moment, later: Moment) -> Iterator[str]:
    done = earlier.done()
    failed = {(row.run, row.key, row.attempt) for row in earlier.rows if row.state == "retry"}
    before = {_attempt(line) for line in earlier.effects if line["at"] == "before"}
    again: Counter[str] = Counter()
    for line in later.effects:
        if line["phase"] != phase + 1 or line["at"] != "before":
            continue
        if (line["run"], line["key"]) in done:
            yield f"{line['key']} ran again although its outcome was recorded"
        if _attempt(line) in failed:
            yield f"attempt {line['attempt']} of {line['key']} ran again although its failure was recorded"
        if _attempt(line) in before:
            # The last part of the key tells items (`each/...`, `map/...`) from steps (`work#1`).
            again["item" if "/" in line["key"].split(" > ")[-1] else "step"] += 1
    for kind, count in again.items():
        if count > scene.concurrency:
            yield f"{count} {kind}s were repeated after one kill, with a concurrency of {scene.concurrency}"
    crashes = Counter((row.run, row.key) for row in later.rows if row.state == "crashed")
    for (_, key), count in crashes.items():
        if count > phase + scene.blames:
            yield f"{key} is charged with {count} crashes after {phase} kills"


def _ending_runs(moment: Moment) -> list[dict[str, Any]]:
    """All runs but those of cursors, which never end."""
    return [run for run in moment.runs.values() if not run["identity"].startswith("cursor:")]


def _work(run: dict[str, Any]) -> tuple[str, str]:
    """What a run is one of: two unfinished runs of the same are one too many."""
    return run["kind"], run["name"]


def _attempt(line: dict[str, Any]) -> tuple[str, str, int]:
    return line["run"], line["key"], line["attempt"]


def _complete(scene: Scene, moments: list[Moment], folder: Path) -> Iterator[str]:
    """The end is that of the undisturbed program. [6, 35, 44]"""
    last = moments[-1]
    if not last.results or any(result != scene.result for result in last.results):
        yield f"the program returned {last.results}, not {scene.result!r}"
    if not last.runs:
        yield "there is no run in the journal"
    for run in _ending_runs(last):
        done = [row for row in last.of(run["id"]) if row.state == "done" and not _is_remade(row.key)]
        counts = Counter(row.kind for row in done)
        units = {} if run["id"].startswith(scene.plain) else scene.units
        if run["state"] != scene.ends or dict(counts) != units:
            yield f"{run['id']} is {run['state']} with {dict(counts)}, not {scene.ends} with {units}"
        if run["kind"] == "workflow" and json.loads(run["result"] or "null") != scene.result:
            yield f"{run['id']} has the result {run['result']}"
    if last.begun:
        yield f"{last.begun} still count as begun after the end"
    for attempt, count in Counter(_attempt(line) for line in last.effects if line["at"] == "before").items():
        if count > len(moments) + scene.again:
            yield f"attempt {attempt} ran {count} times in {len(moments)} phases"
    if scene.also is not None:
        yield from scene.also(last, folder)
    if scene.rows is not None:
        text = (folder / "rows.jsonl").read_text()
        if [json.loads(line) for line in text.splitlines()] != list(scene.rows):
            yield f"rows.jsonl holds {text!r}"
