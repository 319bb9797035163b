"""Where heartbeats may be said, and whose they are."""

# Loops are what is tested here, so they stay loops; and a test waits by looking.
from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import onward
from api.lives import entries
from onward.api import connect
from onward.cli import main
from onward.core import codec
from onward.core.model import Run


def beats(run: Run | None = None) -> list[Any]:
    """The details of all recorded heartbeats, in the order of the journal."""
    return [codec.decode(entry.value or "") for entry in entries(run) if entry.kind == "beat"]


def latest() -> Any:
    here = onward.current()
    assert here is not None
    return here.heartbeat


def test_outside_of_any_run_it_does_nothing() -> None:
    onward.heartbeat("nobody hears")
    asyncio.run(onward.aio.heartbeat("nobody hears"))
    assert connect.engine().store.runs() == []


def test_in_the_body_of_a_workflow_it_is_refused() -> None:
    @onward.workflow(name="job")
    def job() -> None:
        onward.heartbeat(1)

    with pytest.raises(onward.UsageError, match="Call it inside a step"):
        job()


def test_a_thread_that_knows_nothing_of_the_run_is_refused() -> None:
    errors: list[BaseException] = []

    def shout() -> None:
        try:
            onward.heartbeat(1)
        except BaseException as error:
            errors.append(error)

    @onward.step
    def copy() -> None:
        thread = threading.Thread(target=shout)
        thread.start()
        thread.join()

    @onward.workflow(name="job")
    def job() -> None:
        copy()

    job()
    assert [type(error).__name__ for error in errors] == ["WrongThread"]


@pytest.mark.parametrize(
    ("details", "says"), [(object(), "details of onward.heartbeat"), ("x" * 2_000_000, "write the rest")]
)
def test_details_that_cannot_be_recorded_are_refused(details: Any, says: str) -> None:
    @onward.step
    def copy() -> None:
        onward.heartbeat(details)

    @onward.workflow(name="job")
    def job() -> None:
        copy()

    with pytest.raises(onward.NotRecordable, match=says):
        job()


def test_several_units_at_once_keep_theirs_apart() -> None:
    @onward.step
    def copy(name: str) -> Any:
        for number in range(20):
            onward.heartbeat([name, number])
            time.sleep(0.0005)
        return latest()

    def branch(name: str) -> Callable[[], Any]:
        return lambda: copy(name)

    @onward.workflow(name="job")
    def job() -> Any:
        return onward.gather(branch("a"), branch("b"))

    assert job() == [["a", 19], ["b", 19]]
    for name in ("a", "b"):
        assert [n for one, n in beats() if one == name] == list(range(20))


def test_what_was_said_last_is_shown_and_all_of_it_told_to_programs(
    monkeypatch: pytest.MonkeyPatch, journal: Path
) -> None:
    monkeypatch.setenv("ONWARD_URL", str(journal))

    @onward.step
    def copy() -> None:
        for number in (1, 2):
            onward.heartbeat({"at": number, "\x1b[31m": "red"}, wait=True)
        raise ValueError("no")

    @onward.workflow(name="job")
    def job() -> None:
        copy()

    with pytest.raises(ValueError, match="no"):
        job()
    runner = CliRunner()
    shown = runner.invoke(main, ["show", "job"]).output
    assert "2 heartbeats, the last" in shown
    assert '{"at":2,' in shown
    assert "\x1b" not in shown
    [unit] = json.loads(runner.invoke(main, ["show", "job", "--json"]).stdout)["units"]
    assert [beat["details"]["at"] for beat in unit["heartbeats"]] == [1, 2]


def test_one_glance_shows_what_a_running_step_said_last(
    monkeypatch: pytest.MonkeyPatch, journal: Path
) -> None:
    monkeypatch.setenv("ONWARD_URL", str(journal))
    shown: list[str] = []

    @onward.step
    def copy() -> None:
        onward.heartbeat(1, wait=True)
        onward.heartbeat({"at": 2}, wait=True)
        shown.append(CliRunner().invoke(main, ["status"]).output)

    @onward.workflow(name="job")
    def job() -> None:
        copy()

    job()
    assert re.search(r'job\S*: copy#1 says \{"at":2\} \(', shown[0]), shown[0]
    assert "says" not in CliRunner().invoke(main, ["status"]).output
