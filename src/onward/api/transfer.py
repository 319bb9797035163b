"""Whole runs out of a journal, as a file of JSON lines; `arriving` reads it into another one.

A file holds a head, each run with its entries, and a last line with the hash of all before it: half a file is told
from a whole one. An unfinished run is carried in one of two ways, so that no two journals go on with the same work: a
copy arrives closed, to be looked at; a moved one is closed here first, and goes on where it arrives.
"""

from __future__ import annotations

import hashlib
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
# Runs that are read, or closed, at a time.
_PAGE: Final = 500


class Exported(NamedTuple):
    """What was written: how many runs, how many of them were unfinished, and the name of the first of those."""

    runs: int
    unfinished: int
    unfinished_name: str


# -- out --------------------------------------------------------------------------------------------


def write(
    journal: Journal,
    run_ids: Sequence[str] | None,
    target: Callable[[bytes], object],
    *,
    move: bool = False,
    keeps_ground: bool = False,
) -> Exported:
    """Write these runs, or with None all there are now, as lines given to `target`; however many, in little memory.

    With `move` unfinished runs are closed here before anything of them is written. If writing then fails, the same
    call writes them again. With `keeps_ground` they stay at home in the folder
    that they belong to. Raises AlreadyRunning for a run that is to be moved while a process executes it.
    """
    chosen = _chosen(journal, run_ids)
    if move:
        _refuse_held(journal, chosen())
        _close_here(journal, chosen())
    seal = hashlib.sha256()

    def put(document: dict[str, Any]) -> None:
        line = line_of(document)
        seal.update(line)
        target(line)

    put({PROGRAM: "export", "format": FORMAT, "created_at": journal.now()})
    runs = unfinished = 0
    name = ""
    for run in chosen():
        stood = _write_run(journal, run, put, move=move, keeps_ground=keeps_ground)
        runs += 1
        if stood.state not in CLOSED:
            unfinished += 1
            name = name or stood.name
    target(line_of({"end": runs, "sha256": seal.hexdigest()}))
    return Exported(runs, unfinished, name)


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


def _close_here(journal: Journal, runs: Iterator[Run]) -> None:
    """End the unfinished runs here, so that only the file can go on with them."""
    unfinished = (run for run in runs if run.state not in CLOSED)
    while some := list(islice(unfinished, _PAGE)):
        changes = [_closing(journal, run) for run in some]
        for run, answer in zip(some, journal.store.commit(changes), strict=True):
            if isinstance(answer, Refused):
                raise JournalBusy(
                    f"run {run.id} has just been changed by another process; repeat the command."
                )


def _closing(journal: Journal, run: Run) -> Change:
    if not run.direct and run.args is None:
        raise UsageError(
            f"run {plain(run.id)} of `{plain(run.name)}` waits for more items, and those it has cannot be moved; it "
            f"was left as it is. Let a worker execute it (onward worker TARGET), then repeat the command."
        )
    change = carried(run, by=actor(), now=journal.now())
    assert change is not None, "an unfinished run can be cancelled"
    return change


def _write_run(
    journal: Journal, run: Run, put: Callable[[dict[str, Any]], None], *, move: bool, keeps_ground: bool
) -> Run:
    store = journal.store
    upto = store.last_seq(run.no)
    open_ = stood_before(journal, run, upto)
    if open_ is not None:
        run, upto = open_, upto - 1
    units = store.begun(run.no)
    # It belongs to the folder that imports it.
    head = run if keeps_ground else run._replace(identity=keys.grounded(run.identity, ""))
    put(head_document(Head(head, moved=move and open_ is not None, entries=upto + 1, begun=len(units))))
    for begun in units:
        put(begun_document(begun))
    for entry in stored_entries(journal, run, upto):
        put(entry_document(entry))
    return run


def before_closing(journal: Journal, run: Run) -> Run | None:
    """As it stood before it was closed only because it goes on elsewhere; None if it was not."""
    return stood_before(journal, run, journal.store.last_seq(run.no))


def stood_before(journal: Journal, run: Run, upto: int) -> Run | None:
    """As `before_closing`, of a run with entries up to this number."""
    if run.state != "cancelled" or upto < 0:
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
    return run._replace(state=value["from"], fence=max(0, run.fence - 1), single=single)


def stored_entries(journal: Journal, run: Run, upto: int) -> Iterator[Entry]:
    """The entries of a run up to this number, a page at a time."""
    after = -1
    while after < upto:
        page = journal.store.entries(run.no, after=after, limit=min(limits.PAGE_ROWS, upto - after))
        yield from page
        after = page[-1].seq if page else upto
