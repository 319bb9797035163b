"""Whole runs into a journal, from a file that `transfer` has written.

All of the file is checked before anything is written. A run arrives whole or not at all; small ones come many in a
transaction, so that a file of a million runs is no matter of a million waits for the disk. Whatever ends it in the
middle, the same call goes on: what has arrived is known. Memory stays small, however many runs there are and however
long they are.
"""

from __future__ import annotations

import hashlib
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import chain, pairwise
from typing import IO, Any, Final, NamedTuple

from onward.api import ground
from onward.api.journal import Journal
from onward.api.overview import actor
from onward.api.transfer import BY_COPY, COPY, PROGRAM, closed_for, stored_entries
from onward.core import keys, limits
from onward.core.acts import carried
from onward.core.blake import blake2b
from onward.core.errors import RunConflict, UsageError
from onward.core.exported import (
    FORMAT,
    Head,
    NotExported,
    begun_of,
    checked_entry,
    document_of,
    entry_of,
    head_of,
)
from onward.core.model import CLOSED, Applied, Begun, Change, Entry, Run
from onward.core.texts import plain

# Longest line: a payload twice, for its quotation marks are escaped, and what stands around it.
_LINE_BYTES: Final = 2 * limits.PAYLOAD_BYTES + 100_000
# An export that comes through a pipe is kept in memory up to this size, then in a file: it is read more than once.
_SPOOL_BYTES: Final = 16 * 1024 * 1024
# Runs that take no more than this in the file arrive together, up to so much and so many of them in a transaction.
_SMALL_BYTES: Final = 256 * 1024
_BATCH_BYTES: Final = 4 * 1024 * 1024


class Fate(Enum):
    """What became of a run of a file."""

    NEW = "new"
    CLOSED = "closed"  # a copy of an unfinished run: to be looked at
    KNOWN = "known"  # it was here already, and was left as it is


class Imported(NamedTuple):
    """One run of a file, as it is here now."""

    run: Run
    fate: Fate


class _At(NamedTuple):
    """Where in the file a run stands: its first byte, its line number, and the first byte behind it."""

    offset: int
    line: int
    end: int


class _Index:
    """Where each run of the file stands, in 24 bytes for each."""

    def __init__(self) -> None:
        self._offsets, self._lines, self._seals = array("Q"), array("Q"), array("Q")
        self.end = 0

    def add(self, offset: int, line: int, run_id: str) -> None:
        self._offsets.append(offset)
        self._lines.append(line)
        self._seals.append(int.from_bytes(blake2b(run_id.encode(), digest_size=8).digest(), "big"))

    def __len__(self) -> int:
        return len(self._offsets)

    def __iter__(self) -> Iterator[_At]:
        for (offset, end), line in zip(pairwise(chain(self._offsets, (self.end,))), self._lines, strict=True):
            yield _At(offset, line, end)

    def may_repeat(self) -> set[int]:
        """The hashes of ids that occur more than once."""
        return {one for one, other in pairwise(sorted(self._seals)) if one == other}

    def seal(self, number: int) -> int:
        return self._seals[number]


class _Piece(NamedTuple):
    """One run of the file: what it says of it, and where its rows begin."""

    head: Head
    offset: int
    line: int


class _File:
    """The checked copy of an export."""

    def __init__(self, file: IO[bytes], folder: str | None) -> None:
        self._file, self._folder = file, folder

    def piece(self, at: _At) -> _Piece:
        self._file.seek(at.offset)
        line = self._file.readline()
        head = head_of(document_of(line, at.line), at.line)
        if self._folder is not None:
            head = _grounded(head, self._folder)
        return _Piece(head, at.offset + len(line), at.line + 1)

    def rows(self, piece: _Piece) -> tuple[list[Begun], Iterator[Entry]]:
        """What had begun of it, and its entries one after the other."""
        file, head = self._file, piece.head
        file.seek(piece.offset)
        begun = [begun_of(document_of(file.readline(), piece.line), piece.line) for _ in range(head.begun)]
        at = file.tell()

        def entries() -> Iterator[Entry]:
            nonlocal at
            for _ in range(head.entries):
                file.seek(at)  # others may read in between
                line = file.readline()
                at += len(line)
                yield checked_entry(line)

        return begun, entries()


# -- all of it --------------------------------------------------------------------------------------


