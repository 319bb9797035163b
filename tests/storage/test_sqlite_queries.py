"""The SQL of the SQLite store: nothing a running program asks for grows with what it does not ask about."""

from pathlib import Path
from typing import Any

import apsw
import apsw.ext
import pytest

from onward.core.claiming import submitted
from onward.core.model import Claim, Run
from onward.storage.queries import load
from onward.storage.sqlite.store import SqliteStore

_SQL = load("onward.storage.sqlite")
# These read everything: `onward doctor` does, the owners are as many as there are processes, queues and schedules are
# few, and the index of those who hold queued runs has as many rows as runs are being executed. What waits is counted up
# to a bound.
_READ_ALL = {
    "misnumbered",
    "odd_untold",
    "done_twice",
    "payloads",
    "odd_leases",
    "idle_owners",
    "queues",
    "schedules",
    "holders",
    "runs_busy",
    "workers",
    "waiting_names",
    "is_empty",
    "is_awaited",  # whether it has a row
    "last_number",  # of the one table that numbers its rows
    "integrity",
    "strays",
}
_ASKED = sorted(
    name for name, statement in _SQL.items() if statement.split()[0] in ("SELECT", "UPDATE", "DELETE")
)


@pytest.mark.parametrize("name", [name for name in _ASKED if name not in _READ_ALL])
def test_no_statement_of_a_running_program_scans_a_table(sqlite: SqliteStore, name: str) -> None:
    statement = _SQL[name]
    count = apsw.ext.query_info(sqlite._writer, statement).bindings_count
    plan = [row[3] for row in sqlite._writer.execute("EXPLAIN QUERY PLAN " + statement, (1,) * count)]
    scans = [
        step
        for step in plan
        if step.startswith("SCAN") and not step.startswith(("SCAN json_each", "SCAN (sub", "SCAN holder"))
    ]
    assert scans == [], plan


def test_a_column_that_a_newer_version_has_added_to_any_table_changes_no_statement(
    sqlite: SqliteStore,
) -> None:
    """Of a program of this version, which goes on: whatever it asks is the same, and whatever it writes is taken."""
    writer = sqlite._writer
    known = {name: apsw.ext.query_info(writer, text).description for name, text in _SQL.items()}
    tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    for (table,) in writer.execute(tables).fetchall():
        writer.execute(f"ALTER TABLE {table} ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'")
    assert {name: apsw.ext.query_info(writer, text).description for name, text in _SQL.items()} == known


def test_the_number_of_the_last_entry_is_looked_up_not_searched(sqlite: SqliteStore) -> None:
    """SQLite answers max() by one step into the index for a few shapes of statement only; ours must be one of them."""
    for name in ("guard", "last_seq"):
        code = [row[1] for row in sqlite._writer.execute("EXPLAIN " + _SQL[name], (1,))]
        assert "Last" in code or "SeekLE" in code or "SeekLT" in code or "SeekLast" in code, code


@pytest.mark.parametrize("name", ["add_run", "add_runs", "add_lot", "add_marks", "add_entry", "set_run"])
def test_no_table_is_made_to_check_a_row_that_is_written(sqlite: SqliteStore, name: str) -> None:
    """SQLite makes one of the values of a CHECK with IN, for every row anew: a third of what adding a run took."""
    count = apsw.ext.query_info(sqlite._writer, _SQL[name]).bindings_count
    code = [row[1] for row in sqlite._writer.execute("EXPLAIN " + _SQL[name], (1,) * count)]
    assert "OpenEphemeral" not in code


def test_bound_values_do_not_make_sqlite_plan_anew(sqlite: SqliteStore) -> None:
    """With partial indexes it would: the guard of every commit then took six times as long."""
    for connection in (sqlite._writer, sqlite._connection):
        assert connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, -1) == 1


def test_a_second_process_finds_the_layout_that_the_first_has_made(
    sqlite: SqliteStore, tmp_path: Path
) -> None:
    def layout(store: SqliteStore) -> list[Any]:
        return store._writer.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()

    second = SqliteStore(tmp_path / "journal.db")
    assert layout(second) == layout(sqlite)
    assert len(layout(second)) > 10
    second.close()


def test_a_comment_is_no_part_of_a_statement() -> None:
    assert all("--" not in statement and statement.strip() for statement in _SQL.values())


@pytest.mark.parametrize("name", ["ready_kind", "waiting_kind", "next_due"])
def test_what_an_idle_worker_asks_does_not_grow_with_the_runs_that_wait(
    sqlite: SqliteStore, name: str
) -> None:
    """A comparison of pairs began at the first run of the pair: a million sleeping runs took a core of every worker."""
    steps = []
    for count in (10, 500):
        for number in range(count):
            run = Run(f"{count}-{number}", "workflow", "nap", f"{count}-{number}", direct=False, queue="q")
            sqlite.commit([submitted(run, now=0.0)])
            sqlite.commit([submitted(_later(run), now=0.0)])
        steps.append(_steps(sqlite, name))
    assert steps[1] <= steps[0] + 5


@pytest.mark.parametrize("after", ["runs_in_state", "runs_busy", "runs_ready"])
def test_a_run_that_is_claimed_while_runs_are_listed_is_listed_once(
    sqlite: SqliteStore, tmp_path: Path, after: str
) -> None:
    """Pending and running ones are found in two indexes: asked one after the other, it was in neither, or in both."""
    other = SqliteStore(tmp_path / "journal.db")
    other.commit([submitted(Run("r", "workflow", "job", "i", direct=False, queue="q"), now=0.0)])
    claims: list[Any] = []

    def claim(cursor: object, statement: str, values: object) -> bool:
        if statement == _SQL[after] and not claims:
            claims.extend(other.commit([Claim("me", 30.0, ("job",))]))
        return True

    sqlite._connection.exec_trace = claim
    listed = sqlite.runs(states=["running", "pending"])
    sqlite._connection.exec_trace = None
    assert [run.id for run in listed] == ["r"]
    assert len(claims) == 1
    assert [run.state for run in sqlite.runs(states=["pending", "running"])] == ["running"]
    other.close()


def test_the_newest_pending_runs_are_found_without_reading_all_of_them(sqlite: SqliteStore) -> None:
    for number in range(600):
        run = Run(f"{number}", "workflow", "nap", f"{number}", direct=False, queue="q", priority=number % 2)
        sqlite.commit([submitted(run, now=0.0)])
    values = (2**62, 3, "q", "nap", 1)
    assert _steps(sqlite, "runs_ready", values) < 400
    assert [run.id for run in sqlite.runs(states=["pending"], limit=3)] == ["599", "598", "597"]


def _later(run: Run) -> Run:
    return run._replace(id=f"{run.id}-later", identity=f"{run.id}-later", wake_at=1e9)


def _steps(sqlite: SqliteStore, name: str, values: tuple[Any, ...] = ()) -> int:
    """Instructions that SQLite executes for a statement."""
    connection = sqlite._writer
    taken: list[int] = []
    connection.trace_v2(
        apsw.SQLITE_TRACE_PROFILE,
        lambda event: taken.append(event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]),
    )
    try:
        connection.execute(_SQL[name], values or ("q", "nap", 0.0)[: _SQL[name].count("?3") + 2]).fetchall()
    finally:
        connection.trace_v2(0)
    return taken[-1]
