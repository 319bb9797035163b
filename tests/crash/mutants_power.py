"""Bugs that only a power failure shows. See mutants.py."""

from __future__ import annotations

from crash.mutants import Edit, Mutant

MUTANTS = (
    Mutant(
        "disk before platter: commits are not synced, and the power fails",
        "power",
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
        "disk before platter: the name of a directory that was made for the journal is not synced",
        "power in a new directory",
        "chores",
        (Edit("storage/sqlite/files.py", "            _sync(made.parent)\n", ""),),
    ),
    Mutant(
        "disk before platter: a file takes its place before its content is synced",
        "power, and run again",
        "files_whole",
        (
            Edit(
                "runtime/disk.py",
                "            host.sync(self.fd)\n            os.rename(self._temporary, self._target)\n",
                "            os.rename(self._temporary, self._target)\n",
            ),
        ),
    ),
    Mutant(
        "disk before platter: the loop is done before its rows are synced",
        "power",
        "loop_rows",
        (
            Edit(
                "api/sinks/lines.py",
                '        with open(self.path, "r+b") as file:\n            host.sync(file.fileno())\n',
                "        return\n",
            ),
        ),
    ),
    Mutant(
        "rows that a power failure has torn are taken for somebody else's",
        "power, and run again",
        "loop_rows",
        (Edit("api/sinks/lines.py", "if not _is_torn(found, rows.data):", "if True:"),),
    ),
)
