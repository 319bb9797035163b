"""Whole runs out of one journal and into another, as a file of JSON lines.

A file holds a head, each run with its entries, and a last line with the hash of all before it: half a file is told
from a whole one. An unfinished run is carried in one of two ways, so that no two journals go on with the same work: a
copy arrives closed, to be looked at; a moved one is closed here first, and goes on where it arrives.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import IO, Any, Final, NamedTuple, get_args

from onward.api import ground
from onward.api.journal import Journal
from onward.api.overview import actor
from onward.core import codec, keys, limits
from onward.core.decide import carried
from onward.core.errors import AlreadyRunning, JournalBusy, PayloadError, RunConflict, UsageError
from onward.core.exported import (
    FORMAT,
    Head,
    NotExported,
    begun_document,
    begun_of,
    checked_entry,
    document_of,
    entry_document,
    entry_of,
    head_document,
    head_of,
    line_of,
)
from onward.core.model import CLOSED, Applied, Begun, Entry, Refused, Run, RunState
from onward.core.texts import plain

_PROGRAM: Final = "onward"
# Longest line: a payload twice, for its quotation marks are escaped, and what stands around it.
_LINE_BYTES: Final = 2 * limits.PAYLOAD_BYTES + 100_000
# An export that comes through a pipe is kept in memory up to this size, then in a file: it is read twice.
_SPOOL_BYTES: Final = 16 * 1024 * 1024


class Fate(Enum):
    """What became of a run of a file."""

    NEW = "new"
    CLOSED = "closed"  # a copy of an unfinished run: to be looked at
    KNOWN = "known"  # it was here already, and was left as it is


class Imported(NamedTuple):
    """One run of a file."""

    run_id: str
    name: str
    fate: Fate


# -- out --------------------------------------------------------------------------------------------


def write(
    journal: Journal,
    run_ids: Sequence[str],
    target: Callable[[bytes], object],
    *,
    move: bool = False,
    keeps_ground: bool = False,
) -> list[Run]:
    """Write these runs, as lines given to `target`, and return them as they stood.

    With `move` unfinished runs are closed here before anything of them is written. If writing then fails, the same
    call writes them again. With `keeps_ground` they stay at home in the folder
    that they belong to. Raises AlreadyRunning for a run that is to be moved while a process executes it.
    """
    runs = list({run.id: run for run in (journal.get(run_id).run for run_id in run_ids)}.values())
    if move:
        _refuse_held(journal, runs)
        runs = [_closed_here(journal, run) for run in runs]
    seal = hashlib.sha256()

    def put(document: dict[str, Any]) -> None:
        line = line_of(document)
        seal.update(line)
        target(line)

    put({_PROGRAM: "export", "format": FORMAT, "created_at": journal.now(), "runs": len(runs)})
    found = [_write_run(journal, run, put, move=move, keeps_ground=keeps_ground) for run in runs]
    target(line_of({"end": len(runs), "sha256": seal.hexdigest()}))
    return found


def _refuse_held(journal: Journal, runs: Sequence[Run]) -> None:
    for run in runs:
        if journal.is_held(run):
            holder = journal.overview(run).holder or "its holder is unknown"
            raise AlreadyRunning(run.id, f"`{plain(run.name)}`", plain(holder))


def _closed_here(journal: Journal, run: Run) -> Run:
    """The run, ended here if it was unfinished, so that only the file can go on with it."""
    if run.state in CLOSED:
        return run
    if not run.direct and run.args is None:
        raise UsageError(
            f"run {plain(run.id)} of `{plain(run.name)}` waits for more items, and those it has cannot be moved; it "
            f"was left as it is. Let a worker execute it (onward worker TARGET), then repeat the command."
        )
    change = carried(run, by=actor(), now=journal.now())
    assert change is not None, "an unfinished run can be cancelled"
    if isinstance(journal.store.commit((change,))[0], Refused):
        raise JournalBusy(f"run {run.id} has just been changed by another process; repeat the command.")
    return journal.get(run.id).run


def _write_run(
    journal: Journal, run: Run, put: Callable[[dict[str, Any]], None], *, move: bool, keeps_ground: bool
) -> Run:
    store = journal.store
    upto = store.last_seq(run.no)
    open_ = _before_closing(journal, run, upto)
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
    return _before_closing(journal, run, journal.store.last_seq(run.no))


def _before_closing(journal: Journal, run: Run, upto: int) -> Run | None:
    """The run as it stood before it was closed only because it goes on elsewhere; None if it was not."""
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


# -- in ---------------------------------------------------------------------------------------------


def read(
    journal: Journal, source: IO[bytes], *, take_over: bool = False, keeps_ground: bool = False
) -> list[Imported]:
    """Import every run of a file, or none: the whole file is checked before anything is written.

    Runs that are here already are left as they are, so that importing twice is harmless. With `take_over` the
    unfinished runs of a mere copy go on here: only right if nobody goes on with them where they come from. Raises
    NotExported, UsageError for a file of a newer format, and RunConflict if a run cannot live beside those here.
    """
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as file:
        folder = ground.of_person(journal.place)
        heads = [
            (at, head if keeps_ground else _grounded(head, folder)) for at, head in _checked(source, file)
        ]
        plans = [_plan(journal, file, at, head, take_over=take_over) for at, head in heads]
        done = []
        for (at, head), (add, instead_of) in zip(heads, plans, strict=True):
            fate = Fate.KNOWN
            if add:
                fate = _land(journal, file, at, head, instead_of, take_over=take_over)
            done.append(Imported(head.run.id, head.run.name, fate))
        return done


def _grounded(head: Head, folder: str) -> Head:
    """In the user's own journal a run belongs to the folder in which it is imported, unless it has an id of its own."""
    run = head.run
    if run.identity.endswith(f":id:{run.id}"):
        return head
    return head._replace(run=run._replace(identity=keys.grounded(run.identity, folder)))


