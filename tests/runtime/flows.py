"""Flows without a driver: a player gives each effect its reply, so time and the journal are values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from onward.core import codec
from onward.core.model import Applied, Begun, Change, Entry, Run
from onward.core.retry import Policy
from onward.runtime.effects import Flow, Keep, Outcome
from onward.runtime.session import Session, Unit

POLICY = Policy(max_attempts=3, max_crashes=3, backoff_s=4, backoff_max_s=60, jitter=False)
FETCH = Unit("fetch#1", "step", "fetch", POLICY, b"args")
RUN = Run("r-1", "workflow", "job", "workflow:job", state="running", fence=2, owner="me", no=7)


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def made(clock: Clock, *entries: Entry, begun: Sequence[Begun] = (), run: Run = RUN) -> Session:
    return Session(run, last_seq=4, entries=entries, begun=begun, safe_until=100.0, clock=clock)


def body() -> int:
    raise AssertionError("flows do not call user code, drivers do")


def work(session: Session, unit: Unit = FETCH) -> Player:
    return Player(session.perform(unit, body, (1,), {}))


def went(value: Any = 17, error: BaseException | None = None, at: float = 1_000.0) -> Outcome:
    return Outcome(value, error, at - 2, at)


def applied(seq: int = 5, request: Any = None) -> list[Any]:
    return [Applied(7, seq, request)]


class Player:
    """Takes the place of the driver: `next` gives the reply to one effect and returns the next one."""

    def __init__(self, flow: Flow[Any]) -> None:
        self._flow = flow

    def next(self, kind: type, reply: Any = None) -> Any:
        effect = self._flow.send(reply)
        assert type(effect) is kind, effect
        return effect

    def kept(self, reply: Any = None) -> Change:
        """The one change that is to be committed next."""
        [change] = self.next(Keep, reply).changes
        assert isinstance(change, Change)
        return change

    def ends(self, reply: Any = None) -> Any:
        with pytest.raises(StopIteration) as stop:
            self._flow.send(reply)
        return stop.value.value

    def fails(self, error: type[BaseException], reply: Any = None) -> BaseException:
        with pytest.raises(error) as caught:
            self._flow.send(reply)
        return caught.value


def entry(key: str = "fetch#1", state: str = "done", value: Any = 17, **fields: Any) -> Entry:
    text = codec.encode_error(value) if isinstance(value, BaseException) else codec.encode(value)
    name = key.rpartition(" > ")[2].partition("#")[0]
    made = Entry(key, "step", state, name, b"args", text, codec.checksum(text), fence=1)  # type: ignore[arg-type]
    return made._replace(**fields)
