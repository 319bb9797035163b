"""Bugs planted in files and sinks, each of which a harness must catch. See mutants.py."""

from __future__ import annotations

from crash.mutants import Edit, Mutant

MUTANTS = (
    Mutant(
        "write in place: a file is written where it will be, not beside it",
        "kills",
        "files_whole",
        (
            Edit(
                "runtime/disk.py",
                '        slot = os.path.join(folder, f".{name}{TEMPORARY}")\n',
                "        slot = self._target\n",
            ),
        ),
    ),
    Mutant(
        "record believed: a file that is gone is taken for there because it is recorded",
        "kills",
        "files_lost",
        (
            Edit(
                "runtime/remake.py",
                "    problems = yield Inspect(files)\n    if not problems:\n",
                "    problems = yield Inspect(files)\n    if True:\n",
            ),
        ),
    ),
    Mutant(
        "a count of its own: names are numbered anew in each process",
        "kills",
        "files_whole",
        (
            Edit(
                "api/numbered.py",
                "            out.numbers[name] = _highest(engine, place, prefix)\n",
                "            out.numbers[name] = 0\n",
            ),
        ),
    ),
    Mutant(
        "append before commit: the rows of a map's item go into the file before its outcome is recorded",
        "kills",
        "rows_mapped",
        (
            Edit(
                "runtime/output.py",
                "        self._placed[entry.key] = parts = self.place(here.rows)\n",
                "        parts = self.place(here.rows)\n"
                "        for part in parts:\n            part.writer.append(part)\n",
            ),
        ),
    ),
    Mutant(
        "record without rows: the rows of a map's item are written after its outcome, and recorded nowhere",
        "alone",
        "rows_mapped",
        (
            Edit(
                "runtime/output.py",
                "        return change._replace(entries=(*change.entries, *taken.entries))\n",
                "        return change\n",
            ),
        ),
    ),
    Mutant(
        "header twice: each process that writes to a CSV file begins with the header",
        "kills",
        "rows_csv",
        (
            Edit(
                "api/sinks/tables.py",
                "        if self.size or self.fields is None:\n            return lines\n",
                '        if self.fields is None or self.__dict__.setdefault("headed", 0):\n'
                "            return lines\n        self.headed = 1\n",
            ),
        ),
    ),
    Mutant(
        "rows twice: a continued pass takes rows that stand in a Parquet file for rows that do not yet",
        "kills",
        "rows_parquet",
        (
            Edit(
                "api/sinks/parquet.py",
                "        self._pending = [row for row in self._pending if row[:3] > upto]\n",
                "",
            ),
        ),
    ),
    Mutant(
        "rows left behind: a group of tiny items goes into the file before it is recorded",
        "kills",
        "rows_grouped",
        (
            Edit(
                "api/walk.py",
                "        if not self.rows or self.items is None or self.items.grouping:\n",
                "        if not self.rows or self.items is None:\n",
            ),
        ),
    ),
    Mutant(
        "rows left in the journal: a file that is behind is not completed when its loop goes on",
        "kills",
        "rows_csv",
        (
            Edit(
                "api/sinks/lines.py",
                "        self._restore([(rows.at, rows.data) for rows in missing])\n",
                "",
            ),
        ),
    ),
    Mutant(
        "half a copy for ever: what a killed backup or export has left is cleared away by nobody",
        "kills",
        "backed_up",
        (Edit("storage/parts.py", "    _clear(folder)\n    path,", "    path,"),),
    ),
)
