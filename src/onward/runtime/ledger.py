"""What a lease knows of its run's journal: what is recorded, what a replay has still ahead, what is in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from onward.core import keys, limits
from onward.core.codec_files import MARK
from onward.core.decide import Beaten, decide
from onward.core.model import Begun, Change, Entry, EntryKind, Run, made
from onward.runtime.lease import Lease
from onward.runtime.recorded import Recorded
from onward.runtime.suspects import Suspects
from onward.storage.ticket import Ticket

if TYPE_CHECKING:
    from onward.runtime.output import Output


class Marked(Protocol):
    """A unit that has begun: a Begun, or what tells as much of a first attempt."""

    @property
    def key(self) -> str: ...
    @property
    def kind(self) -> EntryKind: ...
    @property
    def name(self) -> str: ...


class Ledger(Lease):
    """A lease together with what the run's journal said when it began, and what it has recorded since."""

    rehearses: ClassVar[bool] = False  # whether it only looks: see `replay`

    __slots__ = (
        "_ahead",
        "_gone_on",
        "_markers",
        "_scopes",
        "beats",
        "beats_ahead",
        "begun",
        "deadlines",
        "given",
        "newest_files",
        "once",
        "output",
        "peopled",
        "recorded",
        "side_by_side",
        "suspects",
        "visited",
    )

    def __init__(
        self,
        run: Run,
        *,
        last_seq: int,
        entries: Iterable[Entry] = (),
        begun: Iterable[Begun] = (),
        safe_until: float,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(run, last_seq=last_seq, safe_until=safe_until, clock=clock)
        self.side_by_side = 0  # maps whose items are being executed
        self.recorded = Recorded()
        self.begun: dict[str, Begun] = {b.key: b for b in begun}
        self.visited: set[str] | None = None  # keys of recorded outcomes that this lease has come to
        self._ahead: dict[str, set[str]] | None = (
            None  # by scope: recorded units a replay has not come to yet
        )
        self._gone_on: set[str] = set()  # scopes in which this lease has begun something new
        self.peopled: set[str] = set()  # workflows: units in whose scope something is recorded
        self.beats: dict[str, Entry] = {}  # by unit: its latest heartbeat
        self.once: set[str] = set()  # units in flight that must not be executed twice
        self.beats_ahead: deque[Ticket] = deque()  # heartbeats on their way to the disk
        self.newest_files: tuple[int, dict[str, str]] = (0, {})  # see remake.py
        self.output: Output | None = None  # its sinks, once something is written to one
        self.suspects: Suspects | None = None  # who take turns, once branches have begun side by side
        self._markers: dict[str, tuple[Marked, float]] = {}
        self._scopes: dict[str, list[str]] = {}
        self.deadlines: list[float] = []  # of the blocks with a timeout that it is in
        self.given: dict[str, object] = {}  # items in hand: what fails is kept together with its item
        self.learn(entries)

    # -- what is recorded ---------------------------------------------------------------------------------

    def learn(self, entries: Iterable[tuple[Any, ...]]) -> None:
        """Take in what is recorded, as Entries or their fields; later ones of a key stand for earlier ones."""
        rows = self.recorded.rows
        plain, inside = self.run.kind == "workflow", keys.SEPARATOR
        for entry in entries:
            # By number and not by name: a run may have recorded thousands of these, and its next call waits for them.
            key, state = entry[0], entry[2]
            if state == "done":
                if plain and inside not in key:  # no beat, which lies in the scope of its unit
                    rows[key] = entry
                elif entry[1] == "beat":
                    self.beats[key.rpartition(inside)[0]] = made(entry)
                else:
                    self.remember(entry)
            elif state == "failed":
                if key not in rows:
                    self.remember(entry)
            elif state == "reopened" and key in rows and rows[key][2] == "failed":
                del rows[key]

    def remember(self, entry: tuple[Any, ...]) -> None:
        """A new outcome, once it is durable: an Entry, or its fields."""
        key: str = entry[0]
        if self.run.kind != "workflow":
            item, inside, _ = key.partition(keys.SEPARATOR)
            if not inside and entry[1] == "item":
                return  # an item of the loop itself: looked up in the journal, so that a long loop stays small
            if inside:
                self._scopes.setdefault(item, []).append(key)
        elif keys.SEPARATOR in key:
            outer = key
            while keys.SEPARATOR in outer:
                outer = outer.rpartition(keys.SEPARATOR)[0]
                self.peopled.add(outer)
        self.recorded.rows[key] = entry

    def forget_scope(self, key: str) -> None:
        """Drop what was recorded inside an item that has ended, so that a long loop stays small."""
        for inner in self._scopes.pop(key, ()):
            self.recorded.pop(inner)
        if self.beats:
            inside = key + keys.SEPARATOR
            for unit in [unit for unit in list(self.beats) if unit == key or unit.startswith(inside)]:
                self.beats.pop(unit, None)

    def recalls(self, row: tuple[Any, ...], name: str, fingerprint: bytes) -> bool:
        """Whether this row of what is recorded tells the outcome of this very call of a step; else `perform` looks.

        Most of a replay are such calls: asked here first, each costs a fraction of what a flow for it would.
        """
        if row[4] != fingerprint or row[3] != name or row[2] != "done" or row[1] != "step":
            return False
        value = row[5]
        if value is not None and "$" in value and MARK in value:  # files, which have to be there still
            return False
        visited = self.visited
        if visited is not None:
            visited.add(key := row[0])
            if self._ahead:
                self.met(key)
        return True

    def given_of(self, key: str) -> tuple[object, ...]:
        """The item of this key, in a tuple; empty for what is none."""
        return (self.given[key],) if key in self.given else ()

    # -- replay -------------------------------------------------------------------------------------------

    def expect(self) -> None:
        """What is recorded now lies ahead: this lease replays it."""
        self.visited = set()

    def met(self, key: str) -> None:
        """A replay has come to this unit."""
        if self.visited is not None:
            self.visited.add(key)
            if self._ahead:
                self._ahead.get(key.rpartition(keys.SEPARATOR)[0], set()).discard(key)

    def is_replaying(self, scope: str) -> bool:
        """Whether units are recorded in the scope that this lease has not come to yet, and it has begun no new one."""
        if self.visited is None or scope in self._gone_on:
            return False
        if self._ahead is None:
            self._ahead = self._not_met(self.visited)
        return bool(self._ahead.get(scope))

    def _not_met(self, visited: set[str]) -> dict[str, set[str]]:
        """By scope: what is recorded and not visited. Sorted out when first asked for, which most replays never do."""
        ahead: dict[str, set[str]] = {}
        for key in [*self.recorded, *self.peopled]:
            if key not in visited:
                ahead.setdefault(key.rpartition(keys.SEPARATOR)[0], set()).add(key)
        return ahead

    def goes_on(self, key: str) -> None:
        """A new unit begins: in its scope the replay is over."""
        if self.visited is not None:
            self._gone_on.add(key.rpartition(keys.SEPARATOR)[0])

    # -- start markers ------------------------------------------------------------------------------------

    def careful(self, past: Begun) -> bool:
        """Whether a unit must not begin before its start marker is durable: if the process dies in it, that counts.

        So it is for what an earlier lease died in, and for what is new after one that died without leaving a trace.
        """
        return self.run_stalls > 0 or past.crashes > 0 or past.suspect

    # Single operations on a dict are atomic, so that a step needs no lock for its marker: it puts it in, pops it out.
    # Only if it finds the keeper was faster does it wait until that has handed the marker over.

    def start(self, begun: Begun, at: float) -> None:
        """Note that a unit has begun, at this time by the lease's clock."""
        self._markers[begun.key] = (begun, at)

    def settle_marker(self, key: str) -> bool:
        """Forget a unit's start marker; True if neither it nor an earlier one was ever written."""
        if self._markers.pop(key, None) is not None:
            return key not in self.begun
        with self.lock:
            return False

    def overdue_markers(
        self, hand_over: Callable[[Sequence[Begun]], None], *, now: float, wall: float
    ) -> None:
        """Pass the markers of units that have run for long to `hand_over`, which must queue them at once."""
        with self.lock:
            late = [b.key for b, at in list(self._markers.values()) if now - at >= limits.MARKER_S]
            taken: list[Begun] = []
            for key in late:
                marker = self._markers.pop(key, None)
                if marker is not None:  # else it has ended in this very moment
                    begun = _begun(marker[0])
                    written = begun._replace(fence=self.run.fence, begun_at=wall - (now - marker[1]))
                    self.begun[key] = written
                    taken.append(written)
            if taken:
                hand_over(taken)

    def cut_off(self, key: str) -> Change | None:
        """A unit was cancelled while it was executed; the change that takes its start marker back, if it was written.

        One that must not be executed twice stays begun: whether it was executed is in doubt.
        """
        with self.lock:
            self._markers.pop(key, None)
            begun = self.begun.get(key)
            if begun is None or begun.fence != self.run.fence or key in self.once:
                return None
            free = self.begun[key] = begun._replace(fence=0)
            return Change(self.run.no, self.run.fence, (), (free,))

    def begun_here(self, key: str) -> Begun | None:
        """The unit, if this lease has begun it and it has no outcome yet."""
        marker = self._markers.get(key)
        if marker is not None:
            return _begun(marker[0])
        begun = self.begun.get(key)
        return begun if begun is not None and begun.fence == self.run.fence else None

    def beat(self, key: str, text: str, *, now: float) -> Change:
        """The change that records a heartbeat of a unit in flight, with its start marker if that is not written."""
        with self.lock:
            before = self.beats.get(key)
            number = 1 if before is None else int(before.key.rpartition("~")[2]) + 1
            marker = self._markers.pop(key, None)
            if marker is not None:
                begun_at = now - (self.clock() - marker[1])
                self.begun[key] = _begun(marker[0])._replace(fence=self.run.fence, begun_at=begun_at)
            begun = self.begun.get(key)
            assert begun is not None, "its unit is in flight"
            change = decide(self.run, Beaten(begun, number, text, new=marker is not None), now=now)
            self.beats[key] = change.entries[0]
            return change

    def is_inside_step(self, key: str) -> bool:
        """Whether what has this key happens in the body of a step in flight: in the work itself, not between steps."""
        while keys.SEPARATOR in key:
            key = key.rpartition(keys.SEPARATOR)[0]
            begun = self.begun_here(key)
            if begun is not None and begun.kind == "step":
                return True
        return False

    def in_flight(self) -> list[Begun]:
        with self.lock:
            written = [b for b in list(self.begun.values()) if b.fence == self.run.fence]
            marked = [_begun(one) for one, _ in list(self._markers.values())]
            return written + [b._replace(fence=self.run.fence) for b in marked]


def _begun(marked: Marked) -> Begun:
    """What its marker says; that of a first attempt is made only where somebody asks."""
    return marked if isinstance(marked, Begun) else Begun(marked.key, marked.kind, marked.name)
