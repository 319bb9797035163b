"""Judges a story: the journal's rows against what the world saw. Shares no rule with the code it judges.

The numbers are those of the invariants in docs/guarantees.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from onward.core.model import Entry, Run
from simulation.log import Claim, Effect, Log
from simulation.programs import Program, Rows
from simulation.sheets import NAME, rows
from simulation.world import World

# Which mark of a run may follow which.
_NEXT = {
    None: {"submitted"},
    "submitted": {"claimed"},
    "claimed": {"claimed", "returned", "raised", "released", "paused", "cancelled"},
    "released": {"claimed"},
    "raised": {"claimed"},
    "paused": {"claimed"},
    "returned": set(),
    "cancelled": set(),
}
_STATE = {
    "claimed": "running", "returned": "done", "raised": "failed", "released": "pending", "paused": "paused",
    "cancelled": "cancelled",
}  # fmt: skip
# What a wish may lead to. A pause is over when somebody calls again: then the run goes on.
_GRANTS = {
    "pause": {"paused", "cancelled", "returned", "raised", "released", "claimed"},
    "cancel": {"cancelled", "returned"},
}
_MAX_ATTEMPTS = 3
# What kills its process is given up after two deaths that count; up to two more leave no trace that names it.
_MAX_DEATHS = 4


def breaches(world: World) -> list[str]:
    """Every invariant that the story breaks, a sentence each."""
    found = list(world.log.breaches)
    found += [f"12: {problem}" for problem in world.journal.problems()]
    runs = world.journal.runs(limit=-1)
    found += _of_calls(world.log, runs)
    programs = {program.identity: program for program in world.programs}
    for run in runs:
        of_run = OneRun(world, run, programs[run.identity])
        found += [f"{run.id}: {breach}" for breach in of_run.breaches()]
    return found


def _of_calls(log: Log, runs: list[Run]) -> Iterator[str]:
    ids = {run.id for run in runs}
    for claim in log.claims:
        if claim.run_id not in ids:
            yield f"1: {claim.run_id} was begun and is not in the journal"
    for ghost in ids - log.asked.keys():
        yield f"4: nobody asked for {ghost}"
    for identity, count in Counter(r.identity for r in runs if r.state not in ("done", "cancelled")).items():
        if count > 1:
            yield f"5: {count} open runs of {identity}"
    results = {run.id: run.result for run in runs}
    for run_id, value in log.returned:
        stored = results[run_id]
        if (None if stored is None else json.loads(stored)) != value:
            yield f"6: a caller of {run_id} was given {value}, stored is {stored}"
    rows = {(w.run_id, w.seq) for w in log.written}
    for lost in log.heard - rows:
        yield f"2: {lost} was acknowledged and never written"


class OneRun:
    """The rows of one run and what the world saw of it."""

    def __init__(self, world: World, run: Run, program: Program) -> None:
        self.world, self.run, self.program, log = world, run, program, world.log
        self.rows: list[Entry] = world.journal.entries(run.no)
        self.done = {e.key: e for e in self.rows if e.state == "done"}
        self.effects: dict[str, list[Effect]] = defaultdict(list)
        for effect in log.effects:
            if effect.run_id == run.id:
                self.effects[effect.key].append(effect)
        self.claims: dict[int, Claim] = {c.fence: c for c in log.claims if c.run_id == run.id}
        self.written = {w.seq: w for w in log.written if w.run_id == run.id}
        self.received = [r for r in log.received if r.run_id == run.id]

    def breaches(self) -> Iterator[str]:
        yield from self._structure()
        yield from self._row()
        yield from self._leases()
        yield from self._outcomes()
        yield from self._executions()
        yield from self._received()
        yield from self._wishes()
        yield from self._file()
        yield from self._end()

    # -- structure: 8 to 12 ---------------------------------------------------------------------------

    def _structure(self) -> Iterator[str]:
        if [e.seq for e in self.rows] != list(range(len(self.rows))):
            yield f"8: entries are numbered {[e.seq for e in self.rows]}"
        last: str | None = None
        for entry in self.rows:
            if last in ("returned", "cancelled"):
                yield f"9: {entry.key} follows the end of the run"
            if entry.kind == "mark":
                if entry.name not in _NEXT.get(last, ()):
                    yield f"10: {entry.name} follows {last}"
                last = entry.name
            if entry.value is not None and zlib.crc32(entry.value.encode()) != entry.checksum:
                yield f"12: {entry.key} has a wrong checksum"
        if _STATE.get(last or "") != self.run.state:
            yield f"11: the run is {self.run.state}, its last mark is {last}"

    def _row(self) -> Iterator[str]:
        run = self.run
        for begun in self.world.journal.begun(run.no):
            if begun.key in self.done:
                yield f"11: {begun.key} is done and still begun"
        if run.kind == "loop" and run.state in ("done", "failed"):
            later = [e for e in self._items() if e.state == "done" and e.seq > run.counted_seq]
            if run.done + len(later) != sum(e.state == "done" for e in self._items()):
                yield f"11: the row counts {run.done} items up to entry {run.counted_seq} and {len(later)} later ones"
        if (run.owner is None) != (run.state != "running") or (run.owner is None) != (
            run.lease_until is None
        ):
            yield f"17: a {run.state} run with owner {run.owner} and lease until {run.lease_until}"

    def _items(self) -> list[Entry]:
        return [e for e in self.rows if e.kind == "item" and " > " not in e.key]

    # -- leases: 13 to 16, 19 -----------------------------------------------------------------------------

    def _leases(self) -> Iterator[str]:
        fences = [e.fence for e in self.rows if e.kind == "mark" and e.name == "claimed"]
        if fences != list(range(1, len(fences) + 1)) or self.run.fence != len(fences):
            yield f"13: leases {fences}, the run's fence is {self.run.fence}"
        for before, after in zip(self.rows, self.rows[1:], strict=False):
            if after.fence < before.fence and before.name != "submitted":
                yield f"14: {after.key} of fence {after.fence} was written after one of fence {before.fence}"
        for entry in self.rows:
            if entry.state in ("crashed", "reopened") or entry.name in ("claimed", "submitted"):
                continue  # written by the next holder about the last one, or before there is a holder
            holder = self.claims.get(entry.fence)
            writer = self.written.get(entry.seq)
            if holder is None or writer is None or writer.process != holder.process:
                yield f"15: {entry.key} of fence {entry.fence} was written by {writer}, the lease was {holder}"
        yield from self._take_overs()

    def _take_overs(self) -> Iterator[str]:
        until: dict[int, float] = defaultdict(float)
        for grant in self.world.log.grants:
            if grant.run_id == self.run.id:
                until[grant.fence] = max(until[grant.fence], grant.until)
        ends = ("released", "raised", "returned", "paused", "cancelled")
        given_back = {e.fence for e in self.rows if e.name in ends}
        for fence, claim in self.claims.items():
            held = fence > 1 and fence - 1 not in given_back
            if held and not claim.proven and claim.wall < until[fence - 1]:
                yield f"16: lease {fence} began at {claim.wall}, the one before lasted until {until[fence - 1]}"
            if claim.healthy and not claim.proven:
                yield f"44: lease {fence} was taken from a healthy process"
        for effect in (e for effects in self.effects.values() for e in effects):
            if effect.began_at > effect.safe_until:
                late_s = effect.began_at - effect.safe_until
                yield f"19: {effect.key} began {late_s:.1f} s after the last confirmed lease"

    # -- executions: 20 to 28 -------------------------------------------------------------------------------

    def _outcomes(self) -> Iterator[str]:
        counts = Counter(e.key for e in self.rows if e.state == "done")
        yield from (f"22: {key} is done {count} times" for key, count in counts.items() if count > 1)
        last: dict[str, str] = {}
        failures: Counter[str] = Counter()
        for entry in self.rows:
            if entry.state == "failed" and last.get(entry.key) in ("failed", "done"):
                yield f"22: {entry.key} has a second outcome"
            if entry.state == "reopened":
                failures[entry.key] = 0
            if entry.state in ("retry", "failed"):
                failures[entry.key] += 1
                if failures[entry.key] > _MAX_ATTEMPTS:
                    yield f"26: {entry.key} was attempted {failures[entry.key]} times"
            if entry.state != "crashed":
                last[entry.key] = entry.state
            if entry.state == "failed" and _outcome(entry) == "crashed":
                yield from self._convicted(entry)

    def _convicted(self, entry: Entry) -> Iterator[str]:
        deaths = sum(e.state == "crashed" and e.key == entry.key for e in self.rows)
        if deaths < 2:
            yield f"26: {entry.key} was given up after {deaths} recorded deaths"

    def _executions(self) -> Iterator[str]:
        for key, entry in self.done.items():
            if entry.kind not in ("step", "item"):
                continue
            ended = [e for e in self.effects[key] if e.ended_at is not None and e.fence <= entry.fence]
            if not ended:
                yield f"20: {key} is recorded and was never done"
            if entry.kind == "step" and _outcome(entry) not in [e.value for e in ended]:
                yield f"20: {key} is recorded as {entry.value}, done was {[e.value for e in ended]}"
            late = [e for e in self.effects[key] if e.fence > entry.fence]
            if late:
                yield f"23: {key} was recorded under fence {entry.fence} and done again under {late[0].fence}"
        tokens: dict[str, set[str]] = defaultdict(set)
        for key, effects in self.effects.items():
            times = Counter((e.fence, e.attempt) for e in effects)
            yield from (f"24: {key} {which} began {n} times" for which, n in times.items() if n > 1)
            tokens[key] |= {e.token for e in effects}
            deaths = sum(e.deadly for e in effects)
            # A pause is a person's act, and the count of leases that came to nothing begins anew.
            pauses = sum(e.name == "paused" for e in self.rows)
            if deaths > _MAX_DEATHS + 2 * pauses:
                yield f"26: {key} killed its process {deaths} times"
        yield from (f"27: {key} has idempotency keys {of}" for key, of in tokens.items() if len(of) > 1)
        if len(set().union(*tokens.values())) != len(tokens):
            yield "27: two units share an idempotency key"

    # -- what user code saw: 30 to 32, 36 ----------------------------------------------------------------------

    def _received(self) -> Iterator[str]:
        recorded: dict[str, set[str]] = defaultdict(set)
        order: dict[str, int] = {}
        for entry in self.rows:
            if entry.state in ("done", "failed"):
                recorded[entry.key].add(json.dumps(_outcome(entry)))
                order[entry.key] = entry.seq
        for got in self.received:
            if json.dumps(got.value) not in recorded[got.key]:
                yield f"30: {got.key} gave {got.value}, recorded are {recorded[got.key] or 'none'}"
        if self.run.state == "stuck":
            yield "31: the run is stuck, though its code is the same"
        if self.run.kind == "workflow":
            yield from self._order(order)
        for run_id, key, wall in self.world.log.woke:
            if run_id == self.run.id and wall < json.loads(self.done[key].value or "0"):
                yield f"36: {key} woke too early"

    def _order(self, order: dict[str, int]) -> Iterator[str]:
        for fence, branch in {(r.fence, r.branch) for r in self.received}:
            keys = [r.key for r in self.received if (r.fence, r.branch) == (fence, branch)]
            found = [order[key] for key in keys if key in order]
            if found != sorted(found):
                yield f"32: the code went {keys}, recorded as {found}"

    # -- wishes: 3 ------------------------------------------------------------------------------------------------

    def _wishes(self) -> Iterator[str]:
        """What an operator was told is noted comes about, once, or is still noted."""
        wishes = [wish for wish in self.world.log.wishes if wish.run_id == self.run.id]
        marks = [entry for entry in self.rows if entry.kind == "mark"]
        for at, wish in enumerate(wishes):
            came = any(e.seq > wish.after_seq and e.name in _GRANTS[wish.what] for e in marks)
            if not came and self.run.request != wish.what and not wishes[at + 1 :]:
                yield f"3: {wish.what} was asked after entry {wish.after_seq} and is forgotten"
        for what, mark in (("pause", "paused"), ("cancel", "cancelled")):
            asked = sum(wish.what == what for wish in wishes)
            granted = sum(entry.name == mark for entry in marks)
            if granted > asked:
                yield f"3: {what} was asked {asked} times and granted {granted} times"

    # -- rows in a file: 28 ---------------------------------------------------------------------------------------

    def _file(self) -> Iterator[str]:
        """Exactly the recorded rows, each of an execution that was recorded, in the file of the latest pass."""
        if not isinstance(self.program, Rows) or self.run.no != max(r.no for r in self._passes()):
            return
        if self.run.state != "done" and not any(e.state == "done" for e in self._items()):
            return  # the file may not be opened yet, and then it is that of the pass before
        recorded = [json.loads(e.value)["rows"][NAME] for e in self._items() if e.state == "done" and e.value]
        recorded.sort(key=lambda part: part["at"])
        wanted = "".join(part["text"] for part in recorded)
        found = self.program.file.read_text() if self.program.file.exists() else ""
        if found != wanted and not (self.run.state != "done" and wanted.startswith(found)):
            yield f"28: the file of a {self.run.state} run holds {rows(found)}, recorded are {rows(wanted)}"
        executed = {(key, e.value) for key, effects in self.effects.items() for e in effects if e.ended_at}
        for row in set(rows(wanted)) - executed:
            yield f"28: the row {row} is recorded and nobody wrote it"
        if len(rows(wanted)) != sum(e.state == "done" for e in self._items()):
            yield f"28: {rows(wanted)} are the rows of {len(self._items())} items"

    def _passes(self) -> list[Run]:
        return [run for run in self.world.journal.runs(limit=-1) if run.identity == self.run.identity]

    # -- the end: 35, 44 ----------------------------------------------------------------------------------------

    def _end(self) -> Iterator[str]:
        if not self.program.over:
            return
        if not self.program.is_over(self.run):
            again = self.run.kind == "loop"  # who called it once more found it over, and began another pass
            if not again and not self.world.log.breaches:
                yield f"44: the run is {self.run.state} and nobody calls it any more"
            return
        if self.run.state == "cancelled":
            return
        outcomes = {e.key: _outcome(e) for e in self.rows if e.state in ("done", "failed")}
        result = None if self.run.result is None else json.loads(self.run.result)
        missed = self.program.misses(outcomes, result)
        if missed is not None:
            yield f"35: {missed}"


def _outcome(entry: Entry) -> Any:
    """The recorded value; of a failure its message, or `crashed`."""
    if entry.value is None:
        return None
    value = json.loads(entry.value)
    if entry.state == "done":
        return value
    return "crashed" if "StepCrashed" in entry.value else value["message"]