class _At(NamedTuple):
    """Where in the file the lines after a run's head begin."""

    offset: int
    line: int


def _checked(source: IO[bytes], file: IO[bytes]) -> list[tuple[_At, Head]]:
    """Copy the source to `file` and check every line of it; the heads of its runs."""
    seal, number = hashlib.sha256(), 0
    heads: list[tuple[_At, Head]] = []
    expected = entries = begun = 0
    run: Run | None = None
    while True:
        line, number = source.readline(_LINE_BYTES), number + 1
        if not line.endswith(b"\n"):
            raise UsageError(
                f"the export ends in the middle, at line {number}: it was not written to its end; nothing was "
                f"imported. Export again, or copy the whole file."
            )
        document = document_of(line, number)
        if number == 1:
            expected = _runs_expected(document)
        elif entries or begun:
            assert run is not None, "there are rows of it left"
            if begun:
                begun_of(document, number)
                begun -= 1
            else:
                entry_of(document, number, run)
                entries -= 1
        elif "end" in document:
            _check_end(document, number, len(heads), expected, seal.hexdigest())
            break
        else:
            head = head_of(document, number)
            run, entries, begun = head.run, head.entries, head.begun
            heads.append((_At(file.tell() + len(line), number + 1), head))
        seal.update(line)
        file.write(line)
    if source.read(1):
        raise NotExported(number + 1, "something follows after the end")
    if len({head.run.id for _, head in heads}) < len(heads):
        raise NotExported(number, "it holds a run twice")
    return heads


def _runs_expected(document: dict[str, Any]) -> int:
    format_, runs = document.get("format"), document.get("runs")
    if document.get(_PROGRAM) != "export" or type(format_) is not int or type(runs) is not int:
        raise UsageError("this is no file that `onward export` has written; nothing was imported")
    if format_ > FORMAT:
        raise UsageError(
            f"the export has format {format_}, this version of onward knows formats up to {FORMAT}; nothing was "
            f"imported. Update onward here: pip install --upgrade onward"
        )
    return runs


def _check_end(document: dict[str, Any], number: int, runs: int, expected: int, seal: str) -> None:
    if document.get("end") != expected or runs != expected:
        raise NotExported(number, f"it should hold {expected} runs and holds {runs}")
    if document.get("sha256") != seal:
        raise NotExported(
            number, "the lines do not match their hash: something was changed after it was written"
        )


