"""The items of one loop or map within a leased run: the flows that begin and end them.

`done(n)` is handed over before the source is asked for the next item and rides with the commit of `begun(n+1)`;
that one is waited for, so an item is handed out only when both are durable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from onward.core import codec, keys, limits
from onward.core.decide import Died, decide, succeeded
from onward.core.errors import RunConflict, UsageError
from onward.core.model import Begun, Change, Entry, starts
from onward.core.retry import Policy
from onward.core.rows import recognised
from onward.core.texts import Failure, failure_of
from onward.runtime import observe
from onward.runtime.current import Here
from onward.runtime.effects import NOW, Flow, Join, Keep, Later, Now, Outcome
from onward.runtime.engine import Engine
from onward.runtime.losing import lost_before, stop
from onward.runtime.outcomes import crash_error
from onward.runtime.passes import Pass, Standing
from onward.runtime.session import Session, Unit

_new = tuple.__new__  # see core/model.py

# What an item is that equals an earlier one of its pass: work of its own, the same work, a mistake.
Duplicates = Literal["again", "skip", "error"]


class Items:
    """Begins and ends items under keys that start with `prefix`."""

    def __init__(
        self,
        engine: Engine,
        session: Session,
        *,
        prefix: str,
        name: str,
        policy: Policy,
        key: Callable[[Any], str] | None,
        nested: bool,
        flush_s: float = 0.0,
        duplicates: Duplicates | None = None,
        stop_after: int | str | None = None,
    ) -> None:
        self.engine, self.session, self.prefix, self.name = engine, session, prefix, name
        self.policy, self._key, self.nested, self.flush_s = policy, key, nested, flush_s
        self.stop_after = stop_after  # how many bodies in a row may end the program, for loops: see losing.py
        # Equal items are so much work each; what has an explicit key is one work, done once.
        self.duplicates: Duplicates = duplicates or ("again" if key is None else "skip")
        self.parked = 0
        self.raised: dict[str, Failure] = {}  # why it is parked, if that was exceptions and not deaths
        self.weight = 1  # how many items end together
        self.prompt = False  # whether the source gives the next item without any wait
        self._done: Any = None  # the ticket of the item that ended last
        self._buffer: list[Entry] = []
        self._marked: list[str] = []  # those of them whose start marker was written
        self._buffered_at = 0.0
        self._said_twice = False
        self._again: set[str] = set()  # done items of a map whose files are being looked at
        self._given: dict[str, tuple[object]] = {}  # the item taken last, by its key
        store, run = engine.store, session.run
        upto = session.last_seq

        def page(after: int, limit: int) -> list[tuple[int, str]]:
            rows = store.done_items(run.no, prefix, after=after, limit=limit)
            return [row for row in rows if row[0] <= upto]

        def recorded(key: str) -> Entry | None:
            return session.recorded.get(key)

        def outcome(key: str) -> Entry | None:
            return store.outcome(run.no, key)

        self.walk = Pass(
            fence=run.fence,
            page=(lambda after, limit: []) if nested else page,
            outcome=recorded if nested else outcome,
            continued=run.fence > 1,
            forgets=not nested,
            empty=not nested and run.fence == 1 and session.last_seq == run.leased_seq,
        )

    # -- recognising --------------------------------------------------------------------------------------

    def base_key(self, item: Any) -> str:
        """The content key of an item, or the one that `key=` gives."""
        if self._key is None:
            return self.prefix + recognised(item)
        key = keys.checked(self._key(item))
        # The nth equal key is `key~n` then, which must not be the same as a key that was given.
        return self.prefix + (codec.item_key(key) if "~" in key and self.duplicates == "again" else key)

    def take(self, item: Any) -> tuple[str, Standing]:
        """The key of the next item and how it stands. Read before the body can change the item."""
        key, standing = self.walk.take(self.base_key(item), once=self.duplicates != "again")
        if standing == "repeat":
            self._meet_again(key)
            standing = "done"
        if self.nested and standing != "new":
            self.session.met(key)
        self._given = {key: (item,)}
        return key, standing

    def replays(self, key: str) -> bool:
        """Whether the body of a done item is run again: in a workflow, where it called steps, which then answer
        from the
        record. So a workflow's variables come out the same on every replay, and a body without steps runs once.
        """
        return self.session.run.kind == "workflow" and key in self.session.peopled

    def _meet_again(self, key: str) -> None:
        name, shown = self.session.run.name, key.removeprefix(self.prefix)
        if self.duplicates == "error":
            raise UsageError(
                f'`{name}`: the item {shown!r} occurs more than once, and duplicates="error" allows none; the items '
                f"before its second occurrence are kept, nothing of it was done. Take it out of the source, tell the "
                f'two apart with key=, or give duplicates="again" or "skip".'
            )
        if not self._said_twice:
            self._said_twice = True
            who = "key= gave" if self._key is not None else "the source brought"
            observe.say(f"{name}: {who} {shown!r} more than once; the same key is the same work, done once")

    def is_known(self, item: Any) -> bool:
        """Whether the item is recorded in this run."""
        base = self.base_key(item)
        if base == self.walk.expected or base in self.session.begun:
            return True
        return self.engine.store.outcome(self.session.run.no, base) is not None

    def another_list(self, looked: int) -> RunConflict:
        """The error of a pass that recognises none of its first items; nothing of it has been touched."""
        run = self.session.run
        self.session.total = run.total  # the length of the other list says nothing about this one
        return RunConflict(
            run.id,
            f"`{run.name}` has {self.session.done:,} items done, but none of the first {looked} items given "
            "now is among them: this is another list. Nothing was begun and nothing is lost. Give this loop its own "
            f"name= (for lists that are new every day: with the day in it) or, to start afresh, run "
            f"`onward cancel {run.id}` first.",
        )

    # -- beginning and ending --------------------------------------------------------------------------------

    def begin(self, key: str) -> Flow[Here | None]:
        """Begin an item durably; None if it has to be parked because the process died in it too often."""
        session = self.session
        if session.run.fence > 1:
            # Begun before, or failed and reopened: what its body has recorded is not executed again.
            self.recall(key)
        past = session.begun.get(key) or Begun(key, "item", self.name)
        if past.crashes:
            yield from self.stop_if_losing((key,))
        if past.crashes >= self.policy.max_crashes:
            yield from self._park(key, past)
            return None
        session.goes_on(key)
        if session.hindered():
            yield from session.check()
        now: float = yield NOW
        begun = _new(Begun, (*past[:7], session.run.fence, now))
        if self.flush_s and not session.careful(past):
            session.start(begun, session.clock())
        else:
            answers = yield Keep((starts(session.run, begun),))
            # First the item that ended: its entry must not be among the known ones and not among the counted.
            yield from self.join()
            session.applied(answers)
            session.begun[key] = begun
            # The answer may have brought a request to pause or cancel: granted before this item's body, not after it.
            yield from session.check()
            yield from session.check()  # the commit may have taken longer than what was left of the lease
        place = session.place(key, attempt=past.attempt)
        place.rows = {}
        return place

    def stop_if_losing(self, keys: tuple[str, ...]) -> Flow[None]:
        """Before a body is begun in which the program has ended: stop the pass if it did so in too many in a row."""
        if self.stop_after is None or self.session.run.kind != "loop":
            return
        yield from self.settle()
        lost = lost_before(self.engine, self.session, keys[0])
        why = lost.too_many(self.stop_after)
        if why is not None:
            self.parked -= len(lost.parked)
            yield from stop(self.session, lost, why, keys)

    def revisit(self, key: str) -> Flow[Here | None]:
        """The place of an item that is done and whose body is run again, see `replays`."""
        yield from self.session.check()
        place = self.session.place(key)
        place.rows = {}  # what it writes is recorded already, and goes nowhere
        return place

    def end(self, key: str, begun_at: float, value: str | None = None) -> Flow[None]:
        """The item's body has run through: its record is on its way, see `join`."""
        session = self.session
        if session.unwinding is not None:
            raise session.unwinding
        now: float = yield NOW
        marked = not self.flush_s or not session.settle_marker(key)
        change = succeeded(session.run, key, "item", self.name, value, None, begun_at, now=now, marked=marked)
        if self.flush_s:
            yield from self._buffer_up(key, change, now)
            return
        self._done = yield Later(change, not self.prompt)
        self.left(key)

    @property
    def grouping(self) -> bool:
        """Whether items have ended that are not on their way yet: see `flush_s`."""
        return bool(self._buffer)

    def join(self) -> Flow[None]:
        """Wait until the last ended item is durable."""
        ticket, self._done = self._done, None
        if ticket is not None:
            answers = ticket.result() if ticket.settled and ticket.error is None else (yield Join(ticket))
            self.session.count(answers, 0 if self.nested else self.weight)

    def settle(self) -> Flow[None]:
        """Wait until everything ended so far is durable."""
        if self._buffer:
            yield from self._flush()
        yield from self.join()

    def _park(self, key: str, past: Begun) -> Flow[None]:
        now: float = yield Now()
        unit = Unit(key, "item", self.name, self.policy)
        raised = self._raised_last(key)
        if raised is not None:
            self.raised[key] = raised
        error = codec.encode_error(crash_error(past, raised), *self._given.pop(key, ()))
        yield from self.session.record(unit, error, past, Outcome(None, None, now, now), ok=False)
        self.left(key)
        self.parked += 1

    def _raised_last(self, key: str) -> Failure | None:
        """The exception that ended the pass in this item the last time; None if the process died in it."""
        store, run_no = self.engine.store, self.session.run.no
        latest = store.entries(run_no, after=store.last_seq(run_no) - limits.PAGE_ROWS)
        ends = [entry.value for entry in latest if entry.key == key and entry.state == "crashed"]
        return failure_of(ends[-1]) if ends else None

    def died(self, unit: Unit, error: BaseException, *, alone: bool, begun_at: float) -> Flow[None]:
        """The worker that executed an item of a map has died: alone it is convicted, else it becomes a suspect."""
        session, key = self.session, unit.key
        now: float = yield Now()
        past = session.begun.get(key) or Begun(key, "item", self.name)
        again = past._replace(crashes=past.crashes + 1) if alone else past._replace(suspect=True)
        again = again._replace(fence=0)  # in flight no more: if this process dies now, it has not died in it
        session.settle_marker(key)
        change = decide(session.run, Died(again, codec.encode_error(error), begun_at), now=now)
        session.applied((yield Keep((change,))))
        session.begun[key] = again

    def recall(self, key: str) -> None:
        """What an earlier lease recorded in the item's body."""
        if not self.nested:
            self.session.learn(self.engine.store.scope_entries(self.session.run.no, key + keys.SEPARATOR))

    def ended(self, key: str) -> None:
        """An item of a map has its outcome."""
        again = key in self._again
        self.session.count((), 0 if self.nested or again else 1)
        self.left(key)
        if again:
            self._again.discard(key)
            if not self.nested:
                self.session.recorded.pop(key)

    def look_again(self, entry: Entry) -> None:
        """A done item of a map is to be performed as if it were not: whether its record stands is found out there."""
        self._again.add(entry.key)
        self.session.recorded[entry.key] = entry._replace(name=self.name)

    def follow(self, ticket: Any, weight: int) -> None:
        """`join` is to wait for this ticket, of so many items that end together."""
        self._done, self.weight = ticket, weight

    def left(self, key: str) -> None:
        """The item is no longer in flight."""
        self.session.begun.pop(key, None)
        if not self.nested:
            self.session.forget_scope(key)

    # -- grouping tiny items ----------------------------------------------------------------------------------

    def _buffer_up(self, key: str, change: Change, now: float) -> Flow[None]:
        if change.ended:
            self._marked.append(key)  # once more with the flush: nobody hears whether this one is written
            yield Later(change._replace(entries=()))
        if not self._buffer:
            self._buffered_at = now
        self._buffer.append(change.entries[0])
        self.left(key)
        if now - self._buffered_at >= self.flush_s or len(self._buffer) >= limits.BATCH_CHANGES:
            yield from self._flush()

    def _flush(self) -> Flow[None]:
        session, entries = self.session, tuple(self._buffer)
        change = Change(session.run.no, session.run.fence, entries, (), tuple(self._marked))
        answers = yield Keep((change,))
        self._buffer.clear()
        self._marked.clear()
        session.count(answers, len(entries))
        session.run_stalls = 0


def length(items: object, total: int | None) -> int | None:
    """How many items there are, if that can be told without reading them."""
    if total is not None:
        return total
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None
