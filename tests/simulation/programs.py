"""The programs that simulated processes run. Each says how it is called, what it does, and what must come of it."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from onward.api.opening import obtain
from onward.core.errors import (
    AlreadyRunning,
    JournalBroken,
    JournalError,
    RunConflict,
    RunFailed,
    StepCrashed,
    Unwind,
)
from onward.core.model import Run, RunKind
from onward.runtime.current import Here
from onward.runtime.effects import Outcome
from onward.runtime.items import Items
from simulation.processes import LEASE_S, Code, Process
from simulation.sheets import Sheet, opened
from simulation.usercode import POISONED, STEP, BodyFailed, UserCode

Values = Generator[float, None, Any]


class Program:
    """Something that processes call again and again until it is done."""

    kind: RunKind = "workflow"
    sequential = True  # one thing after the other, so that the order of its records is that of its code

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        self.asynchronous = chance.random() < 0.5
        self.over = False
        self.passes = 0

    # -- being called -----------------------------------------------------------------------------------

    def calls(self, process: Process) -> Code:
        """What one process does: call the program until it is over."""
        world = process.world
        while not self.over:
            yield world.chance.uniform(0.01, 2)
            try:
                finished = process.store.latest_run(self.identity)
                if finished is not None and self.is_over(finished):
                    self.over = True
                    return
                yield from self._call(process)
            except RunConflict:
                world.log.counts["files found changed"] += 1
            except AlreadyRunning:
                world.log.counts["found running"] += 1
            except JournalBroken:
                world.kill(process)  # it ends with an error; another process is started
                yield float("inf")
            except (JournalError, Unwind, RunFailed, BodyFailed, StepCrashed):
                world.log.counts["calls that failed"] += 1

    @property
    def identity(self) -> str:
        return f"{self.kind}:{self.name}"

    def is_over(self, run: Run) -> bool:
        return run.state in ("done", "cancelled")

    def _call(self, process: Process) -> Values:
        self.passes += 1
        run_id = self.name if self.kind == "workflow" else f"{self.name}-{self.passes}"
        want = Run(run_id, self.kind, self.name, self.identity, args=json.dumps(self.name))
        process.world.log.asked.setdefault(run_id, process.world.wall())
        session = obtain(process.engine, want)
        if isinstance(session, Run):  # another process has brought it to its end in this very moment
            result = None if session.result is None else json.loads(session.result)
            process.world.log.returned.append((session.id, result))
            return
        code = UserCode(process, session, asynchronous=self.asynchronous)
        try:
            value = yield from self.execute(code)
        except Unwind as signal:
            process.engine.let_go(session)
            if isinstance(signal.__cause__, JournalError):
                raise signal.__cause__ from signal
            raise
        except Exception:
            process.engine.let_go(session)
            raise
        process.engine.let_go(session)
        process.world.log.returned.append((session.run.id, value))

    def execute(self, code: UserCode) -> Values:
        return (yield from code.drive(code.session.whole(lambda here: self.body(code, here), (), {})))

    def body(self, code: UserCode, here: Here) -> Values:
        raise NotImplementedError

    def close(self) -> None:
        """The story is over."""

    # -- what must come of it, by the oracle's reading of the journal ---------------------------------------

    def misses(self, outcomes: Mapping[str, Any], result: Any) -> str | None:
        """What is wrong with the end of a run, given the recorded outcome of each key; None if nothing."""
        wanted = {key: outcomes.get(key, "nothing") for key in self.wanted}
        return None if result == wanted else f"result {result}, recorded {wanted}"

    wanted: Sequence[str] = ()


class Order(Program):
    """Steps that fail and are repeated, a value, a sleep, and a failure that user code catches."""

    wanted = ("charge#1", "ship#1", "ship#2", "refuse#1", "now#1")

    def body(self, code: UserCode, here: Here) -> Values:
        got: dict[str, Any] = {}
        got["charge#1"] = yield from code.step(here, "charge", lasts_s=3, fails=0.4)
        got["now#1"] = yield from code.now(here)
        yield from code.sleep(here, 8)
        got["ship#1"] = yield from code.step(here, "ship", got["charge#1"], certain=True)
        try:
            yield from code.step(here, "refuse", fails=1.0)
        except BodyFailed as error:
            got["refuse#1"] = str(error)
        got["ship#2"] = yield from code.step(here, "ship", got["ship#1"], lasts_s=1)
        return got


class Long(Program):
    """A child workflow with a step longer than a lease, then two branches at once."""

    sequential = False
    wanted = ("import#1", "gather#1/0 > load#1", "gather#1/1 > load#1", "gather#1/1 > load#2", "close#1")

    def body(self, code: UserCode, here: Here) -> Values:
        def inner(place: Here) -> Values:
            first = yield from code.step(place, "fetch", lasts_s=2)
            return (yield from code.step(place, "parse", first, lasts_s=2.5 * LEASE_S))

        def branch(times: int) -> Any:
            def run(own: UserCode, place: Here) -> Values:
                loaded = []
                for at in range(times):
                    loaded.append((yield from own.step(place, "load", at, lasts_s=4)))  # noqa: PERF401
                return loaded

            return run

        got: dict[str, Any] = {"import#1": (yield from code.child(here, "import", inner))}
        [one], [two, three] = yield from code.gather(here, branch(1), branch(2))
        got |= dict(zip(self.wanted[1:4], (one, two, three), strict=True))
        got["close#1"] = yield from code.step(here, "close", one, two, three)
        return got


class Poisoned(Program):
    """Steps that kill their process, again and again: one in the workflow itself, one in a loop within it."""

    def __init__(self, name: str, chance: random.Random) -> None:
        super().__init__(name, chance)
        self.lasts_s = chance.choice((0.0, 5.0))

    def body(self, code: UserCode, here: Here) -> Values:
        got: dict[str, Any] = {"before#1": (yield from code.step(here, "before", lasts_s=1))}

        def brittle(place: Here, item: str) -> Values:
            poisons = item == "bad"
            key = f"{place.key} > brittle#1".removeprefix(" > ")
            try:
                got[key] = yield from code.step(
                    place, "brittle", item, lasts_s=self.lasts_s, poisons=poisons, policy=POISONED
                )
            except StepCrashed:
                got[key] = "crashed"

        yield from brittle(here, "bad")
        items = Items(
            code.process.engine,
            code.session,
            prefix=f"{here.scope.next('each')}/",
            name="each",
            policy=POISONED,
            key=None,
            nested=True,
        )
        yield from walk(code, items, ["good", "bad"], brittle)
        got["after#1"] = yield from code.step(here, "after")
        return got

    def misses(self, outcomes: Mapping[str, Any], result: Any) -> str | None:
        parked = [key for key in ("each#1/good", "each#1/bad") if outcomes.get(key) == "crashed"]
        inner = [f"each#1/{item} > brittle#1" for item in ("good", "bad") if f"each#1/{item}" not in parked]
        wanted = {key: outcomes.get(key, "nothing") for key in ("before#1", "brittle#1", *inner, "after#1")}
        if "crashed" not in (outcomes.get("each#1/bad"), outcomes.get("each#1/bad > brittle#1")):
            return "the poisoned item was neither parked nor was its step given up"
        return None if result == wanted else f"result {result}, recorded {wanted}"


class Venues(Program):
    """A loop with repeats; some bodies call a step. With `poison` one item kills its process."""

    kind = "loop"
    flush_s = 0.0

    def __init__(self, name: str, chance: random.Random) -> None:
        super().__init__(name, chance)
        self.items = [chance.choice("abcde") for _ in range(chance.randint(3, 8))]
        self.poison = chance.choice(("f", None, None))
        if self.poison is not None and not self.flush_s:
            self.items.insert(chance.randint(0, len(self.items)), self.poison)

    def execute(self, code: UserCode) -> Values:
        session = code.session
        session.total = len(self.items)
        sheet = yield from self.sheet(code)
        items = Items(
            code.process.engine,
            session,
            prefix="each/",
            name="each",
            policy=POISONED if self.poison in self.items else STEP,
            key=None,
            nested=False,
            flush_s=self.flush_s,
        )
        try:
            yield from walk(code, items, self.items, lambda place, item: self.visit(code, place, item), sheet)
        except Unwind:
            if (
                session.unwinding is None
            ):  # asked to stop: what is recorded so far is settled, then it is granted
                yield from code.drive(items.settle())
                if sheet is not None:
                    sheet.put()
                yield from code.drive(session.release())
            raise
        parked = RunFailed(session.run.id, "parked") if items.parked else None
        yield from code.drive(session.finish(Outcome(None, parked, 0.0, 0.0)))

    def sheet(self, code: UserCode) -> Generator[float, None, Sheet | None]:
        """Where items write their rows, if they write any."""
        return None
        yield

    def visit(self, code: UserCode, place: Here, item: str) -> Values:
        if item in "ab":
            yield from code.step(place, "look", item, lasts_s=1)
        if item == self.poison:
            yield from code.die()

    def is_over(self, run: Run) -> bool:
        return super().is_over(run) or (run.state == "failed" and self.poison in self.items)

    def misses(self, outcomes: Mapping[str, Any], result: Any) -> str | None:
        keys = [
            key.removeprefix("each/").partition("~")[0]
            for key in outcomes
            if key.startswith("each/") and " > " not in key
        ]
        return None if Counter(keys) == Counter(self.items) else f"items {self.items}, recorded {keys}"


class Tiny(Venues):
    """The same with grouped commits: what was done in the last moment may be done again."""

    flush_s = 2.0

    def visit(self, code: UserCode, place: Here, item: str) -> Values:
        yield code.world.chance.uniform(0, 1.5)


class Rows(Venues):
    """A loop whose items write a row each: recorded with the item, put into the file after that."""

    def __init__(self, name: str, chance: random.Random) -> None:
        super().__init__(name, chance)
        self.file = Path(mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)) / "rows.jsonl"

    def sheet(self, code: UserCode) -> Generator[float, None, Sheet | None]:
        sheet = yield from opened(code, self.file)
        return sheet

    def close(self) -> None:
        shutil.rmtree(self.file.parent)


def walk(
    code: UserCode, items: Items, given: Sequence[str], visit: Any, sheet: Sheet | None = None
) -> Values:
    """What a `for` over `onward.each` does."""
    for item in given:
        key, standing = items.take(item)
        if standing == "failed":
            items.parked += 1
        if standing == "new":
            here = yield from code.drive(items.begin(key))
            if here is None:
                continue
        elif standing == "done" and items.replays(key):
            here = yield from code.drive(items.revisit(key))
            assert here is not None
        else:
            continue
        if sheet is not None:
            sheet.put()
        again = standing == "done"
        certain = not items.flush_s
        effect = None if again else code.begin_effect(key, here.attempt, certain=certain)
        began_at = code.world.wall()
        yield code.world.latency()
        yield from visit(here, item)
        if effect is not None:
            effect.ended_at = code.world.at
            row = None if sheet is None else sheet.collect(effect)
            yield from code.drive(items.end(key, began_at, row))
    yield from code.drive(items.settle())
    if sheet is not None:
        yield code.world.latency()
        sheet.put()


def some(chance: random.Random) -> list[Program]:
    """Three programs, of different sorts."""
    sorts: list[tuple[str, type[Program]]] = [
        ("order", Order),
        ("long", Long),
        ("poisoned", Poisoned),
        ("venues", Venues),
        ("tiny", Tiny),
        ("rows", Rows),
    ]
    return [sort(name, chance) for name, sort in chance.sample(sorts, 3)]