def _rows(file: IO[bytes], at: _At, head: Head) -> tuple[list[Begun], Iterator[Entry]]:
    """What the file says of one run: what had begun, and its entries one after the other."""
    file.seek(at.offset)
    begun = [begun_of(document_of(file.readline(), at.line), at.line) for _ in range(head.begun)]

    def entries() -> Iterator[Entry]:
        for _ in range(head.entries):
            yield checked_entry(file.readline())

    return begun, entries()


class _Plan(NamedTuple):
    """What is to be done with a run of the file."""

    add: bool
    instead_of: Run | None = None


def _plan(journal: Journal, file: IO[bytes], at: _At, head: Head, *, take_over: bool) -> _Plan:
    run, here = head.run, journal.store.run(head.run.id)
    if here is not None:
        return _plan_beside(journal, here, file, at, head, goes_on=head.moved or take_over)
    goes_on = run.direct and run.state not in CLOSED and (head.moved or take_over)
    rival = journal.store.open_run(run.identity) if goes_on else None
    if rival is not None:
        raise RunConflict(
            run.id,
            f"`{plain(run.name)}` has an unfinished run {rival.id} here already, so {plain(run.id)} could not be "
            f"continued; nothing was imported. Finish that one, or set it aside with `onward cancel {rival.id}`.",
        )
    return _Plan(add=True)


def _plan_beside(
    journal: Journal, here: Run, file: IO[bytes], at: _At, head: Head, *, goes_on: bool
) -> _Plan:
    """There is a run of this id: the same one, perhaps closed here only because it went on elsewhere."""
    upto = journal.store.last_seq(here.no)
    closed = _before_closing(journal, here, upto) is not None
    own = upto - 1 if closed else upto
    if not _is_same(journal, here, file, at, head, min(own, head.entries - 1)):
        raise RunConflict(
            here.id,
            f"there is another run `{plain(here.id)}` in {journal.place}; nothing was imported. Import into a journal "
            f"of its own: ONWARD_URL=sqlite:///other.db onward import FILE",
        )
    if closed and (goes_on or head.entries - 1 > own):
        return _Plan(add=True, instead_of=here)
    return _Plan(add=False)


def _is_same(journal: Journal, here: Run, file: IO[bytes], at: _At, head: Head, upto: int) -> bool:
    """Whether the run here and the one of the file have the same beginning, up to this entry."""
    if (here.kind, here.created_at) != (head.run.kind, head.run.created_at):
        return False
    _, entries = _rows(file, at, head)
    known = stored_entries(journal, here, upto)
    return all(one == other._replace(seq=one.seq) for one, other in zip(known, entries, strict=False))


def _land(
    journal: Journal, file: IO[bytes], at: _At, head: Head, instead_of: Run | None, *, take_over: bool
) -> Fate:
    begun, entries = _rows(file, at, head)
    run, fate = _arriving(journal, head.run), Fate.NEW
    if run.state not in CLOSED and not head.moved and not take_over:
        fate = Fate.CLOSED
        change = carried(run, by=f"{actor()} (import of a copy)", now=journal.now())
        assert change is not None, "an unfinished run can be cancelled"
        assert change.after is not None, "cancelling a run writes its row"
        run, entries = change.after, _followed(entries, change.entries)
    answer = journal.store.add_run(run, entries, begun, instead_of=instead_of)
    if not isinstance(answer, Applied):
        raise RunConflict(run.id, f"run {plain(run.id)} cannot be imported: {answer.detail}")
    return fate


def _arriving(journal: Journal, run: Run) -> Run:
    """The run as it begins here. Whom it waited for is not known here: it is due at once, and looks."""
    wake_at = run.wake_at
    if not run.direct and run.state == "waiting" and wake_at is None:
        wake_at = journal.now()
    return run._replace(owner=None, lease_until=None, request=None, no=0, wake_at=wake_at)


def _followed(entries: Iterator[Entry], more: Sequence[Entry]) -> Iterator[Entry]:
    yield from entries
    yield from more
