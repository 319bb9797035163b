"""The bodies of a loop: what is handed out at a time (one item, or a batch of them) begins, ends or fails as one.

Each item of a batch has its own start marker and its own entry, all of them in one commit: which items are done does
not depend on how they were batched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from onward.core import codec
from onward.core.blake import blake2b
from onward.core.decide import Ended, Started, decide
from onward.core.errors import StepCrashed
from onward.core.keys import SEPARATOR
from onward.core.model import Begun, Change, Refused
from onward.runtime.current import Here
from onward.runtime.effects import Flow, Keep, Later, Now, Outcome
from onward.runtime.items import Items
from onward.runtime.session import Unit

_BATCH = "batch-"


class Handed(NamedTuple):
    """What a loop hands out next: the value, the items it stands for, and the scope of its body."""

    value: Any
    keys: tuple[str, ...]
    scope: str
    replaying: bool = False  # done already; its body is run for what it computes


def batch_scope(prefix: str, keys: Sequence[str]) -> str:
    """The scope of a batch's body: the same whenever the same items come together."""
    if len(keys) == 1:
        return keys[0]
    seal = blake2b("\0".join(keys).encode("utf-8", "surrogatepass"), digest_size=8)
    return f"{prefix}{_BATCH}{seal.hexdigest()}"


