"""Bugs that were put into copies of the code on purpose: the harness counts only as long as it catches each of them.

An edit replaces text that must occur exactly once. One that no longer applies is an error, not a pass: then the code
has changed and the mutant must be written anew, or it would guard nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crash.harness import SOURCE


@dataclass(frozen=True)
class Edit:
    file: str  # below src/onward
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    name: str
    judge: Literal["kills", "zombies", "acks", "syncs"]  # what must catch it
    scene: str
    edits: tuple[Edit, ...]


class NoLongerApplies(AssertionError):
    """The code that a mutant changes is not there as it was."""


def planted(mutant: Mutant, folder: Path) -> Path:
    """A copy of the source with the mutant in it; where it is."""
    copy = Path(tempfile.mkdtemp(prefix="mutant-", dir=folder))
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    for edit in mutant.edits:
        file = copy / "onward" / edit.file
        text = file.read_text()
        if text.count(edit.old) != 1:
            raise NoLongerApplies(
                f"{mutant.name}: {edit.file} has this text {text.count(edit.old)} times:\n{edit.old}"
            )
        file.write_text(text.replace(edit.old, edit.new))
    return copy


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
                "        return sinks.payload(self.rows)\n",
                "        for rows in self.rows:\n            rows.sink.append(rows)\n"
                "        return sinks.payload(self.rows)\n",
            ),
        ),
    ),
    Mutant(
        "effect and record in two transactions: the run's row and the entry that tells of it",
        "kills",
        "workflow_nested",
        (
            Edit(
                _TRANSACTION,
                "            guard = guards.written(run, seq)\n        elif",
                f"            guard = guards.written(run, seq)\n            {_SPLIT}\n        elif",
            ),
        ),
    ),
    Mutant(
        "effect and record in two transactions: the outcome of an item and the end of its being in flight",
        "kills",
        "loop",
        (
            Edit(
                _TRANSACTION,
                "            self._entries.clear()\n",
                f"            self._entries.clear()\n            {_SPLIT}\n",
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
                "            yield from self.join()\n            session.begun[key] = begun\n",
                "            yield from self.join()\n            session.begun[key] = begun\n"
                '            early = Ended(key, "item", self.name, True, None, None, 1, now)\n'
                "            session.applied((yield Keep((decide(session.run, early, now=now),))))\n",
            ),
            Edit(
                "runtime/items.py",
                "        self._done = yield Later(change)\n",
                "        self._done = yield Later(change._replace(entries=(), ended=()))\n",
            ),
        ),
    ),
    Mutant(
        "record before doing: a step is recorded as done when it is called",
        "kills",
        "chores",
        (
            Edit(
                "runtime/session.py",
                "            outcome: Outcome = yield Call(fn, args, kwargs, here)\n",
                "            early = Outcome(None, None, 0.0, 0.0)\n"
                "            yield from self.record(unit, None, past, early, ok=True)\n"
                "            outcome: Outcome = yield Call(fn, args, kwargs, here)\n",
            ),
            Edit(
                "runtime/session.py",
                "                    yield from self.record(unit, text, past, outcome, ok=True)\n",
                "",
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
                "                        reply = engine.committer.commit(*changes)\n",
                "                        engine.committer.later(*changes)\n"
                "                        seq = session.last_seq\n"
                "                        reply = [Applied(c.run_no, seq + len(c.entries), None) for c in changes]\n",
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
                "                        reply = await _commit(engine, changes)\n",
                "                        engine.committer.later(*changes)\n"
                "                        seq = session.last_seq\n"
                "                        reply = [Applied(c.run_no, seq + len(c.entries), None) for c in changes]\n",
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
                "    def commit(self, changes: Sequence[Change]) -> list[Answer]:\n"
                "        self._refuse_if_unusable()\n",
                "    def commit(self, changes: Sequence[Change]) -> list[Answer]:\n"
                "        self._refuse_if_unusable()\n"
                "        Transaction.early = {\n"
                "            change.run_no: row\n"
                "            for change in changes\n"
                '            for row in self._writer.execute(_SQL["guard"], (change.run_no,))\n'
                "        }\n",
            ),
            Edit(
                _TRANSACTION,
                "            refused = guards.refusal(change, guard)\n",
                "            row = self.early.get(change.run_no)\n"
                "            refused = guards.refusal(change, guard if row is None else Guard._make(row))\n",
            ),
            Edit(
                _TRANSACTION,
                "    def apply(self, change: Change) -> Answer:\n",
                "    early: dict = {}\n\n    def apply(self, change: Change) -> Answer:\n",
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
                "    if before is None or (before.owner,",
                "    if True or (before.owner,",
            ),
        ),
    ),
)
