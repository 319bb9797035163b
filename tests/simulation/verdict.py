"""Judges a story of workers: the journal's rows against what the world saw. Shares no rule with the code it judges.

The numbers are those of the invariants in docs/guarantees.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from onward.core.model import Entry, Run
from simulation import queued
from simulation.oracle import OneRun, _outcome
from simulation.staffed import StaffedWorld
from simulation.world import EPOCH

# Which mark of a run may follow which: what its holder writes, what is done to one that nobody holds.
_HELD = {"orphaned", "returned", "raised", "retried", "released", "suspended", "paused", "cancelled"}
_FREE = {"claimed", "paused", "cancelled"}
_NEXT = {
    None: {"submitted"},
    "submitted": _FREE,
    "claimed": _HELD,
    "orphaned": _FREE,
    "released": _FREE,
    "suspended": _FREE,
    "retried": _FREE,
    "resumed": _FREE,
    "paused": {"resumed", "cancelled"},
    "raised": {"cancelled"},
    "returned": set(),
    "cancelled": set(),
}  # fmt: skip
_STATES = {
    "submitted": {"pending", "waiting"}, "claimed": {"running"}, "orphaned": {"waiting"}, "released": {"pending"},
    "suspended": {"waiting"}, "retried": {"waiting"}, "resumed": {"pending", "waiting"}, "paused": {"paused"},
    "raised": {"failed"}, "returned": {"done"}, "cancelled": {"cancelled"},
}  # fmt: skip
_ENDS = {"returned", "raised", "cancelled"}
# What a wish may lead to; a run that is paused goes on when somebody resumes it.
_GRANTS = {"pause": {"paused", "cancelled", *_ENDS}, "cancel": _ENDS}
# Deaths before one counts: of the first nobody is accused, at the second others may have been there.
_FREE_DEATHS = 2


def breaches(world: StaffedWorld) -> list[str]:
    """Every invariant that the story breaks, a sentence each."""
    found = list(world.log.breaches)
    found += [f"12: {problem}" for problem in world.journal.problems()]
    runs = world.journal.runs(limit=-1)
    by_id = {run.id: run for run in runs}
    found += _of_starts(world, by_id)
    found += _of_limits(world, by_id)
    for run in runs:
        found += [f"{run.id}: {breach}" for breach in QueuedRun(world, run, by_id).breaches()]
    return found


def _of_starts(world: StaffedWorld, by_id: dict[str, Run]) -> Iterator[str]:
    for program in world.programs:
        for run_id in program.acknowledged - by_id.keys():
            yield f"1: {run_id} was started and is not in the journal"
    for ghost in by_id.keys() - world.log.asked.keys():
        yield f"4: nobody asked for {ghost}"
    for run_id, value in world.log.returned:
        stored = by_id[run_id].result
        if (None if stored is None else json.loads(stored)) != value:
            yield f"6: a caller of {run_id} was given {value}, stored is {stored}"
    written = {(w.run_id, w.seq) for w in world.log.written}
    yield from (f"2: {lost} was acknowledged and never written" for lost in world.log.heard - written)
    yield from _of_keys(world, by_id)


def _of_keys(world: StaffedWorld, by_id: dict[str, Run]) -> Iterator[str]:
    """At most one run of a key that has not ended, at any time."""
    keys = {run_id: f"{run.name}!" for run_id, run in by_id.items() if "." in run_id and run.parent is None}
    alive: dict[str, set[str]] = defaultdict(set)
    for written in world.log.written:
        key = keys.get(written.run_id)
        if key is None or written.state != "mark":
            continue
        mark = written.key.removeprefix("run/")
        if mark == "submitted":
            alive[key].add(written.run_id)
        elif mark in _ENDS:
            alive[key].discard(written.run_id)
        if len(alive[key]) > 1:
            yield f"5: {sorted(alive[key])} have one key and have not ended"


def _of_limits(world: StaffedWorld, by_id: dict[str, Run]) -> Iterator[str]:
    executed: set[str] = set()
    begun: list[float] = []
    for written in world.log.written:
        if written.state != "mark":
            continue
        queue, mark = by_id[written.run_id].queue, written.key.removeprefix("run/")
        if queue == queued.NARROW:
            if mark == "claimed":
                executed.add(written.run_id)
            elif mark != "submitted":
                executed.discard(written.run_id)
            if len(executed) > queued.AT_ONCE:
                yield f"39: {sorted(executed)} are executed at once in a queue for {queued.AT_ONCE}"
        elif (
            queue == queued.BRISK
            and mark == "claimed"
            and _is_first(world, by_id[written.run_id], written.seq)
        ):
            begun.append(written.at)
    if not world.log.counts["clock jumps"]:  # a rate is kept by the journal's clock
        for first, last in zip(begun, begun[queued.STARTS :], strict=False):
            # A claim is stamped when its transaction begins, and seen here when that is over.
            if last - first < queued.WINDOW_S - 3.0:
                yield f"40: {queued.STARTS + 1} runs began within {last - first:.1f} s"


def _is_first(world: StaffedWorld, run: Run, seq: int) -> bool:
    marks = [e.seq for e in world.journal.entries(run.no) if e.kind == "mark" and e.name == "claimed"]
    return marks[0] == seq


class QueuedRun(OneRun):
    """The rows of one queued run and what the world saw of it."""

    def __init__(self, world: StaffedWorld, run: Run, by_id: dict[str, Run]) -> None:
        super().__init__(world, run, _Nothing())  # type: ignore[arg-type]
        self.by_id = by_id
        self.marks = [entry for entry in self.rows if entry.state == "mark"]
        self.orphans = [o for o in world.log.orphans if o.run_id == run.id]

    def breaches(self) -> Iterator[str]:
        yield from self._structure()
        yield from self._row()
        yield from self._fences()
        yield from self._taken()
        yield from self._executed()
        yield from self._received()
        yield from self._waits()
        yield from self._children()
        yield from self._asked()
        yield from self._ended()

    def _structure(self) -> Iterator[str]:
        if [e.seq for e in self.rows] != list(range(len(self.rows))):
            yield f"8: entries are numbered {[e.seq for e in self.rows]}"
        last: str | None = None
        for entry in self.rows:
            if last in ("returned", "cancelled"):
                yield f"9: {entry.key} follows the end of the run"
            if entry.state == "mark":
                if entry.name not in _NEXT.get(last, ()):
                    yield f"10: {entry.name} follows {last}"
                last = entry.name
        if self.run.state not in _STATES.get(last or "", ()):
            yield f"11: the run is {self.run.state}, its last mark is {last}"

    def _row(self) -> Iterator[str]:
        run = self.run
        for begun in self.world.journal.begun(run.no):
            if begun.key in self.done:
                yield f"11: {begun.key} is done and still begun"
        held = run.state == "running"
        if (run.owner is not None) != held or (run.lease_until is not None) != held:
            yield f"17: a {run.state} run with owner {run.owner} and lease until {run.lease_until}"

    # -- leases: 13 to 19 ---------------------------------------------------------------------------------------

    def _fences(self) -> Iterator[str]:
        fence = 0
        for mark in self.marks:
            # A claim and the end of a dead worker's lease raise it, and what is done to a run that nobody holds.
            raises = {
                "claimed": {1},
                "orphaned": {1},
                "resumed": {0, 1},
                "paused": {0, 1},
                "cancelled": {0, 1},
            }
            if mark.fence - fence not in raises.get(mark.name, {0}):
                yield f"13: {mark.name} has fence {mark.fence} after {fence}"
            fence = mark.fence
        if fence != self.run.fence:
            yield f"13: the run's fence is {self.run.fence}, that of its last mark {fence}"
        for before, after in zip(self.rows, self.rows[1:], strict=False):
            if after.fence < before.fence:
                yield f"14: {after.key} of fence {after.fence} was written after one of fence {before.fence}"
        acts = ("claimed", "submitted", "orphaned", "resumed")
        for entry in self.rows:
            holder, writer = self.claims.get(entry.fence), self.written.get(entry.seq)
            if entry.name in acts or entry.state == "crashed" or holder is None:
                continue  # written about the holder, or without one
            if writer is None or writer.process != holder.process:
                yield f"15: {entry.key} of fence {entry.fence} was written by {writer}, the lease was {holder}"

    def _taken(self) -> Iterator[str]:
        until: dict[int, float] = defaultdict(float)
        for grant in self.world.log.grants:
            if grant.run_id == self.run.id:
                until[grant.fence] = max(until[grant.fence], grant.until)
        for orphan in self.orphans:
            if not orphan.proven and orphan.wall < until[orphan.fence - 1]:
                yield f"16: taken at {orphan.wall}, the lease {orphan.fence - 1} lasted until {until[orphan.fence - 1]}"
            if orphan.healthy and not orphan.proven:
                yield f"44: lease {orphan.fence - 1} was taken from a healthy process"
        for effect in (e for effects in self.effects.values() for e in effects):
            if effect.began_at > effect.safe_until:
                late_s = effect.began_at - effect.safe_until
                yield f"19: {effect.key} began {late_s:.1f} s after the last confirmed lease"

    # -- executions: 20 to 27 -----------------------------------------------------------------------------------

    def _executed(self) -> Iterator[str]:
        counts = Counter(e.key for e in self.rows if e.state == "done")
        yield from (f"22: {key} is done {count} times" for key, count in counts.items() if count > 1)
        for key, entry in self.done.items():
            if entry.kind != "step":
                continue
            ended = [e for e in self.effects[key] if e.ended_at is not None and e.fence <= entry.fence]
            if _outcome(entry) not in [e.value for e in ended]:
                yield f"20: {key} is recorded as {entry.value}, done was {[e.value for e in ended]}"
            if any(e.fence > entry.fence for e in self.effects[key]):
                yield f"23: {key} was recorded under fence {entry.fence} and done again later"
        for key, effects in self.effects.items():
            times = Counter((e.fence, e.attempt) for e in effects)
            again = {which for which, n in times.items() if n > 1}
            if again and not any(e.state == "reopened" and e.key == key for e in self.rows):
                yield f"24: {key} began more than once as {again}"
            if len({e.token for e in effects}) > 1:
                yield f"27: {key} has several idempotency keys"
            deaths = sum(e.deadly for e in effects)
            pauses = sum(e.name == "paused" for e in self.marks)
            if deaths > queued.GUILTY.max_crashes + _FREE_DEATHS + 4 * pauses:
                yield f"26: {key} killed its process {deaths} times"
        yield from self._bodies()

    def _bodies(self) -> Iterator[str]:
        """A run without steps is executed anew only after a lease that came to nothing."""
        times = len(self.effects["the body"])
        lost = sum(mark.name in ("orphaned", "released", "suspended", "resumed") for mark in self.marks)
        if times > 1 + lost:
            yield f"23: a run without steps was executed {times} times, {lost} of its leases came to nothing"

    def convicted(self) -> list[str]:
        found = [e.key for e in self.rows if e.state == "failed" and _outcome(e) == "crashed"]
        if self.run.error is not None and "StepCrashed" in self.run.error:
            found.append("run/whole")
        return found

    def _convictions(self) -> Iterator[str]:
        """Nobody is given up for deaths that need not have been its own."""
        if not self.convicted():
            return
        guilty = self.run.name in ("poison", "brute")
        policy = queued.GUILTY if guilty else queued.INNOCENT
        if len(self.orphans) < policy.max_crashes + _FREE_DEATHS:
            yield f"26: {self.convicted()} given up after {len(self.orphans)} deaths"

    # -- time: 33, 36 -------------------------------------------------------------------------------------------

    def _waits(self) -> Iterator[str]:
        for run_id, key, wall in self.world.log.woke:
            if run_id == self.run.id and key in self.done and wall < json.loads(self.done[key].value or "0"):
                yield f"36: {key} woke too early"
        first = next((m for m in self.marks if m.name == "claimed"), None)
        own = self.run.id.partition(".")[0]
        delay = next((p.queuing.delay_s for p in self.world.programs if p.name == own), None)
        asked_at = self.world.log.asked.get(self.run.id, self.run.created_at)
        if first is not None and delay is not None and first.ended_at < asked_at + delay:
            yield f"36: it began {asked_at + delay - first.ended_at:.1f} s before its time"
        for retried, later in zip(self.marks, self.marks[1:], strict=False):
            if retried.name == "retried" and later.name == "claimed" and later.ended_at < retried.ended_at:
                yield "33: it was attempted again before it had failed"

    # -- children: 41 -------------------------------------------------------------------------------------------

    def _children(self) -> Iterator[str]:
        for key, entry in self.done.items():
            if entry.name.startswith("start "):
                child = self.by_id.get(json.loads(entry.value or "null"))
                if child is None or child.parent != self.run.id:
                    yield f"41: {key} says {entry.value}, which is {child}"
            if entry.name == "result":
                results = [c.result for c in self.by_id.values() if c.parent == self.run.id]
                if entry.value not in results:
                    yield f"41: {key} is {entry.value}, the results of its children are {results}"
        started = {json.loads(e.value or "null") for e in self.done.values() if e.name.startswith("start ")}
        for child in self.by_id.values():
            if child.parent == self.run.id and child.id not in started and self.run.state == "done":
                yield f"41: {child.id} is a child that nobody has recorded"

    # -- acts: 3 ------------------------------------------------------------------------------------------------

    def _asked(self) -> Iterator[str]:
        for wish in self.world.log.wishes:
            if wish.run_id != self.run.id:
                continue
            came = any(
                m.seq > wish.after_seq and m.name in {*_GRANTS[wish.what], "resumed"} for m in self.marks
            )
            if not came and self.run.request != wish.what:
                yield f"3: {wish.what} was asked after entry {wish.after_seq} and is forgotten"

    # -- the end: 35, 44 ----------------------------------------------------------------------------------------

    def _ended(self) -> Iterator[str]:
        yield from self._convictions()
        if self.run.state not in ("done", "failed"):
            return
        outcomes: dict[str, Any] = {}
        for e in self.rows:
            if e.state in ("done", "failed"):
                outcomes[e.key] = _outcome(e)
        result = None if self.run.result is None else json.loads(self.run.result)
        missed = queued.misses(self.run, outcomes, result, self.convicted())
        if missed is not None:
            yield f"35: {missed}"


class _Nothing:
    """Stands for the program, which judges nothing here."""


def order_of_claims(world: StaffedWorld) -> list[str]:
    """Runs in the order of their first claims."""
    return list(dict.fromkeys(c.run_id for c in world.log.claims if c.wall >= EPOCH))


def entries_of(world: StaffedWorld, run_id: str) -> list[Entry]:
    run = world.journal.run(run_id)
    return [] if run is None else world.journal.entries(run.no)
