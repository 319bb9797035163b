"""Queued runs of the simulated world: what clients start, what workers execute of it, and what must come of that."""

from __future__ import annotations

import json
import random
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from onward.api import starting
from onward.api.queuing import Queuing
from onward.core import codec
from onward.core.errors import JournalBroken, JournalError, StepCrashed
from onward.core.flow import text_of
from onward.core.model import ENDED, Run
from onward.core.retry import Policy
from onward.runtime.current import Here
from simulation.processes import LEASE_S, Code
from simulation.staff import Kind, StaffProcess
from simulation.usercode import BodyFailed, UserCode

Values = Generator[float, None, Any]
# Innocents survive what the world does to them; who kills its workers is given up after two deaths in its turn.
INNOCENT = Policy(max_attempts=4, max_crashes=3, backoff_s=1.0, backoff_max_s=4.0)
GUILTY = Policy(max_crashes=2)
NARROW, AT_ONCE = "narrow", 2  # a queue, and how many of its runs are executed at once
BRISK, STARTS, WINDOW_S = "brisk", 2, 20.0  # a queue, and how many of its runs begin in any so many seconds


# -- what workers execute ----------------------------------------------------------------------------------


def chain(code: UserCode, here: Here, name: str) -> Values:
    """Steps that fail and are repeated, and a sleep that suspends the run."""
    one = yield from code.step(here, "one", name, lasts_s=2, fails=0.3)
    yield from code.sleep(here, 8)
    two = yield from code.step(here, "two", one, lasts_s=1)
    at = yield from code.now(here)
    return {"one#1": one, "two#1": two, "now#1": at}


def leaf(code: UserCode, here: Here, name: str) -> Values:
    return {"one#1": (yield from code.step(here, "one", name, lasts_s=3))}


def parent(code: UserCode, here: Here, name: str) -> Values:
    """Starts others and waits for them, in their order and side by side."""
    first = yield from code.start(here, "leaf", f"{name}.0")
    second = yield from code.start(here, "leaf", f"{name}.1")
    ids = [first, second, (yield from code.start(here, "leaf", f"{name}.2"))]
    got = {f"start leaf#{number + 1}": run_id for number, run_id in enumerate(ids)}
    got["result#1"] = yield from code.result(here, ids[0])

    def waits(run_id: str) -> Any:
        return lambda own, place: own.result(place, run_id)

    pair = yield from code.gather(here, waits(ids[2]), waits(ids[1]))
    got["gather#1/0 > result#1"], got["gather#1/1 > result#1"] = pair
    return got


def branches(code: UserCode, here: Here, name: str) -> Values:
    """Branches that sleep for different times beside one that works; then all of them sleep."""

    def drip(seconds: float) -> Any:
        def run(own: UserCode, place: Here) -> Values:
            first = yield from own.step(place, "one", lasts_s=1)
            yield from own.sleep(place, seconds)
            second = yield from own.step(place, "two", first, lasts_s=1)
            return [first, second]

        return run

    def works(own: UserCode, place: Here) -> Values:
        return [(yield from own.step(place, "long", lasts_s=1.5 * LEASE_S))]

    found = yield from code.gather(here, drip(3), drip(40), works)
    keys = [
        ("gather#1/0 > one#1", "gather#1/0 > two#1"),
        ("gather#1/1 > one#1", "gather#1/1 > two#1"),
        ("gather#1/2 > long#1",),
    ]
    return {
        key: value
        for of, values in zip(keys, found, strict=True)
        for key, value in zip(of, values, strict=True)
    }


def again(code: UserCode, here: Here, name: str) -> Values:
    """Fails as a whole now and then, and is attempted again: what succeeded is kept."""
    kept = yield from code.step(here, "kept", lasts_s=1)
    risky = yield from code.step(here, "risky", kept, lasts_s=1, fails=0.5, policy=Policy(max_crashes=3))
    return {"kept#1": kept, "risky#1": risky}


def poison(code: UserCode, here: Here, name: str) -> Values:
    """A step that kills its worker, whoever that is."""
    before = yield from code.step(here, "before", lasts_s=1)
    try:
        yield from code.step(here, "deadly", lasts_s=float(name[-1]), poisons=True, policy=GUILTY)
    except StepCrashed:
        return {"before#1": before, "deadly#1": "crashed"}


def brute(code: UserCode, here: Here, name: str) -> Values:
    """Kills its worker outside of any step."""
    effect = code.begin_effect("run/whole", 1, certain=False)
    yield 0.5
    effect.deadly = True
    yield from code.die()


