"""Wait inside a run for the end of another one."""

from __future__ import annotations

from typing import Any

from onward.core import codec, limits
from onward.core.errors import RunCancelled, RunNotFound
from onward.core.model import ENDED, Run
from onward.core.retry import Policy
from onward.runtime.effects import Flow, Look, Now, Wait
from onward.runtime.served import Served
from onward.runtime.session import Session, Unit


def await_run(session: Session, key: str, run_id: str, timeout: float | None, *, place: str) -> Flow[Any]:
    """The result of the run, recorded as that of a child; raises its error. `place`: where it is looked for.

    In a worker the waiting run is given back, and due when the other one has ended or the time is over.
    """
    unit = Unit(key, "child", "result", Policy(), codec.fingerprint(run_id))
    if key not in session.recorded:
        until: float | None = None
        if timeout is not None:
            until = yield from session.take(f"{key}/until", "value", "result", lambda now: now + timeout)
        yield from _end_of(session, key, run_id, until)
    run: Run | None = None if key in session.recorded else (yield Look(run_id))

    def outcome() -> Any:
        if run is None:
            raise RunNotFound(run_id, place)
        if run.state not in ENDED:
            raise TimeoutError(f"run {run_id} had not ended within {timeout or 0:g} s; it goes on")
        if run.state == "cancelled":
            raise RunCancelled(run.id)
        if run.state == "failed":
            raise codec.decode_error(run.error or "null")
        return None if run.result is None else codec.decode(run.result)

    return (yield from session.perform(unit, outcome, (), {}))


def _end_of(session: Session, key: str, run_id: str, until: float | None) -> Flow[None]:
    """Wait until the run has ended, or that time has come."""
    pause_s = limits.LOOK_S
    while True:
        run: Run | None = yield Look(run_id)
        now: float = yield Now()
        if run is None or run.state in ENDED or (until is not None and now >= until):
            return
        yield from session.check()
        if isinstance(session, Served):
            yield from session.rest_in(key, until, (run_id,), now=now, look_s=pause_s)
        else:
            yield Wait(pause_s)
        pause_s = min(2 * pause_s, 0.25)
