"""Files whose rows commit with the items that wrote them: none lost, none twice.

The rows of an item are recorded in the commit that makes it done, with the place in the file where they belong and a
running checksum of all that stands before. They are put into the file after that commit. A file that is behind, because
the process or the machine died in between, is completed from the journal when the loop continues; one that somebody
else has changed is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onward.api.sinks.jsonl import Jsonl, JsonLines, jsonl
from onward.api.sinks.sink import Book, output
from onward.core.errors import JournalUnusable
from onward.core.lazily import Lazily
from onward.runtime.drive import drive
from onward.runtime.engine import Engine
from onward.runtime.outcomes import decoded
from onward.runtime.output import Part, payload
from onward.runtime.session import Session

if TYPE_CHECKING:
    from onward.api.sinks import parquet, tables
else:
    parquet, tables = Lazily("onward.api.sinks.parquet"), Lazily("onward.api.sinks.tables")

__all__ = ["Jsonl", "Part", "complete", "complete_or_leave", "jsonl", "output", "payload"]


def complete(engine: Engine, session: Session) -> None:
    """Bring the files of a continued run up to what is recorded, whether or not anything more is written to them."""
    if session.run.fence == 1 or session.unwinding is not None or session.rehearses:
        return
    out = output(session)
    if out.complete:
        return
    for entry in engine.store.scope_entries(session.run.no, "sink/"):
        name, base = entry.key.removeprefix("sink/"), decoded(entry)
        session.met(entry.key)
        with out.lock:
            if name not in out.writers:
                book = _kind(entry.name)(name, base, engine, session)
                book.open()
                out.writers[name] = book
    out.complete = True


def complete_or_leave(engine: Engine, session: Session) -> None:
    """As `complete`; a run whose files cannot be completed is given back."""
    try:
        complete(engine, session)
    except BaseException:
        drive(session.release(), engine, session)
        engine.let_go(session)
        raise


def _kind(kind: str) -> type[Book]:
    match kind:
        case "jsonl":
            return JsonLines
        case "csv":
            return tables.CsvLines
        case "parquet":
            return parquet.Parts
        case _:
            raise JournalUnusable(
                f"the journal has rows for a sink of the kind `{kind}`, which this onward does not know; nothing was "
                "written. Continue with the version that began it."
            )
