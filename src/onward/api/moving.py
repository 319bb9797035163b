"""Carry a whole journal to another place, such as from a file to PostgreSQL, so that only one of the two goes on.

Each run is closed where it comes from before it goes on where it arrives, in parts; interrupted, it is done again.
What was closed for another place, or exported, arrives closed: it goes on there already.
When nothing is left to be carried the source is barred: no process adds a run to it any more, whatever it has open.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from onward.api import arriving, transfer
from onward.api.journal import Journal
from onward.core.errors import AlreadyRunning, JournalBroken, UsageError
from onward.core.model import CLOSED, Run
from onward.core.schedules import carried
from onward.core.texts import plain

# Runs carried in one part. What has been carried stays carried if a later part fails.
_PART: Final = 200
_PAGE: Final = 500
_SPOOL_BYTES: Final = 16 * 1024 * 1024


class Moved(NamedTuple):
    """What was carried."""

    runs: int  # all that the source holds
    unfinished: int  # of those, the ones that go on at the target
    entries: int
    known: int  # were there already, from an earlier try or move
    elsewhere: int  # went to a third place before, and are closed in both
    elsewhere_id: str  # the first of those


def move(source: Journal, target: Journal, told: Callable[[int], object] = lambda done: None) -> Moved:
    """Carry everything of `source` to `target`, check it there, and bar the source.

    `told` hears how many runs have been carried. Interrupted, the same call goes on. Raises AlreadyRunning while a
    living process executes a run of the source, UsageError if both are one, JournalBroken if the check finds a
    difference.
    """
    if source.place == target.place:
        raise UsageError(f"{source.place} is where it is already; nothing was moved")
    _refuse_gone_on(source, target)
    _refuse_held(source)
    target.store.set_moved(None)  # it was moved away from once, and comes back
    known = done = 0
    last = 0
    for part in _parts(source):
        known += _carry(source, target, part)
        done += len(part)
        last = part[-1].no
        told(done)
    _carry_queues(source, target)
    source.store.set_moved(target.place)
    # What was added between the last look and the bar.
    for part in _parts(source, after=last):
        known += _carry(source, target, part)
    _carry_schedules(source, target)
    return _checked(source, target, known)


def _refuse_gone_on(source: Journal, target: Journal) -> None:
    """Everything is at the target already, and went on from there: what is left here would begin once more."""
    on = target.store.moved_to()
    if on is not None and source.store.moved_to() == target.place:
        raise UsageError(
            f"everything of {source.place} was moved to {target.place}, and from there to {on}; nothing was moved. "
            f"Work with it there, or bring it back with: onward move --from {on}"
        )


def _refuse_held(journal: Journal) -> None:
    held = [run for run in journal.store.runs(states=["running"], limit=-1) if journal.is_held(run)]
    if held:
        first = held[0]
        holder = journal.overview(first).holder or "its holder is unknown"
        more = f" and {len(held) - 1:,} more" if len(held) > 1 else ""
        raise AlreadyRunning(first.id, f"`{plain(first.name)}`{more}", plain(holder), refused="moved")


def _parts(journal: Journal, after: int = 0) -> Iterator[list[Run]]:
    """All runs with numbers above `after`, oldest first, so many at a time: what is queued keeps its order."""
    ids = [(run.no, run.id) for run in _all(journal, after)]
    ids.sort()
    for at in range(0, len(ids), _PART):
        found = (journal.store.run(run_id) for _, run_id in ids[at : at + _PART])
        yield [run for run in found if run is not None]


def _all(journal: Journal, after: int) -> Iterator[Run]:
    before: int | None = None
    while True:
        page = journal.store.runs(limit=_PAGE, before_no=before)
        for run in page:
            if run.no <= after:
                return
            yield run
        if len(page) < _PAGE:
            return
        before = page[-1].no


def _carry(source: Journal, target: Journal, runs: list[Run]) -> int:
    """Carry these runs, as a file of lines whose every row is checked; how many were there already."""
    ids = [run.id for run in runs if not _has_gone_on(source, target, run)]
    known = len(runs) - len(ids)
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as file:
        transfer.write(source, ids, file.write, to=target.place, keeps_ground=True)
        file.seek(0)
        arrived = arriving.read(target, file, keeps_ground=True)
        return known + sum(one.fate is arriving.Fate.KNOWN for one in arrived)


def _has_gone_on(source: Journal, target: Journal, run: Run) -> bool:
    """Whether an earlier try has carried it, and it has left the target since: opened there, it would go on twice."""
    closing = transfer.closed_for(source, run)
    if closing is None or closing.to != target.place:
        return False
    there = target.store.run(run.id)
    left = None if there is None else transfer.closed_for(target, there)
    return left is not None and left.to not in (None, transfer.COPY, source.place)


def _carry_queues(source: Journal, target: Journal) -> None:
    """Queues and their limits; what an operator has set at the target already stays."""
    there = {queue.name: queue for queue in target.store.queues()}
    for queue in source.store.queues():
        if queue.name not in there or there[queue.name].chosen == "{}":
            target.store.set_queue(
                queue.name, paused=queue.paused, declared=queue.declared, chosen=queue.chosen
            )


def _carry_schedules(source: Journal, target: Journal) -> None:
    """Schedules as they stand: the source moves none of them on any more. A worker at the target may define them."""
    for schedule in source.store.schedules():
        while True:
            there = next((one for one in target.store.schedules() if one.name == schedule.name), None)
            if target.store.move_schedules([carried(schedule, there)])[0]:
                break


def _checked(source: Journal, target: Journal, known: int) -> Moved:
    """Compare what is there with what was here: every run, its state, the number of its entries and their checksums."""
    runs = unfinished = entries = elsewhere = 0
    elsewhere_id = ""
    for run in _all(source, 0):
        runs += 1
        there = target.store.run(run.id)
        if there is None:
            raise _differs(target, run, "is missing")
        closing = transfer.closed_for(source, run)
        own = source.store.last_seq(run.no) + (1 if closing is None else 0)
        entries += own
        unfinished += there.state not in CLOSED
        if closing is not None and transfer.closed_for(target, there) is not None:
            elsewhere += 1
            elsewhere_id = elsewhere_id or run.id
        if target.store.last_seq(there.no) + 1 < own:
            raise _differs(target, run, f"has fewer than {own} entries")
        if not _same_values(source, run, target, there, own):
            raise _differs(target, run, "has other entries")
    return Moved(runs, unfinished, entries, known, elsewhere, elsewhere_id)


def _same_values(source: Journal, run: Run, target: Journal, there: Run, count: int) -> bool:
    ours = transfer.stored_entries(source, run, count - 1)
    theirs = transfer.stored_entries(target, there, count - 1)
    return all(
        (one.key, one.state, one.checksum) == (other.key, other.state, other.checksum)
        for one, other in zip(ours, theirs, strict=True)
    )


def _differs(target: Journal, run: Run, how: str) -> JournalBroken:
    return JournalBroken(
        f"run {plain(run.id)} {how} in {target.place}; nothing was lost, both places are as they are. Look at both "
        f"with `onward doctor`, then repeat the command."
    )
