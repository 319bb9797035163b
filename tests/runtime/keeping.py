"""An engine without threads, over a journal that fails when it is told so; the keeper's work, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onward.core.decide import Started, decide
from onward.core.errors import (
    JournalError,
    Stopped,
)
from onward.core.model import Answer, Begun, Request, Run
from onward.runtime.engine import Engine
from onward.runtime.session import Session
from onward.storage.memory import MemoryStore
from runtime.flows import Clock

WANT = Run("r-1", "workflow", "job", "workflow:job")


class Journal(MemoryStore):
    """A journal that does not do what is asked of it as long as it is told so."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock=clock)
        self.fails: dict[str, JournalError] = {}
        self.loses: JournalError | None = None
        self.noted: list[str] = []

    def _perhaps(self, what: str) -> None:
        if what in self.fails:
            raise self.fails[what]

    def commit(self, changes: Any) -> list[Answer]:
        self._perhaps("commit")
        answers = super().commit(changes)
        if self.loses is not None:
            raise self.loses
        return answers

    def renew(self, owner: str, until: float) -> list[tuple[int, Request | None]]:
        self._perhaps("renew")
        return super().renew(owner, until)

    def unregister(self, owner: str) -> None:
        self._perhaps("unregister")
        super().unregister(owner)

    def tidy(self) -> None:
        self._perhaps("tidy")

    def note_end(self, owner: str) -> None:
        self.noted.append(owner)

    def ended_alive(self, owner_id: str) -> bool:
        return owner_id in self.noted


def begun(engine: Engine) -> Session:
    session = engine.open(WANT)
    assert session is not None
    return session


def keep(engine: Engine, clock: Clock, *, seconds: float, renewed: float | None = None) -> float:
    """Let the keeper work for so long; when it last renewed."""
    renewed = clock.at if renewed is None else renewed
    for _ in range(round(seconds / 0.25)):
        clock.at += 0.25
        renewed = engine.look_after(list(engine.sessions.values()), renewed)
    return renewed


def in_flight(engine: Engine, session: Session, key: str = "work#1") -> None:
    """A step whose start marker is durable."""
    unit = Begun(key, "step", "work", fence=session.run.fence, begun_at=engine.store.now())
    engine.committer.commit(decide(session.run, Started(unit), now=engine.store.now()))


def row(journal: Journal) -> Run:
    run = journal.run("r-1")
    assert run is not None
    return run


def ended_by(error: JournalError, session: Session) -> None:
    session.unwind(Stopped(str(error)), cause=error)
