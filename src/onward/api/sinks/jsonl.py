"""`jsonl`: a JSON Lines file whose rows commit with the items that wrote them."""

from __future__ import annotations

import json
import os
from typing import Any, ClassVar

from onward.api.sinks.lines import Lines, text_base
from onward.api.sinks.sink import Base, Book, Mode, Sink
from onward.core.errors import NotRecordable
from onward.runtime.engine import Engine
from onward.runtime.session import Session


class JsonLines(Lines):
    """A JSON Lines file in one run."""

    kind: ClassVar[str] = "jsonl"

    def line(self, row: Any) -> str:
        # The same rule as for recorded values: what does not come back exactly is refused, not bent.
        try:
            text = json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            exact = json.loads(text) == row
        except (TypeError, ValueError, RecursionError) as error:
            cure = f"write plain JSON values ({error})"
            raise NotRecordable(f"a row of {self.name}", "$", type(row).__qualname__, cure) from None
        if not exact:
            cure = "write dicts with str keys, lists, str, int, float, bool and None"
            raise NotRecordable(f"a row of {self.name}", "$", type(row).__qualname__, cure)
        try:
            text.encode()
        except UnicodeEncodeError:  # half a surrogate pair, which only an escape can hold
            text = json.dumps(row, separators=(",", ":"))
        return text + "\n"


class Jsonl(Sink):
    """What `jsonl` returns."""

    kind: ClassVar[str] = "jsonl"

    def _base(self, row: Any) -> Base:
        return text_base(self.path, self.mode, self._name)

    def _book(self, base: Base, engine: Engine, session: Session) -> Book:
        return JsonLines(self._name, base, engine, session)


def jsonl(path: str | os.PathLike[str], *, mode: Mode = "new") -> Jsonl:
    """A JSON Lines file whose rows commit with the item that writes them: no row is lost, none is there twice.

        out = onward.jsonl("venues.jsonl")
        for venue in onward.each(venues):
            out.write(scrape(venue))

    Rows are what JSON can hold exactly. In the function of an `onward.map` too; the rows of an item stand together, in
    the order in which items end. A new pass begins with an empty file, or with `mode="append"` behind what is there; a
    continued pass goes on where the recorded rows end. The file is completed when the loop continues, and it is durable
    when the loop has finished. One that something else has changed meanwhile is refused with RunConflict.
    """
    return Jsonl(path, mode)
