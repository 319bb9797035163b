"""A session of a queued run, which a worker executes: it may be given back midway, and attempted again as a whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from onward.core import codec, limits
from onward.core.decide import Raised, Released, Returned
from onward.core.errors import NotRecordable, StepCrashed, Suspended
from onward.core.keys import WHOLE
from onward.core.model import Begun, Change
from onward.core.retry import Policy, delay_s
from onward.runtime.effects import Flow, Now, Outcome, Wait
from onward.runtime.outcomes import crash_error, culprits, payload
from onward.runtime.session import Session


class Served(Session):
    """As `Session`. What takes long to wait for suspends it: then the run is a row, until any worker wakes it."""

    policy = Policy()
    _wake_at: float | None = None
    _awaits: tuple[str, ...] = ()

    # -- suspension ---------------------------------------------------------------------------------------

    @property
    def may_suspend(self) -> bool:
        """Whether nothing is executed beside what asks: it would be cut off."""
        return self.side_by_side == 0

    def until(self, at: float) -> Flow[None]:
        while True:
            yield from self.check()
            now: float = yield Now()
            if now >= at:
                return
            if at - now > limits.SUSPEND_S and self.may_suspend:
                raise self.suspend(wake_at=at)
            yield Wait(at - now)

    def suspend(self, *, wake_at: float | None, awaits: tuple[str, ...] = ()) -> BaseException:
        """End its execution here: it unwinds, and is due at that time, or when one of those it awaits has ended."""
        self._wake_at, self._awaits = wake_at, awaits
        return self.unwind(Suspended(f"run {self.run.id} waits; its worker has given it back"))

    # -- the whole run --------------------------------------------------------------------------------------

    def whole(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Flow[Any]:
        past = self.begun.get(WHOLE)
        if past is not None and past.crashes >= self.policy.max_crashes:
            yield from self.close(Raised(codec.encode_error(self._gave_up(past))))
            raise self._gave_up(past)
        if self.run_stalls or past is not None:
            # Its workers died and left no trace of what they were at: should this one die too, it is known where.
            yield from self.start_certainly(past or Begun(WHOLE, "mark", self.run.name))
        return (yield from super().whole(fn, args, kwargs))

    # -- the straight way: a run that nothing is in the way of needs no flow ----------------------------------

    def begins_straight(self) -> bool:
        """Whether its function can be called at once: nothing is to be looked at or written before."""
        return not self.run_stalls and not self.begun and not self.hindered()

    def returned_straight(self, outcome: Outcome) -> Change | None:
        """The change that records what its function returned; None if it did not, or something is in the way."""
        if (
            outcome.error is not None
            or self.unwinding is not None
            or self.halting is not None
            or self.output is not None
        ):
            return None
        try:
            text = payload(outcome.value, None)
        except NotRecordable:
            return None
        return self.closing(Returned(text), outcome.ended_at)

    @property
    def is_suspect(self) -> bool:
        """Whether its worker died while it was executed, so that it is better executed alone."""
        past = self.begun.get(WHOLE)
        return self.run_stalls > 0 or (past is not None and (past.suspect or past.crashes > 0))

    def _gave_up(self, past: Begun) -> StepCrashed:
        error = crash_error(past)
        return StepCrashed(str(error).replace(f"mark `{WHOLE}`", f"`{self.run.name}`"))

    def finish(self, outcome: Outcome) -> Flow[Any]:
        if isinstance(self.unwinding, Suspended) and self.halting is None:
            yield from self.close(Released("suspended", None, self._wake_at, self._awaits))
            raise self.unwinding
        return (yield from super().finish(outcome))

    def failure(self, error: Exception, now: float) -> Raised:
        """A failed run is attempted again as its workflow says: what failed is executed anew, the rest is kept."""
        keys = culprits(error)
        attempt = self.run.attempt + 1
        delay = delay_s(self.policy, attempt=attempt, error=error, now=now, random=random.random())
        if delay is None:
            return Raised(codec.encode_error(error), keys)
        reopen = tuple(e for key in keys if (e := self.recorded.get(key)) is not None and e.state == "failed")
        return Raised(codec.encode_error(error), keys, now + delay, reopen)
