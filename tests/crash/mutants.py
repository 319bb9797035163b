"""Bugs that were put into copies of the code on purpose: the harness counts only as long as it catches each of them.

An edit replaces text that must occur exactly once in the file that it names. An edit that no longer applies is an
error, not a pass: then the code has changed and the mutant must be written anew, or it would guard nothing.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crash.harness import copied


@dataclass(frozen=True)
class Edit:
    file: str  # below src/onward
    old: str
    new: str


# `alone`: no fault is needed, the harness has a program that shows it.
Judge = Literal[
    "kills", "zombies", "acks", "syncs", "alone", "power", "power, and run again", "power in a new directory"
]


@dataclass(frozen=True)
class Mutant:
    name: str
    judge: Judge  # what must catch it
    scene: str
    edits: tuple[Edit, ...]


class NoLongerApplies(AssertionError):
    """The code that a mutant changes is not there as it was."""


def planted(mutant: Mutant, folder: Path) -> Path:
    """A copy of the source with the mutant in it; where it is."""
    copy = copied(Path(tempfile.mkdtemp(prefix="mutant-", dir=folder)))
    for edit in mutant.edits:
        file = _place(mutant, edit, copy / "onward")
        file.write_text(file.read_text().replace(edit.old, edit.new))
    return copy


def _place(mutant: Mutant, edit: Edit, product: Path) -> Path:
    """The file that holds the edit's text exactly once."""
    named = product / edit.file
    count = named.read_text().count(edit.old) if named.exists() else 0
    if count == 1:
        return named
    raise NoLongerApplies(
        f"the mutant `{mutant.name}` must be written anew: the text it changes in {edit.file} should be there once and "
        f"is there {count} times:\n{edit.old}"
    )


_TRANSACTION, _STORE, _DRIVE = "storage/sqlite/transaction.py", "storage/sqlite/store.py", "runtime/drive.py"
_SPLIT = 'self._connection.execute("COMMIT"); self._connection.execute("BEGIN IMMEDIATE")'

