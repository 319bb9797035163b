"""The worker processes, and what can be done to processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from chaos import evidence, jobs

TESTS = str(Path(__file__).parents[1])
# By how much the first worker's clock is off where one is: more than three leases.
AHEAD_S = 10.0
Process = subprocess.Popen[bytes]


class Staff:
    """A process for each URL, replaced when it is gone."""

    def __init__(
        self,
        urls: Sequence[str],
        folder: Path,
        chance: random.Random,
        *,
        ahead_s: float = 0.0,
        mutant: str | None = None,
    ) -> None:
        self._urls, self._folder, self._chance = urls, folder, chance
        self._ahead_s, self._mutant = ahead_s, mutant
        self._alive: dict[int, Process] = {}  # by the number of its URL
        self._ending: list[Process] = []
        self._stopped: dict[int, float] = {}  # pid -> when it goes on
        self.killed: dict[int, float] = {}
        self.fallen: list[str] = []
        self.stops = self.drains = 0
        self._log: IO[bytes] = (folder / "stderr.log").open("ab")
        self.hire()

    @property
    def faults(self) -> dict[str, Callable[[], None]]:
        return {"kill -9": self._kill, "stop": self._stop, "drain": self._drain}

    def hire(self) -> None:
        """Whoever is missing is replaced; also who could not open the journal, as by whatever starts workers."""
        self._look_for_fallen()
        for number, url in enumerate(self._urls):
            if number not in self._alive:
                ahead_s = self._ahead_s if number == 0 else 0.0
                command = [sys.executable, "-m", "chaos.worker", url, str(self._folder), str(ahead_s)]
                command += [self._mutant] if self._mutant else []
                environment = {**os.environ, "PYTHONPATH": os.pathsep.join([TESTS, *sys.path])}
                self._alive[number] = subprocess.Popen(command, env=environment, stderr=self._log)

    def _kill(self) -> None:
        for number, victim in self._victim():
            victim.kill()
            victim.wait()
            self.killed[victim.pid] = time.monotonic()
            del self._alive[number]

    def _stop(self) -> None:
        """Beyond its lease; one of them is always awake."""
        for _, victim in self._victim() if len(self._stopped) < len(self._urls) - 1 else ():
            self.stops += 1
            victim.send_signal(signal.SIGSTOP)
            self._stopped[victim.pid] = time.monotonic() + jobs.LEASE_S + self._chance.uniform(0.7, 2)

    def _drain(self) -> None:
        for number, victim in self._victim():
            self.drains += 1
            victim.send_signal(signal.SIGTERM)
            self._ending.append(self._alive.pop(number))

    def _victim(self) -> list[tuple[int, Process]]:
        """One that works, if any does."""
        self._look_for_fallen()
        up = self._up()
        awake = [one for one in self._alive.items() if one[1].pid in up and one[1].pid not in self._stopped]
        return [self._chance.choice(awake)] if awake else []

    def put_clocks_right(self) -> None:
        """By a new process in the place of the one whose clock is off."""
        if self._ahead_s:
            self._ahead_s = 0.0
            self._ending.append(self._alive.pop(0))
            self._ending[-1].send_signal(signal.SIGTERM)
            self.hire()

    def let_go_on(self, now: float = float("inf")) -> None:
        """Those go on whose time has come."""
        for one in self._alive.values():
            if one.pid in self._stopped and self._stopped[one.pid] <= now:
                one.send_signal(signal.SIGCONT)
                del self._stopped[one.pid]

    def _look_for_fallen(self) -> None:
        for number, one in list(self._alive.items()):
            if (code := one.poll()) is not None:
                del self._alive[number]
                if one.pid in self._up():
                    self.fallen.append(f"a worker ended by itself, with {code}")

    def _up(self) -> set[int]:
        """Those who have ever come to work."""
        return {line["pid"] for line in evidence.read(self._folder).of("up")}

    def close(self) -> None:
        """End them in order; what does not end is killed."""
        self._look_for_fallen()
        for one in self._alive.values():
            with suppress(ProcessLookupError):
                one.send_signal(signal.SIGCONT)
                one.terminate()
        for one in [*self._alive.values(), *self._ending]:
            try:
                one.wait(15)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
        self._log.close()
