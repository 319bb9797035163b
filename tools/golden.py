"""Writes the golden journal of the present layout into tests/golden: what this version leaves behind, kept for ever.

Called at a release that changes the layout (`storage/migrate.VERSION`): the tests then continue every one of them with
every later version. With --check only says whether the present layout has one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import apsw

from onward.storage.migrate import APPLICATION_ID, VERSION

ROOT = Path(__file__).resolve().parents[1]
GOLDEN, SOURCE = ROOT / "tests" / "golden", ROOT / "src"
NEUTRAL = Path(tempfile.gettempdir()) / "golden"


def main(arguments: list[str]) -> int:
    target = GOLDEN / f"layout{VERSION}.sql"
    if "--check" in arguments:
        print(f"{target.name} is {'there' if target.exists() else 'missing: python tools/golden.py'}")
        return 0 if target.exists() else 1
    if target.exists():
        print(f"{target} is there already: a golden journal is never written again", file=sys.stderr)
        return 1
    # Paths get into what is recorded: these tell nothing of the machine it was written on.
    folder, library = NEUTRAL / "project", NEUTRAL / "lib"
    folder.mkdir(parents=True)
    try:
        shutil.copytree(SOURCE / "onward", library / "onward")
        left = run_jobs(folder, dies=True, path=str(library))
        target.write_text(dumped(folder / "journal.db"), encoding="utf-8")
        finished = run_jobs(folder, dies=False, path=str(library))
    finally:
        shutil.rmtree(NEUTRAL)
    expected = {"broken off": left, "continued": finished}
    target.with_suffix(".json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
    print(f"written: {target} ({target.stat().st_size / 1_000:.0f} kB)")
    return 0


def run_jobs(
    folder: Path, *, dies: bool, python: str = sys.executable, path: str | None = None
) -> dict[str, object]:
    """Run the program behind the golden journals in `folder`, whose journal it uses; what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ONWARD_")}
    environment |= {
        "ONWARD_URL": "sqlite:///journal.db",
        "ONWARD_QUIET": "1",
        "GOLDEN_DIE": "1" if dies else "0",
    }
    if path is not None:
        environment["PYTHONPATH"] = path
    (folder / "jobs.py").write_text((GOLDEN / "jobs.py").read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run(
        [python, "jobs.py"], cwd=folder, env=environment, capture_output=True, text=True, timeout=100
    )
    if done.returncode != 0:
        raise RuntimeError(f"jobs.py ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    found: dict[str, object] = json.loads(done.stdout)
    return found


def dumped(journal: Path) -> str:
    """A journal as SQL text, which a review can read and a diff can compare."""
    connection = apsw.Connection(str(journal))
    lines = [f"PRAGMA application_id = {APPLICATION_ID};", f"PRAGMA user_version = {VERSION};"]
    schema = connection.execute(
        "SELECT name, type, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    lines += [f"{sql};" for _, kind, sql in schema if kind == "table"]
    for name, kind, _ in schema:
        if kind == "table":
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
            columns = ", ".join(names)
            for row in connection.execute(f"SELECT {columns} FROM {name}"):
                shown = _aged(name, dict(zip(names, row, strict=True)))
                values = ", ".join(apsw.format_sql_value(value) for value in shown.values())
                lines.append(f"INSERT INTO {name} ({columns}) VALUES ({values});")
    lines += [f"{sql};" for _, kind, sql in schema if kind != "table"]
    connection.close()
    return "\n".join(lines) + "\n"


def _aged(table: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row as it will be when the journal is old: its leases have ended, its machine is not there any more."""
    if table == "owner":
        row |= {"host": "golden", "boot": "golden"}
    if row.get("lease_until") is not None:
        row["lease_until"] = row["updated_at"]
    return row


def restored(dump: Path, journal: Path) -> None:
    """Make a journal of a dump."""
    connection = apsw.Connection(str(journal))
    connection.execute(dump.read_text(encoding="utf-8"))
    connection.close()
    os.chmod(journal, 0o600)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