def read(
    journal: Journal, source: IO[bytes], *, take_over: bool = False, keeps_ground: bool = False
) -> Iterator[Imported]:
    """Import the runs of a file, each of them told once it is durable; nothing is written before all of it is checked.

    Runs that are here already are left as they are, so that importing twice is harmless. With `take_over` the
    unfinished runs of a mere copy go on here: only right if nobody goes on with them where they come from. Raises
    NotExported, UsageError for a file of a newer format, and RunConflict if a run cannot live beside those here.
    """
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as copy:
        index = _checked(source, copy)
        file = _File(copy, None if keeps_ground else ground.of_person(journal.place))
        _refuse_repeats(index, file)
        landing = _Landing(journal, file, take_over=take_over)
        known = bytearray(len(index))
        for number, at in enumerate(index):
            known[number] = not landing.plan(file.piece(at)).add
        for number, at in enumerate(index):
            yield from landing.land(file.piece(at), at, known=bool(known[number]))
        yield from landing.rest()


def _checked(source: IO[bytes], file: IO[bytes]) -> _Index:
    """Copy the source to `file` and check every line of it; where its runs stand."""
    seal, number, index = hashlib.sha256(), 0, _Index()
    expected: int | None = None
    entries = begun = 0
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
            _check_end(document, number, len(index), expected, seal.hexdigest())
            break
        else:
            head = head_of(document, number)
            run, entries, begun = head.run, head.entries, head.begun
            index.add(file.tell(), number, run.id)
        seal.update(line)
        file.write(line)
    if source.read(1):
        raise NotExported(number + 1, "something follows after the end")
    index.end = file.tell()
    return index


def _refuse_repeats(index: _Index, file: _File) -> None:
    doubtful, ids = index.may_repeat(), set[str]()
    for number, at in enumerate(index) if doubtful else ():
        if index.seal(number) in doubtful:
            run_id = file.piece(at).head.run.id
            if run_id in ids:
                raise NotExported(at.line, "it holds a run twice")
            ids.add(run_id)


def _runs_expected(document: dict[str, Any]) -> int | None:
    """How many runs the first line promises; formats from 3 on say it at the end only."""
    format_, runs = document.get("format"), document.get("runs")
    if document.get(PROGRAM) != "export" or type(format_) is not int:
        raise UsageError("this is no file that `onward export` has written; nothing was imported")
    if format_ > FORMAT:
        raise UsageError(
            f"the export has format {format_}, this version of onward knows formats up to {FORMAT}; nothing was "
            f"imported. Update onward here: pip install --upgrade onward"
        )
    if format_ < 3 and type(runs) is not int:
        raise UsageError("this is no file that `onward export` has written; nothing was imported")
    return runs if format_ < 3 else None


def _check_end(document: dict[str, Any], number: int, runs: int, expected: int | None, seal: str) -> None:
    if document.get("end") != runs or expected not in (None, runs):
        raise NotExported(number, f"it should hold {document.get('end')} runs and holds {runs}")
    if document.get("sha256") != seal:
        raise NotExported(
            number, "the lines do not match their hash: something was changed after it was written"
        )


def _grounded(head: Head, folder: str) -> Head:
    """In the user's own journal a run belongs to the folder in which it is imported, unless it has an id of its own."""
    run = head.run
    if run.identity.endswith(f":id:{run.id}"):
        return head
    return head._replace(run=run._replace(identity=keys.grounded(run.identity, folder)))


# -- one after the other ----------------------------------------------------------------------------


class _Plan(NamedTuple):
    """What is to be done with a run of the file."""

    add: bool
    instead_of: Run | None = None


class _Arrival(NamedTuple):
    """A run as it is to be here."""

    run: Run
    fate: Fate
    begun: list[Begun]
    entries: Iterator[Entry]


