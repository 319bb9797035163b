"""A clock that stands still until it is set, a session by it, an engine whose keeper works when told; committers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from onward.runtime.engine import Engine
from onward.runtime.session import Session
from onward.storage.committer import Committer
from runtime.flows import Clock, made
from runtime.keeping import Journal


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def session(clock: Clock) -> Session:
    return made(clock)


@pytest.fixture
def journal(clock: Clock) -> Journal:
    return Journal(clock)


@pytest.fixture
def engine(journal: Journal, clock: Clock) -> Iterator[Engine]:
    engine = Engine(journal, clock=clock, keeper=False)
    yield engine
    journal.fails.clear()
    engine.close()


@pytest.fixture
def open_committer() -> Iterator[Callable[..., Committer]]:
    made: list[Committer] = []

    def make(disk: Any, **options: Any) -> Committer:
        made.append(Committer(disk, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
