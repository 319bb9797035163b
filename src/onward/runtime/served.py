"""A session of a queued run, which a worker executes: it may be given back midway, and attempted again as a whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from onward.core import codec, keys, limits
from onward.core.decide import Raised, Released, Returned
from onward.core.errors import NotRecordable, RunConflict, StepCrashed, Suspended, Unwind
from onward.core.keys import WHOLE
from onward.core.model import Begun, Change
from onward.core.retry import Policy, delay_s
from onward.runtime.effects import Flow, Now, Outcome, Wait
from onward.runtime.outcomes import crash_error, culprits, payload
from onward.runtime.session import Fork, Session


class Rest(NamedTuple):
    """What a strand of a run waits for: a time, or the end of one of these runs."""

    until: float | None
    awaits: tuple[str, ...]


class Served(Session):
    """As `Session`. What takes long to wait for suspends it: then the run is a row, until any worker wakes it.

    Its strands are its own code and, while that waits for a gather, the branches of it. It is suspended when every
    strand rests: what sleeps beside something that goes on waits in place.
    """

    policy = Policy()
    _strands = 1
    _awake_at: float | None = None  # when the first of them is due
    _awaits: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._resting: dict[str, Rest] = {}  # strands that rest, by the key of what they wait in

    # -- suspension ---------------------------------------------------------------------------------------

    def until(self, at: float, key: str) -> Flow[None]:
        while True:
            yield from self.check()
            now: float = yield Now()
            if now >= at:
                return
            yield from self.rest_in(key, at, now=now, look_s=at - now)

    def rest_in(
        self, key: str, until: float | None, awaits: tuple[str, ...] = (), *, now: float, look_s: float
    ) -> Flow[None]:
        """Let time pass in the call `key`, `look_s` at most: in place, or by suspending the run if all of it rests."""
        due = min((at for at in (until, *self.deadlines) if at is not None), default=None)
        if (due is not None and due - now <= limits.SUSPEND_S) or self._must_stay(key):
            yield Wait(look_s if due is None else min(look_s, max(0.0, due - now)))
            return
        self._leave_turns(key)
        with self.lock:
            self._resting[key] = Rest(due, awaits)
        try:
            self._suspend_if_all_rest()
            yield from self.check()
            yield Wait(look_s)
        finally:
            with self.lock:
                self._resting.pop(key, None)

    def _must_stay(self, key: str) -> bool:
        """Whether giving the run back would cut off work, which would then be done twice: a step, items of a map."""
        return self.side_by_side > 0 or self.is_inside_step(key)

    def _leave_turns(self, key: str) -> None:
        """What rests keeps no other suspect waiting: it has not killed anybody so far."""
        while self.suspects is not None and keys.SEPARATOR in key:
            key = key.rpartition(keys.SEPARATOR)[0]
            self.suspects.leave(key)

    def _suspend_if_all_rest(self) -> None:
        with self.lock:
            if not self._resting or len(self._resting) < self._strands or self.unwinding is not None:
                return
            times = [rest.until for rest in self._resting.values() if rest.until is not None]
            self._awake_at = min(times, default=None)
            self._awaits = tuple({one for rest in self._resting.values() for one in rest.awaits})
        self.unwind(Suspended(f"run {self.run.id} waits; its worker has given it back"))

    def fork(self, branches: int) -> Fork:
        super().fork(branches)
        with self.lock:
            self._strands += branches - 1
        return _Strands(self, branches)

    def strand_ended(self) -> None:
        with self.lock:
            self._strands -= 1
        self._suspend_if_all_rest()

    # -- the whole run --------------------------------------------------------------------------------------

    def whole(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Flow[Any]:
        try:
            # It may have waited for long since it was claimed: the lease may be over, or the run cancelled.
            yield from self.check()
            past = self.begun.get(WHOLE)
            if past is not None and past.crashes >= self.policy.max_crashes:
                yield from self.close(Raised(codec.encode_error(self._gave_up(past))))
                raise self._gave_up(past)
            if self.run_stalls or past is not None:
                # Its workers died and left no trace of what they were at: should this one die too, it is known where.
                begun = past or Begun(WHOLE, "mark", self.run.name)
                yield from self.start_certainly(begun._replace(suspect=self.is_suspect))
        except Unwind as signal:
            return (yield from self.finish(Outcome(None, signal, 0.0, 0.0)))
        return (yield from super().whole(fn, args, kwargs))

    # -- the straight way: a run that nothing is in the way of needs no flow ----------------------------------

    def is_called_straight(self) -> bool:
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
        """Whether its workers have died so often that it is executed in its turn."""
        return self.run.stalls >= limits.SUSPECT_DEATHS

    def _gave_up(self, past: Begun) -> StepCrashed:
        error = crash_error(past)
        return StepCrashed(str(error).replace(f"mark `{WHOLE}`", f"`{self.run.name}`"))

    def finish(self, outcome: Outcome) -> Flow[Any]:
        signal = self.unwinding
        if isinstance(signal, Suspended) and self.halting is None:
            yield from self.close(Released("suspended", None, self._awake_at, self._awaits))
            raise signal
        if signal is not None and isinstance(signal.__cause__, RunConflict) and not self.given_back:
            # Its next attempt would meet the same: it is nobody's passing trouble.
            yield from self.close(Raised(codec.encode_error(signal.__cause__)))
            raise signal
        return (yield from super().finish(outcome))

    def is_failure(self, error: BaseException) -> bool:
        """Whatever it raises: `sys.exit()` in a run ends that run, not its worker."""
        return not isinstance(error, Unwind)

    def failure(self, error: BaseException, now: float) -> Raised:
        """A failed run is attempted again as its workflow says: what failed is executed anew, the rest is kept."""
        keys = culprits(error)
        attempt = self.run.attempt + 1
        delay = delay_s(self.policy, attempt=attempt, error=error, now=now, random=random.random())
        if delay is None:
            return Raised(codec.encode_error(error), keys)
        reopen = tuple(e for key in keys if (e := self.recorded.get(key)) is not None and e.state == "failed")
        return Raised(codec.encode_error(error), keys, now + delay, reopen)


class _Strands(Fork):
    """The branches of one gather. The last one that ends is followed by the code that waits for them."""

    def __init__(self, session: Served, left: int) -> None:
        self._session, self._left = session, left

    def ended(self) -> None:
        with self._session.lock:
            self._left -= 1
            is_last = self._left == 0
        if not is_last:
            self._session.strand_ended()

    def join(self) -> None:
        if isinstance(self._session.unwinding, Suspended):
            raise self._session.unwinding
