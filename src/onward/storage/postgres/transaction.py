"""One write transaction: many changes of many runs, each behind its guard, in two round trips.

The first begins, locks the rows of all runs that the changes are for, in the order of their numbers, and reads their
guards. Then the changes are checked and their rows collected. The second writes them, a statement for each table, and
commits. A begun unit that ends within the same batch never reaches the disk. A claim sees what stands before it, so
that is written first, together with the questions of the claim.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby, takewhile
from typing import Final

from onward.core.model import (
    ENDED,
    Added,
    Answered,
    Applied,
    Arrival,
    Begun,
    Change,
    Claim,
    Entry,
    Leasing,
    Lot,
    Order,
    Refused,
    Run,
)
from onward.storage import arrivals, claims, guards
from onward.storage.guards import Guard
from onward.storage.postgres import locks, rows, shelf, tray
from onward.storage.postgres.arrays import columns, ints, texts
from onward.storage.postgres.link import Link, Row, Step
from onward.storage.postgres.longtext import short
from onward.storage.untold import Untold

# What packing does with a value that no journal can hold: half a surrogate pair, a number beyond 64 bits.
UNPACKABLE: Final = (UnicodeEncodeError, OverflowError, TypeError, ValueError, struct.error)
_chance: Final = random.SystemRandom()


class Clash(Exception):
    """A change that collides with what is stored or with its own batch; the transaction must be taken back."""

    def __init__(self, refused: Refused) -> None:
        self.refused = refused
        super().__init__(refused.detail)


class Transaction:
    """The changes of one batch. What is found and left of each run tells afterwards whether it was committed."""

    def __init__(self, link: Link, now: Callable[[], float]) -> None:
        self._link, self._now = link, now
        self.answers: list[Answered] = []
        self.found: dict[int, Guard] = {}  # as stored when it was locked
        self.left: dict[int, Guard] = {}  # as it will be stored
        self.untold: dict[int, Sequence[Entry]] = {}  # the last entries of runs of which only their rows tell
        self.heard = False  # whether others may be waiting for what it does
        # Something of what it writes, by which it is recognised later.
        self.first_entry: Row | None = None
        self.first_arrival: Row | None = None
        self.created: dict[str, int] = {}
        self.numbers: list[int] = []  # for new runs
        self.moved: bool | None = None
        self._tray: tray.Tray | None = None
        self._token = _chance.getrandbits(62)
        self._forget_rows()

    def _forget_rows(self) -> None:
        self._new: dict[int, Run] = {}
        self._entries: list[Row] = []
        self._told: list[Row] = []  # entries of which the rows of their runs told
        self._touched: set[int] = set()  # runs whose rows are to tell of no entries
        self._begun: dict[tuple[int, str], Begun | None] = {}
        self._runs: dict[int, Run] = {}
        self._progress: dict[int, Row] = {}
        self._queues: set[str] = set()
        self._starts: dict[Row, int] = {}
        self._leases: list[Row] = []
        self._args: list[Row] = []
        self._arrivals: list[Row] = []
        self._waiters: list[Row] = []
        self._ended: list[str] = []

    def begin(self, orders: Sequence[Order], *further: Step) -> list[list[Row]]:
        """Begin, and read and lock what the orders need; the rows of `further` statements, which see it locked."""
        changes = [order for order in orders if type(order) is Change]
        numbers = ints(sorted(_numbers(changes)))
        new = sum(change.create for change in changes) + sum(
            len(order.ids) for order in orders if type(order) is Lot
        )
        steps: list[Step] = [("begin", ()), _guards(changes, numbers), ("last_seqs", (numbers,))]
        adds = new or any(type(order) is Arrival for order in orders)
        if adds:
            stay = locks.number(self._link.schema, "moving")
            steps += [("stay", (stay,)), ("moved_to", ()), ("new_numbers", (new,))]
        _, stored, last, *more = self._link.all(*steps, *further)
        if adds:
            _, moved, created, *more = more
            self.moved = bool(moved)
            self.numbers = [no for (no,) in created]
        self.found = guards_of(stored, last)
        self.left = dict(self.found)
        self.untold = untold_of(stored, last)
        return more

    def answer_all(self, orders: Sequence[Order]) -> None:
        """Answer one after the other; new runs that stand side by side are added by one statement."""
        for are_new, some in groupby(orders, key=_is_new):
            group = list(some)
            if are_new and len(group) > 1:
                self.answers += self._added([order for order in group if type(order) is Change])
            else:
                self._answer_each(group)

    def _answer_each(self, orders: Sequence[Order]) -> None:
        for at, order in enumerate(orders):
            self.answers.append(self.answer(order, orders[at:]))

    def answer(self, order: Order, following: Sequence[Order] = ()) -> Answered:
        """Apply a change, claim runs, or put an item into one; `following`: what is answered next."""
        if type(order) is Change:
            return self.apply(order)
        if type(order) is Claim:
            return self._claim(order)
        if type(order) is Lot:
            return self._add(order)
        assert type(order) is Arrival
        return self._arrive(order, following or [order])

    def apply(self, change: Change) -> Applied | Refused:
        """Check the change's guard and collect its rows. A refusal leaves no trace."""
        if change.create:
            if self.moved:
                return guards.moved()
            no, guard = self._create(change)
        else:
            no, found = change.run_no, self.left.get(change.run_no)
            refused = guards.refusal(change, found) or self._refused_beside(change)
            if refused is not None:
                return refused
            assert found is not None, "a change without a guard is refused as missing"
            guard = self._tell(no, change, found)
        seq = guard.seq
        for entry in change.entries:
            seq += 1
            self._entries.append(rows.entry_row(no, seq, entry))
        for key in change.ended:
            self._begun[no, key] = None
        for begun in change.begun:
            self._begun[no, begun.key] = begun
        self.left[no] = guard = self._row(no, change, guard._replace(seq=seq))
        self._waiters += [(awaited, no) for awaited in change.awaits]
        for other in change.beside:
            self.apply(other)  # its guard holds, see above
        return Applied(no, seq, guard.request)

    # -- one change -------------------------------------------------------------------------------------

    def _tell(self, no: int, change: Change, guard: Guard) -> Guard:
        """Make entries of what the run's row tells, before the change writes anything but units in flight.

        All that is written of a run comes by here, but for its plain claims and ends. The row of a run that was never
        leased is written with each of its entries, so that a claim sees them, see `claim_plain`.
        """
        if guard.untold and (change.entries or change.after is not None or change.progress is not None):
            self._told += rows.mark_rows(no, guard.seq, self.untold[no])
            self._touched.add(no)
            return guard._replace(untold=0)
        if change.entries and not guard.fence:
            self._touched.add(no)
        return guard

    def _create(self, change: Change) -> tuple[int, Guard]:
        run = change.after
        assert run is not None, "a change that creates a run says what run"
        no = self._number()
        self._new[no] = run
        self.created[run.id] = no
        self._know_queue(run)
        return no, guards.written(run, -1)

    def _number(self) -> int:
        if not self.numbers:  # of a run that takes many items: most of them need no new one
            self.numbers = [no for (no,) in self._link.ask("new_numbers", 1)]
        return self.numbers.pop(0)

    def _know_queue(self, run: Run) -> None:
        if not run.direct:
            self._queues.add(run.queue)
            self.heard = True

    def _added(self, new: Sequence[Change]) -> list[Answered]:
        """Add many runs. One that collides with what is there is refused, and keeps none of the others."""
        if self.moved:
            return [guards.moved() for _ in new]
        runs = {self._number(): change.after for change in new if change.after is not None}
        assert len(runs) == len(new), "a change that creates a run says what run"
        numbered = [rows.new_run(run, no) for no, run in runs.items()]
        before = self.steps()
        found = self._link.all(*before, ("add_runs", columns(rows.NEW_RUN, numbered)))
        self.written()
        added = {no for (no,) in found[-1]}
        answers: list[Answered] = []
        for (no, run), change in zip(runs.items(), new, strict=True):
            if no not in added:
                answers.append(guards.exists(run))
                continue
            self._entries += [rows.entry_row(no, seq, entry) for seq, entry in enumerate(change.entries)]
            self._know_queue(run)
            self.created[run.id] = no
            seq = len(change.entries) - 1
            self.left[no] = guards.written(run, seq)
            answers.append(Applied(no, seq, run.request))
        return answers

    def _add(self, lot: Lot) -> Added | Refused:
        """Add the runs of a lot, each with its mark."""
        if self.moved:
            return guards.moved()
        numbers = self.numbers[: len(lot.ids)]
        del self.numbers[: len(lot.ids)]
        before = self.steps()
        found = self._link.all(*before, ("add_lot", rows.lot(lot, numbers)))
        self.written()
        added = {no for (no,) in found[-1]}
        head, tail = lot.mark[:5], lot.mark[7:11]
        for no, own, args, crc in zip(numbers, lot.ids, lot.args, lot.checksums, strict=True):
            if no in added:
                self._entries.append((no, 0, *head, args, crc, *tail, None))
                self.created[own] = no
        if added:
            self._know_queue(lot.like)
            self.left.update(dict.fromkeys(added, guards.written(lot.like, 0)))
        return Added([no if no in added else 0 for no in numbers])

    def _refused_beside(self, change: Change) -> Refused | None:
        """Why one of the changes beside may not be written; then none of them is."""
        for other in change.beside:
            refused = guards.refusal(other, self.left.get(other.run_no))
            if refused is not None:
                return refused._replace(run_no=other.run_no)
        return None

    def _row(self, no: int, change: Change, guard: Guard) -> Guard:
        """Collect what the change does to the run's row, which for most changes is nothing."""
        if change.after is not None and not change.create:
            run = guards.kept(change, change.after, guard)
            if no in self._new:
                self._new[no] = run
            else:
                self._runs[no] = run
            self._progress.pop(no, None)  # overwritten
            guard = guards.written(run, guard.seq)
            self.heard = self.heard or run.state != "running"
            if run.state in ENDED:
                self._ended.append(run.id)
        if change.progress is not None:
            done, total, counted = change.progress
            if no in self._runs:
                self._runs[no] = self._runs[no]._replace(done=done, total=total, counted_seq=counted)
            else:
                self._progress[no] = (done, total, counted, no)
        return guard

    # -- claims and arrivals --------------------------------------------------------------------------------

    def _claim(self, order: Claim) -> Answered:
        now = self._now()
        found = self.read(shelf.reads(order, now))
        self._tray = None  # what takes more items may have begun now
        return claims.claim(shelf.Shelf(self._link, self, found), order, now)

    def _arrive(self, order: Arrival, following: Sequence[Order]) -> Answered:
        if self._tray is None:
            same = list(takewhile(lambda one: type(one) is Arrival, following))
            coming = [one for one in same if type(one) is Arrival]
            self._tray = tray.Tray(self._link, self, self.read(tray.reads(coming, self._link.schema)))
        answer = arrivals.arrive(self._tray, order, self._now())
        self.heard = True
        return answer

    def read(self, questions: Sequence[Step]) -> list[list[Row]]:
        """The answers to questions that must see what stands before them: that is written first."""
        before = self.steps()
        found = self._link.all(*before, *questions)
        self.written()
        return found[len(before) :]

    def lease(self, changes: Sequence[Change]) -> None:
        """Write claims: a few columns of each run, and its mark."""
        for change in changes:
            run, no, before = change.after, change.run_no, change.before
            assert run is not None, "a claim writes the run's row"
            assert before is not None, "and is made of what was read"
            self._leases.append(rows.lease(run, no, 0))
            if before.args is None:
                self._args.append((no, run.args))
            seq = run.leased_seq - len(change.entries)
            for entry in change.entries:
                seq += 1
                self._entries.append(rows.entry_row(no, seq, entry))
            self.left[no] = guards.written(run, seq)

    def lease_first(self, leases: Leasing) -> None:
        """As `lease`, of runs that have never been leased. Their rows tell of it."""
        self._leases += [rows.lease(run, run[29], 1) for run in leases.runs]
        self.claimed(leases.runs, leases.mark)

    def ended(self, first: Row) -> None:
        """Runs were ended by a statement of their own, whose first entry this is."""
        self.first_entry, self.heard = first, True

    def claimed(self, runs: Sequence[Run], mark: Entry) -> None:
        """Runs that are leased for the first time, each with this mark, of which its row tells."""
        marks = (mark,)
        for run in runs:
            no = run[29]
            self.left[no] = guards.written(run, run[13], 1)  # its leased_seq
            self.untold[no] = marks
        if runs and self.first_entry is None:
            self.first_entry = rows.entry_row(runs[0].no, runs[0].leased_seq, mark)

    def arrive(self, row: Row) -> None:
        self._arrivals.append((*row, self._token))

    def know(self, no: int, guard: Guard) -> None:
        """A run that was locked by a claim."""
        self.found.setdefault(no, guard)
        self.left[no] = guard

    def start(self, queue: str, lane: str, at: float, count: int) -> None:
        self._starts[queue, lane, at] = self._starts.get((queue, lane, at), 0) + count

    # -- writing ------------------------------------------------------------------------------------------

    def steps(self) -> list[Step]:
        """The statements that write what was collected; a value that cannot be written is raised as UNPACKABLE."""
        ended = [(no, short(key)) for (no, key), begun in self._begun.items() if begun is None]
        started = [rows.begun_row(no, begun) for (no, _), begun in self._begun.items() if begun is not None]
        each: tuple[tuple[str, rows.Kinds, Sequence[Row]], ...] = (
            ("lease", rows.LEASE, self._leases),
            ("set_args", rows.ARGS, self._args),
            # What runs give up, others may take: their `single`, and that they are the open one of their identity.
            ("set_run", rows.SET_RUN, [rows.set_run(run, no) for no, run in self._runs.items()]),
            ("set_progress", rows.PROGRESS, list(self._progress.values())),
            ("add_run", rows.NEW_RUN, [rows.new_run(run, no) for no, run in self._new.items()]),
            ("end_begun", rows.ENDED, ended),
            ("set_begun", rows.BEGUN, started),
            ("add_arrival", rows.ARRIVALS, self._arrivals),
            ("add_starts", rows.STARTS, [(*at, count) for at, count in self._starts.items()]),
            ("add_waiter", rows.WAITERS, self._waiters),
        )
        steps: list[Step] = [(name, columns(kinds, some)) for name, kinds, some in each if some]
        if self._told or self._entries:
            entries = columns(rows.ENTRY, [*self._told, *self._entries])
            touched = self._touched - self._runs.keys()  # `set_run` does it too
            with_rows: Step = ("tell_entries", (*entries, ints(sorted(touched))))
            steps.append(with_rows if touched else ("add_entries", entries))
        if self._waiters:
            steps.append(("wake_idle", (*columns(rows.WAITERS, self._waiters), self._now())))
        if self._ended:
            steps.append(("end_waiters", (texts(self._ended), self._now())))
        if self._queues:
            steps.append(("add_queue", (texts(sorted(self._queues)),)))
        return steps

    def written(self) -> None:
        """What was collected is sent; more may come."""
        self._remember()
        self._forget_rows()

    def _remember(self) -> None:
        # Not what is told: others tell the same.
        if self.first_entry is None and self._entries:
            self.first_entry = self._entries[0]
        if self.first_arrival is None and self._arrivals:
            self.first_arrival = self._arrivals[0]

    def sealed(self) -> list[Step]:
        """The last statements, with which it is over."""
        self._remember()
        return self.steps()

    def include(self, other: Transaction) -> None:
        """What another one has sent, within a part of this one, has become part of this one."""
        self.left.update(other.left)
        self.found.update({no: guard for no, guard in other.found.items() if no not in self.found})
        self.untold.update(other.untold)
        self.first_entry = self.first_entry or other.first_entry
        self.first_arrival = self.first_arrival or other.first_arrival
        self.created.update(other.created)
        self.heard = self.heard or other.heard

    @property
    def collected(self) -> str:
        """The keys that were to be recorded, for people."""
        return ", ".join(str(row[2]) for row in self._entries)[:2_000]

    def seen(self, link: Link) -> bool | None:
        """Whether it shows in what is stored, once it is known to be over; None if that does not tell."""
        if self.first_entry is not None:
            return _is_there(link, self.first_entry)
        if self.created:
            return dict(link.ask("numbers", texts(list(self.created)))) == self.created
        if self.first_arrival is not None:
            return _has_arrived(link, self.first_arrival)
        # What is untold may have been told by others meanwhile, as by this.
        left, found = _all_told(self.left), _all_told(self.found)
        changed = sorted(no for no, guard in left.items() if guard != found.get(no))
        if not changed:
            return False  # it only says again what is so
        stored, last = link.all(("guards", (ints(changed),)), ("last_seqs", (ints(changed),)))
        now = _all_told(guards_of(stored, last))
        if all(now.get(no) == left[no] for no in changed):
            return True
        return False if all(now.get(no) == found[no] for no in changed) else None


