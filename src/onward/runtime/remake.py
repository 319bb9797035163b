"""Recorded outcomes that hold files: they stand as long as the files are on the disk as they were recorded.

Else the unit is executed again, as a unit of work of its own inside its own scope (`save#1 > remade#1`): the recorded
outcome stays in the journal, and the latest one counts. Where several units have recorded one path, only the last of
them is looked at: the earlier files were replaced on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from onward.core.codec_files import MARK, File, files_in
from onward.core.keys import SEPARATOR
from onward.core.model import Entry
from onward.runtime import observe
from onward.runtime.effects import Call, Effect, Flow, Inspect

if TYPE_CHECKING:
    from onward.runtime.session import Session, Unit


def holds_files(entry: Entry) -> bool:
    """Whether files may be a part of what is recorded; cheap."""
    return entry.value is not None and MARK in entry.value and entry.state == "done"


def present(
    session: Session,
    unit: Unit,
    entry: Entry,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Flow[Any]:
    """The outcome of a recorded unit with files: the latest one, or that of executing it now if a file is not there."""
    number, latest = 1, entry
    while (later := session.recorded.get(_key(unit, number))) is not None and later.state == "done":
        number, latest = number + 1, later
    newest = _newest(session)
    files = [file for file in _files(latest) if newest.get(file.path, latest.key) == latest.key]
    problems = yield Inspect(files)
    if not problems:
        return session.replay(latest)
    observe.say(
        f"{session.run.name}: {problems[0]}, so `{unit.key}` is executed again; what was recorded after it is kept"
    )
    # Its body stands where it stood: steps that it calls answer from the record, its idempotency key is the same.
    again = session.perform(unit._replace(key=_key(unit, number)), fn, args, kwargs)
    return (yield from _in_place(session, unit, again))


def _files(entry: Entry) -> list[File]:
    return [] if entry.value is None else files_in(entry.value)


def _newest(session: Session) -> dict[str, str]:
    """By path: the unit that recorded it last. A state file that step after step replaces is that of the last one."""
    count, newest = session.newest_files
    if count != len(session.recorded):
        recorded = [entry for entry in list(session.recorded.values()) if holds_files(entry)]
        newest = {file.path: entry.key for entry in recorded for file in _files(entry)}
        session.newest_files = len(session.recorded), newest
    return newest


def _key(unit: Unit, number: int) -> str:
    return f"{unit.key}{SEPARATOR}remade#{number}"


def _in_place(session: Session, unit: Unit, flow: Flow[Any]) -> Flow[Any]:
    reply: Any = None
    while True:
        try:
            effect: Effect = flow.send(reply)
        except StopIteration as stop:
            return stop.value
        if isinstance(effect, Call):
            here = session.place(unit.key, effect.here.attempt, unit.inside_step)
            if unit.kind == "item":
                here.rows = {}  # its rows are recorded already: what it writes now goes nowhere
            effect = effect._replace(here=here)
        reply = yield effect
