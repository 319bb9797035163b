"""Bugs in what workers do, put into production code on purpose: the oracle of their stories must find every one."""

from __future__ import annotations

import math
from typing import Any

from onward.core import acts, claiming, flow
from onward.core import decide as decide_module
from onward.core.claiming import Past
from onward.core.decide import Released
from onward.core.model import Change, Run
from onward.runtime import engine as engine_module
from onward.runtime import served as served_module
from onward.runtime.effects import Call, Flow, Outcome
from onward.runtime.engine import Engine
from onward.runtime.leases import Leases
from onward.runtime.served import Served
from onward.runtime.session import Session
from onward.storage import guards
from onward.storage.sqlite import straight
from simulation.mutants import Mutant, _CheckThenAct, _no_refusal, _only_tend

_orphaned, _blamed = claiming.orphaned, claiming.blamed_for
# Where a run's claim to be the only one of its key is given up.
_FREEING = (acts, claiming, decide_module, straight)
_close, _whole = Served.close, Served.whole


def _with_its_fence(run: Run, past: Past, *, now: float) -> Change:
    change = _orphaned(run, past, now=now)
    assert change.after is not None
    return change._replace(after=change.after._replace(fence=run.fence))


def _by_age(self: Engine, owner: str) -> int:
    """Whatever was claimed some seconds ago is thought to be left behind."""
    now = self.store.now()
    old = [run for run in self.store.runs_held(owner, limit=100) if now - run.updated_at > 6.0]
    changes = [_orphaned(run, self._past(run), now=now) for run in old]
    return len(self.committer.commit(*changes)) if changes else 0


def _any_is_gone(self: Engine, owner: str, lease_until: float) -> bool:
    return True


def _everybody(run: Run, past: Past) -> Any:
    return _blamed(run, past._replace(in_turn=True))


def _nobody(run: Run, past: Past) -> Any:
    blame = _blamed(run, past)
    return blame._replace(begun=tuple(b._replace(crashes=0) for b in blame.begun))


def _unasked(self: Served, end: Any) -> Flow[None]:
    """Gives the run back without a word of whom it awaits."""
    if isinstance(end, Released):
        end = end._replace(awaits=())
    yield from _close(self, end)


def _latest(self: Served) -> None:
    with self.lock:
        if not self._resting or len(self._resting) < self._strands or self.unwinding is not None:
            return
        times = [rest.until for rest in self._resting.values() if rest.until is not None]
        self._awake_at = max(times, default=None)
        self._awaits = ()
    self.unwind(served_module.Suspended("simulated"))


def _at_once(self: Served, fn: Any, args: Any, kwargs: Any) -> Flow[Any]:
    """Begins a run without a look at whether it is still its own, or is to be cancelled."""
    outcome: Outcome = yield Call(fn, args, kwargs, self.place(), everything=True)
    return (yield from self.finish(outcome))


def _freed_too_early(single: str | None, at: str) -> str | None:
    return None


def _no_bound(limit: int | None, used: int) -> float:
    return math.inf


def _awake_too_early(self: Served, at: float, key: str) -> Flow[None]:
    yield from Session.until(self, at - 3.0, key)


def _done_first(self: Served, fn: Any, args: Any, kwargs: Any) -> Flow[Any]:
    """Records that the run has ended before its function is called."""
    if self.run.name != "bare":
        return (yield from _whole(self, fn, args, kwargs))
    yield from self.close(decide_module.Returned("{}"))
    outcome: Outcome = yield Call(fn, args, kwargs, self.place(), everything=True)
    return outcome.value


def _leave_lost(self: Leases) -> None:
    self._in_doubt = False


def mutants() -> list[Mutant]:
    """Those that the oracle must catch."""
    no_check = (guards, "refusal", _no_refusal)
    return [
        Mutant("no fence check", no_check),
        _CheckThenAct("fence check, then act", no_check),
        Mutant("lease by age only", (Engine, "_hand_on", _by_age), (Engine, "_is_gone", _any_is_gone)),
        Mutant("an orphan keeps its fence", (engine_module, "orphaned", _with_its_fence)),
        Mutant("every death convicts", (claiming, "blamed_for", _everybody)),
        Mutant("no death convicts", (claiming, "blamed_for", _nobody)),
        Mutant("wake-up lost when suspending", (Served, "close", _unasked)),
        Mutant("due when the last branch wakes", (Served, "_suspend_if_all_rest", _latest)),
        Mutant("awake too early", (Served, "until", _awake_too_early)),
        Mutant("begun without a look at the lease", (Served, "whole", _at_once)),
        Mutant("key freed too early", *((module, "freed", _freed_too_early) for module in _FREEING)),
        Mutant("no limits", (flow, "_left", _no_bound)),
        Mutant("completion before effect", (Served, "whole", _done_first)),
        Mutant("claims in doubt forgotten", (Leases, "_find_lost", _leave_lost)),
        Mutant("no independent renewal", (Engine, "look_after", _only_tend)),
    ]
