"""Whole runs out of a journal, as a file of JSON lines; `arriving` reads it into another one.

A file holds a head, each run with its entries, and a last line with the hash of all before it: half a file is told
from a whole one. An unfinished run is carried in one of two ways, so that no two journals go on with the same work: a
copy arrives closed, to be looked at; a moved one is closed here first, and goes on where it arrives. Whither it went
stands in the mark that closed it: only the same move, repeated, lets it go on once more.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, get_args

from onward.api.journal import Journal
from onward.api.overview import actor
from onward.core import codec, keys, limits
from onward.core.acts import carried
from onward.core.errors import AlreadyRunning, JournalBusy, PayloadError, UsageError
from onward.core.exported import FORMAT, Head, begun_document, entry_document, head_document, line_of
from onward.core.model import CLOSED, Change, Entry, Refused, Run, RunState
from onward.core.texts import plain

PROGRAM: Final = "onward"
# Whither a run goes on, if not in a journal that is named by its place: in a file, or it never left where it came from.
FILE: Final = "file:"
COPY: Final = "copy"
BY_COPY: Final = "(import of a copy)"
# Marks that begin a wait of a run that was executed.
_WAITS: Final = ("suspended", "retried", "orphaned")
# Runs that are read, or closed, at a time.
_PAGE: Final = 500


class Exported(NamedTuple):
    """What was written: how many runs, how many of them were unfinished, and the name of the first of those.

    `gone` are those that could not be moved because they went elsewhere before; `gone_id` is the first of them.
    """

    runs: int
    unfinished: int
    unfinished_name: str
    gone: int = 0
    gone_id: str = ""


class Closing(NamedTuple):
    """Why a run is closed though it was not at its end: how it stood, and whither it went (None: nobody knows)."""

    stood: Run
    to: str | None


# -- out --------------------------------------------------------------------------------------------


def write(
    journal: Journal,
    run_ids: Sequence[str] | None,
    target: Callable[[bytes], object],
    *,
    to: str | None = None,
    keeps_ground: bool = False,
) -> Exported:
    """Write these runs, or with None all there are now, as lines given to `target`; however many, in little memory.

    With `to`, the place of a journal or FILE and a name, unfinished runs are closed here before anything of them is
    written. If writing then fails, the same call writes them again; what was closed for somewhere else arrives closed,
    unless it went into a file and is named now. With `keeps_ground` they stay at home in the folder that they belong
    to. Raises AlreadyRunning for a run that is to be moved while a process executes it.
    """
    chosen = _chosen(journal, run_ids)
    if to is not None:
        _refuse_held(journal, chosen())
        _close_here(journal, chosen(), to)
    seal = hashlib.sha256()

    def put(document: dict[str, Any]) -> None:
        line = line_of(document)
        seal.update(line)
        target(line)

    put({PROGRAM: "export", "format": FORMAT, "created_at": journal.now()})
    runs = unfinished = gone = 0
    name = gone_id = ""
    for run in chosen():
        closing = closed_for(journal, run)
        moved = closing is not None and to is not None and _goes(closing, to, named=run_ids is not None)
        stood = _write_run(journal, run, closing, put, moved=moved, keeps_ground=keeps_ground)
        runs += 1
        if to is not None and closing is not None and not moved:
            gone += 1
            gone_id = gone_id or run.id
        elif stood.state not in CLOSED:
            unfinished += 1
            name = name or stood.name
    target(line_of({"end": runs, "sha256": seal.hexdigest()}))
    return Exported(runs, unfinished, name, gone, gone_id)


def _goes(closing: Closing, to: str, *, named: bool) -> bool:
    """Whether a run that is closed here may go on at `to`: it was closed for that, by this call or by one before it."""
    if closing.to == to:
        return True
    # Whoever names a run whose file was lost wants another file of it. Only `move` knows what has arrived.
    return named and to.startswith(FILE) and (closing.to is None or closing.to.startswith(FILE))


def _chosen(journal: Journal, run_ids: Sequence[str] | None) -> Callable[[], Iterator[Run]]:
    """Reads the runs, a page at a time and as they stand; what has been begun since is none of them."""
    if run_ids is not None:
        ids = list(dict.fromkeys(journal.get(run_id).run.id for run_id in run_ids))
        return lambda: (journal.get(run_id).run for run_id in ids)
    newest = next(iter(journal.store.runs(limit=1)), None)
    return lambda: iter(()) if newest is None else _before(journal, newest.no + 1)


def _before(journal: Journal, before_no: int) -> Iterator[Run]:
    while page := journal.store.runs(limit=_PAGE, before_no=before_no):
        yield from page
        before_no = page[-1].no


def _refuse_held(journal: Journal, runs: Iterable[Run]) -> None:
    for run in runs:
        if journal.is_held(run):
            holder = journal.overview(run).holder or "its holder is unknown"
            raise AlreadyRunning(run.id, f"`{plain(run.name)}`", plain(holder), refused="moved")


def _close_here(journal: Journal, runs: Iterator[Run], to: str) -> None:
    """End the unfinished runs here, so that only the file can go on with them."""
    unfinished = (run for run in runs if run.state not in CLOSED)
    while some := list(islice(unfinished, _PAGE)):
        changes = [_closing(journal, run, to) for run in some]
        for run, answer in zip(some, journal.store.commit(changes), strict=True):
            if isinstance(answer, Refused):
                raise JournalBusy(
                    f"run {run.id} has just been changed by another process; repeat the command."
                )


def _closing(journal: Journal, run: Run, to: str) -> Change:
    if not run.direct and run.args is None:
        raise UsageError(
            f"run {plain(run.id)} of `{plain(run.name)}` waits for more items, and those it has cannot be moved; it "
            f"was left as it is. Let a worker execute it (onward worker TARGET), then repeat the command."
        )
    change = carried(run, by=actor(), to=to, now=journal.now())
    assert change is not None, "an unfinished run can be cancelled"
    return change


def _write_run(
    journal: Journal,
    run: Run,
    closing: Closing | None,
    put: Callable[[dict[str, Any]], None],
    *,
    moved: bool,
    keeps_ground: bool,
) -> Run:
    store = journal.store
    upto = store.last_seq(run.no)
    if closing is not None:
        run, upto = closing.stood, upto - 1
    if run.wake_at is not None and _is_suspended(journal, run, upto):
        run = run._replace(wake_at=None)  # it may await other runs too: it looks as soon as it arrives
    units = store.begun(run.no)
    # It belongs to the folder that imports it.
    head = run if keeps_ground else run._replace(identity=keys.grounded(run.identity, ""))
    put(head_document(Head(head, moved=moved, entries=upto + 1, begun=len(units))))
    for begun in units:
        put(begun_document(begun))
    for entry in stored_entries(journal, run, upto):
        put(entry_document(entry))
    return run


def _is_suspended(journal: Journal, run: Run, upto: int) -> bool:
    """Whether the time that it waits for is one of its function, not of its start or of its next attempt."""
    at = upto
    while run.fence > 0 and at > run.leased_seq:
        since = max(run.leased_seq, at - limits.PAGE_ROWS)
        for entry in reversed(journal.store.entries(run.no, after=since, limit=at - since)):
            if entry.kind == "mark" and entry.name in _WAITS:
                return entry.name == "suspended"
        at = since
    return False


def closed_for(journal: Journal, run: Run) -> Closing | None:
    """How it stood before it was closed only because it goes on elsewhere, and whither; None if it was not."""
    if run.state != "cancelled":
        return None
    upto = journal.store.last_seq(run.no)
    if upto < 0:
        return None
    mark = journal.store.entries(run.no, after=upto - 1)[0]
    if mark.name != "cancelled" or mark.value is None:
        return None
    try:
        value = codec.decode(mark.value)
    except PayloadError:
        return None
    if not isinstance(value, dict) or value.get("from") not in get_args(RunState):
        return None
    single = value.get("single")
    single = single if isinstance(single, str) else run.single
    stood = run._replace(
        state=value["from"], fence=max(0, run.fence - 1), single=single, wake_at=_time(value.get("wake_at"))
    )
    return Closing(stood, _whither(value))


def _time(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def _whither(mark: dict[Any, Any]) -> str | None:
    to = mark.get("to")
    if isinstance(to, str):
        return to
    # Marks were written that do not say it.
    return COPY if str(mark.get("carried_by")).endswith(BY_COPY) else None


def stored_entries(journal: Journal, run: Run, upto: int) -> Iterator[Entry]:
    """The entries of a run up to this number, a page at a time."""
    after = -1
    while after < upto:
        page = journal.store.entries(run.no, after=after, limit=min(limits.PAGE_ROWS, upto - after))
        yield from page
        after = page[-1].seq if page else upto
