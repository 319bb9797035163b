"""What looking at runs and acting on them gives: one run at a glance, what an act did, who did it."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from typing import NamedTuple

from onward.core.estimates import Estimate
from onward.core.model import ItemCounts, Run
from onward.core.timeline import Beat, ShownState


@dataclass(frozen=True, slots=True)
class Overview:
    """One run at a glance."""

    run: Run
    state: ShownState
    counts: ItemCounts
    left: Estimate | None  # how long the rest will take, if it runs and that is known
    rate: float | None  # items a second, if it runs and that is known
    holder: str | None  # who executes it, if it runs
    silent_s: float  # how long its lease is over without proof of death
    last_sign_at: float  # when something of it was recorded last
    said: Beat | None = None  # the latest heartbeat of a unit in flight, if it runs

    @property
    def resumed(self) -> int:
        """How often it was continued."""
        return max(0, self.run.fence - 1)


class Acted(NamedTuple):
    """What an act did. `asked`: its living holder was asked and does it at its next step or item."""

    run: Run
    asked: bool = False
    units: int = 0  # steps or items that will be executed again, or were skipped


def actor() -> str:
    """Who acts, for the record."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # no name for this user, as in many containers
        user = str(os.getuid()) if hasattr(os, "getuid") else "somebody"
    return f"{user}@{socket.gethostname()}"
