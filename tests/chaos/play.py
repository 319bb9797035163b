"""One course of the chaos: clients that start and stop runs, workers, the nemesis, healing, and the verdict."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from chaos import evidence, jobs, oracle
from chaos.evidence import Deeds
from chaos.network import Network
from chaos.staff import Staff
from onward.api import connect
from onward.api.journal import Journal
from onward.core.errors import PASSING, OnwardError
from onward.core.model import ENDED
from onward.runtime.engine import Engine
from onward.storage import Store
from onward.storage.open import open_store
from postgres.server import Server, fresh_schema

WORKERS = 3
RUNS = 400
HEALING_S = 60.0
# What must have happened, or nothing was shown; and what networks must have done beside it: the answer of a journal in
# a file is lost only with the process that asked.
_SHOWN = ("stolen leases", "taken over", "refused", "waiting", "down")
_SHOWN_OF_NETWORKS = ("unknown, and committed", "unknown, and not committed")


class Place(NamedTuple):
    """Where the journal of a course is."""

    url: str
    folder: Path
    server: Server | None = None  # of the URL, if the network to it is to fail
    schema: str = ""

    def fresh(self, name: str) -> Place:
        """Another journal on the same server, with logs of its own."""
        assert self.server is not None, "a journal in a file is fresh in another folder"
        folder, schema = self.folder / name, fresh_schema()
        folder.mkdir()
        return Place(self.server.url(schema=schema), folder, self.server, schema)


class Course(NamedTuple):
    """What was done, what came of it, and what is wrong with that."""

    seed: int
    struck: Counter[str]
    counts: Counter[str]
    took_s: tuple[float, float]  # until the faults were over, until all had ended
    breaches: list[str]
    missing: list[str]

    def __str__(self) -> str:
        def told(counts: Counter[str]) -> str:
            return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))

        chaos_s, all_s = self.took_s
        return (
            f"seed {self.seed}, {chaos_s:.0f} s and {all_s - chaos_s:.0f} s of healing: {told(self.struck)}; "
            f"{told(self.counts)}"
        )


class Clients:
    """Start runs, and pause, resume and cancel some of them: in a thread of their own."""

    def __init__(self, engine: Engine, chance: random.Random, goes_on: Callable[[], bool]) -> None:
        self._engine, self._chance, self._goes_on = engine, chance, goes_on
        self.acknowledged: dict[str, int] = {}
        self.tried: set[str] = set()

    def work(self) -> None:
        unanswered: deque[tuple[int, int]] = deque()  # a start without an answer is repeated
        number = 0
        while self._goes_on() or unanswered:
            if not unanswered and number < RUNS and self._goes_on():
                number += 1
                unanswered.append((number, self._chance.randrange(len(jobs.KINDS))))
            if unanswered:
                self._start(unanswered)
            if self._chance.random() < 0.1 and self.acknowledged and self._goes_on():
                self._act(self._chance.choice(sorted(self.acknowledged)))
            time.sleep(self._chance.uniform(0.02, 0.1))

    def _start(self, unanswered: deque[tuple[int, int]]) -> None:
        n, which = unanswered[0]
        kind = jobs.KINDS[which]
        run_id = f"{kind.name}-{n}"
        self.tried.add(run_id)
        try:
            started = kind.options(id=run_id).start(n)
        except PASSING:
            return
        assert started.id == run_id, "it was asked for"
        self.acknowledged[run_id] = n
        unanswered.popleft()

    def _act(self, run_id: str) -> None:
        with suppress(OnwardError):  # it cannot be done to one in that state, or not now
            getattr(Journal(self._engine), self._chance.choice(("pause", "pause", "resume", "cancel")))(
                run_id
            )


class Nemesis:
    """One fault after the other, in an order that chance has it: each of them in turn, some of them more often."""

    def __init__(
        self, staff: Staff, network: Network | None, chance: random.Random, often: Sequence[str]
    ) -> None:
        self._staff, self._network, self._chance = staff, network, chance
        self._often = ["stop", "stop", *(["cut after COMMIT"] if network else []), *often]
        self._faults = staff.faults | (network.faults if network else {})
        self.struck: Counter[str] = Counter()

    def strike_while(self, goes_on: Callable[[], bool]) -> None:
        deck: list[str] = []
        while goes_on():
            if not deck:
                deck = [*self._faults, *self._often]
                self._chance.shuffle(deck)
            self._staff.let_go_on(time.monotonic())
            if self._network:
                self._network.heal(time.monotonic())
            fault = deck.pop()
            self._faults[fault]()
            self.struck[fault] += 1
            self._staff.hire()
            time.sleep(self._chance.uniform(0.2, 0.8))
        self._staff.let_go_on()
        if self._network:
            self._network.heal()


def course(
    place: Place,
    seed: int,
    *,
    seconds: float,
    ahead_s: float = 0.0,
    mutant: str | None = None,
    often: Sequence[str] = (),
) -> Course:
    """Play it for so long, and on a busy machine until every fault has shown, if that comes; then heal, and judge.

    `ahead_s`: of one worker's clock; `often`: faults that are to come more often; `mutant`: a bug in the workers.
    """
    with ExitStack() as opened:
        urls = [place.url] * (WORKERS + 1)
        network = None
        if place.server is not None:
            network = Network(place.server, place.schema, WORKERS + 1, random.Random(seed + 2))
            opened.callback(network.close)
            urls = network.urls
        jobs.enter(place.folder)
        # Before the workers, which would all of them make the journal.
        judge = open_store(place.url)
        opened.callback(judge.close)
        engine = connect._engine = jobs.opened(urls[-1])
        opened.callback(connect.disconnect)
        staff = Staff(urls[:-1], place.folder, random.Random(seed + 1), ahead_s=ahead_s, mutant=mutant)
        opened.callback(staff.close)
        nemesis = Nemesis(staff, network, random.Random(seed + 3), often)
        return _played(place, seed, seconds, engine, judge, staff, nemesis)


def _played(
    place: Place,
    seed: int,
    seconds: float,
    engine: Engine,
    judge: Store,
    staff: Staff,
    nemesis: Nemesis,
) -> Course:
    began = time.monotonic()
    over = threading.Event()

    def missing() -> list[str]:
        found = evidence.counts(evidence.read(place.folder), staff.killed)
        return [what for what in (*_SHOWN, *(_SHOWN_OF_NETWORKS if place.server else ())) if not found[what]]

    def goes_on() -> bool:
        took = time.monotonic() - began
        return not over.is_set() and (took < seconds or (took < 3 * seconds and bool(missing())))

    clients = Clients(engine, random.Random(seed), goes_on)
    with ThreadPoolExecutor(1) as thread:
        # The nemesis stays in the main thread: servers end with the thread that has started them.
        working = thread.submit(clients.work)
        try:
            nemesis.strike_while(goes_on)
        finally:
            over.set()
        working.result()
    struck_s = time.monotonic() - began
    # Not every blow hits: there may be nobody to stop or to kill.
    hit = {"kill -9": len(staff.killed), "stop": staff.stops, "drain": staff.drains}
    struck = Counter({**nemesis.struck, **hit})
    staff.put_clocks_right()
    _settle(engine, judge, staff)
    all_s = time.monotonic() - began
    staff.close()
    logs = evidence.read(place.folder)
    deeds = Deeds(clients.acknowledged, clients.tried, staff.killed, staff.stops)
    counts = evidence.counts(logs, staff.killed) + oracle.counts(judge)
    found = staff.fallen + oracle.breaches(judge, logs, deeds)
    return Course(seed, struck, counts, (struck_s, all_s), found, missing())


def _settle(engine: Engine, judge: Store, staff: Staff) -> None:
    """Let paused runs go on, and wait until everything has ended."""
    end = time.monotonic() + HEALING_S
    while time.monotonic() < end:
        staff.hire()
        unfinished = [run for run in judge.runs(limit=10_000) if run.state not in ENDED]
        if not unfinished:
            return
        for run in unfinished:
            if run.state == "paused":
                with suppress(OnwardError):
                    Journal(engine).resume(run.id)
        time.sleep(0.2)
