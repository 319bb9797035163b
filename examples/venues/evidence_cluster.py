"""What the site's log and the table prove about workers of which one was killed, and a database that went away.

As in `evidence`, nothing here asks onward: the site knows which worker asked for which page, and when.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evidence import Kill, Request

# A row is stored a moment before it is known in the journal that it is. A kill in between excuses one repetition; this
# long after the page was answered (seconds, on a busy machine) there is no such moment any more.
RECORDING_S = 3.0


@dataclass(frozen=True)
class Loss:
    """A worker that was killed: who, when, and which venues had their row just before it and just after."""

    client: str
    killed_at: float  # by the clock of the site's log
    cut_off: int  # pages on their way to it
    stored_before: frozenset[str]
    stored: frozenset[str]

    @property
    def rows(self) -> int:
        return len(self.stored)


@dataclass(frozen=True)
class Outage:
    """A time in which the database was not there."""

    seconds: float
    refused: int  # connections that were tried and refused
    rows_before: int
    rows_down: int  # at its end: what was fetched already may have been stored meanwhile


def hits(loss: Loss, requests: Iterable[Request]) -> list[Kill]:
    """A kill for each venue that the dead worker may have had in hand: what excuses one more fetch of it."""
    found = []
    for venue, last in _last_asked(loss, requests).items():
        if last.last_event != "ok":
            moment = "fetching" if last.last_event == "aborted" else "before its retry"
        elif venue not in loss.stored_before:
            moment = "before its row"
        elif loss.killed_at - last.ended_at < RECORDING_S:
            moment = "between items"
        else:
            continue
        found.append(Kill(loss.rows, venue, moment))
    return found


def taken_over(loss: Loss, requests: Iterable[Request]) -> set[str]:
    """Venues that the dead worker had been asking for, and that another worker asked for after its death."""
    requests = list(requests)
    mid = {hit.venue for hit in hits(loss, requests) if hit.mid_item}
    return {
        r.venue
        for r in requests
        if r.venue in mid and r.client != loss.client and r.begun_at > loss.killed_at
    }


def vacuous(
    loss: Loss, outage: Outage | None, requests: Sequence[Request], *, workers: int, with_outage: bool
) -> str | None:
    """Why the demo has proved nothing, as the end of a sentence; None if it has."""
    hit = [one for one in hits(loss, requests) if one.mid_item and one.venue not in loss.stored]
    if len({request.client for request in requests}) < workers:
        return "not every worker has asked for a page"
    if not hit:
        return "the kill hit no running work"
    if not taken_over(loss, requests):
        return "no page of the dead worker was asked for by another one"
    if with_outage and (outage is None or outage.refused == 0):
        return "the database was never really gone"
    if outage is not None and outage.rows_down >= len({request.venue for request in requests}):
        return "nothing was left to do when the database went away"
    return None


def _last_asked(loss: Loss, requests: Iterable[Request]) -> dict[str, Request]:
    """The last request of the dead worker for each venue it has asked for."""
    return {request.venue: request for request in requests if request.client == loss.client}