def _is_there(link: Link, entry: Row) -> bool | None:
    """Whether this entry is in the journal, stored or untold; None if it is neither there nor still to come."""
    no, seq = entry[:2]
    number = ints([no])
    # Locked, so that nobody tells it in between.
    stored, there, last = link.all(
        ("guards", (number,)), ("there", columns(rows.ENTRY, [entry])), ("last_seqs", (number,))
    )
    if there:
        return bool(there[0][2])  # if its place is another's, nothing of all this was written
    guard, untold = guards_of(stored, last).get(no), untold_of(stored, last).get(no, ())
    if guard is None or guard.seq < seq:
        return False
    told = {row[1]: row for row in rows.mark_rows(no, guard.seq, untold)}
    return told[seq] == entry if seq in told else None


def _all_told(guards: Mapping[int, Guard]) -> dict[int, Guard]:
    return {no: guard._replace(untold=0) if guard.untold else guard for no, guard in guards.items()}


def _has_arrived(link: Link, arrival: Row) -> bool | None:
    """Whether this item is in its run; None if nothing tells of that any more."""
    no, number, *_, token = arrival
    for found, fence in link.ask("arrived_at", no, number):
        if found is not None:
            return bool(found == token)
        return None if fence else False
    return None


def _is_new(order: Order) -> bool:
    """Whether it only adds a run."""
    return type(order) is Change and order.create and not order.begun and not order.beside


