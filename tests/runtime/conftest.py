"""A clock that stands still until it is set, a session by it, an engine whose keeper works when told; committers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from onward.runtime import current
from onward.runtime.engine import Engine
from onward.runtime.session import Session
from onward.storage import committer
from onward.storage.committer import Committer
from runtime.committing import Disk, Straight
from runtime.flows import Clock, made
from runtime.keeping import Journal


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """Sessions and lights whose processes tests let die would be found by the tests after them: as code that runs."""
    yield
    current._active.clear()
    current._lights.clear()


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


@pytest.fixture(params=["masked", "without a mask"])
def open_committer(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Committer]]:
    """Opens committers, over a store that writes under a mask only and over one that needs none for a single change."""
    made: list[Committer] = []

    def make(disk: Any, **options: Any) -> Committer:
        if request.param == "without a mask" and type(disk) is Disk:
            disk.__class__ = Straight
            monkeypatch.setattr(committer, "ends_only", lambda: True)  # the test runner has handlers
        made.append(Committer(disk, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