class Bodies:
    """Begins and ends what a loop hands out."""

    def __init__(self, items: Items) -> None:
        self.items, self.session = items, items.session
        self._looked = (
            "",
            False,
        )  # the scope that was looked into last, and whether anything is recorded there

    def alone(self, key: str) -> bool:
        """Whether an item must be handed out by itself: the process died in it, alone or in two batches.

        One death is most often not the fault of any item, so the whole batch is tried once more.
        """
        past = self.session.begun.get(key)
        return past is not None and (past.crashes > 0 or (past.suspect and past.attempt > 1))

    def left_in(self, key: str) -> str | None:
        """The scope of the unfinished batch that an item was in, if something in its body is recorded: only together
        can its items be done without executing that again.
        """
        past = self.session.begun.get(key)
        if past is None or not past.name.startswith(_BATCH):
            return None
        scope = self.items.prefix + past.name
        if self._looked[0] != scope:
            self.items.recall(scope)
            inside = scope + SEPARATOR
            self._looked = scope, any(key.startswith(inside) for key in self.session.recorded)
        return scope if self._looked[1] else None

    def batched_in(self, key: str) -> str | None:
        """Workflows: the scope of the batch that a done item was in, if its body has to be run again."""
        entry = self.session.recorded.get(key)
        if entry is None or entry.value is None or '"batch":' not in entry.value:
            return None
        value = codec.decode(entry.value)
        scope = value.get("batch") if isinstance(value, dict) else None
        return scope if scope in self.session.peopled else None

    def begin(self, handed: Handed) -> Flow[Here | None]:
        """The place of the body, once its beginning is durable; None if the item had to be parked instead."""
        if handed.replaying:
            return (yield from self.items.revisit(handed.scope))
        if len(handed.keys) == 1:
            return (yield from self.items.begin(handed.keys[0]))
        return (yield from self._begin_batch(handed))

    def _begin_batch(self, handed: Handed) -> Flow[Here | None]:
        items, session = self.items, self.session
        if session.run.fence > 1:
            items.recall(handed.scope)
        if self._deaths(handed):
            yield from items.stop_if_losing(handed.keys)
        if self._deaths(handed) >= items.policy.max_crashes:
            # It could not be taken apart, see `left_in`.
            why = f"the process died {self._deaths(handed)} times in a batch of {len(handed.keys)} items"
            yield from self.fail(handed, (yield Now()), f"{why}; they are not begun again by themselves")
            return None
        session.goes_on(handed.scope)
        yield from session.check()
        now: float = yield Now()
        begun = [self._begun(key, handed.scope, now) for key in handed.keys]
        first = decide(session.run, Started(begun[0]), now=now)
        answers = yield Keep((first._replace(begun=tuple(begun)),))
        yield from items.join()
        session.applied(answers)
        session.begun.update((one.key, one) for one in begun)
        # As for a single item: a request may have come with the answer, and time has passed.
        yield from session.check()
        yield from session.check()
        place = session.place(handed.scope, attempt=max(one.attempt for one in begun))
        place.rows = {}
        return place

    def _begun(self, key: str, scope: str, now: float) -> Begun:
        """An item's start marker: named after its batch, and of the next attempt if the process died in the last."""
        name = scope.removeprefix(self.items.prefix)
        past = self.session.begun.get(key) or Begun(key, "item", name)
        attempt = past.attempt + 1 if past.suspect else past.attempt
        fence = self.session.run.fence
        return past._replace(name=name, attempt=attempt, suspect=False, fence=fence, begun_at=now)

    def _deaths(self, handed: Handed) -> int:
        """In how many attempts of this batch the process died."""
        known = [self.session.begun[key] for key in handed.keys if key in self.session.begun]
        return min((one.attempt - 1 + one.suspect for one in known), default=0)

    def end(
        self, handed: Handed, begun_at: float, value: str | None, beside: tuple[Change, ...] = ()
    ) -> Flow[Refused | None]:
        """The body has run through. `beside` are changes of other runs, which become durable together with it.

        Returns why one of these was refused, if it was: then nothing was recorded, of the items neither.
        """
        items, session = self.items, self.session
        if len(handed.keys) == 1 and not beside:
            items.weight = 1
            yield from items.end(handed.keys[0], begun_at, value)
            return None
        if session.unwinding is not None:
            raise session.unwinding
        yield from items.settle()
        change = self._ended(handed, begun_at, value, (yield Now()))
        if beside:
            answers = yield Keep((change._replace(beside=beside),))
            if isinstance(answers[0], Refused) and answers[0].run_no:
                return answers[0]
            session.count(answers, 0 if items.nested else len(handed.keys))
        else:
            items.follow((yield Later(change)), len(handed.keys))
        for key in handed.keys:
            session.settle_marker(key)  # with `flush_s` it may not be written yet
            items.left(key)
        if not items.nested:
            session.forget_scope(handed.scope)
        return None

    def _ended(self, handed: Handed, begun_at: float, value: str | None, now: float) -> Change:
        run = self.session.run
        values: list[str | None] = [None] * len(handed.keys)
        if len(handed.keys) > 1 and handed.scope in self.session.peopled:
            values = [codec.encode({"batch": handed.scope})] * len(handed.keys)
            if value is not None:
                value = codec.encode({**codec.decode(value), "batch": handed.scope})
        values[-1] = value or values[-1]
        changes = [
            decide(run, Ended(key, "item", self.items.name, True, text, None, 1, begun_at), now=now)
            for key, text in zip(handed.keys, values, strict=True)
        ]
        entries = tuple(change.entries[0] for change in changes)
        return changes[0]._replace(entries=entries, ended=handed.keys)

    def fail(self, handed: Handed, begun_at: float, why: str) -> Flow[None]:
        """The body has run through, but something in it is parked: its items are to be done again."""
        yield from self.items.settle()
        error = codec.encode_error(StepCrashed(why))
        for key in handed.keys:
            now: float = yield Now()
            unit = Unit(key, "item", self.items.name, self.items.policy)
            past = self.session.begun.get(key) or Begun(key, "item", self.items.name)
            yield from self.session.record(unit, error, past, Outcome(None, None, begun_at, now), ok=False)
            self.items.left(key)
        self.items.parked += len(handed.keys)

    def parked_within(self, key: str) -> list[str]:
        """The failed items that are recorded inside a failed item."""
        inside = key + SEPARATOR
        recorded = self.session.recorded.items()
        return [k for k, e in recorded if k.startswith(inside) and e.kind == "item" and e.state == "failed"]
