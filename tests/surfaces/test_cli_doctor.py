"""`onward doctor`: what it finds, and what it leaves alone."""

import json
import os
from collections import namedtuple
from pathlib import Path

import apsw
import pytest

from surfaces.conftest import LOOP, Cli, Programs

Usage = namedtuple("Usage", "total used free")


def findings(cli: Cli) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for one in json.loads(cli("doctor", "--json").stdout)["findings"]:
        found.setdefault(one["check"], []).append(one)
    return found


@pytest.fixture
def recorded(programs: Programs) -> Programs:
    programs.run(programs.write(LOOP))
    return programs


def test_a_sound_journal_has_nothing_but_good_findings(cli: Cli, recorded: Programs) -> None:
    result = cli("doctor")
    assert result.exit_code == 0
    assert {one["verdict"] for many in findings(cli).values() for one in many} == {"ok"}
    for check in ("SQLite: 3.", "file modes:", "size:", "disk space:", "data:", "holders: 0 runs"):
        assert check in result.stdout


def test_damaged_data_is_a_problem_and_is_named(cli: Cli, recorded: Programs, journal: Path) -> None:
    connection = apsw.Connection(str(journal))
    connection.execute("UPDATE entry SET value = '7' WHERE value IS NOT NULL")
    connection.close()
    result = cli("doctor")
    assert result.exit_code == 1
    assert "does not match its checksum" in result.stdout
    assert "Restore the journal from a backup" in result.stdout


def test_a_dead_holder_is_told_with_what_to_type(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIE_AT", "c")
    programs.run(programs.write(LOOP))
    result = cli("doctor")
    assert result.exit_code == 0
    assert "warning  holders: the process that executed letters" in result.stdout
    assert "Continue it: python job.py" in result.stdout


def test_files_that_others_can_read_are_a_warning(cli: Cli, recorded: Programs, journal: Path) -> None:
    os.chmod(journal, 0o644)
    [one] = findings(cli)["file modes"]
    assert one["verdict"] == "warning"
    assert f"{journal} (0644)" in one["text"]


def test_a_disk_that_is_nearly_full_is_a_warning(
    cli: Cli, recorded: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(10**9, 10**9 - 5_000, 5_000))
    [one] = findings(cli)["disk space"]
    assert (one["verdict"], one["text"]) == ("warning", "5.0 kB free")


def test_a_long_log_is_a_warning(cli: Cli, recorded: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onward.cli.doctor._LONG_LOG_BYTES", 10)
    [one] = findings(cli)["log"]
    assert one["verdict"] == "warning"


def test_a_journal_that_cannot_be_opened_is_a_finding(cli: Cli, journal: Path) -> None:
    journal.write_text("no journal at all" * 1_000)
    result = cli("doctor")
    assert result.exit_code == 1
    assert "problem  opening: " in result.stdout
    assert findings(cli)["opening"][0]["verdict"] == "problem"
