"""What all sinks share: where rows may be written, and how a sink is opened in a run."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn

from onward.api import connect
from onward.core import keys, limits
from onward.core.errors import NotRecordable, RunConflict, UsageError
from onward.runtime import current
from onward.runtime.current import Here
from onward.runtime.drive import drive
from onward.runtime.engine import Engine
from onward.runtime.output import Output, Writer
from onward.runtime.session import Session

Mode = Literal["new", "append"]
Base = dict[str, Any]  # what the journal says of a sink: where it is, and what was there when the run began


class Book(Writer):
    """A writer whose rows the journal can bring back."""

    kind: ClassVar[str]

    def __init__(self, name: str, base: Base, engine: Engine, session: Session) -> None:
        super().__init__(name, session.run, output(session).lock)
        self.base, self.engine, self.session = base, engine, session
        self.path = _place(base, name)

    @abstractmethod
    def open(self) -> None:
        """Bring what is on the disk up to what is recorded; raises RunConflict if something else has changed it."""

    @abstractmethod
    def line(self, row: Any) -> str:
        """A row as it is recorded, with its line end. Raises NotRecordable."""

    def foreign(self, what: str) -> NoReturn:
        raise RunConflict(
            self.run.id,
            f"{self.name} was changed by something else since `{self.run.name}` wrote to it: {what}. "
            f"It was left as it is. Put it back, or move it away and start afresh with `onward cancel {self.run.id}`.",
        )


class Sink(ABC):
    """What `jsonl`, `csv` and `parquet` return. `write` in the body of an `onward.each`, or in what a map calls."""

    kind: ClassVar[str]

    def __init__(self, path: str | os.PathLike[str], mode: Mode) -> None:
        if mode not in ("new", "append"):
            raise UsageError(f'mode={mode!r} is not possible: give "new" or "append"')
        self.path = Path(path)
        self.mode: Mode = mode
        self._name = keys.checked(str(path))
        self._agreed: Book | None = None  # in which nothing else is recorded than is asked for here

    def write(self, row: Any) -> None:
        """Add one row; it is in the file once the item is done.

        Raises NotRecordable for values that would not come back as they are, UsageError outside the body of an item of
        `onward.each` or `onward.map`, RunConflict if something else has changed the file.
        """
        place = current.here()
        if place is None or not _takes_rows(place):
            raise UsageError(
                f"{self._name}: write() belongs into the body of an `onward.each` loop or the function of an "
                "`onward.map`, outside of steps, so that the row is recorded with the item; nothing was written"
            )
        if place.session.rehearses:
            return  # nothing is done anew, and what was written is in the file or in the journal
        writer = self._writer(place.session, row)
        line = writer.line(row)
        if len(line) > limits.PAYLOAD_BYTES:
            cure = "write it to a file of its own and the name of that to the row"
            raise NotRecordable(
                f"a row of {self._name}", "$", f"{type(row).__qualname__} of {len(line):,} bytes", cure
            )
        assert place.rows is not None, "checked by _takes_rows"
        place.rows.setdefault(writer, []).append(line)

    def _writer(self, session: Session, row: Any) -> Book:
        out = output(session)
        found = out.writers.get(self._name)
        if found is None:
            with out.lock:
                found = out.writers.get(self._name) or self._open(out, session, row)
        assert isinstance(found, Book)
        if found is not self._agreed:
            recorded = self._unlike(found.base)
            if found.kind != self.kind or found.base["mode"] != self.mode or recorded is not None:
                self._refuse(session, f'{found.kind} with mode="{found.base["mode"]}"{recorded or ""}')
            self._agreed = found
        return found

    def _open(self, out: Output, session: Session, row: Any) -> Writer:
        engine = connect.engine()
        target = os.path.realpath(self.path)
        for other in out.writers.values():
            if isinstance(other, Book) and os.path.realpath(other.path) == target:
                raise UsageError(
                    f"{self._name} is the same file as {other.name}, to which this run writes already; nothing was "
                    "written. Write both through one sink."
                )
        # Recorded once, before the first row: what was there when the run began.
        key = f"sink/{self._name}"
        session.learn(engine.store.scope_entries(session.run.no, key))
        draw: Callable[[float], Base] = lambda now: self._base(row)  # noqa: E731  (an annotation, for type checkers)
        base = drive(session.take(key, "value", self.kind, draw), engine, session)
        book = self._book(base, engine, session)
        book.open()
        out.writers[self._name] = book
        return book

    def _refuse(self, session: Session, recorded: str) -> NoReturn:
        raise RunConflict(
            session.run.id,
            f"{self._name} was begun as {recorded} in this pass, and is something else now; nothing was written. Put "
            f"that back, or start afresh with `onward cancel {session.run.id}`.",
        )

    @abstractmethod
    def _base(self, row: Any) -> Base:
        """What is recorded of the sink before its first row, which is `row`."""

    def _unlike(self, base: Base) -> str | None:
        """What is recorded of this sink's options, if something else is asked for now."""
        return None

    @abstractmethod
    def _book(self, base: Base, engine: Engine, session: Session) -> Book: ...


def output(session: Session) -> Output:
    """The sinks of a run."""
    if session.output is None:
        with _lock:  # several items of a map may write their first rows at once
            if session.output is None:
                session.output = Output()
    return session.output


_lock = threading.Lock()


def _takes_rows(place: Here) -> bool:
    """Whether rows written here are recorded with an item. Those of a loop know; for those of a map it is found out."""
    if place.rows is not None:
        return True
    begun = next((b for b in place.session.in_flight() if b.key == place.key), None)
    if begun is None or begun.kind != "item":
        return False
    place.rows = {}
    output(place.session).writing[place.key] = place
    return True


def _place(base: Base, name: str) -> Path:
    """Where the file is: where it was begun, unless the whole project has moved since."""
    begun = Path(base["path"])
    return Path(name) if not begun.exists() and Path(name).exists() else begun