MUTANTS = (
    Mutant(
        "effect and record in two transactions: an item's rows go into the file before its entry is recorded",
        "kills",
        "loop_rows",
        (
            Edit(
                "api/walk.py",
                "        self.rows += rows\n        return sinks.payload(rows)\n",
                "        for part in rows:\n            part.writer.append(part)\n"
                "        return sinks.payload(rows)\n",
            ),
        ),
    ),
    Mutant(
        "effect and record in two transactions: the run's row and the entry that tells of it",
        "kills",
        "workflow_nested",
        (
            Edit(
                "storage/sqlite/straight.py",
                '                insert(self._connection, self._sql, "end_alone", plan.ends)\n',
                '                insert(self._connection, self._sql, "end_alone", plan.ends)\n'
                f"                {_SPLIT}\n",
            ),
            Edit(
                _TRANSACTION,
                '            self._connection.executemany(self._sql["set_run"], map(_mutable, rows))\n',
                '            self._connection.executemany(self._sql["set_run"], map(_mutable, rows))\n'
                f"            {_SPLIT}\n",
            ),
        ),
    ),
    Mutant(
        "effect and record in two transactions: the outcome of an item and the end of its being in flight",
        "kills",
        "loop",
        (
            Edit(
                "storage/sqlite/straight.py",
                "            if plan.units:\n",
                '            self._execute("COMMIT"); self._execute("BEGIN IMMEDIATE")\n            if plan.units:\n',
            ),
        ),
    ),
    Mutant(
        "record before doing: an item is recorded as done when it is handed out",
        "kills",
        "loop",
        (
            Edit(
                "runtime/items.py",
                "            session.applied(answers)\n            session.begun[key] = begun\n",
                "            session.applied(answers)\n            session.begun[key] = begun\n"
                "            early = succeeded(session.run, key, 'item', self.name, None, None, now, now=now, "
                "marked=True)\n"
                "            session.applied((yield Keep((early,))))\n",
            ),
            Edit(
                "runtime/items.py",
                "        self._done = yield Later(change, not self.prompt)\n",
                "        self._done = yield Later(change._replace(entries=(), ended=()), not self.prompt)\n",
            ),
        ),
    ),
    Mutant(
        "record before doing: a step is recorded as done when it is called",
        "kills",
        "chores",
        (
            Edit(
                _DRIVE,
                "    token = set_here(place.within(unit[0], unit[6]))\n",
                "    change = session.ended_straight(unit, None, 0.0, 0.0)\n"
                "    session.kept(engine.committer.commit(change), change)\n"
                "    here = place.within(unit[0], unit[6])\n"
                "    return _call(engine, Call(fn, args, kwargs, here)).value\n"
                "    token = None\n",
            ),
        ),
    ),
    Mutant(
        "memory before disk: a call returns as soon as its record is queued",
        "acks",
        "chores",
        (
            Edit(
                _DRIVE,
                "from onward.core.model import Answer, Change\n",
                "from onward.core.model import Answer, Applied, Change\n",
            ),
            Edit(
                _DRIVE,
                "        answers = engine.committer.commit(change)\n",
                "        engine.committer.later(change)\n"
                "        answers = [Applied(change.run_no, session.last_seq + len(change.entries), None)]\n",
            ),
        ),
    ),
    Mutant(
        "memory before disk: an awaited call returns as soon as its record is queued",
        "acks",
        "workflow_async",
        (
            Edit(
                _DRIVE,
                "from onward.core.model import Answer, Change\n",
                "from onward.core.model import Answer, Applied, Change\n",
            ),
            Edit(
                _DRIVE,
                "        answers = await _commit(engine, (change,))\n",
                "        engine.committer.later(change)\n"
                "        answers = [Applied(change.run_no, session.last_seq + len(change.entries), None)]\n",
            ),
        ),
    ),
    Mutant(
        "disk before platter: commits are not synced",
        "syncs",
        "chores",
        (
            Edit(
                "storage/sqlite/connection.py",
                '"FULL" if durability == "machine" else "NORMAL"',
                '"NORMAL"',
            ),
        ),
    ),
    Mutant(
        "no fence check",
        "zombies",
        "loop_steps",
        (Edit("storage/guards.py", "    if guard.fence != change.fence:\n", "    if guard.fence < 0:\n"),),
    ),
    Mutant(
        "fence check then act: the guard is read before the transaction that relies on it",
        "zombies",
        "loop_steps",
        (
            Edit(
                _STORE,
                "    def commit(self, changes: Sequence[Order]) -> list[Answered]:\n"
                "        if self._unusable is not None:\n",
                "    def commit(self, changes: Sequence[Order]) -> list[Answered]:\n"
                "        Transaction.early = {\n"
                "            change.run_no: row\n"
                "            for change in changes if hasattr(change, 'run_no')\n"
                '            for row in self._writer.execute(_SQL["guard"], (change.run_no,))\n'
                "        }\n"
                "        if self._unusable is not None:\n",
            ),
            Edit(
                _TRANSACTION,
                "            refused = guards.refusal(change, guard)\n",
                "            row = self.early.get(change.run_no)\n"
                "            refused = guards.refusal(change, guard if row is None else Guard._make(row))\n",
            ),
            Edit(
                _TRANSACTION,
                "    def apply(self, change: Change) -> Applied | Refused:\n",
                "    early: dict = {}\n\n    def apply(self, change: Change) -> Applied | Refused:\n",
            ),
        ),
    ),
    Mutant(
        "no lease check: a run is claimed on top of a claim that came first",
        "zombies",
        "loop_steps",
        (
            Edit(
                "storage/guards.py",
                "    if guard.fence != change.fence:\n",
                "    if guard.fence != change.fence and change.before is None:\n",
            ),
            Edit(
                "storage/guards.py",
                "    if before is None:\n",
                "    if True:\n",
            ),
        ),
    ),
    Mutant(
        "record after doing: an item is handed out before its beginning is recorded",
        "kills",
        "loop",
        (
            Edit(
                "runtime/items.py",
                "            answers = yield Keep((starts(session.run, begun),))\n",
                "            answers = ()\n",
            ),
        ),
    ),
    Mutant(
        "no fence: a claim leaves the fence as it was",
        "kills",
        "chores",
        (
            Edit(
                "core/claiming.py",
                '        state="running",\n        fence=run.fence + 1,\n',
                '        state="running",\n        fence=run.fence,\n',
            ),
        ),
    ),
    Mutant(
        "one too many of a key: a lane has room for one more than is allowed",
        "alone",
        "map_keys",
        (Edit("core/lanes.py", "lane.running < self._width", "lane.running <= self._width"),),
    ),
    Mutant(
        "effect and record in two transactions: an item, and the cursor that moves with it",
        "kills",
        "cursor_with_items",
        (
            Edit(
                "runtime/bodies.py",
                "            answers = yield Keep((change._replace(beside=beside),))\n",
                "            answers = yield Keep((change,))\n            yield Keep(beside)\n",
            ),
        ),
    ),
    Mutant(
        "effect and record in two transactions: the items of a batch",
        "kills",
        "batches",
        (
            Edit(
                "runtime/bodies.py",
                "            items.follow((yield Later(change)), len(handed.keys))\n",
                "            yield Keep((change._replace(entries=change.entries[:1], ended=change.ended[:1]),))\n"
                "            rest = change._replace(entries=change.entries[1:], ended=change.ended[1:])\n"
                "            items.follow((yield Later(rest)), len(handed.keys))\n",
            ),
        ),
    ),
    Mutant(
        "lost reopen: what had failed is not executed again when the run is called again",
        "alone",
        "reopened",
        (Edit("runtime/engine.py", "tuple(reopen(run))", "()"),),
    ),
    Mutant(
        "parked in vain: what a loop had parked when it stopped because everything fails stays parked",
        "alone",
        "loop_breaker",
        (Edit("runtime/losing.py", "entries=(*again.entries, *end.entries),", "entries=end.entries,"),),
    ),
    Mutant(
        "effect without intent: an at-most-once step begins before its start is durable",
        "kills",
        "once",
        (
            Edit(
                "runtime/care.py",
                "manner.isolate or manner.at_most_once or unit.certain_start",
                "manner.isolate or unit.certain_start",
            ),
        ),
    ),
    Mutant(
        "in doubt, and executed again: an at-most-once step that was begun is begun once more",
        "kills",
        "once",
        (Edit("runtime/care.py", "self._manner.at_most_once and past.fence:", "False and past.fence:"),),
    ),
    Mutant(
        "in doubt, and forgotten: an async at-most-once step that was begun is begun once more",
        "kills",
        "once_async",
        (Edit("runtime/care.py", "self._manner.at_most_once and past.fence:", "past.crashes > 1:"),),
    ),
    Mutant(
        "memory before disk: a heartbeat that is waited for returns as soon as it is queued",
        "acks",
        "heartbeats",
        (
            Edit(
                "runtime/beats.py",
                "    if wait:\n        session.applied((yield Join(ticket)))\n",
                "    if wait:\n        ahead.append(ticket)\n",
            ),
        ),
    ),
)
