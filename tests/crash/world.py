"""The outside world of the crash programs: logs that only grow, which say what really happened.

A line is written before and after each effect, and one for each completed call (an ack). Lines go straight to the
kernel, so what is in the log at the moment of a kill has happened, and what is not has not.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import onward

EFFECTS, ACKS, RESULTS = "effects.log", "acks.log", "results.log"


class Unit(NamedTuple):
    """An item or step as the program sees it."""

    run: str
    key: str
    attempt: int


class World:
    """The logs in one folder, written by the process of one phase."""

    def enter(self, folder: Path, phase: int) -> None:
        """Write to the logs in `folder` from now on."""
        self._folder, self._phase = folder, phase
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY
        self._effects = os.open(folder / EFFECTS, flags)
        self._acks = os.open(folder / ACKS, flags)
        self._results = os.open(folder / RESULTS, flags)

    def effect(self, *, fails: bool = False, takes_s: float = 0.0) -> Unit:
        """Do something that cannot be undone, in the step or item that runs now; `fails` leaves it half done."""
        here = onward.current()
        assert here is not None, "effects happen inside of runs"
        return self.effect_of(Unit(here.run_id, here.key, here.attempt), fails=fails, takes_s=takes_s)

    def effect_of(self, unit: Unit, *, fails: bool = False, takes_s: float = 0.0) -> Unit:
        """The same for a unit that is one of several in a body: an item of a batch."""
        self._write(self._effects, {"at": "before", **unit._asdict()})
        if fails:
            self._write(self._effects, {"at": "failed", **unit._asdict()})
            raise ConnectionError(f"attempt {unit.attempt} of {unit.key} fails")
        if takes_s:
            time.sleep(takes_s)
        self._write(self._effects, {"at": "after", **unit._asdict()})
        return unit

    def is_first(self) -> bool:
        """Whether the step that runs now was never executed before, by this process or another."""
        here = onward.current()
        assert here is not None, "steps run inside of runs"
        text = (self._folder / EFFECTS).read_text()
        return json.dumps(here.key) not in text

    def ack(self, key: str, *value: Any, run: str | None = None) -> None:
        """The call behind `key` has returned (`value`) to the program.

        Without `run`, `key` is completed by that of the place that calls.
        """
        here = onward.current()
        if run is None and here is not None:
            run = here.run_id
            key = f"{here.key} > {key}" if here.key else key
        self._write(self._acks, {"run": run, "key": key, "value": list(value), "time": time.time()})

    def returned(self, result: Any) -> None:
        """The whole program has ended with this result."""
        self._write(self._results, {"result": result})

    def _write(self, log: int, fields: dict[str, Any]) -> None:
        # A torn line must spoil neither the one before nor the one after, and must not look like a whole one.
        os.write(log, f"\n{json.dumps({'phase': self._phase, **fields})} .".encode())
