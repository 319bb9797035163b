"""What becomes due between a claim and the wait after it is claimed at once, not a quarter of a second later."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

import onward
from onward.api import connect
from onward.core import limits
from onward.runtime.worker import Worker


@onward.workflow
def quick(number: int) -> int:
    return number


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """It has claimed a moment ago, and got nothing."""
    onward.connect("memory:")
    made = Worker(connect.engine(), names=[quick.name], concurrency=1)
    assert made.turn()[1] == 0
    yield made
    made.rest(1)
    onward.connect("memory:")


def waited_s(worker: Worker, due_s: float, most_s: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """How long it waits, when the next run is due so long after it has asked; `most_s` if nothing wakes it."""
    monkeypatch.setattr(limits, "TAKE_OVER_S", most_s)
    assert worker._asked_at < time.time()
    worker._next_at = worker._asked_at + due_s
    while time.time() < worker._next_at:
        time.sleep(0.001)
    began_at = time.monotonic()
    worker._await(connect.engine().store.version())
    return time.monotonic() - began_at


def test_what_has_become_due_meanwhile_is_not_waited_for(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert waited_s(worker, 0.001, 60.0, monkeypatch) < 30


def test_what_a_limit_holds_back_is_not_asked_for_again_and_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert waited_s(worker, -0.001, 0.3, monkeypatch) >= 0.3


def test_a_worker_without_room_does_not_ask(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_concurrency", 0)
    worker._mean_s = 1_000.0  # nor is anything claimed ahead
    assert waited_s(worker, 0.001, 0.3, monkeypatch) >= 0.3