def guards_of(stored: Iterable[Row], last: Iterable[Row]) -> dict[int, Guard]:
    """The guards of runs by their numbers, from the rows of `guards` and `last_seqs`; not of those locked beside."""
    seqs: dict[int, int] = dict(last)
    return {
        row[0]: Guard._make((*row[1:6], seqs[row[0]] + row[6], row[6])) for row in stored if row[0] in seqs
    }


def untold_of(stored: Iterable[Row], last: Iterable[Row]) -> dict[int, Sequence[Entry]]:
    """The entries of which only the rows of their runs tell, from the same."""
    seqs: dict[int, int] = dict(last)
    return {
        no: tuple(Untold(count, seqs[no] + 1, fence, owner, claimed_at, returned_at).entries())
        for no, fence, *_, count, owner, claimed_at, returned_at in stored
        if count and no in seqs
    }


def _guards(changes: Sequence[Change], numbers: object) -> Step:
    every = [one for change in changes for one in (change, *change.beside)]
    awaited = [run_id for change in every for run_id in change.awaits]
    ended = [change.after.id for change in every if change.after is not None and change.after.state in ENDED]
    if not awaited and not ended:
        return "guards", (numbers,)
    return "guards_around", (numbers, texts(awaited), texts(ended))


def _numbers(changes: Iterable[Change]) -> set[int]:
    """The runs that are there already and that the changes are for."""
    found = set()
    for change in changes:
        if not change.create:
            found.add(change.run_no)
        found.update(other.run_no for other in change.beside)
    return found