class _Landing:
    """Brings runs into the journal: small ones are gathered, and arrive in one transaction."""

    def __init__(self, journal: Journal, file: _File, *, take_over: bool) -> None:
        self._journal, self._file, self._take_over = journal, file, take_over
        self._gathered: list[Imported] = []
        self._changes: list[Change] = []
        self._bytes = 0
        self._left = "nothing was imported"  # what a conflict found now leaves behind

    def land(self, piece: _Piece, at: _At, *, known: bool) -> Iterator[Imported]:
        """Bring a run in, or gather it; those that are durable now."""
        self._left = "runs of the file that are imported by now stay, and the same command goes on"
        if known:
            yield from self.rest()
            yield Imported(self._journal.store.run(piece.head.run.id) or piece.head.run, Fate.KNOWN)
            return
        size = at.end - at.offset
        if self._bytes + size > _BATCH_BYTES or len(self._changes) >= limits.BATCH_CHANGES:
            yield from self.rest()
        if size > _SMALL_BYTES:
            yield from self.rest()
            yield self._alone(piece)
            return
        plan = self.plan(piece)  # again: it may be here by now, even from this very file
        if not plan.add or plan.instead_of is not None:
            yield from self.rest()
            yield self._alone(piece)
            return
        arrival = self._arrival(piece)
        entries = tuple(arrival.entries)
        self._gathered.append(Imported(arrival.run, arrival.fate))
        self._changes.append(Change(0, 0, entries, tuple(arrival.begun), after=arrival.run, create=True))
        self._bytes += size

    def rest(self) -> Iterator[Imported]:
        """Bring in what was gathered."""
        gathered, changes = self._gathered, self._changes
        self._gathered, self._changes, self._bytes = [], [], 0
        if changes:
            for one, answer in zip(gathered, self._journal.store.commit(changes), strict=True):
                self._refuse(one.run, answer)
                yield one

    def _alone(self, piece: _Piece) -> Imported:
        plan = self.plan(piece)
        if not plan.add:
            return Imported(self._journal.store.run(piece.head.run.id) or piece.head.run, Fate.KNOWN)
        arrival = self._arrival(piece)
        run, store = arrival.run, self._journal.store
        self._refuse(run, store.add_run(run, arrival.entries, arrival.begun, instead_of=plan.instead_of))
        return Imported(run, arrival.fate)

    def _refuse(self, run: Run, answer: object) -> None:
        if not isinstance(answer, Applied):
            detail = getattr(answer, "detail", "")
            raise RunConflict(run.id, f"run {plain(run.id)} cannot be imported: {detail}; {self._left}")

    def _arrival(self, piece: _Piece) -> _Arrival:
        head, journal = piece.head, self._journal
        begun, entries = self._file.rows(piece)
        run, fate = _arriving(journal, head.run), Fate.NEW
        if run.state not in CLOSED and not head.moved and not self._take_over:
            fate = Fate.CLOSED
            change = carried(run, by=f"{actor()} {BY_COPY}", to=COPY, now=journal.now())
            assert change is not None, "an unfinished run can be cancelled"
            assert change.after is not None, "cancelling a run writes its row"
            run, entries = change.after, _followed(entries, change.entries)
        return _Arrival(run, fate, begun, entries)

    # -- what is to be done ---------------------------------------------------------------------------

    def plan(self, piece: _Piece) -> _Plan:
        """What is to be done with a run. Raises RunConflict if it cannot live beside those here."""
        store, head = self._journal.store, piece.head
        run, here = head.run, store.run(head.run.id)
        goes_on = head.moved or self._take_over
        if here is not None:
            return self._plan_beside(here, piece, goes_on=goes_on)
        unfinished = run.direct and run.state not in CLOSED and goes_on
        rival = store.open_run(run.identity) if unfinished else None
        if rival is not None:
            raise RunConflict(
                run.id,
                f"`{plain(run.name)}` has an unfinished run {rival.id} here already, so {plain(run.id)} could not be "
                f"continued; {self._left}. Finish that one, or set it aside with `onward cancel {rival.id}`.",
            )
        return _Plan(add=True)

    def _plan_beside(self, here: Run, piece: _Piece, *, goes_on: bool) -> _Plan:
        """There is a run of this id: the same one, perhaps closed here only because it went on elsewhere."""
        journal, head = self._journal, piece.head
        upto = journal.store.last_seq(here.no)
        closed = closed_for(journal, here) is not None
        own = upto - 1 if closed else upto
        if not self._is_same(here, piece, min(own, head.entries - 1)):
            raise RunConflict(
                here.id,
                f"there is another run `{plain(here.id)}` in {journal.place}; {self._left}. Import into a "
                f"journal of its own: ONWARD_URL=sqlite:///other.db onward import FILE",
            )
        if closed and (goes_on or head.entries - 1 > own):
            return _Plan(add=True, instead_of=here)
        return _Plan(add=False)

    def _is_same(self, here: Run, piece: _Piece, upto: int) -> bool:
        """Whether the run here and the one of the file have the same beginning, up to this entry."""
        if (here.kind, here.created_at) != (piece.head.run.kind, piece.head.run.created_at):
            return False
        _, entries = self._file.rows(piece)
        known = stored_entries(self._journal, here, upto)
        return all(one == other._replace(seq=one.seq) for one, other in zip(known, entries, strict=False))


def _arriving(journal: Journal, run: Run) -> Run:
    """The run as it begins here, at its time. Whom it awaited is not known here: then it is due at once, and looks."""
    wake_at = run.wake_at
    if not run.direct and run.state == "waiting" and wake_at is None:
        wake_at = journal.now()
    return run._replace(owner=None, lease_until=None, request=None, no=0, wake_at=wake_at)


def _followed(entries: Iterator[Entry], more: Sequence[Entry]) -> Iterator[Entry]:
    yield from entries
    yield from more
