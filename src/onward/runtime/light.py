"""A queued run whose function has asked for nothing durable yet: it needs no session until then.

Most short jobs never do. A session costs as much as all the rest of executing one: locks, events, what is recorded,
the keeper's books. So a run that is executed for the first time begins with a place only; whoever asks that for its
session gets one, which is kept from then on like any other. The keeper asks for it once the run has lasted for a tick:
what lasts is renewed, hears of requests and loses its lease like everything else.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from onward.core.errors import LeaseLost, Stopped
from onward.core.model import Run
from onward.runtime import current, registry
from onward.runtime.current import Here
from onward.runtime.registry import Job
from onward.runtime.served import Served

if TYPE_CHECKING:
    from collections.abc import Callable

    from onward.runtime.session import Session


class Keeper(Protocol):
    """Who keeps the lease."""

    clock: Callable[[], float]

    def keep_light(self, light: Light, session: Served) -> None:
        """Keep the lease of this session, which takes the place of the run that was claimed."""
        ...


class Light(Here):
    """The outermost place of such a run."""

    __slots__ = ("_session", "begun_at", "job", "last_seq", "lights", "run", "safe_until")

    def __init__(
        self,
        lights: Lights,
        run: Run,
        last_seq: int,
        safe_until: float,
        begun_at: float,
        job: Job,
    ) -> None:
        # Not by the constructor of Here, which sets the session: half as much for each job.
        self.key, self.attempt, self.inside_step, self.rows, self.opened = "", 1, False, None, None
        self.own()
        self.lights, self.run, self.last_seq, self.safe_until = lights, run, last_seq, safe_until
        self.begun_at, self.job = begun_at, job
        self._session: Served | None = None

    @property
    def session(self) -> Session:  # type: ignore[override]
        """The run's session: from now on it has one."""
        return self._session or self.lights.raised(self)

    @property
    def served(self) -> Served:
        return self._session or self.lights.raised(self)


class Lights:
    """Those of one engine. Single operations on a dict are atomic: who takes a place out of it decides about the run.

    Either its executor does, and ends the run without a session, or whoever asked for the session.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._lit: dict[int, Light] = {}
        self._raising = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._lit)

    def get(self, no: int) -> Light | None:
        return self._lit.get(no)

    def light(self, run: Run, last_seq: int, safe_until: float, begun_at: float, job: Job) -> Light:
        """The function of a run begins in this thread."""
        light = self._lit[run[29]] = Light(self, run, last_seq, safe_until, begun_at, job)
        current.begin_light(light)
        return light

    def put_out(self, light: Light) -> bool:
        """Its function has ended; False if it has a session, which says how it goes on."""
        if self._lit.pop(light.run[29], None) is None:
            return False
        current.end_light(light)
        return True

    def raised(self, light: Light) -> Served:
        """The session of its run; one that is over if the run is."""
        with self._raising:
            session = light._session
            if session is None:
                session = self._session_of(light)
                if self._lit.pop(light.run.no, None) is not None:
                    self._keeper.keep_light(light, session)
                else:
                    session.over = True
                    over = f"run {light.run.id} is over in this process; nothing more of it is executed or recorded"
                    session.unwind(Stopped(over))
                light._session = session
            return session

    def _session_of(self, light: Light) -> Served:
        session = Served(
            light.run, last_seq=light.last_seq, safe_until=light.safe_until, clock=self._keeper.clock
        )
        session.policy, session.thread = registry.policy_of(light.job, light.run.queue), light.thread
        return session

    def raise_all(self, before: float = float("inf")) -> None:
        """Whatever has begun before this time has a session from now on."""
        for light in list(self._lit.values()):
            if light.begun_at < before:
                self.raised(light)

    def abandon(self) -> None:
        """In a forked child, where locks may be held by nobody: the parent's runs are none of this process."""
        lit = list(self._lit.values())
        self._lit.clear()
        for light in lit:
            session = self._session_of(light)
            session.unwind(LeaseLost(light.run.id, light.run.fence))
            light._session = session