def bare(code: UserCode, here: Here, name: str) -> Values:
    """A job without a step: the function is all of it."""
    code.begin_body()
    yield code.world.chance.uniform(0, 2)
    return {}


KINDS = [
    Kind("chain", chain, INNOCENT),
    Kind("leaf", leaf, INNOCENT),
    Kind("parent", parent, INNOCENT),
    Kind("branches", branches, INNOCENT),
    Kind("again", again, Policy(max_attempts=40, max_crashes=3, backoff_s=2.0, retry_on=(BodyFailed,))),
    Kind("poison", poison, INNOCENT),
    Kind("brute", brute, GUILTY),
    Kind("bare", bare, INNOCENT),
]


# -- what clients start ------------------------------------------------------------------------------------


class Started:
    """A run that clients start, several of them at once, and wait for."""

    def __init__(self, kind: str, number: int, queuing: Queuing) -> None:
        self.kind, self.queuing = kind, queuing
        self.name = f"{kind}-{number}"
        self.over = False
        self.acknowledged: set[str] = set()  # ids that `start` has given back

    def calls(self, process: StaffProcess) -> Code:
        """What one client does: start it, again if the answer was lost, and wait for its end."""
        world = process.world
        started: str | None = None
        while not self.over:
            yield world.chance.uniform(0.1, 1.5)
            try:
                if started is None:
                    started = self._start(process)
                run = process.store.run(started)
                if run is not None and run.state in ENDED:
                    self._heard(process, run)
                    self.over = True
            except JournalBroken:
                world.kill(process)
                yield float("inf")
            except JournalError:
                world.log.counts["calls that failed"] += 1

    def _start(self, process: StaffProcess) -> str:
        queuing, now = self.queuing, process.world.wall()
        # With a key every client asks for a run of its own: that there is only one is the journal's doing.
        own_id = self.name if queuing.key is None else f"{self.name}.{process.name}"
        run = queuing.run(self.kind, own_id, codec.encode([[self.name], {}]), now=now)
        process.world.log.asked.setdefault(own_id, now)
        found = starting.submit(process.engine, run, queuing)
        self.acknowledged.add(found.id)
        process.world.log.counts["starts"] += 1
        if found.id != own_id:
            process.world.log.counts["starts that found another run"] += 1
        return found.id

    def _heard(self, process: StaffProcess, run: Run) -> None:
        result = None if run.result is None else json.loads(run.result)
        process.world.log.returned.append((run.id, result))

    def close(self) -> None:
        """The story is over."""


def some(chance: random.Random) -> list[Started]:
    """A few runs of different sorts."""
    kinds = [
        "chain",
        "parent",
        "branches",
        "again",
        "bare",
        "bare",
        chance.choice(("poison", "brute", "chain")),
    ]
    chosen = chance.sample(kinds, 4)
    found = []
    for number, kind in enumerate(chosen):
        queue = chance.choice(("default", "default", NARROW, BRISK))
        key = f"{kind}!" if chance.random() < 0.3 else None
        delay_s = chance.choice((None, None, 5.0))
        found.append(
            Started(kind, number, Queuing(queue, key=key, delay_s=delay_s, priority=chance.choice((0, 0, 1))))
        )
    found += [Started("bare", 10 + number, Queuing(NARROW)) for number in range(chance.randint(0, 4))]
    found += [Started("leaf", 20 + number, Queuing(BRISK)) for number in range(chance.randint(0, 3))]
    return found


def limit(journal: Any) -> None:
    """The limits of the queues that have some."""
    journal.set_queue(NARROW, declared=text_of({"concurrency": AT_ONCE}))
    journal.set_queue(BRISK, declared=text_of({"rate": [STARTS, WINDOW_S]}))


# -- what must come of it ----------------------------------------------------------------------------------


def misses(run: Run, outcomes: Mapping[str, Any], result: Any, convicted: Sequence[str]) -> str | None:
    """What is wrong with how a run ended, given the recorded outcome of each key; None if nothing."""
    if run.name in ("poison", "brute"):
        if not convicted:
            return f"it kills its workers and ended as {run.state} with {result}"
    elif convicted:
        return None  # judged by how often its workers died
    if run.error is not None and "RunCancelled" in run.error and run.name == "parent":
        return None  # the operator has cancelled a child
    if run.state == "failed":
        return None if convicted else f"it failed with {run.error}"
    wanted = {key: outcomes.get(key, "nothing") for key in result}
    return None if result == wanted else f"result {result}, recorded {wanted}"
